//! What the host says about the delivery in hand.
//!
//! Never here: anything that survives the call.

use std::time::Duration;

use crate::Event;
use crate::shim::bindings::pilothouse::plugin::delivery as wit;

/// Why a delivery that belongs to a task is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The task was triggered.
    Triggered,
    /// The time asked for with [`crate::Outcome::wake_after`] has come. The event is the task's `.triggered` event again.
    WakeUp,
    /// A job that this task started has ended. The event is `dev.pilothouse.job.finished.v1`.
    JobEnded,
    /// A task that this task triggered has finished. The event is its `.finished` event.
    TaskFinished,
    /// An inbound request that was linked to this task.
    Inbound,
    /// A person approved or declined. The event is `dev.pilothouse.approval.decided.v1`.
    Decided,
}

/// The task that a delivery belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name, as in `sh.keptn.event.<name>.triggered`.
    pub name: String,
    /// The id of its `.triggered` event.
    pub triggered_id: String,
    /// The run it belongs to (`shkeptncontext`).
    pub run: String,
    /// Why this delivery is made.
    pub cause: Cause,
}

/// Why an event was not stored by [`Context::emit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The event's type is not in the manifest's `emits`.
    Denied,
    /// Not a valid CloudEvent, or over a size limit; says which rule.
    Invalid(String),
    /// More events than one call may emit.
    QuotaExceeded,
    /// The host could not store it; trying again may help.
    Unavailable(String),
}

impl std::fmt::Display for EmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied => f.write_str("the event's type is not in the manifest's `emits`"),
            Self::Invalid(rule) => write!(f, "the event is not valid: {rule}"),
            Self::QuotaExceeded => f.write_str("the call has emitted as many events as one call may"),
            Self::Unavailable(reason) => write!(f, "the host could not store the event: {reason}"),
        }
    }
}

impl std::error::Error for EmitError {}

impl From<EmitError> for crate::Failure {
    /// Unavailable is worth another attempt; the rest is a bug of the plugin.
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Unavailable(_) => crate::retry(error.to_string()),
            _ => crate::reject(error.to_string()),
        }
    }
}

/// The values of a context that was made by hand, for native tests.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field is documented at the method of `Context` that returns it")]
pub struct FixedContext {
    pub delivery_id: String,
    pub attempt: u32,
    pub task: Option<Task>,
    pub remaining: Duration,
    pub traceparent: Option<String>,
    pub project: Option<String>,
    pub stage: Option<String>,
    pub service: Option<String>,
    pub commit: Option<String>,
}

/// What the host says about the one delivery in hand. Ends with the call.
#[derive(Debug)]
pub struct Context<'a>(Source<'a>);

#[derive(Debug)]
enum Source<'a> {
    Host(&'a wit::Context),
    Fixed(Box<FixedContext>, std::cell::RefCell<Vec<Event>>),
}

/// Asks the host, or takes the field of a context made by hand.
macro_rules! ask {
    ($self:ident, $method:ident, $field:ident) => {
        match &$self.0 {
            Source::Host(context) => context.$method(),
            Source::Fixed(fixed, _) => fixed.$field.clone(),
        }
    };
}

impl<'a> Context<'a> {
    pub(crate) fn host(context: &'a wit::Context) -> Self {
        Self(Source::Host(context))
    }

    /// Makes a context by hand, for a native test of a handler.
    pub fn fixed(values: FixedContext) -> Self {
        Self(Source::Fixed(Box::new(values), std::cell::RefCell::default()))
    }

    /// Returns what was emitted so far through a context made by hand; nothing for the host's.
    pub fn emitted(&self) -> Vec<Event> {
        match &self.0 {
            Source::Host(_) => Vec::new(),
            Source::Fixed(_, emitted) => emitted.borrow().clone(),
        }
    }

    /// Returns the delivery's id: the same for every attempt, so a good idempotency key for an outside system.
    pub fn delivery_id(&self) -> String {
        ask!(self, id, delivery_id)
    }

    /// Returns the number of this attempt; 1 for the first.
    pub fn attempt(&self) -> u32 {
        ask!(self, attempt, attempt)
    }

    /// Returns the task that this delivery belongs to, if any.
    pub fn task(&self) -> Option<Task> {
        match &self.0 {
            Source::Fixed(fixed, _) => fixed.task.clone(),
            Source::Host(context) => context.task().map(|task| Task {
                name: task.name,
                triggered_id: task.triggered_id,
                run: task.run,
                cause: match task.cause {
                    wit::Cause::Triggered => Cause::Triggered,
                    wit::Cause::WakeUp => Cause::WakeUp,
                    wit::Cause::JobEnded => Cause::JobEnded,
                    wit::Cause::TaskFinished => Cause::TaskFinished,
                    wit::Cause::Inbound => Cause::Inbound,
                    wit::Cause::Decided => Cause::Decided,
                },
            }),
        }
    }

    /// Returns the wall-clock time until the host stops this call; waits in host calls count.
    pub fn remaining(&self) -> Duration {
        match &self.0 {
            Source::Host(context) => Duration::from_millis(context.remaining_ms()),
            Source::Fixed(fixed, _) => fixed.remaining,
        }
    }

    /// Returns the W3C `traceparent` of the host's span for this call, where the host traces.
    pub fn traceparent(&self) -> Option<String> {
        ask!(self, traceparent, traceparent)
    }

    /// Returns the project of the event in hand.
    pub fn project(&self) -> Option<String> {
        ask!(self, project, project)
    }

    /// Returns the stage of the event in hand.
    pub fn stage(&self) -> Option<String> {
        ask!(self, stage, stage)
    }

    /// Returns the service of the event in hand.
    pub fn service(&self) -> Option<String> {
        ask!(self, service, service)
    }

    /// Returns the commit of the project's files that the run is pinned to.
    pub fn commit(&self) -> Option<String> {
        ask!(self, commit, commit)
    }

    /// Stores one event durably now, before the call returns: for progress.
    ///
    /// At least once: it is not undone if the call then fails, and an attempt that is retried sends it again.
    ///
    /// # Errors
    /// Says which rule the event breaks, or that the host could not store it.
    pub fn emit(&self, event: impl Into<Event>) -> Result<(), EmitError> {
        match &self.0 {
            Source::Host(context) => context.emit(&event.into().into()).map_err(|error| match error {
                wit::EmitError::Denied => EmitError::Denied,
                wit::EmitError::Invalid(rule) => EmitError::Invalid(rule),
                wit::EmitError::QuotaExceeded => EmitError::QuotaExceeded,
                wit::EmitError::Unavailable(reason) => EmitError::Unavailable(reason),
            }),
            Source::Fixed(_, emitted) => {
                emitted.borrow_mut().push(event.into());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_made_by_hand_answers_like_the_host_and_remembers_what_was_emitted() {
        let task = Task {
            name: "test".to_owned(),
            triggered_id: "1".to_owned(),
            run: "r".to_owned(),
            cause: Cause::Triggered,
        };
        let values = FixedContext { attempt: 2, task: Some(task.clone()), ..FixedContext::default() };
        let context = Context::fixed(values);
        assert_eq!((context.attempt(), context.task(), context.project()), (2, Some(task), None));
        context.emit(Event::builder("com.example.progress.v1")).unwrap();
        assert_eq!(context.emitted().len(), 1);
    }
}
