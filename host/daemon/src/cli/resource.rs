//! `pilothouse resource …`: the files of a project.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::api::{Api, encode, with_query};
use super::project::{path, written};
use super::{CliError, Exit, Global, Terminal};
use crate::http::projects::{ChangeBody, CommitBody};

#[derive(Debug, Subcommand)]
pub(super) enum ResourceCommand {
    /// Add or change files, in one commit. A folder is added with everything in it.
    Add(AddCommand),
    /// Print a file. It is looked for in the service, then in the stage, then in the project.
    Get(GetCommand),
    /// List files.
    List(ListCommand),
    /// Remove files, in one commit.
    Delete(DeleteCommand),
}

/// Whose files.
#[derive(Debug, Args)]
struct Whose {
    /// The stage whose files they are.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// The service whose files they are.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AddCommand {
    /// The project.
    project: String,
    /// Files and folders of this machine.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    whose: Whose,
    /// The path in the project, for one file; a folder in the project, for several. Otherwise their own names.
    #[arg(long, value_name = "PATH")]
    to: Option<String>,
    /// Why; it becomes the commit's message.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    message: String,
    /// The commit that the change was made from; a file that changed since then is not overwritten.
    #[arg(long, value_name = "COMMIT")]
    expected: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct GetCommand {
    /// The project.
    project: String,
    /// The file's path.
    path: String,
    #[command(flatten)]
    whose: Whose,
    /// The commit to look at.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// The project.
    project: String,
    #[command(flatten)]
    whose: Whose,
    /// The commit to look at.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DeleteCommand {
    /// The project.
    project: String,
    /// The files' paths.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    whose: Whose,
    /// Why; it becomes the commit's message.
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    message: String,
}

impl ResourceCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        match self {
            Self::Add(command) => command.run(&api, terminal).await,
            Self::Get(command) => {
                let GetCommand { project, path: file, whose, commit } = command;
                let file: Vec<String> = file.split('/').map(encode).collect();
                let target = path(&project, &format!("/resources/{}", file.join("/")));
                let query = [("stage", whose.stage), ("service", whose.service), ("commit", commit)];
                let answer = api.send(api.request(Method::GET, &with_query(&target, &query))).await?;
                let content = answer.bytes().await;
                let content = content
                    .map_err(|error| CliError::new(Exit::Unreachable, "the answer broke off").caused_by(&error))?;
                terminal.raw(&content)
            }
            Self::List(command) => {
                let query =
                    [("stage", command.whose.stage), ("service", command.whose.service), ("commit", command.commit)];
                let answer = api.get(&path(&command.project, "/resources"), &query).await?;
                terminal.rows(&answer, &[("PATH", "/path"), ("BYTES", "/size")])
            }
            Self::Delete(command) => {
                let DeleteCommand { project, paths, whose, message } = command;
                let what = format!("removed {}", counted(paths.len()));
                let changes = paths.into_iter().map(|file| ChangeBody {
                    path: file,
                    stage: whose.stage.clone(),
                    service: whose.service.clone(),
                    content: None,
                    content_base64: None,
                    remove: true,
                });
                let body = CommitBody { message, expected: None, changes: changes.collect() };
                let answer: Value = api.post(&path(&project, "/commits"), &body).await?;
                written(&answer, &what, terminal)
            }
        }
    }
}

impl AddCommand {
    async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        let single = matches!(self.files.as_slice(), [file] if file.is_file());
        let mut found: Vec<(PathBuf, String)> = Vec::new();
        for file in &self.files {
            collect(file, &mut found)?;
        }
        let mut changes = Vec::with_capacity(found.len());
        for (file, name) in found {
            let target = match &self.to {
                Some(to) if single => to.clone(),
                Some(to) => format!("{}/{name}", to.trim_end_matches('/')),
                None => name,
            };
            let content = std::fs::read(&file).map_err(|error| cannot_read(&file, &error))?;
            changes.push(ChangeBody {
                path: target,
                stage: self.whose.stage.clone(),
                service: self.whose.service.clone(),
                content: None,
                content_base64: Some(STANDARD.encode(content)),
                remove: false,
            });
        }
        let what = format!("wrote {}", counted(changes.len()));
        let body = CommitBody { message: self.message, expected: self.expected, changes };
        let answer: Value = api.post(&path(&self.project, "/commits"), &body).await?;
        written(&answer, &what, terminal)
    }
}

fn counted(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Usage, format!("cannot read `{}`", path.display())).caused_by(error)
}

/// Finds the files of a path, each with its name below the path's parent. Links are not followed, `.git` is left out.
fn collect(path: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<(), CliError> {
    let name = path.canonicalize().map_err(|error| cannot_read(path, &error))?;
    let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut open = vec![(path.to_owned(), name)];
    while let Some((path, name)) = open.pop() {
        let kind = std::fs::metadata(&path).map_err(|error| cannot_read(&path, &error))?;
        if kind.is_file() {
            found.push((path, name));
            continue;
        }
        for entry in std::fs::read_dir(&path).map_err(|error| cannot_read(&path, &error))? {
            let entry = entry.map_err(|error| cannot_read(&path, &error))?;
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if !link && entry.file_name() != ".git" {
                open.push((entry.path(), format!("{name}/{}", entry.file_name().to_string_lossy())));
            }
        }
    }
    Ok(())
}
