//! `pilothouse approval …`: what waits for people, and yes or no.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{Api, encode};
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};
use crate::engine::approval::Verdict;
use crate::http::approvals::DecisionBody;

/// Longest wait for what comes of a decision; the decision itself is on disk then.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Subcommand)]
pub(super) enum ApprovalCommand {
    /// List what waits for people to decide.
    List {
        #[command(flatten)]
        place: PlaceOptions,
        /// Which: `open`, `ended` or `all`.
        #[arg(long, default_value = "open", value_name = "STATE")]
        state: String,
    },
    /// Say yes.
    Approve(DecideCommand),
    /// Say no: the task fails.
    Decline(DecideCommand),
}

#[derive(Debug, Args)]
pub(super) struct PlaceOptions {
    /// Only of this project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only of this stage.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DecideCommand {
    /// The approval's id; the only one that is open where it is left out.
    id: Option<String>,
    #[command(flatten)]
    place: PlaceOptions,
    /// Why. It stands with the decision.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    comment: String,
}

impl ApprovalCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List { place, state } => {
                let mut answer = list(&api, &place, &state).await?;
                if terminal.format == Format::Table {
                    tell_decisions(&mut answer);
                }
                let columns = [
                    ("ID", "/id"),
                    ("PROJECT", "/project"),
                    ("STAGE", "/stage"),
                    ("SERVICE", "/service"),
                    ("STATE", "/state"),
                    ("BEFORE", "/result-before"),
                    ("REQUESTED", "/requested"),
                    ("DECIDED", "/decisions"),
                    ("MESSAGE", "/message"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Approve(command) => command.run(&api, terminal, Verdict::Approve).await,
            Self::Decline(command) => command.run(&api, terminal, Verdict::Decline).await,
        }
    }
}

async fn list(api: &Api, place: &PlaceOptions, state: &str) -> Result<Value, CliError> {
    let query = [
        ("state", Some(state.to_owned())),
        ("project", place.project.clone()),
        ("stage", place.stage.clone()),
        ("service", place.service.clone()),
    ];
    api.get("/v1/approvals", &query).await
}

/// Writes the decisions of each approval as one text.
fn tell_decisions(answer: &mut Value) {
    for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(decisions) = item.get_mut("decisions") else { continue };
        let text = |it: &Value| format!("{} {}", cell(it.get("actor")), cell(it.get("decision")));
        let texts: Vec<String> = decisions.as_array().into_iter().flatten().map(text).collect();
        *decisions = texts.join(", ").into();
    }
}

impl DecideCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal, decision: Verdict) -> Result<(), CliError> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.only(api).await?,
        };
        let path = format!("/v1/approvals/{}", encode(&id));
        let body = DecisionBody { decision, comment: self.comment };
        let mut answer = api.post(&path, &body).await?;
        let said = answer.get("message").cloned();
        // What comes of it is the plugin's to say, a moment later.
        let until = Instant::now() + WAIT_MAX;
        while is_open(&answer) && answer.get("message") == said.as_ref() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            answer = api.get(&path, &[]).await.unwrap_or(answer);
        }
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => {
                let state = if is_open(&answer) { "still open" } else { "ended" };
                terminal.line(&format!("{state}: {}", cell(answer.get("message"))))
            }
        }
    }

    /// Returns the only approval that is open there.
    async fn only(&self, api: &Api) -> Result<String, CliError> {
        let answer = list(api, &self.place, "open").await?;
        let items = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        match items {
            [only] => Ok(cell(only.get("id"))),
            [] => Err(CliError::new(Exit::Failed, "nothing there waits for people to decide")),
            several => {
                let message = format!("{} approvals are open there; name one by its id", several.len());
                Err(CliError::new(Exit::Usage, message).hint("`pilothouse approval list` lists them"))
            }
        }
    }
}

fn is_open(answer: &Value) -> bool {
    answer.get("state").and_then(Value::as_str) == Some("open")
}
