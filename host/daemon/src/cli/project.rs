//! `pilothouse project …`, `stage …` and `service …`.

mod import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::terminal::{Format, cell};
use super::upstream::{ConflictCommand, UpstreamCommand};
use super::{CliError, Exit, Global, Terminal};
use crate::http::projects::{ProjectBody, ProjectChangeBody};

#[derive(Debug, Subcommand)]
pub(super) enum ProjectCommand {
    /// Create a project from a shipyard.
    Create(CreateCommand),
    Import(import::ImportCommand),
    /// Change the shipyard or the description of a project. What runs goes on by the shipyard that it began with.
    Update(UpdateCommand),
    /// List the projects.
    List {
        /// Begin after this name.
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
    },
    /// Show a project: its stages, its services, its present commit.
    Get {
        /// The project.
        project: String,
    },
    /// Delete a project with its repository. What runs in it is aborted; an upstream stays as it is.
    Delete {
        /// The project.
        project: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Show who changed what, newest first.
    History {
        /// The project.
        project: String,
        /// Only changes of this path of the repository, or below it.
        #[arg(long, value_name = "PATH")]
        path: Option<String>,
        /// Most commits.
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Keep a project's files in step with another repository.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// See and decide what both the project and its upstream changed.
    #[command(subcommand)]
    Conflict(ConflictCommand),
}

#[derive(Debug, Args)]
pub(super) struct CreateCommand {
    /// The project's name: a to z, 0 to 9 and `-`.
    project: String,
    /// The shipyard file.
    #[arg(long, value_name = "FILE")]
    shipyard: PathBuf,
    /// What the project is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

#[derive(Debug, Args)]
pub(super) struct UpdateCommand {
    /// The project.
    project: String,
    /// The new shipyard file.
    #[arg(long, value_name = "FILE", required_unless_present = "description")]
    shipyard: Option<PathBuf>,
    /// What the project is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Why; it becomes the commit's message.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    message: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum StageCommand {
    /// List the stages of a project, in the order of its shipyard.
    List {
        /// The project.
        project: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Create a service, in every stage.
    Create {
        /// The project.
        project: String,
        /// The service's name: a to z, 0 to 9 and `-`.
        service: String,
    },
    /// List the services of a project.
    List {
        /// The project.
        project: String,
    },
    /// Delete a service with all of its files, in every stage.
    Delete {
        /// The project.
        project: String,
        /// The service.
        service: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl ProjectCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = || Api::new(global);
        match self {
            Self::Create(command) => command.run(&api()?, terminal).await,
            Self::Update(command) => command.run(&api()?, terminal).await,
            Self::Import(command) => command.run(global, terminal).await,
            Self::List { after } => {
                let answer = api()?.get("/v1/projects", &[("after", after)]).await?;
                let columns = [
                    ("NAME", "/name"),
                    ("STAGES", "/stages"),
                    ("SERVICES", "/services"),
                    ("COMMIT", "/commit"),
                    ("PROBLEM", "/problem"),
                ];
                terminal.rows(&answer, &columns)
            }
            Self::Get { project } => {
                let answer = api()?.get(&path(&project, ""), &[]).await?;
                terminal.members(&answer)
            }
            Self::Delete { project, yes } => {
                confirm(terminal, yes, &format!("Delete the project `{project}` with its repository?"))?;
                api()?.delete(&path(&project, ""), &[]).await?;
                terminal.note(&format!("`{project}` is gone; what it had upstream is still there"));
                Ok(())
            }
            Self::History { project, path: only, limit } => {
                let query = [("path", only), ("limit", limit.map(|limit| limit.to_string()))];
                let answer = api()?.get(&path(&project, "/commits"), &query).await?;
                let columns =
                    [("COMMIT", "/commit"), ("TIME", "/time"), ("AUTHOR", "/author"), ("MESSAGE", "/message")];
                terminal.rows(&answer, &columns)
            }
            Self::Upstream(command) => command.run(&api()?, terminal).await,
            Self::Conflict(command) => command.run(&api()?, terminal).await,
        }
    }
}

impl CreateCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let shipyard = read_text(&self.shipyard)?;
        let body = ProjectBody {
            name: self.project,
            shipyard,
            description: self.description,
            message: String::new(),
            files: Vec::new(),
        };
        let answer = api.post("/v1/projects", &body).await?;
        warnings(&answer, terminal);
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => terminal.line(&format!(
                "created `{}` with the stages {} at commit {}",
                body.name,
                cell(answer.get("stages")),
                cell(answer.get("commit"))
            )),
        }
    }
}

impl UpdateCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let body = ProjectChangeBody {
            shipyard: self.shipyard.as_deref().map(read_text).transpose()?,
            description: self.description,
            message: self.message,
        };
        let answer = api.patch(&path(&self.project, ""), &body).await?;
        warnings(&answer, terminal);
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => terminal.line(&format!(
                "`{}` has the stages {} at commit {}",
                self.project,
                cell(answer.get("stages")),
                cell(answer.get("commit"))
            )),
        }
    }
}

impl StageCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let Self::List { project } = self;
        let answer = Api::new(global)?.get(&path(&project, "/stages"), &[]).await?;
        terminal.rows(&answer, &[("NAME", "/name")])
    }
}

impl ServiceCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Create { project, service } => {
                let answer = api.post(&path(&project, "/services"), &json!({ "name": service })).await?;
                written(&answer, &format!("created `{service}`"), terminal)
            }
            Self::List { project } => {
                let answer = api.get(&path(&project, "/services"), &[]).await?;
                terminal.rows(&answer, &[("NAME", "/name")])
            }
            Self::Delete { project, service, yes } => {
                confirm(terminal, yes, &format!("Delete the service `{service}` of `{project}` with its files?"))?;
                let target = path(&project, &format!("/services/{}", encode(&service)));
                let answer = api.json(api.request(http::Method::DELETE, &target)).await?;
                written(&answer, &format!("deleted `{service}`"), terminal)
            }
        }
    }
}

/// Returns the path of something of a project.
pub(super) fn path(project: &str, rest: &str) -> String {
    format!("/v1/projects/{}{rest}", encode(project))
}

/// Says what a write came to.
pub(super) fn written(answer: &Value, what: &str, terminal: &mut Terminal) -> Result<(), CliError> {
    warnings(answer, terminal);
    match terminal.format {
        Format::Json => terminal.json(answer),
        Format::Table if answer.get("changed") == Some(&Value::Bool(false)) => {
            terminal.line(&format!("nothing changed; the project is at commit {}", cell(answer.get("commit"))))
        }
        Format::Table => terminal.line(&format!("{what} in commit {}", cell(answer.get("commit")))),
    }
}

fn warnings(answer: &Value, terminal: &mut Terminal) {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        terminal.note(&format!("warning: {}", cell(Some(warning))));
    }
}

/// Asks before something is lost.
pub(super) fn confirm(terminal: &mut Terminal, yes: bool, question: &str) -> Result<(), CliError> {
    if yes || terminal.confirm(question)? {
        return Ok(());
    }
    Err(CliError::new(Exit::Usage, "nothing was done").hint("say --yes to do it without being asked"))
}

/// Reads a file of this machine.
pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::new(Exit::Usage, format!("cannot read `{}`", path.display())).caused_by(error)
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}
