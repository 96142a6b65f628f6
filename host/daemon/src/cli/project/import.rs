//! `pilothouse project import`: takes over the repository of a Keptn V1 project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use pilothouse_core::keptn_import::{self, Imported, Layout, Note, NoteSeverity};
use pilothouse_core::resource::CHANGES_MAX;
use pilothouse_core::shipyard::{self, SHIPYARD_FILE};
use serde_json::{Value, json};

use super::super::api::Api;
use super::super::terminal::{Format, cell, printable};
use super::super::{CliError, Exit, Global, Terminal};
use super::{path, read_text};
use crate::git::import::{Read, ReadError, read_folder, read_remote};
use crate::git::transport::{Remote, RemoteCredential, RemoteUrl, TransferError};
use crate::http::projects::{ChangeBody, CommitBody, ProjectBody};

/// Most bytes of files in one commit, so that the request stays below the host's limit though its files are in Base64.
const BATCH_BYTES_MAX: usize = 12 * 1024 * 1024;

/// Take over the Git repository of a Keptn V1 project. The repository stays as it is.
///
/// Both of Keptn's layouts are read: a branch per stage, and stages below `.keptn-stages`. `job/config.yaml` becomes
/// `jobs.yaml`, `webhook/webhook.yaml` becomes `webhooks.yaml`. What could not be translated is listed, with what to do.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportCommand {
    /// The repository: `https://…`, `ssh://…`, `git@host:path`, or a folder of this machine.
    #[arg(value_name = "URL|FOLDER")]
    repository: String,
    /// The new project's name; otherwise the one that the shipyard has.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What the project is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// The branch with the shipyard; otherwise the repository's default branch.
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// File with a token for `https`; otherwise the environment's `PILOTHOUSE_GIT_TOKEN`, if it is set.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// User name that goes with the token, where the server is none of GitHub, GitLab and Bitbucket.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with a private key for `ssh`.
    #[arg(long, value_name = "FILE", requires = "known_hosts")]
    key: Option<PathBuf>,
    /// File with the SSH server's keys, as `ssh-keyscan` prints them.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Show what would become of the repository, and change nothing. Needs no host.
    #[arg(long)]
    dry_run: bool,
}

impl ImportCommand {
    pub(in crate::cli) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        // Whether there is a token for the host is known before a long transfer.
        let api = if self.dry_run { None } else { Some(Api::new(global)?) };
        let Read { repository, notes } = self.read().await?;
        let mut imported = keptn_import::import(&repository).map_err(|error| {
            CliError::of(Exit::Usage, &error).hint(format!("nothing was imported; correct `{}` first", self.repository))
        })?;
        imported.notes.extend(notes);
        let project = self.project.clone().unwrap_or_else(|| shipyard_name(&imported));
        let made = match api {
            None => None,
            Some(api) => Some(create(&api, &project, &self, &imported).await?),
        };
        show(&project, &imported, made.as_ref(), terminal)
    }

    async fn read(&self) -> Result<Read, CliError> {
        let failed = |error: &ReadError| {
            let exit = match error {
                ReadError::Transfer(TransferError::NoProgram) => Exit::Missing,
                ReadError::Transfer(_) | ReadError::Place(_) => Exit::Failed,
                _ => Exit::Usage,
            };
            let failed = CliError::new(exit, format!("cannot read `{}`", self.repository)).caused_by(error);
            match error {
                ReadError::NoDefault => failed.hint("say it with --branch"),
                ReadError::Transfer(TransferError::SignIn(_)) => {
                    failed.hint("give a token with --token-file, or a key with --key and --known-hosts")
                }
                _ => failed,
            }
        };
        let folder = Path::new(&self.repository);
        if folder.is_dir() {
            return read_folder(folder, self.branch.clone()).map_err(|error| failed(&error));
        }
        let url = RemoteUrl::new(&self.repository).map_err(|reason| {
            CliError::new(
                Exit::Usage,
                format!("cannot read `{}`: there is no such folder, and {reason}", self.repository),
            )
        })?;
        let credential = self.credential(&url)?;
        let remote = Remote { url, branch: String::new(), credential };
        read_remote(&remote, self.branch.clone()).await.map_err(|error| failed(&error))
    }

    fn credential(&self, url: &RemoteUrl) -> Result<RemoteCredential, CliError> {
        if url.is_ssh() {
            let (Some(key), Some(known_hosts)) = (&self.key, &self.known_hosts) else {
                return Err(CliError::new(Exit::Usage, "by SSH, both --key and --known-hosts are needed").hint(
                    "`ssh-keyscan HOST` prints the server's keys; compare them with what the server's owner published",
                ));
            };
            return Ok(RemoteCredential::Key { key: read_text(key)?, known_hosts: read_text(known_hosts)? });
        }
        let token = match &self.token_file {
            Some(file) => Some(read_text(file)?),
            None => std::env::var("PILOTHOUSE_GIT_TOKEN").ok(),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(match token {
            Some(token) => {
                let user = self.user.clone().unwrap_or_else(|| url.token_user().to_owned());
                RemoteCredential::Token { user, token }
            }
            None => RemoteCredential::None,
        })
    }
}

