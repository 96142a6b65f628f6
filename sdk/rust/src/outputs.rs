//! The plugin's own files in a directory that the operator granted by name, for tools that read files.
//!
//! Paths are relative, of plain names. A write replaces the file atomically and happens at least once. Needs `[[outputs]]`
//! in the manifest and the grant.

use crate::shim::bindings::pilothouse::plugin::outputs as wit;
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

/// Why a file could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text names the grant that would allow it.
    Denied(String),
    /// There is no such file.
    NotFound,
    /// A path that is not relative and plain, or a file that is not the plugin's own.
    Invalid(String),
    /// The plugin's own file, which somebody changed since; [`take_over`] makes it the plugin's again.
    Changed,
    /// Too many files or bytes.
    QuotaExceeded,
    /// The host failed; trying again may help.
    Unavailable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(grant) => write!(f, "the output directory is not granted: {grant}"),
            Self::NotFound => f.write_str("there is no such file in the output directory"),
            Self::Invalid(reason) => write!(f, "the output file is refused: {reason}"),
            Self::Changed => f.write_str("the output file was changed by someone else since this plugin wrote it"),
            Self::QuotaExceeded => f.write_str("the output directory has as much of this plugin as it may hold"),
            Self::Unavailable(reason) => write!(f, "the output directory cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) => retry(error.to_string()),
            _ => reject(error.to_string()),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(grant) => Self::Denied(grant),
            wit::Error::NotFound => Self::NotFound,
            wit::Error::Invalid(reason) => Self::Invalid(reason),
            wit::Error::Changed => Self::Changed,
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

fn inside() -> Result<(), Error> {
    if INSIDE_COMPONENT { Ok(()) } else { Err(Error::Unavailable(OUTSIDE.to_owned())) }
}

/// Writes a file: a reader sees the old content or the new.
///
/// # Errors
/// Not granted, a path that is refused, another's file, or too much.
pub fn write(directory: &str, path: &str, content: impl AsRef<[u8]>) -> Result<(), Error> {
    inside()?;
    Ok(wit::write(directory, path, content.as_ref())?)
}

/// Reads one of the plugin's own files.
///
/// # Errors
/// Not granted, not there, or another's file.
pub fn read(directory: &str, path: &str) -> Result<Vec<u8>, Error> {
    inside()?;
    Ok(wit::read(directory, path)?)
}

/// Returns the paths of the plugin's own files, in order.
///
/// # Errors
/// Not granted.
pub fn entries(directory: &str) -> Result<Vec<String>, Error> {
    inside()?;
    Ok(wit::entries(directory)?)
}

/// Makes the plugin's own file that somebody changed the plugin's again, as it is now, and returns it: for a plugin that puts
/// back what it wrote.
///
/// # Errors
/// Not granted, not there, or another's file.
pub fn take_over(directory: &str, path: &str) -> Result<Vec<u8>, Error> {
    inside()?;
    Ok(wit::take_over(directory, path)?)
}

/// Removes one of the plugin's own files.
///
/// # Errors
/// Not granted, not there, or another's file.
pub fn remove(directory: &str, path: &str) -> Result<(), Error> {
    inside()?;
    Ok(wit::remove(directory, path)?)
}
