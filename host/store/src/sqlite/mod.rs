//! The default engine: one SQLite file, in WAL mode with `synchronous=FULL`.
//!
//! One thread writes (`writer`): it takes the batches that wait, applies them in one transaction and answers all
//! after one sync. A few read-only connections serve reads from snapshots. A sync that fails ends writing until the
//! host is restarted; a full disk does not.
//!
//! Never here: the clock (instants come with batches and calls), and SQL outside of this folder.

mod apply;
mod backup;
mod listing;
mod open;
mod reader;
mod retain;
mod schema;
mod space;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use async_trait::async_trait;
use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::name::InstallationName;
use pilothouse_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::{
    AttemptRecord, Batch, Committed, DeliveryFilter, DeliveryRow, EventFilter, EventRow, Page, RetentionPolicy, Seq,
    StateKey, StateRow, Store, StoreError, StoreStatus, TimerRow,
};
use apply::Prepared;
use reader::{Fault, Readers};
use schema::to_u64;
use space::{Space, used_bytes};
use writer::{Job, Reply, SharedHealth};

/// Where the store is and how much it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteConfig {
    /// The database file. `-wal`, `-shm` and `.lock` are put beside it; its folder must exist.
    pub path: PathBuf,
    /// Connections that read at the same time. Default 4: reads are short, and more would contend for two cores.
    pub readers: usize,
    /// Free space, in bytes, below which new events are refused while deliveries can still be settled. Default
    /// 256 MiB: room for the write-ahead log at its longest. Free pages inside the file count as free space.
    pub reserve_bytes: u64,
    /// Size of the store, in bytes, beyond which new events are refused. Default: no limit but the disk's.
    pub size_bytes_max: u64,
    /// Commits that may wait. Default 4,096: at the slowest disk that is reasonable, a second of waiting.
    pub queue_max: usize,
    /// Pages in the write-ahead log that are worth moving into the database. Default 2,000 (8 MiB): commits wait while
    /// they are moved, so few at a time keep the worst latency low, and many keep the mean rate high.
    pub checkpoint_pages: u32,
    /// Name of a virtual file system registered with SQLite; `None` for the operating system's. For tests.
    pub vfs: Option<String>,
    /// Leaves out every sync, so that a power cut loses what was acknowledged. Only for tests of the tests.
    #[doc(hidden)]
    pub without_sync: bool,
}

impl SqliteConfig {
    /// Makes a configuration with the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            reserve_bytes: 256 * 1024 * 1024,
            size_bytes_max: u64::MAX,
            queue_max: 4_096,
            checkpoint_pages: 2_000,
            vfs: None,
            without_sync: false,
        }
    }
}

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    jobs: Option<SyncSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    queue_max: usize,
    readers: Arc<Readers>,
    head: watch::Sender<Seq>,
    health: SharedHealth,
    space: Space,
    was_clean: bool,
}

impl SqliteStore {
    /// Opens the store, or makes it if the file is not there; brings an older file to the newest version. After an
    /// unclean stop the whole file is checked, which takes time in proportion to its size.
    ///
    /// # Errors
    /// [`StoreError::Open`] names the file and what is wrong: locked by another process, not a database, not a store of
    /// Pilothouse, damaged, truncated, gone, made by a newer program, not writable.
    pub fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        open::open(config)
    }

    /// Puts a copy made by [`Store::backup`] in place of a store that is gone.
    ///
    /// # Errors
    /// [`StoreError::Open`] if `target` exists, or the copy is damaged or none of ours; nothing is left at `target`.
    pub fn restore(backup: &Path, target: &Path) -> Result<(), StoreError> {
        backup::restore(backup, target)
    }

    fn jobs(&self) -> Result<&SyncSender<Job>, StoreError> {
        self.jobs.as_ref().ok_or(StoreError::Closed)
    }

    /// Runs a read in a snapshot of its own, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.clone().read(work).await
    }

    /// Asks the writer for something that may wait for a place in the queue.
    async fn ask<T: Send + 'static>(&self, job: impl FnOnce(Reply<T>) -> Job + Send) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let (jobs, job) = (self.jobs()?.clone(), job(reply));
        let sent = tokio::task::spawn_blocking(move || jobs.send(job).is_ok()).await;
        if !sent.unwrap_or(false) {
            return Err(StoreError::Closed);
        }
        answer.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    fn unanswered(&self) -> StoreError {
        if self.health.lock().closed {
            return StoreError::Closed;
        }
        StoreError::Unknown("the writer has stopped without an answer".to_owned())
    }
}

