//! What reads return.

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId, DeliveryState, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;

use crate::Seq;

/// A stored event with its index columns.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its position.
    pub seq: Seq,
    /// The event, exactly as accepted.
    pub event: Event,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Its project, stage and service.
    pub place: Place,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The triggered event that it answers.
    pub triggered_id: Option<String>,
    /// Who caused it.
    pub actor: Actor,
    /// The delivery that returned or emitted it.
    pub caused_by: Option<DeliveryId>,
    /// Its distance from the outside event.
    pub depth: u32,
}

/// Which events to list; every field given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Exact type, or a prefix when it ends in `*`.
    pub ty: Option<String>,
    /// Exact source.
    pub source: Option<String>,
    /// Exact id.
    pub id: Option<String>,
    /// Exact subject.
    pub subject: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// The triggered event answered.
    pub triggered_id: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The delivery that returned or emitted it.
    pub caused_by: Option<DeliveryId>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

/// A delivery as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number in the order in which deliveries were made.
    pub number: u64,
    /// Its id.
    pub id: DeliveryId,
    /// The event.
    pub event: Seq,
    /// Who gets it.
    pub consumer: InstallationName,
    /// Why.
    pub cause: Cause,
    /// The task it belongs to.
    pub task: Option<String>,
    /// Key of ordered delivery.
    pub order_key: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far, the one under way included.
    pub attempts: u32,
    /// When it is due, while `ready`.
    pub due: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// What failed last.
    pub failure: Option<FailureKind>,
    /// The reason of the last failure, or of the end.
    pub reason: Option<String>,
}

/// Which deliveries to list; every field given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of this event.
    pub event: Option<Seq>,
    /// To this consumer.
    pub consumer: Option<InstallationName>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of this task.
    pub task: Option<String>,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1 for the first since the delivery was made or redriven.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs, or if the host stopped meanwhile.
    pub ended: Option<Timestamp>,
    /// `done`, `cancelled`, or the kind of failure; `None` as above.
    pub outcome: Option<String>,
    /// The reason of a failure.
    pub reason: Option<String>,
    /// The plugin's log lines, as JSON lines.
    pub log: Vec<u8>,
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Wall-clock time, in microseconds.
    pub wall_us: u64,
    /// Peak of linear memory, in bytes.
    pub memory_bytes_max: u64,
}

/// A state row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// Which one, within its kind.
    pub key: String,
    /// Its revision, from 1.
    pub revision: u64,
    /// The value.
    pub value: Vec<u8>,
    /// When it was last written.
    pub updated: Timestamp,
}

/// A timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRow {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due: Timestamp,
    /// What its owner wanted to know.
    pub payload: Vec<u8>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it as `cursor` for the next page; `None` on the last.
    pub next: Option<u64>,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreStatus {
    /// The engine: `sqlite` or `memory`.
    pub engine: &'static str,
    /// Newest position.
    pub head: u64,
    /// Oldest position still kept.
    pub tail: u64,
    /// Bytes in use on disk: without pages that retention freed, and without the write-ahead log.
    pub size_bytes: u64,
    /// Bytes that can still be written: free space of the disk, and pages that retention freed.
    pub free_bytes: u64,
    /// Why new events are refused, if they are: full, read-only, closed.
    pub refusing: Option<String>,
    /// Whether the store was closed cleanly before it was opened.
    pub was_clean: bool,
    /// Commits to disk so far.
    pub commits: u64,
    /// Batches in them.
    pub batches: u64,
    /// What each commit took to write its rows, which is not yet durable.
    pub append: Times,
    /// What each commit took to reach the disk: the rest of its write-ahead log, and the sync.
    pub sync: Times,
}

/// How long something took, over all of its times.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Times {
    /// All of them together, in seconds.
    pub seconds: f64,
    /// Upper bounds, in seconds, and counts of a histogram. Each time is counted in one bucket, the first that it fits;
    /// the last bound is [`f64::MAX`].
    pub buckets: Vec<(f64, u64)>,
}
