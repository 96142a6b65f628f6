//! A project's upstream: another repository that has the same files, such as one on GitHub.
//!
//! The host keeps both in step by itself (`sync`), now and then and whenever one side says that it changed
//! (`worker`). What it cannot decide waits for a person: nothing is ever overwritten, on neither side.

pub(crate) mod row;
mod sync;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::inbound::{Request, Verification};
use pilothouse_core::name::ProjectName;
use pilothouse_core::quantity::Span;
use pilothouse_core::right::Actor;
use pilothouse_store::{StateKey, StateWrite, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ProjectError, Projects};
use crate::git::CommitId;
use crate::git::merge::{ConflictFile, Side};
use crate::git::transport::{Remote, RemoteCredential, RemoteUrl};
use crate::secrets::Secrets;
use row::{ReadUpstream, UPSTREAM_KIND, UpstreamRow};
pub use row::{UpstreamConfig, UpstreamState};
use worker::Schedule;

/// Time between two looks at an upstream unless it is told otherwise.
pub const INTERVAL_DEFAULT: Span = Span(Duration::from_secs(60));
/// Shortest time between two looks: servers of others limit requests.
pub const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Longest time between two looks.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest text of known host keys, in bytes.
pub const KNOWN_HOSTS_BYTES_MAX: usize = 64 * 1024;

/// An upstream as the API shows it. The secret itself never stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamView {
    /// Its address.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// Name of the stored secret that the host signs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `new`, `in-step`, `conflict`, `own-branch` or `failed`.
    pub state: String,
    /// What that means, and what to do.
    pub reason: String,
    /// The upstream's commit when it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Files that need a decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// When the host looked last (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked: Option<String>,
    /// When that worked last (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<String>,
    /// Time between two looks.
    pub interval: String,
}

/// A conflict as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConflictView {
    /// What happened, for people.
    pub reason: String,
    /// Whether the upstream's history was rewritten; then there is one decision for all files.
    pub rewritten: bool,
    /// Files that both sides changed.
    pub files: Vec<ConflictFile>,
    /// What was decided so far, by file.
    pub choices: BTreeMap<String, Side>,
}

/// What upstreams need beside the projects.
pub(crate) struct Upstreams {
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) schedule: Schedule,
}

impl Projects {
    /// Gives a project an upstream, or changes it; the first look follows at once.
    ///
    /// # Errors
    /// There is no such project, or the configuration makes no sense.
    pub async fn set_upstream(
        &self,
        name: &ProjectName,
        config: UpstreamConfig,
        actor: &Actor,
    ) -> Result<(), ProjectError> {
        self.needed(name).await?;
        check(&config).map_err(ProjectError::Invalid)?;
        let revision = self.upstream(name).await?.map_or(0, |read| read.revision);
        let row = UpstreamRow::new(config);
        self.engine().record(Vec::new(), vec![row.write(name.as_str(), revision)], actor).await?;
        tracing::info!(project = %name, url = %row.config.url, actor = actor.as_str(), "UpstreamSet");
        self.0.upstreams.schedule.wake(name);
        Ok(())
    }

    /// Takes a project's upstream away; nothing changes there.
    ///
    /// # Errors
    /// There is none.
    pub async fn remove_upstream(&self, name: &ProjectName, actor: &Actor) -> Result<(), ProjectError> {
        let read = self.needed_upstream(name).await?;
        let key = StateKey::new(UPSTREAM_KIND, name.as_str());
        let gone = StateWrite { key, revision: read.revision, value: None, holds: None, holds_own_event: false };
        self.engine().record(Vec::new(), vec![gone], actor).await?;
        self.0.upstreams.schedule.forget(name);
        Ok(())
    }

    /// Returns how a project and its upstream stand to each other.
    ///
    /// # Errors
    /// There is no upstream.
    pub async fn upstream_view(&self, name: &ProjectName) -> Result<UpstreamView, ProjectError> {
        Ok(view(&self.needed_upstream(name).await?.row))
    }

    /// Asks for a look at the upstream now.
    ///
    /// # Errors
    /// There is no upstream.
    pub async fn wake_upstream(&self, name: &ProjectName) -> Result<(), ProjectError> {
        self.needed_upstream(name).await?;
        self.0.upstreams.schedule.wake(name);
        Ok(())
    }

