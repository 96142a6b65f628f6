//! Shipyards, read once for each commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::sequence::Resolved;
use pilothouse_core::shipyard::{self, SHIPYARD_FILE, Shipyard};
use pilothouse_runtime::ResourceError;
use pilothouse_store::{StateKey, Store, StoreError};

use super::FILES_MAX;
use super::row::PROJECT_KIND;
use crate::engine::sequencer::ProjectSource;
use crate::git::{CommitId, GitError, Repositories};

/// Shipyards kept in memory; one of 20 sequences takes about 20 KiB.
const CACHED_MAX: usize = 512;

type Read = Result<Arc<Shipyard>, String>;

/// The files of the projects that a store knows.
pub struct KnownProjects {
    /// The rows of projects.
    pub store: Arc<dyn Store>,
    /// Their files.
    pub shipyards: Arc<Shipyards>,
}

#[async_trait]
impl ProjectSource for KnownProjects {
    async fn shipyard(&self, project: &str, commit: Option<&str>) -> Result<Resolved, StoreError> {
        let unknown = || format!("there is no project `{project}`");
        let Ok(name) = ProjectName::new(project) else { return Ok(Err(unknown())) };
        if self.store.state(&StateKey::new(PROJECT_KIND, project)).await?.is_none() {
            return Ok(Err(unknown()));
        }
        let commit = match commit.map(|text| (text, CommitId::parse(text))) {
            None => None,
            Some((_, Some(commit))) => Some(commit),
            Some((text, None)) => {
                let text: String = text.chars().take(80).collect();
                return Ok(Err(format!("`{text}` is not the id of a commit")));
            }
        };
        let found = self.shipyards.at(&name, commit.as_ref()).await;
        Ok(found.map(|(commit, shipyard)| (commit.to_string(), shipyard)).map_err(|error| error.reason))
    }

    async fn file(
        &self,
        project: &str,
        commit: Option<&str>,
        folders: &[Folder],
        path: &FilePath,
    ) -> Result<Vec<u8>, ResourceError> {
        let (name, commit) = self.known(project, commit).await?;
        let paths: Vec<String> = folders.iter().map(|folder| format!("{}{path}", folder.prefix())).collect();
        let found = self.shipyards.repositories.read(&name, move |git| {
            let commit = commit.map_or_else(|| git.present(), Ok)?;
            for path in &paths {
                if let Some(content) = git.file(&commit, path)? {
                    return Ok(Some(content));
                }
            }
            Ok(None)
        });
        found.await.map_err(unreadable)?.ok_or(ResourceError::NotFound)
    }

