//! Backup and restore of a host's data: the store, the installed components and the projects' repositories, in one folder.
//!
//! A backup is made while the host works and is consistent: the store copies itself at one commit, components and Git's
//! objects are never changed once written. It holds tokens' hashes but no credentials, which the host does not keep.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilothouse_store::sqlite::SqliteStore;
use pilothouse_store::{Store, StoreError};

use crate::data_dir::{COMPONENTS_DIR, OUTPUTS_DIR, REPOSITORIES_DIR, STORE_FILE};

/// Folder of the data folder where backups go.
pub const BACKUPS_DIR: &str = "backups";
/// Longest name of a backup, a part of a file name.
pub const BACKUP_NAME_LENGTH_MAX: usize = 100;

/// Folders that belong to a backup. The code cache makes itself again; jobs that ran are lost with their machine.
/// They are copied after the store, so that a repository has every commit that an event of the backup names.
const FOLDERS: [&str; 3] = [COMPONENTS_DIR, OUTPUTS_DIR, REPOSITORIES_DIR];

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The name is not one.
    #[error("{0}")]
    Name(String),
    /// There is one of that name.
    #[error("`{0}` exists already")]
    Exists(PathBuf),
    /// The folder is not a backup.
    #[error("`{path}` is not a backup: it has no `{STORE_FILE}`")]
    NotABackup {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder is in use by something already.
    #[error("`{0}` is not empty; restore into a new data folder, or move this one away")]
    NotEmpty(PathBuf),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error("cannot write `{path}`")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::Io { path, error }
}

/// Makes a backup called `name` in the data folder.
///
/// # Errors
/// The name is taken or not allowed, or the disk is full.
pub async fn create(store: &Arc<dyn Store>, data_dir: &Path, name: &str) -> Result<Backup, BackupError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > BACKUP_NAME_LENGTH_MAX || name.starts_with('.') || !name.chars().all(allowed) {
        let rule = "a backup's name has 1 to 100 letters, digits, `-`, `_` and `.`, and does not start with `.`";
        return Err(BackupError::Name(rule.to_owned()));
    }
    let backups = data_dir.join(BACKUPS_DIR);
    let path = backups.join(name);
    if path.exists() {
        return Err(BackupError::Exists(path));
    }
    // Under another name until it is whole, so that half a backup is never taken for one.
    let partial = backups.join(format!(".{name}.partial"));
    let _ = tokio::fs::remove_dir_all(&partial).await;
    tokio::fs::create_dir_all(&partial).await.map_err(at(&partial))?;
    store.backup(&partial.join(STORE_FILE)).await?;
    for folder in FOLDERS {
        let (from, to) = (data_dir.join(folder), partial.join(folder));
        blocking(move || copy_folder(&from, &to)).await?;
    }
    tokio::fs::rename(&partial, &path).await.map_err(at(&path))?;
    let measured = path.clone();
    let size_bytes = blocking(move || folder_size(&measured)).await?;
    Ok(Backup { path, size_bytes })
}

/// Puts a backup into a data folder that is empty or does not exist.
///
/// # Errors
/// The folder is not a backup, the data folder is in use, or a file cannot be copied.
pub fn restore(backup: &Path, data_dir: &Path) -> Result<(), BackupError> {
    if !backup.join(STORE_FILE).is_file() {
        return Err(BackupError::NotABackup { path: backup.to_owned() });
    }
    crate::data_dir::create(data_dir).map_err(at(data_dir))?;
    let mut entries = std::fs::read_dir(data_dir).map_err(at(data_dir))?;
    if entries.next().is_some() {
        return Err(BackupError::NotEmpty(data_dir.to_owned()));
    }
    for folder in FOLDERS {
        copy_folder(&backup.join(folder), &data_dir.join(folder))?;
    }
    // The store checks the copy and takes its own precautions against half a file.
    Ok(SqliteStore::restore(&backup.join(STORE_FILE), &data_dir.join(STORE_FILE))?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let lost = |_| BackupError::Name("the copy was interrupted".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

/// Copies a folder, which need not exist; links in it are not followed.
fn copy_folder(from: &Path, to: &Path) -> Result<(), BackupError> {
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(at(to))?;
    for entry in std::fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let ty = entry.file_type().map_err(at(from))?;
        let target = to.join(entry.file_name());
        if ty.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if ty.is_file() {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    std::fs::copy(from, to).map_err(at(to))?;
    std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(at(to))
}

fn folder_size(path: &Path) -> Result<u64, BackupError> {
    let mut size = 0;
    for entry in std::fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        let metadata = entry.metadata().map_err(at(path))?;
        size += if metadata.is_dir() { folder_size(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}