    /// Takes a push webhook of the upstream's server: checks who sent it, and looks at the upstream at once. What the
    /// request says is not believed; the look is what counts.
    ///
    /// # Errors
    /// There is no such route, or the sender is not believed. Both read the same, so that nobody learns which projects exist.
    pub async fn upstream_webhook(&self, name: &ProjectName, request: &Request<'_>) -> Result<(), String> {
        let nowhere = || "there is no push webhook at this path, or its signature is wrong".to_owned();
        let read = self.upstream(name).await.ok().flatten().ok_or_else(nowhere)?;
        let secret = read.row.config.webhook_secret.clone().ok_or_else(nowhere)?;
        let secret = self.0.upstreams.secrets.reveal(&secret).await.map_err(|error| {
            tracing::warn!(project = %name, %error, "PushWebhookSecretError");
            nowhere()
        })?;
        let scheme = if (request.header)("x-gitlab-token").is_some() {
            Verification::Gitlab
        } else if (request.header)("x-hub-signature-256").is_some() {
            Verification::Github
        } else {
            Verification::Bitbucket
        };
        match scheme.verify(request, &secret, self.engine().now()) {
            Ok(()) => {
                self.0.upstreams.schedule.wake(name);
                Ok(())
            }
            Err(refusal) => {
                tracing::warn!(project = %name, reason = %refusal, code = refusal.code(), "PushWebhookRefused");
                Err(nowhere())
            }
        }
    }

    /// Shows what both sides of a conflict changed.
    ///
    /// # Errors
    /// There is no upstream, or no conflict.
    pub async fn conflict(&self, name: &ProjectName) -> Result<ConflictView, ProjectError> {
        let row = self.needed_upstream(name).await?.row;
        let theirs = in_conflict(name, &row)?;
        let files = if row.rewritten {
            Vec::new()
        } else {
            self.repositories().read(name, move |git| git.conflict_files(&theirs)).await?
        };
        Ok(ConflictView { reason: view(&row).reason, rewritten: row.rewritten, files, choices: row.choices })
    }

    /// Decides a conflict, for some files or for all; with the last decision both sides are brought together.
    ///
    /// # Errors
    /// There is no conflict, or a file is not part of it.
    pub async fn take_side(
        &self,
        name: &ProjectName,
        side: Side,
        paths: &[String],
        actor: &Actor,
    ) -> Result<(), ProjectError> {
        let ReadUpstream { mut row, revision } = self.needed_upstream(name).await?;
        in_conflict(name, &row)?;
        if row.rewritten {
            if !paths.is_empty() {
                let text =
                    "the upstream's history was rewritten, so the decision is about everything: leave the paths out";
                return Err(ProjectError::Invalid(text.to_owned()));
            }
            row.whole = Some(side);
        } else if let Some(unknown) = paths.iter().find(|path| !row.conflicts.contains(*path)) {
            let known = row.conflicts.join(", ");
            return Err(ProjectError::Invalid(format!("`{unknown}` is not in conflict; these are: {known}")));
        } else {
            let chosen = if paths.is_empty() { row.conflicts.clone() } else { paths.to_vec() };
            row.choices.extend(chosen.into_iter().map(|path| (path, side)));
        }
        self.engine().record(Vec::new(), vec![row.write(name.as_str(), revision)], actor).await?;
        // The merge itself needs no network, so it is done before the answer.
        self.look_now(name, actor).await;
        Ok(())
    }

    pub(crate) async fn upstream(&self, name: &ProjectName) -> Result<Option<ReadUpstream>, ProjectError> {
        let row = self.store().state(&StateKey::new(UPSTREAM_KIND, name.as_str())).await?;
        Ok(row.as_ref().map(UpstreamRow::read).transpose().map_err(StoreError::Read)?)
    }

    async fn needed_upstream(&self, name: &ProjectName) -> Result<ReadUpstream, ProjectError> {
        self.needed(name).await?;
        self.upstream(name).await?.ok_or_else(|| ProjectError::NoUpstream(name.to_string()))
    }

