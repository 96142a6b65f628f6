//! `pilothouse sequence …`: trigger, watch, and give orders.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{Api, encode};
use super::project::read_text;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};
use crate::http::sequences::{OrderBody, TriggerBody};

/// Time between two looks at a sequence that is watched.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// After how long of the same wait a watch says what is waited for.
const WAIT_SHOWN_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum SequenceCommand {
    /// Trigger a sequence.
    Trigger(Box<TriggerCommand>),
    /// List sequences, newest first.
    List(ListCommand),
    /// Show a sequence as one timeline.
    Get {
        /// The sequence's id.
        id: String,
    },
    /// Say what a sequence waits for, and who is in the way.
    Why {
        /// The sequence's id.
        id: String,
    },
    /// Trigger nothing more until resumed. What is at work goes on.
    Pause(OrderCommand),
    /// Let a paused sequence go on.
    Resume(OrderCommand),
    /// End a sequence at once. Its open tasks are cancelled, and nothing follows from it.
    Abort(OrderCommand),
    /// Run an ended sequence once more, with the same input and commit.
    Rerun {
        #[command(flatten)]
        order: OrderCommand,
        /// Begin at the step that failed instead of at the start.
        #[arg(long)]
        from_failed: bool,
    },
    /// Show counts, durations, and the DORA figures of a project.
    Figures {
        /// The project.
        project: String,
        /// The first moment (RFC 3339); thirty days ago unless said otherwise.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// The end (RFC 3339); now unless said otherwise.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
}

/// With `--wait` the exit code is the result: 0 pass, 1 fail, 3 warning, 4 timed out or aborted, 2 bad input.
#[derive(Debug, Args)]
pub(super) struct TriggerCommand {
    /// The sequence's name, such as `delivery`.
    sequence: String,
    /// The project.
    #[arg(long, value_name = "PROJECT")]
    project: String,
    /// The stage.
    #[arg(long, value_name = "STAGE")]
    stage: String,
    /// The service.
    #[arg(long, value_name = "SERVICE")]
    service: String,
    /// A label, passed on to all that follows. May be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// The image to deliver: becomes `configurationChange.values.image`.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// File with more members of the event's data, as a JSON object.
    #[arg(long, value_name = "FILE")]
    data: Option<std::path::PathBuf>,
    /// The commit whose files count; the present one unless said otherwise.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// Show what happens until it has ended.
    #[arg(long)]
    watch: bool,
    /// Wait for the end; the exit code is the result.
    #[arg(long)]
    wait: bool,
    /// With --watch or --wait: also for all that it fires, such as the next stage.
    #[arg(long)]
    follow: bool,
    /// With --watch or --wait: give up after this time, such as 30m.
    #[arg(long, value_name = "TIME")]
    timeout: Option<pilothouse_core::quantity::Span>,
}

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// Only of this project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only of this stage.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only of this name.
    #[arg(long, value_name = "NAME")]
    sequence: Option<String>,
    /// Only of this run.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only in this state: waiting, running, delayed, paused, finished, aborted.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Triggered at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Triggered before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Begin after this place of an earlier page.
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Most sequences.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct OrderCommand {
    /// The sequence's id.
    id: String,
    /// Why.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SequenceCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Trigger(command) => command.run(&api, terminal).await,
            Self::List(command) => command.run(&api, terminal).await,
            Self::Get { id } => {
                let sequence = api.get(&path(&id, ""), &[]).await?;
                if terminal.format == Format::Json {
                    return terminal.json(&sequence);
                }
                timeline(&sequence, terminal)
            }
            Self::Why { id } => {
                let sequence = api.get(&path(&id, ""), &[]).await?;
                if terminal.format == Format::Json {
                    return terminal.json(&json!({ "id": id, "reasons": sequence.get("reasons") }));
                }
                reasons(&sequence).try_for_each(|reason| terminal.line(&reason))
            }
            Self::Pause(order) => order.give(&api, "pause", false, terminal).await,
            Self::Resume(order) => order.give(&api, "resume", false, terminal).await,
            Self::Abort(order) => order.give(&api, "abort", false, terminal).await,
            Self::Rerun { order, from_failed } => order.give(&api, "rerun", from_failed, terminal).await,
            Self::Figures { project, since, until } => {
                let path = format!("/v1/projects/{}/figures", encode(&project));
                let figures = api.get(&path, &[("since", since), ("until", until)]).await?;
                figures_table(&figures, terminal)
            }
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/sequences/{}{rest}", encode(id))
}

fn reasons(sequence: &Value) -> impl Iterator<Item = String> {
    sequence.get("reasons").and_then(Value::as_array).into_iter().flatten().map(|reason| cell(Some(reason)))
}

impl ListCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let query = [
            ("project", self.project),
            ("stage", self.stage),
            ("service", self.service),
            ("sequence", self.sequence),
            ("run", self.run),
            ("state", self.state),
            ("since", self.since),
            ("until", self.until),
            ("after", self.after),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let answer = api.get("/v1/sequences", &query).await?;
        let columns = [
            ("ID", "/id"),
            ("STAGE", "/stage"),
            ("SEQUENCE", "/sequence"),
            ("SERVICE", "/service"),
            ("STATE", "/state"),
            ("RESULT", "/result"),
            ("TRIGGERED", "/triggered"),
            ("RUN", "/run"),
        ];
        terminal.rows(&answer, &columns)
    }
}

