//! `pilothouse evaluation …`: evaluations that the host has done, or is to do.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use pilothouse_files::evaluation::Evaluation;
use pilothouse_files::result::TaskResult;
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::evaluate::{self, EXIT_HELP, read, unreadable};
use super::sequence::pair;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Output, Terminal};
use crate::http::evaluations::{EvaluateBody, IMPORT_EVENTS_MAX, ImportBody, InvalidateBody};
use pilothouse_core::quantity::Span;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum EvaluationCommand {
    /// Judge a service by its SLO file, on what a provider measures: no shipyard is needed.
    Trigger(TriggerCommand),
    /// List evaluations that have ended, the newest first.
    List {
        /// Only of this project.
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
        /// Only of this stage.
        #[arg(long, value_name = "STAGE")]
        stage: Option<String>,
        /// Only of this service.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
        /// Only of this run.
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Go on after this page.
        #[arg(long, value_name = "CURSOR")]
        after: Option<u64>,
        /// Most to list.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// Show what an evaluation came to, objective by objective.
    Get {
        /// Its id.
        id: String,
    },
    /// Declare an evaluation invalid: nothing is compared with it any more.
    Invalidate {
        /// Its id.
        id: String,
        /// Why.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        comment: String,
    },
    /// Take over results of another system, such as Keptn's, to compare with.
    Import {
        /// The project that they are of.
        #[arg(long, value_name = "PROJECT")]
        project: String,
        /// Files with `evaluation.finished` events: one, a list, or `{"events": […]}` as Keptn's API answered; `-` for
        /// standard input. The oldest first.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Judges a service by its SLO file.
///
/// The SLO and SLI files are the project's, or those that are given here; then the project need not exist.
#[derive(Debug, Args)]
#[command(after_help = EXIT_HELP)]
pub(super) struct TriggerCommand {
    /// The project.
    #[arg(long, value_name = "PROJECT")]
    project: String,
    /// The stage.
    #[arg(long, value_name = "STAGE")]
    stage: String,
    /// The service.
    #[arg(long, value_name = "SERVICE")]
    service: String,
    /// Length of the window, such as `5m`: from `--start`, else until now. Default: the last five minutes.
    #[arg(long, value_name = "TIME")]
    timeframe: Option<String>,
    /// Start of the window, such as `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// End of the window.
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// An SLO file of this machine, instead of the service's own.
    #[arg(long, value_name = "FILE")]
    slo: Option<PathBuf>,
    /// An SLI file of this machine, instead of the project's own.
    #[arg(long, value_name = "FILE")]
    sli: Option<PathBuf>,
    /// Who measures, instead of whom the project names.
    #[arg(long, value_name = "NAME")]
    sli_provider: Option<String>,
    /// A label of the run, such as `version=1.4.0`; may be given several times.
    #[arg(long = "label", value_parser = pair, value_name = "NAME=VALUE")]
    labels: Vec<(String, String)>,
    /// The commit whose files count.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// Wait for the result, print it, and end with its exit code.
    #[arg(long)]
    wait: bool,
    /// Longest wait.
    #[arg(long, default_value = "10m", value_name = "TIME")]
    wait_max: Span,
}

impl EvaluationCommand {
    /// Tells whether the result is an evaluation, which has more forms.
    pub(super) fn gives_evaluations(&self) -> bool {
        match self {
            Self::Trigger(command) => command.wait,
            Self::Get { .. } => true,
            _ => false,
        }
    }

    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Trigger(command) => command.run(&api, global.output, terminal).await,
            Self::List { project, stage, service, run, after, limit } => {
                let query = [
                    ("project", project),
                    ("stage", stage),
                    ("service", service),
                    ("run", run),
                    ("cursor", after.map(|after| after.to_string())),
                    ("limit", Some(limit.to_string())),
                ];
                let mut answer = api.get("/v1/evaluations", &query).await?;
                if terminal.format == Format::Table {
                    tell(&mut answer);
                }
                let columns = [
                    ("ID", "/id"),
                    ("TIME", "/time"),
                    ("PROJECT", "/project"),
                    ("STAGE", "/stage"),
                    ("SERVICE", "/service"),
                    ("RESULT", "/result"),
                    ("SCORE", "/score"),
                    ("VERSION", "/labels/version"),
                    ("MESSAGE", "/message"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Get { id } => {
                let answer = api.get(&path(&id, ""), &[]).await?;
                show(&answer, global.output, terminal)
            }
            Self::Invalidate { id, comment } => {
                let answer = api.post(&path(&id, "/invalidate"), &InvalidateBody { comment }).await?;
                terminal.members(&answer)
            }
            Self::Import { project, files } => import(&api, &project, &files, terminal).await,
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/evaluations/{}{rest}", encode(id))
}

/// Rounds scores, and says which ones are invalid.
fn tell(answer: &mut Value) {
    for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let invalid = item.get("invalidated").is_some();
        let score = item.get("score").and_then(Value::as_f64).map(|score| format!("{score:.2}"));
        let Some(members) = item.as_object_mut() else { continue };
        members.extend(score.map(|score| ("score".to_owned(), score.into())));
        if invalid {
            let result = cell(members.get("result"));
            members.insert("result".to_owned(), format!("{result} (invalid)").into());
        }
    }
}

/// Shows one evaluation as the API gives it.
fn show(answer: &Value, output: Output, terminal: &mut Terminal) -> Result<(), CliError> {
    if output == Output::Json {
        return terminal.json(answer);
    }
    match answer.get("evaluation").map(|it| serde_json::from_value::<Evaluation>(it.clone())) {
        Some(Ok(mut evaluation)) => {
            // Of other executors: Keptn's have no message of their own.
            if evaluation.message.is_empty() {
                evaluation.message = cell(answer.get("message"));
            }
            evaluate::show(&evaluation, output, terminal)?;
            match answer.get("invalidated").filter(|_| output == Output::Table) {
                Some(by) => terminal.line(&format!(
                    "declared invalid by {}: {}",
                    cell(by.get("actor")),
                    cell(by.get("comment"))
                )),
                None => Ok(()),
            }
        }
        _ => terminal.line(&format!("{}: {}", cell(answer.get("state")), cell(answer.get("message")))),
    }
}

impl TriggerCommand {
    fn body(&self) -> Result<EvaluateBody, CliError> {
        let text = |path: &Option<PathBuf>| -> Result<Option<String>, CliError> {
            let Some(path) = path else { return Ok(None) };
            String::from_utf8(read(path)?).map(Some).map_err(|_| unreadable(path, "it is not UTF-8"))
        };
        Ok(EvaluateBody {
            project: self.project.clone(),
            stage: self.stage.clone(),
            service: self.service.clone(),
            start: self.start.clone(),
            end: self.end.clone(),
            timeframe: self.timeframe.clone(),
            slo: text(&self.slo)?,
            sli: text(&self.sli)?,
            sli_provider: self.sli_provider.clone(),
            labels: self.labels.iter().cloned().collect(),
            commit: self.commit.clone(),
        })
    }

    async fn run(self, api: &Api, output: Output, terminal: &mut Terminal) -> Result<(), CliError> {
        let body = self.body()?;
        let triggered = api.post("/v1/evaluations", &body).await.map_err(|error| error.refused_as_usage(self.wait))?;
        if !self.wait {
            return terminal.members(&triggered);
        }
        let id = cell(triggered.get("id"));
        let until = Instant::now() + self.wait_max.0;
        let mut answer = api.get(&path(&id, ""), &[]).await?;
        while answer.get("state").and_then(Value::as_str) == Some("running") {
            if Instant::now() >= until {
                return Err(CliError::new(
                    Exit::Host,
                    format!("the evaluation {id} has not ended within {}", self.wait_max),
                )
                .hint(format!("`pilothouse task get {id}` says what it waits for")));
            }
            tokio::time::sleep(LOOK).await;
            answer = api.get(&path(&id, ""), &[]).await?;
        }
        if answer.get("status").and_then(Value::as_str) == Some("errored") {
            return Err(CliError::new(Exit::Usage, format!("nothing was judged: {}", cell(answer.get("message"))))
                .hint(format!("`pilothouse event why {id}` says what happened")));
        }
        show(&answer, output, terminal)?;
        let result = serde_json::from_value(answer.get("result").cloned().unwrap_or_default());
        evaluate::verdict(result.unwrap_or(TaskResult::Fail))
    }
}

async fn import(api: &Api, project: &str, files: &[PathBuf], terminal: &mut Terminal) -> Result<(), CliError> {
    let mut events = Vec::new();
    for file in files {
        let found: Value = serde_json::from_slice(&read(file)?)
            .map_err(|error| unreadable(file, format!("it is not JSON: {error}")))?;
        match found {
            Value::Array(list) => events.extend(list),
            Value::Object(mut members) => match members.remove("events") {
                // Keptn's datastore gave the newest first.
                Some(Value::Array(list)) => events.extend(list.into_iter().rev()),
                Some(_) => return Err(unreadable(file, "`events` is no list")),
                None => events.push(Value::Object(members)),
            },
            _ => return Err(unreadable(file, "it holds neither an event nor a list of events")),
        }
    }
    let mut imported = 0;
    for part in events.chunks(IMPORT_EVENTS_MAX) {
        let body = ImportBody { project: project.to_owned(), events: part.to_vec() };
        let answer = api.post("/v1/evaluations/import", &body).await?;
        imported += answer.get("imported").and_then(Value::as_u64).unwrap_or_default();
    }
    match terminal.format {
        Format::Json => terminal.json(&json!({ "imported": imported })),
        Format::Table => terminal.line(&format!("{imported} evaluations are there to compare with")),
    }
}
