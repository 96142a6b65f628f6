//! `pilothouse token …`: make and revoke tokens; `reset --local` is the way back in for whoever has the machine.

use std::sync::Arc;

use clap::{Args, Subcommand};
use pilothouse_core::right::{Right, RoleGrant};
use pilothouse_store::Store;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};

use super::api::{Api, encode};
use super::config::ConfigSource;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};
use crate::auth::Tokens;
use crate::data_dir::STORE_FILE;
use crate::engine::clock::SystemClock;
use crate::http::tokens::TokenBody;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token. Its text is shown this once.
    Create(CreateCommand),
    /// List the tokens, without their texts.
    List,
    /// Take a token back at once.
    Revoke {
        /// The token's name.
        name: String,
    },
    /// Take all admin tokens back and make a new one, in the data folder of a host that does not run.
    Reset(ResetCommand),
}

#[derive(Debug, Args)]
pub(super) struct CreateCommand {
    /// The token's name, which stands with everything that its holder causes.
    name: String,
    /// What its holder does: viewer, sender, approver, operator, admin; in one project only as `approver@shop`. May be
    /// repeated.
    #[arg(long = "role", required_unless_present = "rights", value_delimiter = ',', value_name = "ROLE")]
    roles: Vec<RoleGrant>,
    /// A single right: ingest, read, task, approve, operate, admin. May be repeated.
    #[arg(long = "right", value_delimiter = ',', value_name = "RIGHT")]
    rights: Vec<Right>,
    /// Narrow it to this project. May be repeated.
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,
    /// When it stops to be valid (RFC 3339).
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResetCommand {
    /// Work on the data folder of this machine.
    #[arg(long, required = true)]
    local: bool,
    #[command(flatten)]
    source: ConfigSource,
}

impl TokenCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Create(command) => command.run(global, terminal).await,
            Self::List => {
                let answer = Api::new(global)?.get("/v1/tokens", &[]).await?;
                let columns = [
                    ("NAME", "/name"),
                    ("ID", "/id"),
                    ("ROLES", "/roles"),
                    ("RIGHTS", "/rights"),
                    ("PROJECTS", "/projects"),
                    ("EXPIRES", "/expires"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Revoke { name } => {
                Api::new(global)?.delete(&format!("/v1/tokens/{}", encode(&name)), &[]).await?;
                terminal.note(&format!("`{name}` no longer works"));
                Ok(())
            }
            Self::Reset(command) => command.run(terminal).await,
        }
    }
}

impl CreateCommand {
    async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let body = TokenBody {
            name: self.name,
            rights: self.rights.into_iter().collect(),
            roles: self.roles,
            projects: Some(self.projects).filter(|projects| !projects.is_empty()),
            expires: self.expires,
        };
        let answer = Api::new(global)?.post("/v1/tokens", &body).await?;
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => {
                terminal.note("this is shown once; keep it safe:");
                terminal.line(&cell(answer.get("token")))
            }
        }
    }
}

impl ResetCommand {
    async fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let config = self.source.load(terminal)?;
        let path = config.data_dir.join(STORE_FILE);
        if !path.is_file() {
            let message = format!("there is no host's data in `{}`", config.data_dir.display());
            return Err(CliError::new(Exit::Data, message)
                .hint("name the folder with --data-dir, or the configuration with --config"));
        }
        let data_error = |error: &dyn std::error::Error| CliError::of(Exit::Data, error).hint("stop the host first");
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(SqliteConfig::new(path)).map_err(|error| data_error(&error))?);
        let tokens =
            Tokens::open(Arc::clone(&store), Arc::new(SystemClock)).await.map_err(|error| data_error(&error))?;
        let text = tokens.reset().await.map_err(|error| data_error(&error))?;
        store.close().await;
        terminal.note("all earlier admin tokens no longer work; the new one is shown this once:");
        terminal.line(&text.reveal())
    }
}
