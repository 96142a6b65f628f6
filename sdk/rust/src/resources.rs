//! The files of the project that the event in hand belongs to: read at the commit of its run, written as commits.
//!
//! Needs `[resources]` in the manifest and the grant; to write, `write = ["<folder>/"]` in it and the grant `resources-write`.

use crate::shim::bindings::pilothouse::plugin::resources as wit;
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

pub use wit::{Change, Entry, Level};

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text names the grant that would allow it.
    Denied(String),
    /// There is no such file.
    NotFound,
    /// A path that is not relative and plain, or an event without the project, stage or service that is asked for.
    Invalid(String),
    /// The host failed; trying again may help.
    Unavailable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(grant) => write!(f, "the project's files are not granted: {grant}"),
            Self::NotFound => f.write_str("there is no such file in the project"),
            Self::Invalid(reason) => write!(f, "the file cannot be asked for: {reason}"),
            Self::Unavailable(reason) => write!(f, "the project's files cannot be read: {reason}"),
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
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

fn inside() -> Result<(), Error> {
    if INSIDE_COMPONENT { Ok(()) } else { Err(Error::Unavailable(OUTSIDE.to_owned())) }
}

/// Reads a file of one level.
///
/// # Errors
/// Not granted, not there, or an event without the project, stage or service.
pub fn read(at: Level, path: &str) -> Result<Vec<u8>, Error> {
    inside()?;
    Ok(wit::read(at, path)?)
}

/// Reads the nearest file: of the service in the stage, else of the service, else of the stage, else of the project.
///
/// # Errors
/// Not granted, not there, or an event without a project.
pub fn read_nearest(path: &str) -> Result<Vec<u8>, Error> {
    inside()?;
    Ok(wit::read_nearest(path)?)
}

/// Lists the services of the project, in order.
///
/// # Errors
/// Not granted, or an event without a project.
pub fn services() -> Result<Vec<String>, Error> {
    inside()?;
    Ok(wit::services()?)
}

/// Writes and removes files in one commit upon the project's newest one, and returns the id of the commit; that of the newest one
/// where nothing changes.
///
/// At once, and not with the delivery: one that is tried again writes the same again, which is no change.
///
/// # Errors
/// Not granted, a path outside of the folders that the manifest lists, or an event without a project.
pub fn write(changes: &[Change], message: &str) -> Result<String, Error> {
    inside()?;
    Ok(wit::write(changes, message)?)
}

/// Lists the files of one level whose paths begin with `prefix`, in order; at most 1,000.
///
/// # Errors
/// Not granted, or an event without the project, stage or service.
pub fn entries(at: Level, prefix: &str) -> Result<Vec<Entry>, Error> {
    inside()?;
    Ok(wit::entries(at, prefix)?)
}
