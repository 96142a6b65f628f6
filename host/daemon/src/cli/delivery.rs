//! `pilothouse delivery …`: what is owed to plugins, and dead letters.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{Api, encode};
use super::terminal::{Format, cell};
use super::{CliError, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum DeliveryCommand {
    /// List deliveries, newest first.
    List(ListCommand),
    /// Show one delivery with its attempts and their logs.
    Get {
        /// The delivery's id.
        id: String,
    },
    /// Put dead letters back, to be delivered again.
    Redrive {
        /// Ids of deliveries.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// Of this event.
    #[arg(long, value_name = "SEQ")]
    event: Option<u64>,
    /// To this installation.
    #[arg(long, value_name = "NAME")]
    installation: Option<String>,
    /// In this state: ready, running, done, dead or cancelled.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Of this task.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Most deliveries.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
    /// Go on after this one; printed where there is more.
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
}

impl DeliveryCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List(command) => command.run(&api, terminal).await,
            Self::Get { id } => get(&api, terminal, &id).await,
            Self::Redrive { ids } => {
                for id in ids {
                    let answer = api.post(&format!("/v1/deliveries/{}/redrive", encode(&id)), &Value::Null).await?;
                    match terminal.format {
                        Format::Json => terminal.json(&answer)?,
                        Format::Table => terminal.line(&format!("{id}: {}", cell(answer.get("state"))))?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl ListCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let query = [
            ("event", self.event.map(|seq| seq.to_string())),
            ("installation", self.installation),
            ("state", self.state),
            ("task", self.task),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.after.map(|cursor| cursor.to_string())),
        ];
        let answer = api.get("/v1/deliveries", &query).await?;
        let columns = [
            ("ID", "/id"),
            ("EVENT", "/event"),
            ("INSTALLATION", "/installation"),
            ("CAUSE", "/cause"),
            ("STATE", "/state"),
            ("ATTEMPTS", "/attempts"),
            ("REASON", "/reason"),
        ];
        terminal.rows(&answer, &columns)
    }
}

async fn get(api: &Api, terminal: &mut Terminal, id: &str) -> Result<(), CliError> {
    let mut answer = api.get(&format!("/v1/deliveries/{}", encode(id)), &[]).await?;
    if terminal.format == Format::Json {
        return terminal.json(&answer);
    }
    let tried = answer.as_object_mut().and_then(|members| members.remove("tried")).unwrap_or_default();
    terminal.members(&answer)?;
    for attempt in tried.as_array().into_iter().flatten() {
        let text = |name: &str| cell(attempt.get(name));
        terminal.line("")?;
        terminal.line(&format!(
            "attempt {}  {} to {}  {} {}",
            text("attempt"),
            text("started"),
            text("ended"),
            text("outcome"),
            text("reason")
        ))?;
        terminal.line(&format!(
            "  cpu {} µs  wall {} µs  memory {} bytes",
            text("cpu-us"),
            text("wall-us"),
            text("memory-bytes-max")
        ))?;
        for line in attempt.get("log").and_then(Value::as_array).into_iter().flatten() {
            terminal.line(&format!("  {}", log_line(line)))?;
        }
    }
    Ok(())
}

/// Writes one line of a plugin's log.
fn log_line(line: &Value) -> String {
    match (line.get("level").and_then(Value::as_str), line.get("message").and_then(Value::as_str)) {
        (Some(level), Some(message)) => format!("{level:5} {}: {message}", cell(line.get("context"))),
        _ => cell(Some(line)),
    }
}