    async fn files(
        &self,
        project: &str,
        commit: Option<&str>,
        folder: &Folder,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ResourceError> {
        let (name, commit) = self.known(project, commit).await?;
        let base = folder.prefix();
        let whole = folder.clone();
        let (base, prefix) = (base.clone(), format!("{base}{prefix}"));
        let found = self.shipyards.repositories.read(&name, move |git| {
            let commit = commit.map_or_else(|| git.present(), Ok)?;
            git.files(&commit, &base, FILES_MAX).map(|files| (files, base))
        });
        let (files, base) = found.await.map_err(unreadable)?;
        // The files of a folder below are another level's.
        let own =
            files.into_iter().filter(|file| file.path.starts_with(&prefix) && Folder::of_path(&file.path).0 == whole);
        let cut = |path: &str| path.strip_prefix(&base).unwrap_or(path).to_owned();
        Ok(own.map(|file| (cut(&file.path), file.size)).take(limit).collect())
    }

    async fn services(&self, project: &str, commit: Option<&str>) -> Result<Vec<String>, ResourceError> {
        let (name, commit) = self.known(project, commit).await?;
        let found = self.shipyards.repositories.read(&name, move |git| {
            let commit = commit.map_or_else(|| git.present(), Ok)?;
            super::services(git, &commit)
        });
        found.await.map_err(unreadable)
    }
}

impl KnownProjects {
    async fn known(
        &self,
        project: &str,
        commit: Option<&str>,
    ) -> Result<(ProjectName, Option<CommitId>), ResourceError> {
        let unknown = || ResourceError::Invalid(format!("there is no project `{project}`"));
        let name = ProjectName::new(project).map_err(|_| unknown())?;
        let row = self.store.state(&StateKey::new(PROJECT_KIND, project)).await;
        row.map_err(|error| ResourceError::Unavailable(error.to_string()))?.ok_or_else(unknown)?;
        let commit = commit.map(|text| {
            CommitId::parse(text)
                .ok_or_else(|| ResourceError::Invalid("`gitcommitid` is not the id of a commit".to_owned()))
        });
        Ok((name, commit.transpose()?))
    }
}

fn unreadable(error: GitError) -> ResourceError {
    match error {
        GitError::NoCommit(_) | GitError::NoRepository(_) => ResourceError::Invalid(error.to_string()),
        _ => ResourceError::Unavailable(error.to_string()),
    }
}

/// Why there is no shipyard.
#[derive(Clone, Debug)]
pub struct NoShipyard {
    /// The commit that was looked at.
    pub commit: Option<CommitId>,
    /// Why, for people.
    pub reason: String,
    /// Whether there is no repository at all.
    pub no_repository: bool,
}

/// Reads shipyards. What a commit says never changes, so it is kept.
#[derive(Debug)]
pub struct Shipyards {
    repositories: Arc<Repositories>,
    read: Mutex<HashMap<(ProjectName, CommitId), Read>>,
}

impl Shipyards {
    /// Reads from these repositories.
    pub fn new(repositories: Arc<Repositories>) -> Self {
        Self { repositories, read: Mutex::default() }
    }

    /// Returns the shipyard at a commit, or at the present one, with the commit.
    ///
    /// # Errors
    /// There is no such project or commit, or the shipyard is missing or has errors.
    pub async fn at(
        &self,
        project: &ProjectName,
        commit: Option<&CommitId>,
    ) -> Result<(CommitId, Arc<Shipyard>), NoShipyard> {
        let commit = match commit {
            Some(commit) => commit.clone(),
            None => {
                self.repositories.read(project, |git| git.present()).await.map_err(|error| no_shipyard(None, &error))?
            }
        };
        let key = (project.clone(), commit.clone());
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let read = match known {
            Some(read) => read,
            None => {
                let at = commit.clone();
                let bytes = self.repositories.read(project, move |git| git.file(&at, SHIPYARD_FILE)).await;
                let bytes = bytes.map_err(|error| no_shipyard(Some(commit.clone()), &error))?;
                let read = parse(bytes.as_deref(), &commit);
                let mut cache = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= CACHED_MAX {
                    cache.clear();
                }
                cache.insert(key, read.clone());
                read
            }
        };
        match read {
            Ok(shipyard) => Ok((commit, shipyard)),
            Err(reason) => Err(NoShipyard { commit: Some(commit), reason, no_repository: false }),
        }
    }

    /// Forgets the shipyards of a project that is gone.
    pub fn forget(&self, project: &ProjectName) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _), _| known != project);
    }
}

fn no_shipyard(commit: Option<CommitId>, error: &GitError) -> NoShipyard {
    NoShipyard { commit, reason: error.to_string(), no_repository: matches!(error, GitError::NoRepository(_)) }
}

fn parse(bytes: Option<&[u8]>, commit: &CommitId) -> Read {
    let Some(bytes) = bytes else {
        return Err(format!("there is no `{SHIPYARD_FILE}` in commit {}", commit.short()));
    };
    let (read, problems) = shipyard::read(bytes);
    read.map(Arc::new).ok_or_else(|| {
        let first = problems.iter().find(|problem| problem.stops_a_run());
        let first = first.map(|problem| format!("{SHIPYARD_FILE}:{problem}")).unwrap_or_default();
        format!("the shipyard of commit {} cannot be used: {first}", commit.short())
    })
}
