//! Sequences: which task is triggered when, and what follows from its end.
//!
//! An [`Execution`] is one run through a sequence of a shipyard, kept as one row; a [`Queue`] is what executions of one
//! project, stage and service know of each other. [`decide()`] is the only way to change them:
//! `(rows, input) → (rows, actions)`, without I/O, a clock or chance. What it must see and was not given it asks for
//! ([`Need`]); nothing has changed then.
//!
//! Rules: Keptn spec 0.2.x; where spec, documents and code of Keptn V1 disagree, and what is new, stands at the rule.

mod decide;
mod describe;
pub mod event;
mod execution;
pub mod payload;
mod queue;
#[cfg(test)]
mod tests;
mod work;

pub use decide::{Answered, Command, Decision, Input, Need, Resolved, Rows, TriggerEvent, decide};
pub use describe::{State, describe};
pub use execution::{
    End, Execution, Key, PAUSE_MAX, Pause, TaskOutcome, TaskRecord, TaskRun, TaskRunState, execution_id, task_event_id,
};
pub use queue::{Entry, EntryState, QUEUE_MAX, Queue};
pub use work::find_sequence;

use crate::event::Event;
use crate::time::Timestamp;

pub use crate::name::SEQUENCER;

/// What the engine does after a decision, in the same commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send an event in the host's name.
    Send(Box<Sending>),
    /// Trigger a task in the name of an execution.
    TriggerTask(Box<TaskTrigger>),
    /// End a task that is still open: nobody waits for it any more.
    CancelTask {
        /// The id of its `.triggered` event.
        task: String,
        /// Why, for people.
        reason: String,
    },
    /// Decide about the execution again at this time.
    WakeAt(uuid::Uuid, Timestamp),
    /// Never mind the time set before.
    ClearWake(uuid::Uuid),
}

/// An event that the sequencer sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// The event.
    pub event: Event,
    /// Its depth: how many sequences fired each other on the way to it.
    pub depth: u32,
}

/// A task that the sequencer triggers.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskTrigger {
    /// The `.triggered` event.
    pub event: Event,
    /// Its depth.
    pub depth: u32,
    /// The execution that waits for the end.
    pub execution: uuid::Uuid,
    /// Longest time until each executor has begun.
    pub start_timeout: std::time::Duration,
    /// Longest time to the end; what the executors' manifests say when `None`.
    pub finish_timeout: Option<std::time::Duration>,
}
