//! `pilothouse problem …`: what monitoring found, and what was done about it.

use clap::Subcommand;
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::terminal::Format;
use super::{CliError, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum ProblemCommand {
    /// List problems, those with the newest remediation first.
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
        /// Only those in this state.
        #[arg(long, value_parser = ["open", "remediating", "resolved"], value_name = "STATE")]
        state: Option<String>,
        /// Go on after this page.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Most to list.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: usize,
    },
    /// Show a problem and what was done about it, action by action.
    Get {
        /// Its id.
        id: String,
    },
}

impl ProblemCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::List { project, stage, service, state, after, limit } => {
                let query = [
                    ("project", project),
                    ("stage", stage),
                    ("service", service),
                    ("state", state),
                    ("after", after),
                    ("limit", Some(limit.to_string())),
                ];
                let columns = [
                    ("ID", "/id"),
                    ("OPENED", "/opened"),
                    ("PROJECT", "/project"),
                    ("STAGE", "/stage"),
                    ("SERVICE", "/service"),
                    ("STATE", "/state"),
                    ("TITLE", "/title"),
                ];
                terminal.rows(&api.get("/v1/problems", &query).await?, &columns)
            }
            Self::Get { id } => {
                let mut problem = api.get(&format!("/v1/problems/{}", encode(&id)), &[]).await?;
                if terminal.format == Format::Json {
                    return terminal.json(&problem);
                }
                let actions = problem.as_object_mut().and_then(|members| members.remove("actions"));
                terminal.members(&problem)?;
                let columns = [
                    ("TIME", "/time"),
                    ("ACTION", "/name"),
                    ("EXECUTED AS", "/action"),
                    ("RESULT", "/result"),
                    ("HELPED", "/evaluation"),
                    ("MESSAGE", "/message"),
                ];
                terminal.rows(&json!({ "items": actions.unwrap_or(Value::Array(Vec::new())) }), &columns)
            }
        }
    }
}
