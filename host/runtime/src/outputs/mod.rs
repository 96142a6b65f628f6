//! The directories that an operator grants by name: a plugin's own files in them, written atomically.
//!
//! [`OutputDirectory`] is one directory as one installation sees it. Nothing outside of it is reached, by `..`, by an
//! absolute path or by a link, and a file that the installation did not write is neither read, replaced nor removed,
//! also when it appears in the last moment.
//!
//! Never here: WIT types, which directory is granted to whom. All functions block; call them off the async threads.

mod ledger;
mod path;
mod tree;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use pilothouse_core::name::{InstallationName, OutputName};

use ledger::{Content, LedgerFile, LockedLedger};
pub use path::{PATH_DEPTH_MAX, PATH_LENGTH_MAX, PathProblem, PlainPath};
pub(crate) use tree::{Missing, TreeError, create_file, open_file, open_parent, open_root, write_private};
use tree::{digest, digest_of};

/// Largest file, in bytes. Rule files and dashboards are some 100 KiB; a file is held in memory while it is written.
pub const FILE_SIZE_BYTES_MAX: u64 = 4 << 20;
/// Most files of one installation in one directory: a file per service, for an installation with 1,000 services.
pub const FILE_COUNT_MAX: usize = 1_000;
/// Most bytes of one installation in one directory, so that a plugin cannot fill the disk of the tool that reads it.
pub const TOTAL_SIZE_BYTES_MAX: u64 = 64 << 20;

/// Mode of files: the tool that reads them may run as another user.
const FILE_MODE: u32 = 0o644;
/// Mode of folders, for the same reason.
const FOLDER_MODE: u32 = 0o755;

/// Why a file of an output directory cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Not granted; the text names the grant that would allow it.
    #[error("{0}")]
    Denied(String),
    /// The plugin has no such file.
    #[error("no such file")]
    NotFound,
    /// The path is not relative and plain, or what is there is not the plugin's own file.
    #[error("{0}")]
    Invalid(String),
    /// The plugin's own file, which somebody changed since.
    #[error("{0}")]
    Changed(String),
    /// The file, or all files together, would be over a limit.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The directory or the ledger cannot be read or written; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

impl OutputError {
    /// Makes the error for a directory that is not granted, which names the line to add.
    pub fn not_granted(directory: &OutputName, installation: &InstallationName) -> Self {
        Self::Denied(format!("add outputs.{directory} = \"<operator's directory>\" to the grants of `{installation}`"))
    }

    fn tree(path: &PlainPath, error: &TreeError) -> Self {
        match error {
            TreeError::NotFound => Self::NotFound,
            TreeError::NotPlain(what) => Self::Invalid(format!("`{path}` is not this plugin's own file: {what}")),
            TreeError::System(errno) => {
                Self::Unavailable(format!("`{path}` cannot be used; the system answered: {}", errno.desc()))
            }
        }
    }

    fn foreign(path: &PlainPath) -> Self {
        Self::Invalid(format!("`{path}` is not this plugin's own file; move it away, then write again"))
    }

    fn changed(path: &PlainPath) -> Self {
        Self::Changed(format!(
            "`{path}` was changed by someone else since this plugin wrote it; move it away, then write again"
        ))
    }

