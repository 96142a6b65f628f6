//! Why the demo ended early.

use std::io;
use std::time::Duration;

use crate::cli::Exit;

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// Programs are missing; the text says what to install.
    #[error("{0}")]
    Missing(String),
    /// Something on this machine could not be used.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// The host or another peer did not answer, or refused.
    #[error("{request}: {reason}")]
    Http {
        /// What was asked.
        request: String,
        /// Why it failed.
        reason: String,
        /// Whether nobody answered, so that asking again may help.
        unreachable: bool,
    },
    /// Something did not happen in its time.
    #[error("waited {} s for {what}, and it did not happen", waited.as_secs())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// Position of the event whose story explains it.
        event: Option<u64>,
    },
    /// Something happened otherwise than it must.
    #[error("{0}")]
    Wrong(String),
    /// A person or the system asked the demo to end.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// Makes the reason for something that this machine refused.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Makes the reason for a request that failed. Takes the address out: a webhook's is a secret.
    pub(super) fn request(request: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        let request = request.into();
        move |error| {
            let unreachable = error.is_connect() || error.is_timeout() || error.is_request() || error.is_body();
            Self::Http { request, reason: error.without_url().to_string(), unreachable }
        }
    }

    /// Returns the exit code of a demo that ended so.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Missing(_) => Exit::Missing,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }
}
