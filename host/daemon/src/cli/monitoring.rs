//! `pilothouse monitoring …`: whether the tools have what a project's files say.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use pilothouse_core::alertmanager::{Receiver, with_receiver};
use pilothouse_core::quantity::Span;
use serde_json::{Value, json};

use super::api::{Api, encode};
use super::evaluate::{read, unreadable};
use super::terminal::cell;
use super::{CliError, Exit, Global, Terminal};
use crate::http::monitoring::{SyncBody, SyncMode};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum MonitoringCommand {
    /// Say for each tool, stage and service whether it has what the files say: in step, behind, drifted or failed.
    Status(MonitoringOptions),
    /// Bring the tools in step with the files. It happens by itself with each commit.
    Sync(MonitoringOptions),
    /// Put a receiver and a route that sends alerts here into a configuration of Alertmanager, between marks; everything else
    /// in it stays as it is. Needs no host.
    Alertmanager {
        /// The configuration of Alertmanager.
        file: PathBuf,
        /// The address of the inbound route, such as `https://pilothouse.example.com/v1/inbound/alertmanager`.
        #[arg(long, value_name = "URL")]
        receiver_url: String,
        /// The file with the route's secret, on Alertmanager's machine.
        #[arg(long, value_name = "FILE")]
        secret_file: String,
        /// Print the configuration, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct MonitoringOptions {
    /// The project; all of them where it is left out.
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Longest wait for the tools' answers.
    #[arg(long, default_value = "2m", value_name = "TIME")]
    wait_max: Span,
}

impl MonitoringCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let (options, mode) = match self {
            Self::Alertmanager { file, receiver_url, secret_file, dry_run } => {
                let receiver = Receiver { url: receiver_url, secret_file };
                return alertmanager(&file, &receiver, dry_run, terminal);
            }
            Self::Status(options) => (options, SyncMode::Check),
            Self::Sync(options) => (options, SyncMode::Sync),
        };
        let api = Api::new(global)?;
        let projects = match &options.project {
            Some(project) => vec![project.clone()],
            None => all(&api).await?,
        };
        let mut items = Vec::new();
        let mut errors = Vec::new();
        for project in projects {
            let answer = ask(&api, &project, mode, options.wait_max).await?;
            let found = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            if found.is_empty() && cell(answer.get("result")) == "fail" {
                errors.push(format!("{project}: {}", cell(answer.get("message"))));
            }
            items.extend(found);
        }
        let columns = [
            ("TOOL", "/tool"),
            ("PROJECT", "/project"),
            ("STAGE", "/stage"),
            ("SERVICE", "/service"),
            ("STATE", "/state"),
            ("COMMIT", "/commit"),
            ("ALERTS", "/alerts"),
            ("REASON", "/reason"),
        ];
        let bad = items.iter().filter(|item| cell(item.get("state")) != "in-step").count();
        let count = items.len();
        if terminal.format == super::Format::Table {
            items.iter_mut().for_each(shorten);
        }
        terminal.rows(&json!({ "items": items }), &columns)?;
        if let Some(first) = errors.first() {
            return Err(CliError::new(Exit::Failed, format!("no tool could say how it stands: {first}")));
        }
        match bad {
            0 => Ok(()),
            bad => Err(CliError::new(Exit::Failed, format!("{bad} of {count} are not in step"))),
        }
    }
}

/// Rewrites a configuration of Alertmanager, atomically, so that it never reads half of it.
fn alertmanager(file: &Path, receiver: &Receiver, dry_run: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    let text = String::from_utf8(read(file)?).map_err(|_| unreadable(file, "it is not UTF-8"))?;
    let written = with_receiver(&text, receiver).map_err(|error| {
        CliError::new(Exit::Usage, format!("{} was left as it is", file.display())).caused_by(&error)
    })?;
    if dry_run {
        return terminal.raw(written.as_bytes());
    }
    if written == text {
        terminal.note("it is so already");
        return Ok(());
    }
    let failed = |error: &std::io::Error| {
        CliError::new(Exit::Failed, format!("{} cannot be written", file.display())).caused_by(error)
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    let mode = std::fs::metadata(file).map_err(|error| failed(&error))?.permissions();
    std::io::Write::write_all(&mut new, written.as_bytes()).map_err(|error| failed(&error))?;
    new.as_file().set_permissions(mode).map_err(|error| failed(&error))?;
    new.persist(file).map_err(|error| failed(&error.error))?;
    terminal.line(&format!("wrote the receiver and the route `pilothouse` to {}", file.display()))?;
    terminal.note("next: check it with `amtool check-config`, and have Alertmanager reload");
    Ok(())
}

/// Leaves of a commit what a person looks at.
fn shorten(item: &mut Value) {
    if let Some(commit) =
        item.get("commit").and_then(Value::as_str).map(|commit| commit.chars().take(10).collect::<String>())
        && let Some(members) = item.as_object_mut()
    {
        members.insert("commit".to_owned(), commit.into());
    }
}

async fn all(api: &Api) -> Result<Vec<String>, CliError> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = api.get("/v1/projects", &[("after", after)]).await?;
        let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        names.extend(items.iter().map(|item| cell(item.get("name"))));
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            return Ok(names);
        }
    }
}

async fn ask(api: &Api, project: &str, mode: SyncMode, wait_max: Span) -> Result<Value, CliError> {
    let body = SyncBody { project: project.to_owned(), mode };
    let mut answer = api.post("/v1/monitoring", &body).await?;
    let id = cell(answer.get("id"));
    let until = Instant::now() + wait_max.0;
    while cell(answer.get("state")) == "running" {
        if Instant::now() >= until {
            let message = format!("the tools of `{project}` have not answered within {wait_max}");
            return Err(CliError::new(Exit::Host, message).hint(format!("`pilothouse task get {id}` says who has not")));
        }
        tokio::time::sleep(LOOK).await;
        answer = api.get(&format!("/v1/monitoring/{}", encode(&id)), &[]).await?;
    }
    Ok(answer)
}