    fn ledger(error: &std::io::Error) -> Self {
        Self::Unavailable(format!("the host's record of output files cannot be used: {error}"))
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The file has new content.
    Changed,
    /// The file had this content already; nothing was touched.
    Unchanged,
}

/// A granted directory as one installation sees it.
#[derive(Clone, Debug)]
pub struct OutputDirectory {
    root: PathBuf,
    state: PathBuf,
    owner: InstallationName,
}

impl OutputDirectory {
    /// Opens the operator's directory `root` for the installation `owner`.
    ///
    /// `state` is a directory that only the host writes; it must stay the same, for it records which files are whose.
    ///
    /// # Errors
    /// The operator's directory does not exist or is not a directory. The host does not create it: a wrong path in the
    /// configuration would go unseen.
    pub fn new(root: &Path, state: &Path, owner: InstallationName) -> Result<Self, OutputError> {
        let unavailable = |error: std::io::Error| {
            OutputError::Unavailable(format!(
                "the operator's output directory `{}` cannot be used: {error}",
                root.display()
            ))
        };
        let root = root.canonicalize().map_err(unavailable)?;
        if !root.is_dir() {
            return Err(unavailable(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
        }
        Ok(Self { root, state: state.to_owned(), owner })
    }

    /// Replaces the file atomically: a reader sees the old content or the new. The same content again changes nothing.
    ///
    /// # Errors
    /// The path is not plain, the file is someone else's, a limit would be exceeded, or the disk refuses.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<Written, OutputError> {
        let path = parse(path)?;
        let new = Content { digest: digest(content), size: content.len() as u64 };
        let mut locked = self.lock()?;
        let known = self.own_entry(&locked, &path)?.cloned();
        self.check_quota(&locked, &path, new.size)?;

        let mut made = Vec::new();
        let missing = Missing::Create { mode: FOLDER_MODE, made: &mut made };
        let folder = self.folder(&path, missing)?;
        let on_disk =
            digest_of(&folder, path.name(), FILE_SIZE_BYTES_MAX).map_err(|error| OutputError::tree(&path, &error))?;
        match (&known, &on_disk) {
            (Some(entry), Some(digest)) if !entry.knows(digest) => return Err(OutputError::changed(&path)),
            (None, Some(_)) => return Err(OutputError::foreign(&path)),
            (Some(entry), Some(digest)) if *digest == new.digest && entry.pending.is_none() => {
                return Ok(Written::Unchanged);
            }
            _ => {}
        }

        // The intent is durable before the file is there: after a crash the file is known as ours either way.
        let written = known.as_ref().and_then(|entry| entry.written.clone());
        let intent = LedgerFile { owner: self.owner.clone(), written, pending: Some(new.clone()) };
        locked.ledger.files.insert(path.as_str().to_owned(), intent.clone());
        locked.ledger.folders.extend(made);
        locked.save().map_err(|error| OutputError::ledger(&error))?;

        let result = self.publish(&folder, &path, content, &intent, on_disk.is_some());
        match (&result, known) {
            (Ok(()), _) => {
                let entry = LedgerFile { owner: self.owner.clone(), written: Some(new), pending: None };
                locked.ledger.files.insert(path.as_str().to_owned(), entry);
            }
            (Err(_), Some(before)) => {
                locked.ledger.files.insert(path.as_str().to_owned(), before);
            }
            (Err(_), None) => {
                locked.ledger.files.remove(path.as_str());
            }
        }
        locked.save().map_err(|error| OutputError::ledger(&error))?;
        result.map(|()| Written::Changed)
    }

    /// Reads one of the installation's own files.
    ///
    /// # Errors
    /// As for [`OutputDirectory::write`], and [`OutputError::NotFound`] where there is none.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, OutputError> {
        let path = parse(path)?;
        let locked = self.lock()?;
        let entry = self.own_entry(&locked, &path)?;
        let content = self.content(&path)?;
        match entry {
            Some(entry) if entry.knows(&digest(&content)) => Ok(content),
            Some(_) => Err(OutputError::changed(&path)),
            None => Err(OutputError::foreign(&path)),
        }
    }

    /// Makes a file that the installation wrote and somebody changed the installation's again, as it is now; returns it.
    ///
    /// # Errors
    /// As for [`OutputDirectory::read`], and a file that is too large.
    pub fn take_over(&self, path: &str) -> Result<Vec<u8>, OutputError> {
        let path = parse(path)?;
        let mut locked = self.lock()?;
        let entry = self.own_entry(&locked, &path)?.cloned();
        let content = self.content(&path)?;
        let mut entry = entry.ok_or_else(|| OutputError::foreign(&path))?;
        let found = Content { digest: digest(&content), size: content.len() as u64 };
        self.check_quota(&locked, &path, found.size)?;
        (entry.written, entry.pending) = (Some(found), None);
        locked.ledger.files.insert(path.as_str().to_owned(), entry);
        locked.save().map_err(|error| OutputError::ledger(&error))?;
        Ok(content)
    }

