//! Earlier events of the project that the event in hand belongs to.
//!
//! Needs `[event-log]` in the manifest and the grant.

use crate::shim::bindings::pilothouse::plugin::event_log as wit;
use crate::{Event, Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

/// Why earlier events could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted; the text names the grant that would allow it.
    Denied(String),
    /// No type, or an event in hand that belongs to no project.
    Invalid(String),
    /// The host failed; trying again may help.
    Unavailable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(grant) => write!(f, "earlier events are not granted: {grant}"),
            Self::Invalid(reason) => write!(f, "earlier events cannot be asked for: {reason}"),
            Self::Unavailable(reason) => write!(f, "earlier events cannot be read: {reason}"),
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
            wit::Error::Invalid(reason) => Self::Invalid(reason),
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// Which events are asked for. The type is exact; everything that is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The type.
    pub ty: String,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The run (`shkeptncontext`).
    pub run: Option<String>,
}

/// Earlier events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` at the end. A page can be short, even empty, and still have a next one.
    pub next: Option<u64>,
}

/// Reads a page of at most `limit` events (at most 100); `before` is `next` of the page before.
///
/// # Errors
/// Not granted, or an event without a project.
pub fn events(query: &Query, before: Option<u64>, limit: u32) -> Result<Page, Error> {
    if !INSIDE_COMPONENT {
        return Err(Error::Unavailable(OUTSIDE.to_owned()));
    }
    let page = wit::events(&wit::Query {
        type_: query.ty.clone(),
        stage: query.stage.clone(),
        service: query.service.clone(),
        run: query.run.clone(),
        before,
        limit,
    })?;
    Ok(Page { events: page.entries.into_iter().map(|entry| entry.event.into()).collect(), next: page.next })
}
