//! One look at an upstream: fetch, bring both sides together, push.

use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{HOST_SOURCE, PROJECT_CONFLICTED};
use pilothouse_core::name::ProjectName;
use pilothouse_core::right::Actor;
use pilothouse_store::StoreError;
use uuid::Uuid;

use super::row::{ReadUpstream, UpstreamRow, UpstreamState};
use crate::git::merge::Merged;
use crate::git::transport::{self, Remote, TransferError};
use crate::git::{CommitId, GitError, Repository, Signed};
use crate::project::{Cause, ProjectError, Projects};

/// How often one look begins anew because somebody pushed in between.
const ROUNDS_MAX: u32 = 3;
/// Actor of what comes from upstreams.
const UPSTREAM_ACTOR: &str = "upstream";

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{0}")]
    Credential(String),
}

/// What is to be done on the local side.
enum Local {
    /// Nothing: both are the same, or ours is ahead.
    Stay,
    /// Take theirs, which follows from ours.
    Forward,
    /// Two lines of commits.
    Diverged,
}

impl Projects {
    /// Looks at the upstream of a project and records what came of it. `actor` is who asked for it, if a person did.
    pub(crate) async fn look_now(&self, name: &ProjectName, actor: &Actor) {
        let read = match self.upstream(name).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => return tracing::warn!(project = %name, %error, "UpstreamReadError"),
        };
        let ReadUpstream { mut row, revision } = read;
        let before = (row.state, row.conflicts.clone());
        row.looked = Some(self.engine().now());
        match self.look(name, &mut row, actor).await {
            Ok(()) => {
                row.failures = 0;
                row.succeeded = row.looked;
            }
            Err(error) => {
                row.state = UpstreamState::Failed;
                row.failures = row.failures.saturating_add(1);
                row.error = Some(error.to_string());
                tracing::warn!(project = %name, error = %error, failures = row.failures, "UpstreamError");
            }
        }
        let told = (row.state == UpstreamState::Conflict && (row.state, row.conflicts.clone()) != before)
            .then(|| self.conflicted(name, &row))
            .flatten();
        match self.engine().record(told.into_iter().collect(), vec![row.write(name.as_str(), revision)], actor).await {
            // The upstream was changed or taken away meanwhile; the next look starts from that.
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(error) => tracing::warn!(project = %name, %error, "UpstreamWriteError"),
        }
    }

    async fn look(&self, name: &ProjectName, row: &mut UpstreamRow, actor: &Actor) -> Result<(), SyncError> {
        let remote = self.remote(&row.config).await.map_err(SyncError::Credential)?;
        let path = self.repositories().path(name);
        for _ in 0..ROUNDS_MAX {
            let theirs = transport::fetch(&path, &remote).await?;
            if let Some(theirs) = theirs {
                let settled = self.bring_together(name, row, theirs, actor).await?;
                if !settled {
                    return Ok(());
                }
            }
            match self.push(name, row, &remote).await {
                Err(SyncError::Transfer(TransferError::Behind)) => {}
                result => return result,
            }
        }
        Err(TransferError::Behind.into())
    }

    /// Makes the local branch follow from both sides; `false` if a person has to decide first.
    async fn bring_together(
        &self,
        name: &ProjectName,
        row: &mut UpstreamRow,
        theirs: CommitId,
        actor: &Actor,
    ) -> Result<bool, SyncError> {
        let guard = self.repositories().lock(name).await;
        let (seen, upstream) = (row.seen.clone(), theirs.clone());
        let (local, rewritten) = self
            .repositories()
            .read(name, move |git| {
                let rewritten = match &seen {
                    Some(seen) if git.commit_info(seen).is_ok() => !git.follows(&upstream, seen)?,
                    _ => false,
                };
                Ok((compare(git, &upstream)?, rewritten))
            })
            .await?;
        let diverged = matches!(local, Local::Diverged);
        if row.seen.as_ref() != Some(&theirs) && diverged {
            // Decisions were about other contents.
            row.choices.clear();
            row.whole = None;
            row.rewritten = rewritten;
        }
        row.seen = Some(theirs.clone());
        if !diverged {
            row.rewritten = false;
        }
        match local {
            Local::Stay => {}
            Local::Forward => self.repositories().read(name, move |git| git.fast_forward(&theirs)).await?,
            Local::Diverged => {
                if !self.settle(name, row, theirs, actor).await? {
                    row.state = UpstreamState::Conflict;
                    row.error = None;
                    return Ok(false);
                }
            }
        }
        let cause = Cause {
            actor: if row.choices.is_empty() { Actor::from_stored(UPSTREAM_ACTOR.to_owned()) } else { actor.clone() },
            message: String::new(),
            origin: "upstream",
        };
        self.announce_locked(name, &cause).await?;
        drop(guard);
        row.conflicts.clear();
        row.choices.clear();
        row.whole = None;
        row.rewritten = false;
        Ok(true)
    }

    /// Merges two lines of commits; `false` if a decision is missing.
    async fn settle(
        &self,
        name: &ProjectName,
        row: &mut UpstreamRow,
        theirs: CommitId,
        actor: &Actor,
    ) -> Result<bool, SyncError> {
        let signed = Signed {
            actor: actor.as_str().to_owned(),
            message: format!("Merge {} of the upstream's {}", theirs.short(), row.config.branch),
            now: self.engine().now(),
        };
        if row.rewritten {
            let Some(side) = row.whole else { return Ok(false) };
            self.repositories().read(name, move |git| git.settle_rewritten(&theirs, side, &signed)).await?;
            return Ok(true);
        }
        let choices = row.choices.clone();
        match self.repositories().read(name, move |git| git.merge(&theirs, &choices, &signed)).await? {
            Merged::Commit(_) => Ok(true),
            Merged::Conflicts(open) => {
                row.conflicts = open.into_iter().chain(row.choices.keys().cloned()).collect();
                row.conflicts.sort_unstable();
                row.conflicts.dedup();
                Ok(false)
            }
        }
    }

    /// Pushes the local branch, if it is ahead.
    async fn push(&self, name: &ProjectName, row: &mut UpstreamRow, remote: &Remote) -> Result<(), SyncError> {
        let ours = self.repositories().read(name, |git| git.present()).await?;
        if row.seen.as_ref() == Some(&ours) {
            row.state = UpstreamState::InStep;
            row.error = None;
            row.own_branch = None;
            return Ok(());
        }
        let path = self.repositories().path(name);
        match transport::push(&path, remote, &ours, &remote.branch).await {
            Ok(()) => {
                row.state = UpstreamState::InStep;
                row.error = None;
                row.own_branch = None;
                row.seen = Some(ours);
                Ok(())
            }
            Err(TransferError::Protected(reason)) => {
                let branch = format!("pilothouse/{name}");
                transport::push(&path, remote, &ours, &branch).await?;
                row.state = UpstreamState::OwnBranch;
                row.error = Some(reason);
                row.own_branch = Some(branch);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes `dev.pilothouse.project.conflicted.v1`.
    fn conflicted(&self, name: &ProjectName, row: &UpstreamRow) -> Option<pilothouse_core::Event> {
        let data = serde_json::json!({
            "project": name,
            "upstream": row.config.url,
            "commit": row.seen,
            "rewritten": row.rewritten,
            "files": row.conflicts.iter().take(1_000).collect::<Vec<_>>(),
        });
        let made = EventBuilder::new(Uuid::new_v4().to_string(), HOST_SOURCE, PROJECT_CONFLICTED)
            .time(Some(self.engine().now().to_string()))
            .subject(Some(name.to_string()))
            .json(&data)
            .build();
        made.map_err(|error| tracing::error!(project = %name, %error, "ConflictEventError")).ok()
    }
}

fn compare(git: &Repository, theirs: &CommitId) -> Result<Local, GitError> {
    let ours = git.present()?;
    if git.follows(&ours, theirs)? {
        Ok(Local::Stay)
    } else if git.follows(theirs, &ours)? {
        Ok(Local::Forward)
    } else {
        Ok(Local::Diverged)
    }
}