    fn content(&self, path: &PlainPath) -> Result<Vec<u8>, OutputError> {
        let folder = self.folder(path, Missing::Fail)?;
        let file = open_file(&folder, path.name()).map_err(|error| OutputError::tree(path, &error))?;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, FILE_SIZE_BYTES_MAX + 1), &mut content)
            .map_err(|error| OutputError::tree(path, &error.into()))?;
        Ok(content)
    }

    /// Returns the paths of the installation's own files that exist, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn entries(&self) -> Result<Vec<String>, OutputError> {
        let locked = self.lock()?;
        let own = locked.ledger.files.iter().filter(|(_, file)| file.owner == self.owner);
        Ok(own.map(|(path, _)| path).filter(|path| self.exists(path)).cloned().collect())
    }

    /// Removes one of the installation's own files, and the folders that were made for it and are empty now.
    ///
    /// # Errors
    /// As for [`OutputDirectory::read`].
    pub fn remove(&self, path: &str) -> Result<(), OutputError> {
        let path = parse(path)?;
        let mut locked = self.lock()?;
        let entry = self.own_entry(&locked, &path)?.cloned();
        let folder = self.folder(&path, Missing::Fail)?;
        let at = |error: TreeError| OutputError::tree(&path, &error);
        let on_disk = digest_of(&folder, path.name(), FILE_SIZE_BYTES_MAX).map_err(at)?;
        let result = match (&entry, on_disk) {
            (_, None) => Err(OutputError::NotFound),
            (None, Some(_)) => return Err(OutputError::foreign(&path)),
            (Some(entry), Some(_)) => self.unlink(&folder, &path, entry),
        };
        if matches!(result, Ok(()) | Err(OutputError::NotFound)) && entry.is_some() {
            locked.ledger.files.remove(path.as_str());
            self.remove_empty_folders(&mut locked, &path);
            locked.save().map_err(|error| OutputError::ledger(&error))?;
        }
        result
    }

    fn lock(&self) -> Result<LockedLedger, OutputError> {
        LockedLedger::open(&self.state, &self.root).map_err(|error| OutputError::ledger(&error))
    }

    fn folder(&self, path: &PlainPath, missing: Missing<'_>) -> Result<OwnedFd, OutputError> {
        open_root(&self.root)
            .and_then(|root| open_parent(root, path, missing))
            .map_err(|error| OutputError::tree(path, &error))
    }

    /// Returns the ledger's entry if it is this installation's; refuses another's.
    fn own_entry<'a>(&self, locked: &'a LockedLedger, path: &PlainPath) -> Result<Option<&'a LedgerFile>, OutputError> {
        match locked.ledger.files.get(path.as_str()) {
            Some(entry) if entry.owner != self.owner => Err(OutputError::foreign(path)),
            entry => Ok(entry),
        }
    }

    fn check_quota(&self, locked: &LockedLedger, path: &PlainPath, size: u64) -> Result<(), OutputError> {
        if size > FILE_SIZE_BYTES_MAX {
            return Err(OutputError::QuotaExceeded(format!(
                "`{path}` has {size} bytes; a file has at most {FILE_SIZE_BYTES_MAX}"
            )));
        }
        let others = locked.ledger.files.iter().filter(|(at, file)| file.owner == self.owner && *at != path.as_str());
        let (count, total) = others.fold((1, size), |(count, total), (_, file)| (count + 1, total + file.size()));
        if count > FILE_COUNT_MAX {
            return Err(OutputError::QuotaExceeded(format!(
                "a plugin has at most {FILE_COUNT_MAX} files in a directory"
            )));
        }
        if total > TOTAL_SIZE_BYTES_MAX {
            return Err(OutputError::QuotaExceeded(format!(
                "the plugin's files would have {total} bytes; it has at most {TOTAL_SIZE_BYTES_MAX} in a directory"
            )));
        }
        Ok(())
    }

    /// Puts the content in place, and takes it back if what it replaced turns out to be someone else's.
    fn publish(
        &self,
        folder: &OwnedFd,
        path: &PlainPath,
        content: &[u8],
        entry: &LedgerFile,
        replaces: bool,
    ) -> Result<(), OutputError> {
        let at = |error: TreeError| OutputError::tree(path, &error);
        let temporary = self.temporary(path);
        // Left over by a host that died; only the host makes such names.
        let _ = unlinkat(folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let created = create_file(folder, &temporary, content, FILE_MODE).map_err(at);
        let published = created.and_then(|()| {
            let flags = if replaces { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
            match renameat2(folder, temporary.as_str(), folder, path.name(), flags) {
                Ok(()) => Ok(()),
                // Created, or removed, by someone since we looked.
                Err(Errno::EEXIST | Errno::ENOENT) => Err(OutputError::foreign(path)),
                Err(errno) => Err(at(errno.into())),
            }
        });
        let replaced = || digest_of(folder, &temporary, FILE_SIZE_BYTES_MAX);
        if published.is_ok() && replaces && !matches!(replaced(), Ok(Some(digest)) if entry.knows(&digest)) {
            // The early return matters: if the way back fails too, the temporary name holds another's file.
            renameat2(folder, temporary.as_str(), folder, path.name(), RenameFlags::RENAME_EXCHANGE)
                .map_err(|errno| at(errno.into()))?;
            let _ = unlinkat(folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(OutputError::foreign(path));
        }
        let _ = unlinkat(folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        published.and_then(|()| fsync(folder.as_fd()).map_err(|errno| at(errno.into())))
    }

    /// Removes the file by way of a temporary name, so that what is removed is what was looked at.
    fn unlink(&self, folder: &OwnedFd, path: &PlainPath, entry: &LedgerFile) -> Result<(), OutputError> {
        let at = |errno: Errno| OutputError::tree(path, &errno.into());
        let temporary = self.temporary(path);
        let _ = unlinkat(folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        renameat2(folder, path.name(), folder, temporary.as_str(), RenameFlags::RENAME_NOREPLACE).map_err(at)?;
        let taken = digest_of(folder, &temporary, FILE_SIZE_BYTES_MAX);
        if !matches!(&taken, Ok(Some(digest)) if entry.knows(digest)) {
            renameat2(folder, temporary.as_str(), folder, path.name(), RenameFlags::RENAME_NOREPLACE).map_err(at)?;
            return Err(OutputError::foreign(path));
        }
        unlinkat(folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir).map_err(at)?;
        fsync(folder.as_fd()).map_err(at)
    }

    /// Names the temporary file of a path. It starts with a dot, which no plugin's path can, and has no ending that a
    /// tool looks for.
    fn temporary(&self, path: &PlainPath) -> String {
        let mut stem = digest(format!("{}\0{path}", self.owner).as_bytes());
        stem.truncate(16);
        format!(".pilothouse-{stem}.tmp")
    }

    fn exists(&self, path: &str) -> bool {
        PlainPath::parse(path).is_ok_and(|path| {
            self.folder(&path, Missing::Fail).is_ok_and(|folder| open_file(&folder, path.name()).is_ok())
        })
    }

    /// Goes upwards from the file and stops at the first folder that is not empty or was not made by the host.
    fn remove_empty_folders(&self, locked: &mut LockedLedger, path: &PlainPath) {
        let mut next = path.parent().map(str::to_owned);
        while let Some(folder) = next.and_then(|text| PlainPath::parse(&text).ok()) {
            if !locked.ledger.folders.contains(folder.as_str()) {
                return;
            }
            let Ok(parent) = self.folder(&folder, Missing::Fail) else { return };
            if unlinkat(&parent, folder.name(), UnlinkatFlags::RemoveDir).is_err() {
                return;
            }
            locked.ledger.folders.remove(folder.as_str());
            next = folder.parent().map(str::to_owned);
        }
    }
}

fn parse(path: &str) -> Result<PlainPath, OutputError> {
    PlainPath::parse(path).map_err(|problem| OutputError::Invalid(problem.to_string()))
}
