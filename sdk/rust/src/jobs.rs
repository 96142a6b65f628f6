//! Work that cannot run inside wasm, from the operator's templates.
//!
//! A job starts only after the delivery is committed, and not at all if the call fails; its end is delivered as an event
//! with the cause [`crate::Cause::JobEnded`]. Needs `[[job]]` in the manifest and the grant.

use std::time::Duration;

use crate::shim::bindings::pilothouse::plugin::jobs as wit;
use crate::shim::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

pub use wit::State;

/// Why a job could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text names the grant that would allow it.
    Denied(String),
    /// There is no such job or artifact.
    NotFound,
    /// A parameter or a file is not declared by the template, or not as it says.
    Invalid(String),
    /// Too many jobs.
    QuotaExceeded,
    /// The host failed; trying again may help.
    Unavailable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(grant) => write!(f, "the job is not granted: {grant}"),
            Self::NotFound => f.write_str("there is no such job or artifact"),
            Self::Invalid(reason) => write!(f, "the job is refused: {reason}"),
            Self::QuotaExceeded => f.write_str("there are as many jobs as there may be"),
            Self::Unavailable(reason) => write!(f, "jobs cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::QuotaExceeded => retry(error.to_string()),
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
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

fn inside() -> Result<(), Error> {
    if INSIDE_COMPONENT { Ok(()) } else { Err(Error::Unavailable(OUTSIDE.to_owned())) }
}

/// A job to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The template, by its name in the manifest.
    pub template: String,
    /// Values for the parameters that the template declares.
    pub parameters: Vec<(String, String)>,
    /// Files for the job's own directory: relative path and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// The same key within one task gives the first job's id. The template's name when not set.
    pub key: Option<String>,
    /// Lowered to the template's own limit.
    pub timeout: Option<Duration>,
}

impl Job {
    /// Starts to describe a job from a template, by its name in the manifest.
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into(), parameters: Vec::new(), files: Vec::new(), key: None, timeout: None }
    }

    /// Sets a parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Sets the idempotency key: needed when one task starts several jobs from one template.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the longest time that the job may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Has the host check the request, and returns the job's id; the job runs once the delivery is committed.
    ///
    /// # Errors
    /// Not granted, not as the template says, or too many.
    pub fn start(self) -> Result<String, Error> {
        inside()?;
        Ok(wit::start(&wit::JobRequest {
            idempotency_key: self.key.unwrap_or_else(|| self.template.clone()),
            template_name: self.template,
            parameters: self.parameters,
            files: self.files.into_iter().map(|(name, content)| wit::InputFile { name, content }).collect(),
            timeout_ms: self.timeout.map(crate::outcome::milliseconds),
        })?)
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The exit code, once it has exited by itself.
    pub exit_code: Option<i32>,
    /// Names for [`open`]; `stdout` and `stderr` exist from the start.
    pub artifacts: Vec<String>,
}

/// Tells how a job of this installation stands.
///
/// # Errors
/// Not granted, or no such job.
pub fn status(id: &str) -> Result<Status, Error> {
    inside()?;
    let status = wit::status(id)?;
    Ok(Status { state: status.state, exit_code: status.exit_code, artifacts: status.artifacts })
}

/// Ends a job once the delivery is committed; its end is still delivered, as cancelled.
///
/// # Errors
/// Not granted, or no such job.
pub fn cancel(id: &str) -> Result<(), Error> {
    inside()?;
    Ok(wit::cancel(id)?)
}

/// Opens what there is of an artifact by now, from its beginning.
///
/// # Errors
/// Not granted, or no such job or artifact.
pub fn open(id: &str, artifact: &str) -> Result<Artifact, Error> {
    inside()?;
    Ok(Artifact { stream: wit::open(id, artifact)?, rest: Vec::new(), position: 0 })
}

/// An artifact of a job, read as a stream.
#[derive(Debug)]
pub struct Artifact {
    stream: InputStream,
    /// What the host sent beyond what the reader had room for.
    rest: Vec<u8>,
    position: usize,
}

/// How much of a stream is asked for at once: large enough that the cost of the call does not count.
pub(crate) const STREAM_CHUNK_BYTES: u64 = 64 * 1024;

impl std::io::Read for Artifact {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.position >= self.rest.len() {
            self.rest = match self.stream.blocking_read(STREAM_CHUNK_BYTES) {
                Ok(bytes) => bytes,
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(std::io::Error::other(error.to_debug_string()));
                }
            };
            self.position = 0;
        }
        let ready = self.rest.get(self.position..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(ready) {
            *to = *from;
        }
        self.position += count;
        Ok(count)
    }
}
