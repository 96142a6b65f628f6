//! The host's own events: `dev.pilothouse.<noun>.<past-verb>.v1`. Each has a JSON Schema and an example in
//! `docs/events/`; they reach only their addressee and the observers that name them.

/// Prefix of every type that only the host sends.
pub const HOST_TYPE_PREFIX: &str = "dev.pilothouse.";
/// The source of events that the host makes in its own name.
pub const HOST_SOURCE: &str = "/pilothouse";
/// A delivery was given up.
pub const DELIVERY_DEAD: &str = "dev.pilothouse.delivery.dead-lettered.v1";
/// Retention removed a delivery that was given up, with its event.
pub const DELIVERY_REMOVED: &str = "dev.pilothouse.delivery.removed.v1";
/// A job ended; delivered to the plugin that started it.
pub const JOB_FINISHED: &str = "dev.pilothouse.job.finished.v1";
/// An answer to a task was refused, because it came from somebody who was not asked or came too late.
pub const ANSWER_REFUSED: &str = "dev.pilothouse.answer.refused.v1";
/// A project has a new commit, however it came.
pub const PROJECT_COMMITTED: &str = "dev.pilothouse.project.committed.v1";
/// A project and its upstream changed the same files, so that a person must decide.
pub const PROJECT_CONFLICTED: &str = "dev.pilothouse.project.conflicted.v1";
/// A project was deleted.
pub const PROJECT_DELETED: &str = "dev.pilothouse.project.deleted.v1";
/// A person ordered a sequence to pause, resume, end, or run once more; delivered to the sequencer.
pub const SEQUENCE_ORDERED: &str = "dev.pilothouse.sequence.ordered.v1";
/// A task that was at work is not waited for any more.
pub const TASK_CANCELLED: &str = "dev.pilothouse.task.cancelled.v1";
/// A person approved or declined; delivered to the plugin that executes the approval.
pub const APPROVAL_DECIDED: &str = "dev.pilothouse.approval.decided.v1";
/// The extension attribute that counts how far an event is from the one that came in from outside.
pub const DEPTH_EXTENSION: &str = "pilothousedepth";
pub use pilothouse_files::shipyard::DEPTH_MAX;

/// Tells whether only the host may send events of this type.
pub fn is_host_type(ty: &str) -> bool {
    ty.starts_with(HOST_TYPE_PREFIX)
}

/// Returns the source of what the plugin installed as `installation` sends.
pub fn plugin_source(installation: &crate::name::InstallationName) -> String {
    format!("/plugins/{installation}")
}
