//! Opens and replaces files below a directory without ever following a symbolic link.
//!
//! Every component is opened by itself, relative to the one before, with `O_NOFOLLOW`: a link that someone puts in the
//! way between a check and its use is met by the open itself. Never resolves a path as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use sha2::{Digest, Sha256};

use super::path::PlainPath;

/// Why something below a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// There is nothing at this path.
    #[error("there is no such file")]
    NotFound,
    /// A symbolic link, a directory in place of a file, a file in place of a directory, a pipe.
    #[error("{0}")]
    NotPlain(&'static str),
    /// The system refused.
    #[error("the system answered: {0}")]
    System(Errno),
}

impl From<Errno> for TreeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT => Self::NotFound,
            Errno::ELOOP => Self::NotPlain("a symbolic link is in the way"),
            Errno::ENOTDIR => Self::NotPlain("a file or a symbolic link stands where a directory should be"),
            Errno::EISDIR => Self::NotPlain("a directory stands where the file should be"),
            other => Self::System(other),
        }
    }
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> Self {
        Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)).into()
    }
}

/// What to do about a folder that is not there.
pub(crate) enum Missing<'a> {
    /// Answer [`TreeError::NotFound`].
    Fail,
    /// Make it with this mode, and note its path in the list.
    Create { mode: u32, made: &'a mut Vec<String> },
}

/// Opens the directory that everything below is relative to. The operator named it, so here links are followed.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, TreeError> {
    Ok(nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Opens the folder that holds the last name of `path`.
pub(crate) fn open_parent(root: OwnedFd, path: &PlainPath, mut missing: Missing<'_>) -> Result<OwnedFd, TreeError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut folder = root;
    let mut so_far = String::new();
    for name in path.folders() {
        if !so_far.is_empty() {
            so_far.push('/');
        }
        so_far.push_str(name);
        let opened = match (openat(&folder, name, flags, Mode::empty()), &mut missing) {
            (Err(Errno::ENOENT), Missing::Create { mode, made }) => {
                match mkdirat(&folder, name, Mode::from_bits_truncate(*mode)) {
                    Ok(()) => made.push(so_far.clone()),
                    // Someone else was faster; whatever it is, the open below judges it.
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                openat(&folder, name, flags, Mode::empty())
            }
            (opened, _) => opened,
        };
        folder = opened?;
    }
    Ok(folder)
}

/// Opens a regular file for reading; a link, a directory, a pipe or a device is refused.
pub(crate) fn open_file(folder: impl AsFd, name: &str) -> Result<File, TreeError> {
    // Without O_NONBLOCK the open of a named pipe would wait for a writer, for ever.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // What opening a socket answers.
        Err(Errno::ENXIO) => return Err(TreeError::NotPlain("it is not a regular file")),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(TreeError::NotPlain("it is not a regular file"));
    }
    Ok(file)
}

/// Creates a file that must not exist, writes `content` and syncs it.
pub(crate) fn create_file(folder: impl AsFd, name: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, name, flags, Mode::from_bits_truncate(mode))?);
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

/// Returns the SHA-256 of a file in hexadecimal, or `None` where there is none. A file longer than `size_max` has a
/// digest that no content has.
pub(crate) fn digest_of(folder: impl AsFd, name: &str, size_max: u64) -> Result<Option<String>, TreeError> {
    let file = match open_file(folder, name) {
        Ok(file) => file,
        Err(TreeError::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(size_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > size_max {
        return Ok(Some("too large".to_owned()));
    }
    Ok(Some(digest(&content)))
}

/// Returns the SHA-256 of `content` in hexadecimal.
pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces `folder/name` in a directory that only the host writes: temporary file, sync, rename, sync.
pub(crate) fn write_private(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}