impl OrderCommand {
    async fn give(self, api: &Api, what: &str, from_failed: bool, terminal: &mut Terminal) -> Result<(), CliError> {
        let body = OrderBody { reason: self.reason, from_failed };
        let sequence = api.post(&path(&self.id, &format!("/{what}")), &body).await?;
        if terminal.format == Format::Json {
            return terminal.json(&sequence);
        }
        timeline(&sequence, terminal)
    }
}

impl TriggerCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let body = self.body()?;
        // A pipeline that gates on the result must be able to tell a typing mistake from it.
        let answer = api.post("/v1/sequences", &body).await.map_err(|error| error.refused_as_usage(self.wait))?;
        if !self.watch && !self.wait {
            return match terminal.format {
                Format::Json => terminal.json(&answer),
                Format::Table => terminal.line(&format!(
                    "triggered {} of run {}; `pilothouse sequence get {0}` shows it",
                    cell(answer.get("id")),
                    cell(answer.get("run"))
                )),
            };
        }
        let deadline = self.timeout.map(|timeout| tokio::time::Instant::now() + timeout.0);
        let quiet = !self.watch || terminal.format == Format::Json;
        let mut watch = Watch { shown: Vec::new(), waits: (Vec::new(), tokio::time::Instant::now()), quiet };
        let sequences = watch.until_ended(api, &answer, self.follow, deadline, terminal).await?;
        if terminal.format == Format::Json {
            terminal.json(&sequences)?;
        } else if !self.watch {
            sequences.iter().flat_map(reasons).try_for_each(|reason| terminal.line(&reason))?;
        }
        if self.wait { verdict(&sequences) } else { Ok(()) }
    }

    fn body(&self) -> Result<TriggerBody, CliError> {
        let mut data = match &self.data {
            None => Map::new(),
            Some(file) => match serde_json::from_str(&read_text(file)?) {
                Ok(Value::Object(data)) => data,
                Ok(_) => return Err(CliError::new(Exit::Usage, format!("`{}` is not a JSON object", file.display()))),
                Err(error) => {
                    let message = format!("`{}` is not JSON", file.display());
                    return Err(CliError::new(Exit::Usage, message).caused_by(&error));
                }
            },
        };
        if let Some(image) = &self.image {
            let change = json!({ "values": { "image": image } });
            let mut given = data.remove("configurationChange").unwrap_or(Value::Null);
            pilothouse_core::sequence::payload::merge(&mut given, change);
            data.insert("configurationChange".to_owned(), given);
        }
        Ok(TriggerBody {
            project: self.project.clone(),
            stage: self.stage.clone(),
            sequence: self.sequence.clone(),
            service: self.service.clone(),
            labels: self.labels.iter().cloned().collect(),
            data,
            commit: self.commit.clone(),
            run: None,
        })
    }
}

