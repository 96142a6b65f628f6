//! The durable log behind one trait with one write, [`Store::commit`].
//!
//! Engines: [`sqlite`] (the default: WAL, `synchronous=FULL`, one writer thread with group commit) and [`memory`] (for
//! tests that "crash" between any two commits). The suite in [`contract`] states what both promise.
//!
//! Never here: wasm, HTTP, routing decisions. The store keeps what it is given and refuses what is out of date.
#![forbid(unsafe_code)]

mod batch;
pub mod contract;
mod error;
mod filter;
pub mod memory;
mod plan;
mod read;
mod removed;
pub mod sqlite;

use async_trait::async_trait;
use pilothouse_core::delivery::DeliveryId;
use pilothouse_core::name::InstallationName;
use pilothouse_core::time::Timestamp;
use tokio::sync::watch;

pub use batch::{
    Attempt, Batch, Committed, EventOutcome, KeyValueWrite, NewDelivery, NewEvent, Precondition, Settled, Settlement,
    StateKey, StateWrite, TimerWrite,
};
pub use error::StoreError;
pub use read::{
    AttemptRecord, DeliveryFilter, DeliveryRow, EventFilter, EventRow, Page, StateRow, StoreStatus, TimerRow, Times,
};
pub use removed::{REMOVED_DEAD_LETTER_KIND, RemovedDeadLetter};

/// Position of an event in the log: 1, 2, 3 … without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What every engine promises.
///
/// * A batch is applied whole or not at all; several batches may share one commit, and one that is refused leaves the
///   others alone.
/// * When [`Store::commit`] returns `Ok`, the batch is on stable storage. Any error but [`StoreError::Unknown`] says
///   that nothing of it was stored.
/// * Reads see whole commits only.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies a batch durably. The same batch id again returns the first answer and changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] says whether the batch is out of date (try again with fresh reads), refused for lack of space,
    /// or failed.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;

    /// Returns the newest position, and wakes on every commit that appended.
    fn head(&self) -> watch::Receiver<Seq>;

    /// Returns one event.
    async fn event(&self, seq: Seq) -> Result<Option<EventRow>, StoreError>;

    /// Returns the event with this identity.
    async fn event_by_identity(&self, source: &str, id: &str) -> Result<Option<EventRow>, StoreError>;

    /// Lists events, newest first, `limit` at most; `cursor` is [`Page::next`] of the page before. Scans a bounded
    /// number of rows per page, so a page may be short (even empty) and still have a `next`.
    async fn events(
        &self,
        filter: &EventFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError>;

    /// Reads the log in order, from `from` on, for tails and consumers of the whole log.
    async fn read_log(&self, from: Seq, limit: usize) -> Result<Vec<EventRow>, StoreError>;

    /// Returns one delivery.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError>;

    /// Returns the attempts of one delivery, oldest first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Lists deliveries, newest first; pages as in [`Store::events`].
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError>;

    /// Returns deliveries in state `ready` to `consumer` that are due at `now`, in log order, after position `after`
    /// of [`DeliveryRow::number`].
    async fn ready_deliveries(
        &self,
        consumer: &InstallationName,
        after: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Returns when the next `ready` delivery to `consumer` that is not yet due comes due.
    async fn next_due(&self, consumer: &InstallationName, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Counts deliveries per consumer and state, for metrics and `doctor`.
    async fn delivery_counts(
        &self,
    ) -> Result<Vec<(InstallationName, pilothouse_core::delivery::DeliveryState, u64)>, StoreError>;

    /// Returns one state row.
    async fn state(&self, key: &StateKey) -> Result<Option<StateRow>, StoreError>;

    /// Lists state rows of one kind in the order of their keys, after `after`.
    async fn states(&self, kind: &str, after: Option<&str>, limit: usize) -> Result<Vec<StateRow>, StoreError>;

    /// Returns a value of an installation's key-value state; `scope` is the project, or empty.
    async fn key_value(&self, owner: &InstallationName, scope: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Lists the keys of an installation's key-value state in one scope, in order, after `after`.
    async fn keys(
        &self,
        owner: &InstallationName,
        scope: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Returns timers due at `now`, earliest first, and when the next one after them is due.
    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<(Vec<TimerRow>, Option<Timestamp>), StoreError>;

    /// Puts every delivery that was `running` when the host stopped back to `ready`, due at `now`; returns them. Called
    /// once at start, before any dispatch.
    async fn recover_running(&self, now: Timestamp) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Removes what retention allows, in small steps; returns how many events went. Never removes an event with an open
    /// delivery or one that a state row holds (see [`StateWrite::holds`]). For each dead letter that goes, a state row of
    /// [`REMOVED_DEAD_LETTER_KIND`] stays.
    async fn retain(&self, policy: &RetentionPolicy, now: Timestamp) -> Result<u64, StoreError>;

    /// Returns sizes, durability and health.
    async fn status(&self) -> StoreStatus;

    /// Writes a consistent copy of the store to `target` while it is in use.
    async fn backup(&self, target: &std::path::Path) -> Result<(), StoreError>;

    /// Stops the writer after what it has taken, and syncs. Later commits fail with [`StoreError::Closed`].
    async fn close(&self);
}

/// How long events are kept. A rule for a type beats the default.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionPolicy {
    /// Age beyond which an event may go.
    pub age: std::time::Duration,
    /// `(prefix of the type, age)`; the longest matching prefix wins.
    pub by_type: Vec<(String, std::time::Duration)>,
    /// Age beyond which a dead letter may go, with its event.
    pub dead_letters: std::time::Duration,
    /// Size of the store, in bytes, beyond which the oldest removable events go whatever their age.
    pub size_bytes_max: u64,
}

/// How long the identity of an event is remembered after it was accepted, even if the event itself went to save space:
/// a producer may repeat an event for a week.
pub const IDENTITY_KEPT: std::time::Duration = std::time::Duration::from_hours(7 * 24);

impl RetentionPolicy {
    /// Returns the age beyond which an event of type `ty` may go.
    pub fn age_of(&self, ty: &str) -> std::time::Duration {
        let rules = self.by_type.iter().filter(|(prefix, _)| ty.starts_with(prefix.as_str()));
        rules.max_by_key(|(prefix, _)| prefix.len()).map_or(self.age, |(_, age)| *age)
    }

    /// Returns the shortest age of any rule: nothing younger goes for its age.
    pub(crate) fn age_min(&self) -> std::time::Duration {
        self.by_type.iter().map(|(_, age)| *age).fold(self.age, std::time::Duration::min)
    }
}

/// The reason that [`Store::recover_running`] writes.
pub(crate) const INTERRUPTED_REASON: &str = "the host stopped during the attempt";
