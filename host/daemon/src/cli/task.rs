//! `pilothouse task …`: who was asked to do what, and who answered.

use clap::Subcommand;

use super::api::{Api, encode};
use super::{CliError, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// List tasks.
    List {
        /// Leave out the ended ones.
        #[arg(long)]
        open: bool,
        /// Most tasks.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
        /// Go on after this one; printed where there is more.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one task: its executors, and what it waits for.
    Get {
        /// Id of the task's triggered event.
        id: String,
    },
}

impl TaskCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List { open, limit, after } => {
                let query =
                    [("open", open.then(|| "true".to_owned())), ("limit", Some(limit.to_string())), ("after", after)];
                let answer = api.get("/v1/tasks", &query).await?;
                let columns = [
                    ("ID", "/id"),
                    ("TASK", "/name"),
                    ("PROJECT", "/project"),
                    ("STAGE", "/stage"),
                    ("SERVICE", "/service"),
                    ("STATE", "/state"),
                    ("RESULT", "/result"),
                    ("REASON", "/reason"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Get { id } => {
                let answer = api.get(&format!("/v1/tasks/{}", encode(&id)), &[]).await?;
                terminal.members(&answer)
            }
        }
    }
}
