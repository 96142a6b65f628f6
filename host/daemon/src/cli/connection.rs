//! `pilothouse connection …`: the outside endpoints of the configuration.

use clap::Subcommand;
use serde_json::Value;

use super::api::{Api, encode};
use super::terminal::Format;
use super::{CliError, Exit, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List the connections, without their secrets.
    List,
    /// Let the host call a connection's address, signed in.
    Test {
        /// The connection's name.
        name: String,
    },
}

impl ConnectionCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List => {
                let answer = api.get("/v1/connections", &[]).await?;
                terminal
                    .rows(&answer, &[("NAME", "/name"), ("URL", "/url"), ("AUTH", "/auth"), ("PROBLEM", "/problem")])
            }
            Self::Test { name } => {
                let answer = api.post(&format!("/v1/connections/{}/test", encode(&name)), &Value::Null).await?;
                if terminal.format == Format::Json {
                    terminal.json(&answer)?;
                }
                let message = answer.get("message").and_then(Value::as_str).unwrap_or_default();
                if answer.get("reachable") == Some(&Value::Bool(true)) {
                    let status = answer.get("status").and_then(Value::as_u64).unwrap_or(0);
                    terminal.note(&format!("{name}: {message} (status {status})"));
                    Ok(())
                } else {
                    Err(CliError::new(Exit::Failed, format!("the connection `{name}` does not work")).because(message))
                }
            }
        }
    }
}
