//! Projects' repositories: bare, in the data folder, one branch, read and written by commit. There is no working copy.
//!
//! [`Repositories`] is the asynchronous face: it runs [`repository`] on threads of its own and lets one writer at a time into
//! each repository. Talking to upstreams is in [`transport`].
//!
//! Never here: the store, events, who may do what.

pub mod import;
pub mod merge;
pub mod repository;
pub mod transport;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::FilePath;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use repository::Repository;

/// The branch of every project.
pub const BRANCH: &str = "main";

/// A commit's id: 40 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitId(String);

impl CommitId {
    /// Reads an id; `None` if the text is not 40 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        valid.then(|| Self(text.to_ascii_lowercase()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for CommitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something could not be done with a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// There is no repository of this project.
    #[error("the project `{0}` has no repository")]
    NoRepository(String),
    /// There is a repository of this name already.
    #[error("there is a repository of the project `{0}` already")]
    Exists(String),
    /// The commit is not in the repository.
    #[error("there is no commit `{0}` in the project's repository")]
    NoCommit(String),
    /// A file that is to be written changed after the commit that the writer looked at.
    #[error(
        "`{path}` was changed after commit {expected}; the project is at {current}: read it again and repeat the change"
    )]
    Conflict {
        /// The file.
        path: String,
        /// The commit that the writer named.
        expected: String,
        /// The present one.
        current: String,
    },
    /// A file that is to be removed is not there.
    #[error("there is no file `{0}`")]
    NoFile(String),
    /// A file is where a folder should be, or the other way round.
    #[error("`{path}` cannot be written: {reason}")]
    Path {
        /// The file.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// The repository is damaged, or the disk failed.
    #[error("the repository of `{project}` cannot be used: {reason}")]
    Broken {
        /// The project.
        project: String,
        /// What the library says.
        reason: String,
    },
}

/// A file to write or remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path in the repository.
    pub path: FilePath,
    /// The new content; `None` removes the file.
    pub content: Option<Vec<u8>>,
}

/// Who makes a commit, why and when.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The actor, as stored with events.
    pub actor: String,
    /// The reason.
    pub message: String,
    /// The instant.
    pub now: Timestamp,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The head before.
    pub before: CommitId,
    /// The head after; the same as before when nothing changed.
    pub commit: CommitId,
}

/// A file in a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// How a path differs between two commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// `added`, `modified` or `removed`.
    pub change: &'static str,
}

/// A commit as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommitInfo {
    /// Its id.
    pub commit: CommitId,
    /// Its author.
    pub author: String,
    /// Its message.
    pub message: String,
    /// When it was made (RFC 3339).
    pub time: String,
}

/// All repositories of a host.
#[derive(Debug)]
pub struct Repositories {
    root: PathBuf,
    writers: Mutex<HashMap<ProjectName, Weak<tokio::sync::Mutex<()>>>>,
}

impl Repositories {
    /// Makes the repositories in `root`, a folder of the host's own that is made when needed.
    pub fn new(root: PathBuf) -> Self {
        Self { root, writers: Mutex::default() }
    }

    /// Returns where the repository of a project lies.
    pub fn path(&self, project: &ProjectName) -> PathBuf {
        self.root.join(format!("{project}.git"))
    }

    /// Returns the folder of all repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads from a project's repository.
    ///
    /// # Errors
    /// There is none, it is damaged, or what `read` says.
    pub async fn read<T: Send + 'static>(
        &self,
        project: &ProjectName,
        read: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (path, project) = (self.path(project), project.clone());
        blocking(project.clone(), move || read(&Repository::open(&path, &project)?)).await
    }

    /// Changes a project's repository; one writer at a time.
    ///
    /// # Errors
    /// There is none, it is damaged, or what `write` says.
    pub async fn write<T: Send + 'static>(
        &self,
        project: &ProjectName,
        write: impl FnOnce(&Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let _alone = self.lock(project).await;
        self.read(project, write).await
    }

    /// Keeps other writers out of a project's repository as long as the guard lives.
    pub async fn lock(&self, project: &ProjectName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.retain(|_, lock| lock.strong_count() > 0);
            match writers.get(project).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    writers.insert(project.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }

    /// Makes the repository of a new project with its first commit. What an interrupted creation left is put aside first.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn create(
        &self,
        project: &ProjectName,
        files: Vec<Change>,
        signed: Signed,
    ) -> Result<CommitId, GitError> {
        let _alone = self.lock(project).await;
        let (path, name) = (self.path(project), project.clone());
        let aside = self.root.join(format!("{project}.aside-{}", signed.now.as_millis()));
        blocking(project.clone(), move || {
            if path.exists() {
                std::fs::rename(&path, &aside).map_err(|error| broken(&name, &error))?;
            }
            Repository::create(&path, &name)?.first_commit(&files, &signed)
        })
        .await
    }

    /// Removes the repository of a project that is gone.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn remove(&self, project: &ProjectName) -> Result<(), GitError> {
        let _alone = self.lock(project).await;
        let (path, name) = (self.path(project), project.clone());
        blocking(project.clone(), move || match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(broken(&name, &error)),
            _ => Ok(()),
        })
        .await
    }
}

fn broken(project: &ProjectName, error: &dyn std::fmt::Display) -> GitError {
    GitError::Broken { project: project.to_string(), reason: error.to_string() }
}

async fn blocking<T: Send + 'static>(
    project: ProjectName,
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(broken(&project, &error)))
}
