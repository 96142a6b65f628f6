//! `pilothouse inbound …`: routes for tools that speak no CloudEvents.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pilothouse_core::inbound::Verification;
use pilothouse_core::inbound::mapping::{self, Seen};
use pilothouse_core::time::Timestamp;
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::project::{confirm, read_text};
use super::sequence::pair;
use super::{CliError, Exit, Global, Terminal};
use crate::http::inbound::RouteBody;

#[derive(Debug, Subcommand)]
pub(super) enum InboundCommand {
    /// Set a route: who may send there, and what becomes of it.
    Set(SetCommand),
    /// List the routes.
    List,
    /// Remove a route.
    Remove {
        /// The route's name.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show what became of the last requests, and why one was refused.
    Log {
        /// Only of this route.
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
        /// Most lines.
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Try a mapping on a file with what a tool sends, without a host.
    Try(TryCommand),
}

#[derive(Debug, Args)]
pub(super) struct SetCommand {
    /// The route's name; tools send to `/v1/inbound/<name>`.
    name: String,
    /// The mapping file.
    #[arg(long, value_name = "FILE", required_unless_present = "plugin")]
    mapping: Option<PathBuf>,
    /// Instead of a mapping, the installation whose plugin makes events of the requests.
    #[arg(long, value_name = "INSTALLATION", conflicts_with = "mapping")]
    plugin: Option<String>,
    /// How the caller proves who it is: github, gitlab, bitbucket, slack, bearer, basic:USER, secret-path, or the scheme as
    /// JSON.
    #[arg(long, value_name = "SCHEME", value_parser = scheme)]
    verify: Verification,
    /// Name of the stored secret that it proves it with.
    #[arg(long, value_name = "SECRET")]
    secret: String,
    /// A person of the tool and the token that they stand for when they decide an approval there, such as `U0123=ann`; may be
    /// given several times.
    #[arg(long = "actor", value_parser = pair, value_name = "ID=TOKEN", requires = "plugin")]
    actors: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct TryCommand {
    /// The mapping file.
    mapping: PathBuf,
    /// The body that a tool sends.
    body: PathBuf,
    /// A header that it sends. May be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
}

fn scheme(text: &str) -> Result<Verification, String> {
    let value = match text.split_once(':') {
        _ if text.starts_with('{') => serde_json::from_str(text).map_err(|error| error.to_string())?,
        Some(("basic", user)) => json!({ "scheme": "basic", "user": user }),
        _ => json!({ "scheme": text }),
    };
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

impl InboundCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        if let Self::Try(command) = self {
            return command.run(terminal);
        }
        let api = Api::new(global)?;
        match self {
            Self::Set(command) => {
                let path = format!("/v1/inbound/{}", encode(&command.name));
                let mapping = command.mapping.as_deref().map(read_text).transpose()?;
                let body = RouteBody {
                    verification: command.verify,
                    secret: command.secret,
                    mapping,
                    plugin: command.plugin,
                    actors: command.actors.into_iter().collect(),
                };
                api.put(&path, &body).await?;
                terminal.note(&format!("tools can send to {path}"));
                Ok(())
            }
            Self::List => {
                let answer = api.get("/v1/inbound", &[]).await?;
                let columns = [
                    ("NAME", "/name"),
                    ("VERIFICATION", "/verification/scheme"),
                    ("PLUGIN", "/plugin"),
                    ("SECRET", "/secret"),
                    ("PATH", "/path"),
                    ("UPDATED", "/updated"),
                    ("ACTOR", "/actor"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Remove { name, yes } => {
                confirm(terminal, yes, &format!("Remove the inbound route `{name}`?"))?;
                api.delete(&format!("/v1/inbound/{}", encode(&name)), &[]).await?;
                terminal.note(&format!("`{name}` is gone"));
                Ok(())
            }
            Self::Log { route, limit } => {
                let query = [("route", route), ("limit", limit.map(|limit| limit.to_string()))];
                let answer = api.get("/v1/inbound-log", &query).await?;
                let columns = [
                    ("TIME", "/time"),
                    ("ROUTE", "/route"),
                    ("OUTCOME", "/outcome"),
                    ("EVENTS", "/events"),
                    ("REASON", "/reason"),
                ];
                terminal.rows(&answer, &columns)
            }
            // Handled above, without a host.
            Self::Try(_) => Ok(()),
        }
    }
}

impl TryCommand {
    fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let name = self.mapping.display().to_string();
        let (mapping, problems) = mapping::read(read_text(&self.mapping)?.as_bytes());
        let Some(mapping) = mapping else {
            let error = CliError::new(Exit::Usage, format!("the mapping `{name}` has errors"));
            return Err(problems.iter().fold(error, |error, problem| error.because(format!("{name}:{problem}"))));
        };
        let body: Value = serde_json::from_str(&read_text(&self.body)?).map_err(|error| {
            CliError::new(Exit::Usage, format!("`{}` is not JSON", self.body.display())).caused_by(&error)
        })?;
        let header = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        let seen = Seen { body: &body, header: &header };
        let now = crate::engine::clock::Clock::now(&crate::engine::clock::SystemClock);
        let events = mapping
            .apply("try", seen, Timestamp::from_millis(now.as_millis()))
            .map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
        if events.is_empty() {
            terminal.note("no entry's conditions hold: the request would be ignored");
        }
        let shown: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_slice(&pilothouse_core::event::json::to_vec(event)).unwrap_or_default())
            .collect();
        terminal.json(&shown)
    }
}
