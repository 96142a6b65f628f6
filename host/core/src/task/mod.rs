//! Who answers a task, and when it ends: one model, whoever triggers it.
//!
//! [`Task`] is the state, kept as one row; [`Task::step`] is the only way to change it: `(state, input) → actions`. The
//! engine commits the new state together with what the actions ask for. Events that the host makes for a task are in
//! [`event`].
//!
//! A task's executors are bound when it is triggered and recorded here. It ends when each bound executor has answered;
//! the worst result wins; `declined` removes an executor, and all declined is no executor.

pub mod event;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use pilothouse_files::result::TaskResult;
pub use state::{Action, Executor, ExecutorState, Input, Parent, Refusal, Task, TaskEnd, Trigger};

/// Longest time from a task's trigger to its end, unless the executor's manifest says otherwise.
///
/// One hour covers the load tests and deployments that Keptn's users ran; a task that waits for a person says more.
pub const FINISH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3_600);

/// Longest time from a task's trigger until each of its executors has begun, where a sequence asks for the task and does
/// not say otherwise. Keptn waited as long for the first sign of an executor.
pub const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

/// Whether the executor itself worked, from best to worst (Keptn spec 0.2.x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It did its work, whatever the result.
    Succeeded,
    /// It does not know.
    Unknown,
    /// It was told to stop.
    Aborted,
    /// It could not do its work.
    Errored,
}

impl TaskStatus {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unknown => "unknown",
            Self::Aborted => "aborted",
            Self::Errored => "errored",
        }
    }
}

/// The end of a task, as one executor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The result.
    pub result: TaskResult,
    /// Whether the executor itself worked.
    pub status: TaskStatus,
    /// One sentence for people.
    pub message: String,
    /// Labels added to those of the trigger.
    pub labels: BTreeMap<String, String>,
    /// JSON text that becomes `data.<task>`.
    pub output: Option<String>,
}

impl Finished {
    /// Makes the answer of an executor that could not do its work.
    pub fn errored(message: impl Into<String>) -> Self {
        Self {
            result: TaskResult::Fail,
            status: TaskStatus::Errored,
            message: message.into(),
            labels: BTreeMap::new(),
            output: None,
        }
    }
}

/// What an executor answers to a delivery that belongs to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The end.
    Finished(Finished),
    /// Not yet.
    Pending {
        /// When the executor wants to be called again, in milliseconds from now; never by itself when absent.
        wake_after_ms: Option<u64>,
    },
    /// Not mine.
    Declined {
        /// Why, for the operator.
        reason: String,
    },
}