/// What a watch has shown already.
struct Watch {
    shown: Vec<String>,
    /// What is waited for, and since when that is so.
    waits: (Vec<String>, tokio::time::Instant),
    quiet: bool,
}

impl Watch {
    /// Looks again and again until all has ended, or there is no more time; returns the sequences as they are then.
    async fn until_ended(
        &mut self,
        api: &Api,
        triggered: &Value,
        follow: bool,
        deadline: Option<tokio::time::Instant>,
        terminal: &mut Terminal,
    ) -> Result<Vec<Value>, CliError> {
        let (id, run) = (cell(triggered.get("id")), cell(triggered.get("run")));
        loop {
            match look(api, &id, &run, follow).await {
                Ok(sequences) => {
                    for line in sequences.iter().flat_map(lines) {
                        self.show(line, terminal)?;
                    }
                    self.show_waits(&sequences, terminal)?;
                    let ended = |sequence: &Value| sequence.get("ended").is_some();
                    if !sequences.is_empty() && sequences.iter().all(ended) {
                        return Ok(sequences);
                    }
                    if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
                        return Ok(sequences);
                    }
                }
                // A host that restarts goes on with the sequence.
                Err(error)
                    if error.exit() == Exit::Unreachable
                        && deadline.is_none_or(|it| tokio::time::Instant::now() < it) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Watch {
    fn show(&mut self, line: String, terminal: &mut Terminal) -> Result<(), CliError> {
        if self.shown.contains(&line) {
            return Ok(());
        }
        if !self.quiet {
            terminal.line(&line)?;
        }
        self.shown.push(line);
        Ok(())
    }

    /// Shows why nothing happens, once nothing has happened for a while.
    fn show_waits(&mut self, sequences: &[Value], terminal: &mut Terminal) -> Result<(), CliError> {
        let waits: Vec<String> =
            sequences.iter().filter(|sequence| sequence.get("ended").is_none()).flat_map(reasons).collect();
        if self.waits.0 != waits {
            self.waits = (waits, tokio::time::Instant::now());
        } else if self.waits.1.elapsed() >= WAIT_SHOWN_AFTER {
            for reason in waits {
                self.show(format!("{:24}    … {reason}", ""), terminal)?;
            }
        }
        Ok(())
    }
}

/// Reads the sequence, and what it fired; nothing while the host has not decided about it yet.
async fn look(api: &Api, id: &str, run: &str, follow: bool) -> Result<Vec<Value>, CliError> {
    let mut ids = vec![id.to_owned()];
    if follow {
        let listed =
            api.get("/v1/sequences", &[("run", Some(run.to_owned())), ("limit", Some("500".to_owned()))]).await?;
        let items = listed.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        ids = items.iter().rev().map(|item| cell(item.get("id"))).collect();
    }
    let mut sequences = Vec::new();
    for id in ids {
        match api.get(&path(&id, ""), &[]).await {
            Ok(sequence) => sequences.push(sequence),
            Err(error) if error.exit() == Exit::Refused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sequences)
}

fn name(sequence: &Value) -> String {
    let [stage, name, service] = ["stage", "sequence", "service"].map(|member| cell(sequence.get(member)));
    format!("{stage}.{name} of {service}")
}

/// Returns a sequence's timeline, a line for each thing that happened or is to come.
fn lines(sequence: &Value) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {} triggered by {}",
        cell(sequence.get("triggered")),
        name(sequence),
        cell(sequence.get("actor"))
    )];
    for task in tasks(sequence) {
        let [name, attempt, state] = ["name", "attempt", "state"].map(|member| cell(task.get(member)));
        let attempt = if attempt == "1" { String::new() } else { format!(" (attempt {attempt})") };
        let at = cell(task.get("triggered"));
        match state.as_str() {
            "open" | "ended" => lines.push(format!("{at}    {name}{attempt} triggered")),
            "delayed" => lines.push(format!("{at}    {name}{attempt} begins then")),
            _ => {}
        }
        if state == "ended" {
            let [ended, result, message] = ["ended", "result", "message"].map(|member| cell(task.get(member)));
            lines.push(format!("{ended}    {name}{attempt} {result}: {message}"));
        }
    }
    if sequence.get("ended").is_some() {
        let [ended, result, status] = ["ended", "result", "status"].map(|member| cell(sequence.get(member)));
        lines.push(format!("{ended}  {} {result} ({status})", name(sequence)));
    }
    lines
}

fn tasks(sequence: &Value) -> impl Iterator<Item = &Value> {
    let steps = sequence.get("steps").and_then(Value::as_array).into_iter().flatten();
    steps.flat_map(|step| step.get("tasks").and_then(Value::as_array).into_iter().flatten())
}

/// Writes one sequence: its timeline, what is to come, and what it waits for.
fn timeline(sequence: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    let [id, run, commit] = ["id", "run", "commit"].map(|member| cell(sequence.get(member)));
    terminal.line(&format!("{id} of run {run}, commit {commit}: {}", cell(sequence.get("state"))))?;
    for line in lines(sequence) {
        terminal.line(&line)?;
    }
    for task in tasks(sequence) {
        let state = cell(task.get("state"));
        if matches!(state.as_str(), "to-come" | "skipped" | "ready") {
            terminal.line(&format!("{:24}    {} {}", "", cell(task.get("name")), state.replace('-', " ")))?;
        }
    }
    reasons(sequence).try_for_each(|reason| terminal.line(&reason))
}

/// Turns the results into the exit code: the worst of them.
fn verdict(sequences: &[Value]) -> Result<(), CliError> {
    let text = |sequence: &Value, member: &str| cell(sequence.get(member));
    let named = |exit, what: &str, sequence: &Value| Err(CliError::new(exit, format!("{} {what}", name(sequence))));
    if sequences.is_empty() {
        return Err(CliError::new(Exit::Unreachable, "it has not begun in time; it goes on"));
    }
    if let Some(open) = sequences.iter().find(|it| it.get("ended").is_none()) {
        return named(Exit::Unreachable, "has not ended in time; it goes on", open);
    }
    let late = |it: &&Value| text(it, "status") == "aborted" || it.get("timed-out") == Some(&Value::Bool(true));
    if let Some(late) = sequences.iter().find(late) {
        return named(Exit::Unreachable, "was aborted or out of time", late);
    }
    if let Some(failed) = sequences.iter().find(|it| text(it, "result") == "fail") {
        return named(Exit::Failed, "failed", failed);
    }
    match sequences.iter().find(|it| text(it, "result") == "warning") {
        Some(warned) => named(Exit::Config, "ended with a warning", warned),
        None => Ok(()),
    }
}

fn figures_table(figures: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    if terminal.format == Format::Json {
        return terminal.json(figures);
    }
    let sequences = figures.get("sequences").and_then(Value::as_object).cloned().unwrap_or_default();
    let items: Vec<Value> = sequences
        .into_iter()
        .map(|(name, mut figures)| {
            if let Some(members) = figures.as_object_mut() {
                members.insert("name".to_owned(), name.into());
                for value in members.values_mut() {
                    if let Some(number) = value.as_f64().filter(|number| number.fract() != 0.0) {
                        *value = format!("{number:.2}").into();
                    }
                }
            }
            figures
        })
        .collect();
    terminal.note("durations in seconds");
    let columns = [
        ("SEQUENCE", "/name"),
        ("TRIGGERED", "/triggered"),
        ("PASSED", "/passed"),
        ("FAILED", "/failed"),
        ("ABORTED", "/aborted"),
        ("MEDIAN", "/duration-median"),
        ("DEPLOYMENTS/DAY", "/deployments-per-day"),
        ("LEAD TIME", "/lead-time-median"),
        ("FAILURE RATE", "/failure-rate"),
        ("TIME TO RESTORE", "/time-to-restore-median"),
    ];
    terminal.rows(&json!({ "items": items }), &columns)
}
