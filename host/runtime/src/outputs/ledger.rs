//! Who owns which file of a granted directory: a JSON file in the host's own state directory.
//!
//! The ledger lies outside the granted directory, so that nobody who may write there can claim a file. A file counts
//! as an installation's own while its content is what that installation wrote last; anything else at the same path is
//! someone else's. Never touches the granted directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilothouse_core::name::InstallationName;
use serde::{Deserialize, Serialize};

use super::tree;

/// The files of one granted directory, of all installations.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Ledger {
    /// Files by path.
    pub(super) files: BTreeMap<String, LedgerFile>,
    /// Folders that were made for a file and go with their last one.
    #[serde(default)]
    pub(super) folders: BTreeSet<String>,
}

/// A file that an installation wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LedgerFile {
    /// Whose it is.
    pub(super) owner: InstallationName,
    /// Its content as last written; `None` before the first write has ended.
    pub(super) written: Option<Content>,
    /// Its content as about to be written. Left over only if the host died in between; then either may be on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Content>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Content {
    /// SHA-256 in hexadecimal.
    pub(super) digest: String,
    /// Bytes.
    pub(super) size: u64,
}

impl LedgerFile {
    /// Says whether content with this digest is the owner's.
    pub(super) fn knows(&self, digest: &str) -> bool {
        [&self.written, &self.pending].into_iter().flatten().any(|content| content.digest == digest)
    }

    /// Returns the room that the file takes at most.
    pub(super) fn size(&self) -> u64 {
        [&self.written, &self.pending].into_iter().flatten().map(|content| content.size).max().unwrap_or(0)
    }
}

/// The ledger, read and locked: one writer at a time, also among processes.
#[derive(Debug)]
pub(super) struct LockedLedger {
    /// Its entries.
    pub(super) ledger: Ledger,
    folder: PathBuf,
    name: String,
    _lock: File,
}

impl LockedLedger {
    /// Waits for the lock and reads the ledger of the directory `root`.
    ///
    /// # Errors
    /// The state directory cannot be written, or the ledger is damaged.
    pub(super) fn open(state: &Path, root: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let mut stem = tree::digest(root.as_os_str().as_encoded_bytes());
        stem.truncate(32);
        let lock_path = state.join(format!("{stem}.lock"));
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(lock_path)?;
        lock.lock()?;
        let name = format!("{stem}.json");
        let ledger = match std::fs::read(state.join(&name)) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ledger::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { ledger, folder: state.to_owned(), name, _lock: lock })
    }

    /// Writes the ledger durably.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub(super) fn save(&self) -> io::Result<()> {
        tree::write_private(&self.folder, &self.name, &serde_json::to_vec(&self.ledger)?)
    }
}