/// Returns the name that the shipyard gives itself.
fn shipyard_name(imported: &Imported) -> String {
    let shipyard = imported.files.get(SHIPYARD_FILE).and_then(|bytes| shipyard::read(bytes).0);
    shipyard
        .map(|shipyard| shipyard.name.strip_prefix("shipyard-").unwrap_or(&shipyard.name).to_owned())
        .unwrap_or_default()
}

/// Creates the project, in as many commits as the host's limits ask for; returns what the host said to the last.
async fn create(api: &Api, project: &str, command: &ImportCommand, imported: &Imported) -> Result<Value, CliError> {
    let mut files = imported.files.clone();
    let shipyard = files.remove(SHIPYARD_FILE).unwrap_or_default();
    let shipyard = String::from_utf8(shipyard)
        .map_err(|_| CliError::new(Exit::Usage, format!("`{SHIPYARD_FILE}` is not UTF-8 text")))?;
    let mut batches = batches(files).into_iter();
    let message = format!("Import from {}", command.repository);
    let body = ProjectBody {
        name: project.to_owned(),
        shipyard,
        description: command.description.clone(),
        message: message.clone(),
        files: batches.next().unwrap_or_default(),
    };
    let mut answer = api
        .post("/v1/projects", &body)
        .await
        .map_err(|error| error.hint("nothing was imported; the project's name can be chosen with --project"))?;
    for changes in batches {
        let body = CommitBody { message: message.clone(), expected: None, changes };
        answer = api.post(&path(project, "/commits"), &body).await.map_err(|error| {
            error.hint(format!(
                "the project is there with a part of its files; `pilothouse project delete {project}` removes it, then import again"
            ))
        })?;
    }
    Ok(answer)
}

/// Cuts the files into requests.
fn batches(files: BTreeMap<String, Vec<u8>>) -> Vec<Vec<ChangeBody>> {
    let mut batches: Vec<Vec<ChangeBody>> = Vec::new();
    let mut bytes = 0;
    for (path, content) in files {
        let full = batches
            .last()
            .is_none_or(|batch| batch.len() + 1 >= CHANGES_MAX || bytes + content.len() > BATCH_BYTES_MAX);
        if full {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += content.len();
        let change = ChangeBody {
            path,
            stage: None,
            service: None,
            content: None,
            content_base64: Some(STANDARD.encode(content)),
            remove: false,
        };
        if let Some(batch) = batches.last_mut() {
            batch.push(change);
        }
    }
    batches
}

fn show(project: &str, imported: &Imported, made: Option<&Value>, terminal: &mut Terminal) -> Result<(), CliError> {
    let commit = made.and_then(|answer| answer.get("commit"));
    if terminal.format == Format::Json {
        let paths: Vec<&String> = imported.files.keys().collect();
        return terminal.json(&json!({
            "project": project,
            "commit": commit,
            "layout": imported.layout,
            "stages": imported.stages,
            "services": imported.services,
            "files": paths,
            "notes": imported.notes,
        }));
    }
    let of = |severity| imported.notes.iter().filter(move |note| note.severity == severity);
    section("Translated:", of(NoteSeverity::Translated), terminal)?;
    section("Left out or left as it is, nothing to do:", of(NoteSeverity::Left), terminal)?;
    section("Not translated, look at each:", of(NoteSeverity::NotTranslated), terminal)?;
    if made.is_none() {
        terminal.line("Files:")?;
        for path in imported.files.keys() {
            terminal.line(&format!("  {}", printable(path)))?;
        }
        terminal.line("")?;
    }
    let layout = match imported.layout {
        Layout::BranchPerStage => "a branch per stage",
        Layout::StagesFolder => "a folder per stage",
    };
    let services: Vec<&str> = imported.services.iter().map(String::as_str).collect();
    let services = if services.is_empty() { "none".to_owned() } else { services.join(", ") };
    terminal.line(&format!(
        "{layout}; stages: {}; services: {services}; {} files",
        imported.stages.join(", "),
        imported.files.len()
    ))?;
    match commit {
        Some(commit) => terminal.line(&format!("created `{project}` at commit {}", cell(Some(commit))))?,
        None => terminal.line(&format!("would create `{project}`; nothing was changed"))?,
    }
    let open = of(NoteSeverity::NotTranslated).count();
    match open {
        0 => {}
        1 => terminal.note("one thing was not translated; it is listed above"),
        _ => terminal.note(&format!("{open} things were not translated; they are listed above")),
    }
    Ok(())
}

/// Prints notes with their text below them.
fn section<'n>(title: &str, notes: impl Iterator<Item = &'n Note>, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut notes = notes.peekable();
    if notes.peek().is_none() {
        return Ok(());
    }
    terminal.line(title)?;
    for note in notes {
        terminal.line(&format!("  {}", printable(&note.path)))?;
        for line in note.message.lines() {
            terminal.line(format!("    {}", printable(line)).trim_end())?;
        }
    }
    terminal.line("")
}
