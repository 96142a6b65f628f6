//! Each new head is an event: told of right after the commit, or at the next start if a crash came between.

use pilothouse_core::name::ProjectName;
use pilothouse_core::right::Actor;
use pilothouse_store::StoreError;

use super::event::{self, NewHead, PATHS_MAX};
use super::row::{PROJECT_KIND, ReadRow};
use super::{Cause, ProjectError, Projects};
use crate::git::{CommitId, Repository};

/// How often a change of a project's row is worked out anew when somebody else changed it at the same moment.
const ROW_ATTEMPTS_MAX: u32 = 16;

impl Projects {
    /// Tells by an event of a head that nobody was told of yet.
    ///
    /// # Errors
    /// The repository or the store failed.
    pub async fn announce(&self, name: &ProjectName, cause: &Cause) -> Result<(), ProjectError> {
        let _guard = self.0.repositories.lock(name).await;
        self.announce_locked(name, cause).await
    }

    /// As [`Projects::announce`], for who has the repository's lock.
    pub(super) async fn announce_locked(&self, name: &ProjectName, cause: &Cause) -> Result<(), ProjectError> {
        for _ in 0..ROW_ATTEMPTS_MAX {
            let ReadRow { mut row, revision } = self.needed(name).await?;
            let before = row.announced.clone();
            let origin = cause.origin;
            let head = self.0.repositories.read(name, move |git| new_head(git, before, origin)).await?;
            let Some(head) = head else { return Ok(()) };
            let told = event::committed(name.as_str(), row.uid, &head, &cause.actor, self.0.engine.now())
                .map_err(|error| ProjectError::Event(error.to_string()))?;
            row.announced = Some(head.info.commit.clone());
            match self.0.engine.record(vec![told], vec![row.write(name.as_str(), revision)], &cause.actor).await {
                Err(StoreError::Conflict(_)) => {}
                result => return Ok(result?),
            }
        }
        Err(StoreError::Conflict("the project's row changes all the time".to_owned()).into())
    }

    /// Tells of all heads that an earlier host could not tell of.
    pub async fn announce_all(&self) {
        let cause = Cause { actor: Actor::host(), message: String::new(), origin: "recovery" };
        let mut after: Option<String> = None;
        loop {
            let rows = match self.store().states(PROJECT_KIND, after.as_deref(), 256).await {
                Ok(rows) => rows,
                Err(error) => return tracing::error!(%error, "ProjectListError"),
            };
            let Some(last) = rows.last() else { return };
            after = Some(last.key.clone());
            for row in &rows {
                let Ok(name) = ProjectName::new(&row.key) else { continue };
                if let Err(error) = self.announce(&name, &cause).await {
                    tracing::error!(project = %name, %error, "ProjectAnnounceError");
                }
            }
        }
    }
}

fn new_head(
    git: &Repository,
    before: Option<CommitId>,
    origin: &'static str,
) -> Result<Option<NewHead>, crate::git::GitError> {
    let commit = git.present()?;
    if before.as_ref() == Some(&commit) {
        return Ok(None);
    }
    // After a restore the commit that was told of last may be gone; then everything is new.
    let before = before.filter(|before| git.commit_info(before).is_ok());
    let (paths, more) = git.changes(before.as_ref(), &commit, PATHS_MAX)?;
    Ok(Some(NewHead { before, info: git.commit_info(&commit)?, paths, more, origin }))
}