impl Drop for SqliteStore {
    /// Lets the writer finish what it has. Without [`Store::close`] the next open takes this for an unclean stop.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has been reported already, and there is nothing left to save.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        // A batch that is too large is refused before it takes up memory and the writer's time.
        if batch.events.len() > Batch::EVENTS_MAX {
            let len = batch.events.len();
            return Err(StoreError::TooLarge(format!("{len} events, at most {} are allowed", Batch::EVENTS_MAX)));
        }
        let job = Job::Commit(Box::new(Prepared::new(batch)), reply);
        match self.jobs()?.try_send(job) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.unanswered())),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy(self.queue_max)),
            Err(TrySendError::Disconnected(_)) => Err(match self.unanswered() {
                StoreError::Closed => StoreError::Closed,
                _ => StoreError::ReadOnly("the writer has stopped; restart the host".to_owned()),
            }),
        }
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    async fn event(&self, seq: Seq) -> Result<Option<EventRow>, StoreError> {
        self.read(move |conn| listing::event(conn, seq)).await
    }

    async fn event_by_identity(&self, source: &str, id: &str) -> Result<Option<EventRow>, StoreError> {
        let (source, id) = (source.to_owned(), id.to_owned());
        self.read(move |conn| listing::event_by_identity(conn, &source, &id)).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |conn| listing::events(conn, &filter, cursor, limit)).await
    }

    async fn read_log(&self, from: Seq, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        self.read(move |conn| listing::read_log(conn, from, limit)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.read(move |conn| reader::delivery(conn, id)).await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.read(move |conn| reader::attempts(conn, id)).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let filter = filter.clone();
        self.read(move |conn| listing::deliveries(conn, &filter, cursor, limit)).await
    }

    async fn ready_deliveries(
        &self,
        consumer: &InstallationName,
        after: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let consumer = consumer.clone();
        self.read(move |conn| reader::ready_deliveries(conn, &consumer, after, now, limit)).await
    }

    async fn next_due(&self, consumer: &InstallationName, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let consumer = consumer.clone();
        self.read(move |conn| reader::next_due(conn, &consumer, now)).await
    }

    async fn delivery_counts(&self) -> Result<Vec<(InstallationName, DeliveryState, u64)>, StoreError> {
        self.read(reader::delivery_counts).await
    }

    async fn state(&self, key: &StateKey) -> Result<Option<StateRow>, StoreError> {
        let key = key.clone();
        self.read(move |conn| reader::state(conn, &key)).await
    }

    async fn states(&self, kind: &str, after: Option<&str>, limit: usize) -> Result<Vec<StateRow>, StoreError> {
        let (kind, after) = (kind.to_owned(), after.map(str::to_owned));
        self.read(move |conn| reader::states(conn, &kind, after.as_deref(), limit)).await
    }

    async fn key_value(&self, owner: &InstallationName, scope: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (owner, scope, key) = (owner.clone(), scope.to_owned(), key.to_owned());
        self.read(move |conn| reader::key_value(conn, &owner, &scope, &key)).await
    }

    async fn keys(
        &self,
        owner: &InstallationName,
        scope: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let (owner, scope, after) = (owner.clone(), scope.to_owned(), after.map(str::to_owned));
        self.read(move |conn| reader::keys(conn, &owner, &scope, after.as_deref(), limit)).await
    }

    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<(Vec<TimerRow>, Option<Timestamp>), StoreError> {
        self.read(move |conn| reader::due_timers(conn, now, limit)).await
    }

    async fn recover_running(&self, now: Timestamp) -> Result<Vec<DeliveryRow>, StoreError> {
        self.ask(|reply| Job::Recover(now, reply)).await
    }

    async fn retain(&self, policy: &RetentionPolicy, now: Timestamp) -> Result<u64, StoreError> {
        retain::retain(self, policy, now).await
    }

    async fn status(&self) -> StoreStatus {
        let head = self.head.borrow().0;
        let space = self.space.clone();
        let sizes = self.read(move |conn| {
            let tail: Option<i64> = conn.query_row("SELECT min(seq) FROM events", [], |row| row.get(0))?;
            Ok((tail.map(to_u64), used_bytes(conn)?, space.free_bytes(conn)))
        });
        let sizes = sizes.await;
        let health = self.health.lock().clone();
        let unreadable = sizes.as_ref().err().map(ToString::to_string);
        let (tail, size_bytes, free_bytes) = sizes.unwrap_or_default();
        let closed = health.closed.then(|| "closed".to_owned());
        StoreStatus {
            engine: "sqlite",
            head,
            tail: tail.unwrap_or(head + 1),
            size_bytes,
            free_bytes,
            refusing: closed.or(health.read_only).or(health.full).or(unreadable),
            was_clean: self.was_clean,
            commits: health.commits,
            batches: health.batches,
            append: health.append.times(),
            sync: health.sync.times(),
        }
    }

    async fn backup(&self, target: &Path) -> Result<(), StoreError> {
        let (readers, path, target) = (self.readers.clone(), self.path.clone(), target.to_owned());
        let copied = tokio::task::spawn_blocking(move || backup::backup(&readers.connect()?, &path, &target)).await;
        copied.unwrap_or_else(|error| Err(StoreError::Read(error.to_string())))
    }

    async fn close(&self) {
        self.readers.close().await;
        if let Err(error) = self.ask(Job::Close).await
            && error != StoreError::Closed
        {
            tracing::error!(%error, "StoreCloseError");
        }
    }
}

#[cfg(test)]
mod tests;
