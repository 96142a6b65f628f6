//! `pilothouse event …`: send events, and see what became of them.

use clap::{Args, Subcommand};
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use super::api::Api;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal, send, tail, why};

#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// Send events from files.
    Send(send::SendCommand),
    /// List events, newest first.
    List(ListCommand),
    /// Show one event with its data.
    Get {
        /// Position in the log.
        seq: u64,
    },
    /// Show events as they are accepted.
    Tail(tail::TailCommand),
    /// Tell why each plugin did or did not get an event, and what came of it.
    Why {
        /// Position in the log.
        seq: u64,
    },
}

/// Filters of events; every one given must match.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct EventFilters {
    /// Exact type, or its beginning and `*`.
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) ty: Option<String>,
    /// Exact source.
    #[arg(long, value_name = "SOURCE")]
    pub(super) source: Option<String>,
    /// Exact id.
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// Exact subject.
    #[arg(long, value_name = "SUBJECT")]
    pub(super) subject: Option<String>,
    /// The run (`shkeptncontext`).
    #[arg(long, value_name = "RUN")]
    pub(super) context: Option<String>,
    /// The project.
    #[arg(long, value_name = "PROJECT")]
    pub(super) project: Option<String>,
    /// The stage.
    #[arg(long, value_name = "STAGE")]
    pub(super) stage: Option<String>,
    /// The service.
    #[arg(long, value_name = "SERVICE")]
    pub(super) service: Option<String>,
    /// Accepted at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(super) since: Option<String>,
    /// Accepted before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(super) until: Option<String>,
}

fn instant(text: &str) -> Result<String, String> {
    Timestamp::parse_rfc3339(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "write a time such as 2026-01-02T15:04:05Z".to_owned())
}

impl EventFilters {
    /// Returns the query parameters of the API.
    pub(super) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("type", self.ty.clone()),
            ("source", self.source.clone()),
            ("id", self.id.clone()),
            ("subject", self.subject.clone()),
            ("context", self.context.clone()),
            ("project", self.project.clone()),
            ("stage", self.stage.clone()),
            ("service", self.service.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ]
    }
}

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    #[command(flatten)]
    filters: EventFilters,
    /// Most events.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
    /// Go on after this one; printed where there is more.
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
}

impl EventCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Send(command) => command.run(global, terminal).await,
            Self::List(command) => command.run(global, terminal).await,
            Self::Get { seq } => get(&Api::new(global)?, terminal, seq).await,
            Self::Tail(command) => command.run(global, terminal).await,
            Self::Why { seq } => why::run(&Api::new(global)?, terminal, seq).await,
        }
    }
}

impl ListCommand {
    async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let mut query = self.filters.query();
        query.push(("limit", Some(self.limit.to_string())));
        query.push(("cursor", self.after.map(|cursor| cursor.to_string())));
        let answer = Api::new(global)?.get("/v1/events", &query).await?;
        let columns = [
            ("SEQ", "/seq"),
            ("ACCEPTED", "/accepted"),
            ("TYPE", "/event/type"),
            ("SOURCE", "/event/source"),
            ("PROJECT", "/project"),
            ("STAGE", "/stage"),
            ("SERVICE", "/service"),
            ("ACTOR", "/actor"),
        ];
        terminal.rows(&answer, &columns)
    }
}

async fn get(api: &Api, terminal: &mut Terminal, seq: u64) -> Result<(), CliError> {
    let answer = api.get(&format!("/v1/events/{seq}"), &[]).await?;
    if terminal.format == Format::Json {
        return terminal.json(&answer);
    }
    let (event, host) = split(answer)?;
    terminal.members(&Value::Object(host))?;
    terminal.line("")?;
    terminal.json(&event)
}

/// Tells the event from what the host knows about it.
fn split(answer: Value) -> Result<(Value, serde_json::Map<String, Value>), CliError> {
    match answer {
        Value::Object(mut members) => {
            let event = members.remove("event").unwrap_or_default();
            Ok((event, members))
        }
        _ => Err(CliError::new(Exit::Host, "the answer is not an event; is this a Pilothouse host?")),
    }
}

/// Writes one event in one line.
pub(super) fn summary(view: &Value) -> String {
    let text = |pointer: &str| cell(view.pointer(pointer));
    let place: Vec<String> = ["/project", "/stage", "/service"]
        .iter()
        .map(|pointer| text(pointer))
        .filter(|part| !part.is_empty())
        .collect();
    let outcome: Vec<String> = ["/event/data/result", "/event/data/message"]
        .iter()
        .map(|pointer| text(pointer))
        .filter(|part| !part.is_empty())
        .collect();
    let line = format!(
        "{:>6}  {}  {}  {}  {}  {}",
        text("/seq"),
        text("/accepted"),
        text("/event/type"),
        text("/event/source"),
        place.join("/"),
        outcome.join(": ")
    );
    line.trim_end().to_owned()
}
