//! Reads the repository of a Keptn V1 project: every branch with all of its files.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{FileMode, ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use pilothouse_core::keptn_import::{Note, NoteSeverity, REPOSITORY_BYTES_MAX, REPOSITORY_FILES_MAX, V1Repository};

use super::transport::{self, IMPORT_PREFIX, Remote, TransferError};

/// Where the branches of a repository stand, the most telling first: those of an import, its own, those of its origin.
const PREFIXES: [&str; 3] = [IMPORT_PREFIX, "refs/heads/", "refs/remotes/origin/"];

/// A repository as it was read.
#[derive(Debug)]
pub struct Read {
    /// What is in it.
    pub repository: V1Repository,
    /// What is in it and is no file.
    pub notes: Vec<Note>,
}

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be fetched.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// There is no repository, it is damaged, or this user may not read it.
    #[error("it cannot be read as a Git repository: {0}")]
    Git(String),
    /// Its HEAD names no branch.
    #[error("it is empty, or does not say which of its branches is the default one")]
    NoDefault,
    /// It is too large.
    #[error("it has more than {most} {what} in all of its branches together")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        most: usize,
    },
    /// The name of a file is not text.
    #[error("the branch `{branch}` has a file whose name is not UTF-8: `{path}`")]
    Name {
        /// The branch.
        branch: String,
        /// The file, as far as it can be shown.
        path: String,
    },
    /// No place for what is fetched.
    #[error("there is no place for what is fetched: {0}")]
    Place(String),
}

impl From<git2::Error> for ReadError {
    fn from(error: git2::Error) -> Self {
        Self::Git(error.message().to_owned())
    }
}

/// Reads a repository behind an address. `branch` is its default branch, if it is not the one that the server names.
///
/// # Errors
/// It cannot be fetched, or as [`read_folder`].
pub async fn read_remote(remote: &Remote, branch: Option<String>) -> Result<Read, ReadError> {
    let folder = tempfile::tempdir().map_err(|error| ReadError::Place(error.to_string()))?;
    let bare = Repository::init_bare(folder.path())?;
    drop(bare);
    let branch = match branch {
        Some(branch) => branch,
        None => transport::default_branch(folder.path(), remote).await?.ok_or(ReadError::NoDefault)?,
    };
    transport::fetch_all(folder.path(), remote).await?;
    read_folder(folder.path(), Some(branch))
}

/// Reads a repository of this machine, a working copy or a bare one. Of a clone, the branches of its origin count too.
///
/// # Errors
/// There is none, it is damaged, too large, or has names that are no text.
pub fn read_folder(folder: &Path, branch: Option<String>) -> Result<Read, ReadError> {
    let git = Repository::open(folder)?;
    let default_branch = match branch {
        Some(branch) => branch,
        None => head_branch(&git)?,
    };
    let mut reader = Reader { git: &git, notes: Vec::new(), files: 0, bytes: 0 };
    let mut branches = BTreeMap::new();
    for prefix in PREFIXES {
        for reference in git.references_glob(&format!("{prefix}*"))? {
            let reference = reference?;
            let Ok(name) = reference.name() else { continue };
            let name = name.strip_prefix(prefix).unwrap_or_default().to_owned();
            if branches.contains_key(&name) || name == "HEAD" {
                continue;
            }
            let files = reader.files(&name, &reference.peel_to_tree()?)?;
            branches.insert(name, files);
        }
    }
    Ok(Read { repository: V1Repository { default_branch, branches }, notes: reader.notes })
}

fn head_branch(git: &Repository) -> Result<String, ReadError> {
    let head = git.find_reference("HEAD")?;
    let target = head.symbolic_target().ok().flatten().and_then(|target| target.strip_prefix("refs/heads/"));
    target.map(str::to_owned).ok_or(ReadError::NoDefault)
}

/// Reads branches, within the limits of an import.
struct Reader<'r> {
    git: &'r Repository,
    notes: Vec<Note>,
    files: usize,
    bytes: usize,
}

impl Reader<'_> {
    fn files(&mut self, branch: &str, tree: &Tree<'_>) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
        let mut entries = Vec::new();
        let mut odd = None;
        tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
            let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
            if std::str::from_utf8(entry.name_bytes()).is_err() {
                odd = Some(path);
                return TreeWalkResult::Abort;
            }
            match entry.kind() {
                Some(ObjectType::Tree) => {}
                Some(ObjectType::Blob) if entry.filemode() != i32::from(FileMode::Link) => {
                    entries.push((path, entry.id()));
                }
                kind => {
                    let what = if kind == Some(ObjectType::Blob) { "a link" } else { "a submodule" };
                    self.notes.push(Note {
                        path: format!("{branch}:{path}"),
                        severity: NoteSeverity::NotTranslated,
                        message: format!("not copied: it is {what}, and a project has files only"),
                    });
                }
            }
            if self.files + entries.len() > REPOSITORY_FILES_MAX { TreeWalkResult::Abort } else { TreeWalkResult::Ok }
        })
        .or_else(|error| if error.code() == git2::ErrorCode::User { Ok(()) } else { Err(error) })?;
        if let Some(path) = odd {
            return Err(ReadError::Name { branch: branch.to_owned(), path });
        }
        self.files += entries.len();
        if self.files > REPOSITORY_FILES_MAX {
            return Err(ReadError::TooLarge { what: "files", most: REPOSITORY_FILES_MAX });
        }
        let mut files = BTreeMap::new();
        for (path, id) in entries {
            let (size, _) = self.git.odb()?.read_header(id)?;
            self.bytes = self.bytes.saturating_add(size);
            if self.bytes > REPOSITORY_BYTES_MAX {
                return Err(ReadError::TooLarge { what: "bytes", most: REPOSITORY_BYTES_MAX });
            }
            files.insert(path, self.git.find_blob(id)?.content().to_vec());
        }
        Ok(files)
    }
}
