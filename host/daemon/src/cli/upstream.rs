//! `pilothouse project upstream …` and `project conflict …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::api::Api;
use super::project::{confirm, path, read_text};
use super::terminal::{Format, cell};
use super::{CliError, Terminal};
use crate::git::merge::Side;
use crate::http::upstreams::{ConflictBody, UpstreamBody};

#[derive(Debug, Subcommand)]
pub(super) enum UpstreamCommand {
    /// Give a project an upstream, or change it. The host keeps both in step from now on.
    Set(SetCommand),
    /// Show how a project and its upstream stand to each other, with the last error.
    Get {
        /// The project.
        project: String,
    },
    /// Look at the upstream now, instead of at the next time.
    Sync {
        /// The project.
        project: String,
    },
    /// Take the upstream away. Both sides keep what they have.
    Remove {
        /// The project.
        project: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct SetCommand {
    /// The project.
    project: String,
    /// The upstream's address: `https://…`, `ssh://…` or `git@host:path`.
    upstream: String,
    /// Its branch.
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    branch: String,
    /// User name that goes with the token, where the server is none of GitHub, GitLab and Bitbucket.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Name of the stored secret: a token for `https`, a private key for `ssh`.
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// File with the SSH server's keys, as `ssh-keyscan` prints them.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Name of the stored secret that signs the server's push webhooks.
    #[arg(long, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// Time between two looks, such as 60s.
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConflictCommand {
    /// Show what both sides changed.
    Show {
        /// The project.
        project: String,
    },
    /// Decide which side counts, for some files or for all. The other side stays in the history.
    Take {
        /// The project.
        project: String,
        /// `ours` for what the host has, `theirs` for what the upstream has.
        side: SideArgument,
        /// Only for this file. May be repeated.
        #[arg(long = "path", value_name = "PATH")]
        paths: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SideArgument {
    /// What the host has.
    Ours,
    /// What the upstream has.
    Theirs,
}

impl UpstreamCommand {
    pub(super) async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Set(command) => {
                let body = UpstreamBody {
                    url: command.upstream,
                    branch: command.branch,
                    user: command.user,
                    secret: command.secret,
                    known_hosts: command.known_hosts.as_deref().map(read_text).transpose()?,
                    webhook_secret: command.webhook_secret,
                    interval: command.interval,
                };
                let answer = api.put(&path(&command.project, "/upstream"), &body).await?;
                if body.webhook_secret.is_some() {
                    let webhook = path(&command.project, "/upstream/webhook");
                    terminal.note(&format!("tell the server to send its push webhooks to {webhook}"));
                }
                terminal.members(&answer)
            }
            Self::Get { project } => {
                let answer = api.get(&path(&project, "/upstream"), &[]).await?;
                terminal.members(&answer)
            }
            Self::Sync { project } => {
                api.post(&path(&project, "/upstream/sync"), &Value::Null).await?;
                terminal.note(&format!("the look is under way; `pilothouse project upstream get {project}` shows it"));
                Ok(())
            }
            Self::Remove { project, yes } => {
                confirm(terminal, yes, &format!("Take the upstream of `{project}` away?"))?;
                api.delete(&path(&project, "/upstream"), &[]).await?;
                terminal.note(&format!("`{project}` has no upstream any more; both sides keep what they have"));
                Ok(())
            }
        }
    }
}

impl ConflictCommand {
    pub(super) async fn run(self, api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Show { project } => {
                let answer = api.get(&path(&project, "/conflict"), &[]).await?;
                if terminal.format == Format::Json {
                    return terminal.json(&answer);
                }
                terminal.line(&cell(answer.get("reason")))?;
                for file in answer.get("files").and_then(Value::as_array).into_iter().flatten() {
                    let [name, ours, theirs] = ["path", "ours", "theirs"].map(|member| cell(file.get(member)));
                    let chosen = answer.get("choices").and_then(|choices| choices.get(&name)).map(|it| cell(Some(it)));
                    let chosen = chosen.map(|side| format!(", decided: {side}")).unwrap_or_default();
                    terminal.line(&format!("\n{name}  (ours: {ours}, theirs: {theirs}{chosen})"))?;
                    for line in file.get("difference").and_then(Value::as_str).unwrap_or_default().lines() {
                        terminal.line(&format!("  {line}"))?;
                    }
                }
                Ok(())
            }
            Self::Take { project, side, paths } => {
                let take = match side {
                    SideArgument::Ours => Side::Ours,
                    SideArgument::Theirs => Side::Theirs,
                };
                let answer = api.post(&path(&project, "/conflict"), &ConflictBody { take, paths }).await?;
                terminal.members(&answer)
            }
        }
    }
}
