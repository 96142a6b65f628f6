//! What a plugin returns for a delivery that it handled.
//!
//! Never here: `.started` and `.finished` events. Only the host makes those, from the answer.

use std::time::Duration;

use serde::Serialize;

use crate::shim::bindings::exports::pilothouse::plugin::handler as wit;
use crate::{Event, Failure};

/// What came of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskResult {
    /// All is well.
    Pass,
    /// Worth a look.
    Warning,
    /// Not good.
    Fail,
}

/// Whether the executor itself worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// It did its work, whatever the result.
    Succeeded,
    /// It could not do its work.
    Errored,
    /// It does not know.
    Unknown,
}

/// The end of a task; the host makes the `.finished` event from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The result.
    pub result: TaskResult,
    /// Whether the executor itself worked.
    pub status: TaskStatus,
    /// One sentence for people.
    pub message: String,
    /// Labels added to those of the trigger.
    pub labels: Vec<(String, String)>,
    /// JSON text that becomes `data.<task>`; or why it could not be written, which fails the delivery.
    output: Result<Option<String>, String>,
}

impl Finished {
    fn new(result: TaskResult, status: TaskStatus, message: impl Into<String>) -> Self {
        Self { result, status, message: message.into(), labels: Vec::new(), output: Ok(None) }
    }

    /// The task is done and all is well.
    pub fn pass(message: impl Into<String>) -> Self {
        Self::new(TaskResult::Pass, TaskStatus::Succeeded, message)
    }

    /// The task is done, and something is worth a look.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(TaskResult::Warning, TaskStatus::Succeeded, message)
    }

    /// The task is done, and what it found is not good.
    pub fn fail(message: impl Into<String>) -> Self {
        Self::new(TaskResult::Fail, TaskStatus::Succeeded, message)
    }

    /// The plugin could not do the task: the tool is missing, the input is wrong.
    pub fn errored(message: impl Into<String>) -> Self {
        Self::new(TaskResult::Fail, TaskStatus::Errored, message)
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Sets what becomes `data.<task>` of the `.finished` event. What cannot be written as JSON fails the delivery.
    #[must_use]
    pub fn output(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        self.output = serde_json::to_string(value).map(Some).map_err(|error| error.to_string());
        self
    }

    /// Returns the output as JSON of any shape, for tests.
    pub fn output_json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(self.output.as_ref().ok()?.as_deref()?).ok()
    }
}

/// A task's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The end.
    Finished(Finished),
    /// Not yet; wake the plugin after this time, or only by an event.
    Pending(Option<Duration>),
    /// Not this plugin's: it no longer counts as an executor. Says why.
    Declined(String),
}

/// What a plugin returns: committed all or none, together with its key-value writes and the mark that the delivery is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events to send, of types that the manifest's `emits` lists: at most 256, together at most 4 MiB.
    pub events: Vec<Event>,
    /// Only for a delivery that belongs to a task. No answer there means pending without a wake-up.
    pub answer: Option<Answer>,
}

impl Outcome {
    /// Nothing to send and no answer.
    pub fn none() -> Self {
        Self::default()
    }

    /// The task has ended.
    pub fn finished(finished: Finished) -> Self {
        Self { answer: Some(Answer::Finished(finished)), ..Self::default() }
    }

    /// Not yet: the end of a job, or of a task that this one triggered, will wake the plugin.
    pub fn pending() -> Self {
        Self { answer: Some(Answer::Pending(None)), ..Self::default() }
    }

    /// Not yet: deliver the `.triggered` event again after this time.
    pub fn wake_after(after: Duration) -> Self {
        Self { answer: Some(Answer::Pending(Some(after))), ..Self::default() }
    }

    /// Not this plugin's task: it no longer counts as an executor.
    pub fn declined(reason: impl Into<String>) -> Self {
        Self { answer: Some(Answer::Declined(reason.into())), ..Self::default() }
    }

    /// Adds an event to send.
    #[must_use]
    pub fn event(mut self, event: impl Into<Event>) -> Self {
        self.events.push(event.into());
        self
    }

    pub(crate) fn into_wit(self) -> Result<wit::Outcome, Failure> {
        let answer = match self.answer {
            None => None,
            Some(Answer::Pending(after)) => {
                Some(wit::Answer::Pending(wit::Pending { wake_after_ms: after.map(milliseconds) }))
            }
            Some(Answer::Declined(reason)) => Some(wit::Answer::Declined(wit::Declined { reason })),
            Some(Answer::Finished(finished)) => Some(wit::Answer::Finished(wit::Finished {
                result: match finished.result {
                    TaskResult::Pass => wit::TaskResult::Pass,
                    TaskResult::Warning => wit::TaskResult::Warning,
                    TaskResult::Fail => wit::TaskResult::Fail,
                },
                status: match finished.status {
                    TaskStatus::Succeeded => wit::TaskStatus::Succeeded,
                    TaskStatus::Errored => wit::TaskStatus::Errored,
                    TaskStatus::Unknown => wit::TaskStatus::Unknown,
                },
                message: finished.message,
                labels: finished.labels,
                output: finished
                    .output
                    .map_err(|error| Failure::Reject(format!("the output cannot be written as JSON: {error}")))?,
            })),
        };
        Ok(wit::Outcome { events: self.events.into_iter().map(Into::into).collect(), answer })
    }
}

/// Returns whole milliseconds, rounded up so that a short wait is never no wait.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_not_json_fails_the_delivery_and_says_so() {
        let broken = std::collections::BTreeMap::from([((1, 2), 3)]);
        let outcome = Outcome::finished(Finished::pass("done").output(&broken));
        let failure = outcome.into_wit().unwrap_err();
        assert!(matches!(&failure, Failure::Reject(reason) if reason.contains("JSON")), "{failure:?}");
    }

    #[test]
    fn a_wait_of_a_microsecond_is_a_millisecond() {
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::ZERO), 0);
    }
}