    /// Returns where an upstream is, with the credential at hand.
    ///
    /// # Errors
    /// The secret cannot be used.
    pub(crate) async fn remote(&self, config: &UpstreamConfig) -> Result<Remote, String> {
        let url = RemoteUrl::new(&config.url)?;
        let secret = match &config.secret {
            None => None,
            Some(name) => Some(self.0.upstreams.secrets.reveal(name).await.map_err(|error| error.to_string())?),
        };
        let credential = match (secret, url.is_ssh()) {
            (None, _) => RemoteCredential::None,
            (Some(key), true) => {
                RemoteCredential::Key { key, known_hosts: config.known_hosts.clone().unwrap_or_default() }
            }
            (Some(token), false) => {
                let user = config.user.clone().unwrap_or_else(|| url.token_user().to_owned());
                RemoteCredential::Token { user, token: token.trim().to_owned() }
            }
        };
        Ok(Remote { url, branch: config.branch.clone(), credential })
    }
}

fn in_conflict(name: &ProjectName, row: &UpstreamRow) -> Result<CommitId, ProjectError> {
    match (&row.state, &row.seen) {
        (UpstreamState::Conflict, Some(theirs)) => Ok(theirs.clone()),
        _ => Err(ProjectError::NoConflict(name.to_string())),
    }
}

fn check(config: &UpstreamConfig) -> Result<(), String> {
    let url = RemoteUrl::new(&config.url)?;
    let branch = &config.branch;
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
    if branch.is_empty()
        || branch.len() > 200
        || !branch.chars().all(plain)
        || branch.starts_with(['-', '/', '.'])
        || branch.ends_with(['/', '.'])
        || branch.contains("..")
        || branch.contains("//")
        || branch.ends_with(".lock")
    {
        return Err(format!("`{}` is not a branch's name", branch.chars().take(80).collect::<String>()));
    }
    if url.is_ssh() {
        if config.secret.is_none() {
            return Err("an upstream by SSH needs a private key: store it as a secret and name it".to_owned());
        }
        match &config.known_hosts {
            None => {
                return Err("an upstream by SSH needs the server's host keys, or anybody could play the server: take them \
                            from `ssh-keyscan HOST`, compare them with what the server's operator publishes, and give the file"
                    .to_owned());
            }
            Some(keys) if keys.len() > KNOWN_HOSTS_BYTES_MAX => return Err("the host keys are too long".to_owned()),
            Some(_) => {}
        }
    }
    let user_is_plain = |user: &String| !user.is_empty() && !user.contains(':') && !user.chars().any(char::is_control);
    if !config.user.as_ref().is_none_or(user_is_plain) {
        return Err("the user name must not be empty, nor have colons or control characters".to_owned());
    }
    if config.interval.0 < INTERVAL_MIN || config.interval.0 > INTERVAL_MAX {
        return Err(format!("the interval is from {} to {}", Span(INTERVAL_MIN), Span(INTERVAL_MAX)));
    }
    Ok(())
}

fn view(row: &UpstreamRow) -> UpstreamView {
    let config = &row.config;
    let error = row.error.as_deref().unwrap_or_default();
    let reason = match row.state {
        UpstreamState::New => "the first look has not happened yet".to_owned(),
        UpstreamState::InStep => "both have the same commit".to_owned(),
        UpstreamState::Conflict if row.rewritten => {
            "the upstream's history was rewritten; see `project conflict show`, then `project conflict take ours` or `theirs`"
                .to_owned()
        }
        UpstreamState::Conflict => format!(
            "both sides changed {}; see `project conflict show`, then `project conflict take ours` or `theirs`",
            row.conflicts.join(", ")
        ),
        UpstreamState::OwnBranch => format!(
            "the upstream refuses pushes to `{}`, so our commits are on its branch `{}`: merge it there ({error})",
            config.branch,
            row.own_branch.as_deref().unwrap_or_default()
        ),
        UpstreamState::Failed => format!("{error} (failure {} in a row; tried again)", row.failures),
    };
    UpstreamView {
        url: config.url.clone(),
        branch: config.branch.clone(),
        secret: config.secret.as_ref().map(ToString::to_string),
        state: row.state.as_str().to_owned(),
        reason,
        commit: row.seen.as_ref().map(ToString::to_string),
        conflicts: row.conflicts.clone(),
        looked: row.looked.map(|at| at.to_string()),
        succeeded: row.succeeded.map(|at| at.to_string()),
        interval: config.interval.to_string(),
    }
}
