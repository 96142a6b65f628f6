//! Why a delivery failed, as the plugin sees it, and what the host should do about it.
//!
//! Never here: traps. A panic is a trap, a bug of the plugin, and counted apart.

use std::time::Duration;

use crate::shim::bindings::pilothouse::plugin::delivery as wit;

/// What the host should do with a delivery that failed.
///
/// The reason is shown to operators: never put a secret or the event's data in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again, as often as the installation's `attempts` allows; then a dead letter.
    Retry {
        /// For the operator.
        reason: String,
        /// No sooner than this; the host's own backoff when absent or shorter. At most one hour.
        after: Option<Duration>,
    },
    /// Trying again will not help: a dead letter at once.
    Reject(String),
}

/// Makes a failure that another attempt may mend: an outside system that is down, say.
pub fn retry(reason: impl Into<String>) -> Failure {
    Failure::Retry { reason: reason.into(), after: None }
}

/// Makes a failure that no further attempt can mend: an event that makes no sense, say.
pub fn reject(reason: impl Into<String>) -> Failure {
    Failure::Reject(reason.into())
}

impl Failure {
    /// Asks for a wait of at least `after` before the next attempt; changes nothing for a reject.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        match self {
            Self::Retry { reason, .. } => Self::Retry { reason, after: Some(after) },
            reject @ Self::Reject(_) => reject,
        }
    }

    /// Returns the reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry { reason, .. } | Self::Reject(reason) => reason,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry { reason, after } => {
                Self::Retry(wit::RetryLater { reason, after_ms: after.map(crate::outcome::milliseconds) })
            }
            Failure::Reject(reason) => Self::Reject(reason),
        }
    }
}

/// Describes why a document did not parse, without quoting it: serde's own text repeats the value that it did not like.
pub(crate) fn describe_json_error(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = if text.starts_with("missing field") {
        text.split(" at line ").next().unwrap_or_default().to_owned()
    } else if let Some((_, expected)) = text.split_once(", expected ") {
        format!("expected {}", expected.split(" at line ").next().unwrap_or_default())
    } else if error.is_data() {
        "a value that is not allowed there".to_owned()
    } else {
        "it is not valid JSON".to_owned()
    };
    if line == 0 { what } else { format!("{what}, at line {line} column {column}") }
}
