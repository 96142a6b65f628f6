//! The one thread that writes: takes what waits, commits it as one group with one sync, and answers all.
//!
//! Never here: waiting for a timer to fill a group, and trying again after a failed sync.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilothouse_core::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use super::apply::{Halt, Numbers, Prepared, Tx};
use super::retain::{Removal, remove};
use super::space::Space;
use crate::{Committed, DeliveryRow, Seq, StoreError, Times};

/// Most events in one group: bounds how long the first of them waits for the last.
const GROUP_EVENTS_MAX: usize = 4_096;
/// Most bytes of events in one group, for the same reason.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames beyond which the writer waits for readers to let the write-ahead log start over: 256 MiB.
const RESTART_FRAMES: i64 = 64_000;
/// Upper bounds of the histograms of the parts of a commit, in seconds; the last one stands for everything slower.
const BOUNDS: [f64; 13] = [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, f64::MAX];

/// Answers one caller.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Commit(Box<Prepared>, Reply<Committed>),
    Recover(Timestamp, Reply<Vec<DeliveryRow>>),
    Remove(Removal, Reply<u64>),
    Close(Reply<()>),
}

/// What the writer tells about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub(super) read_only: Option<String>,
    pub(super) full: Option<String>,
    pub(super) closed: bool,
    pub(super) commits: u64,
    pub(super) batches: u64,
    pub(super) append: Measured,
    pub(super) sync: Measured,
}

/// How long one part of the commits took.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    seconds: f64,
    counts: [u64; BOUNDS.len()],
}

impl Measured {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.seconds += seconds;
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    pub(super) fn times(&self) -> Times {
        Times { seconds: self.seconds, buckets: BOUNDS.into_iter().zip(self.counts).collect() }
    }
}

/// The health, shared with the store.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedHealth(Arc<Mutex<Health>>);

impl SharedHealth {
    pub(super) fn lock(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side of the store.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) numbers: Numbers,
    pub(super) space: Space,
    pub(super) head: watch::Sender<Seq>,
    pub(super) health: SharedHealth,
    /// The file that must still be there, and its inode; `None` under another file system of SQLite's.
    pub(super) file: Option<(PathBuf, u64)>,
    pub(super) checkpoint_pages: i64,
    /// Held until the connection is closed; fields are dropped in this order.
    pub(super) _lock: std::fs::File,
}

type Waiting = (Box<Prepared>, Reply<Committed>);

impl Writer {
    /// Works until told to close, or until the store is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let closing = self.work(jobs);
        let closed = if closing.is_some() { self.close() } else { Ok(()) };
        // The lock is gone when the caller of `close` hears of it.
        let health = self.health.clone();
        drop(self);
        if let Some(reply) = closing {
            health.lock().closed = true;
            let _ = reply.send(closed);
        }
    }

    /// Works until told to close, and returns whom to answer.
    fn work(&mut self, jobs: &Receiver<Job>) -> Option<Reply<()>> {
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(prepared, reply) => next = self.gather((prepared, reply), jobs),
                    Job::Recover(now, reply) => drop(reply.send(self.alone(now, |tx| tx.recover_running(now)))),
                    Job::Remove(it, reply) => drop(reply.send(self.alone(it.now, |tx| remove(tx, &it)))),
                    Job::Close(reply) => return Some(reply),
                }
            }
        }
        None
    }

    /// Takes what waits, commits it, and returns the job that ended the group.
    fn gather(&mut self, first: Waiting, jobs: &Receiver<Job>) -> Option<Job> {
        let (mut events, mut bytes) = (first.0.encoded.len(), first.0.bytes);
        let mut group = vec![first];
        let mut other = None;
        while events < GROUP_EVENTS_MAX && bytes < GROUP_BYTES_MAX {
            match jobs.try_recv() {
                Ok(Job::Commit(prepared, reply)) => {
                    events += prepared.encoded.len();
                    bytes += prepared.bytes;
                    group.push((prepared, reply));
                }
                Ok(job) => {
                    other = Some(job);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.commit_group(group);
        other
    }

    fn commit_group(&mut self, group: Vec<Waiting>) {
        let refusal = self.space.refusal(&self.conn);
        self.health.lock().full = refusal.as_ref().map(ToString::to_string);
        let now = group.last().map_or(Timestamp::from_millis(0), |(prepared, _)| prepared.batch.now);
        let batches = group.len() as u64;
        let result = self.transaction(now, batches, |tx| {
            let run = |(prepared, _): &Waiting| match tx.run(prepared, refusal.as_ref()) {
                Ok(committed) => Ok(Ok(committed)),
                Err(Halt::Refused(error)) => Ok(Err(error)),
                Err(Halt::Failed(error)) => Err(error),
            };
            group.iter().map(run).collect::<rusqlite::Result<Vec<_>>>()
        });
        match result {
            // An answer may fail to arrive: its caller has gone, and the batch is stored all the same.
            Ok(answers) => group.into_iter().zip(answers).for_each(|((_, reply), answer)| drop(reply.send(answer))),
            // Something about one batch, not about the disk: the others must not suffer for it.
            Err(StoreError::Read(_)) if group.len() > 1 => {
                group.into_iter().for_each(|one| self.commit_group(vec![one]))
            }
            Err(error) => group.into_iter().for_each(|(_, reply)| drop(reply.send(Err(error.clone())))),
        }
    }

    /// Runs one piece of upkeep as a transaction of its own.
    fn alone<T>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transaction(now, 0, work)
    }

    fn transaction<T>(
        &mut self,
        now: Timestamp,
        batches: u64,
        work: impl FnOnce(&mut Tx<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(cause) = self.health.lock().read_only.clone() {
            return Err(StoreError::ReadOnly(cause));
        }
        self.check_file()?;
        let begun = Instant::now();
        let in_transaction = || -> rusqlite::Result<(T, Numbers)> {
            self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let mut tx = Tx::new(&self.conn, self.numbers);
            let done = work(&mut tx)?;
            Ok((done, tx.finish(now)?))
        };
        let (done, numbers) = in_transaction().map_err(|error| self.failed(&error, false))?;
        let appended = begun.elapsed();
        let commit = || self.conn.prepare_cached("COMMIT")?.execute([]);
        commit().map_err(|error| self.failed(&error, true))?;
        self.numbers = numbers;
        self.record(appended, begun.elapsed().saturating_sub(appended), batches);
        let head = Seq(numbers.head);
        self.head.send_if_modified(|it| std::mem::replace(it, head) != head);
        self.checkpoint();
        Ok(done)
    }

    /// Notices that the file was removed or replaced: what is written from now on would be lost with the old one.
    fn check_file(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::MetadataExt;
        let Some((path, inode)) = &self.file else { return Ok(()) };
        match std::fs::metadata(path) {
            Ok(found) if found.ino() == *inode => Ok(()),
            Ok(_) => Err(self.stop_writing(format!("{} was replaced while in use", path.display()))),
            Err(error) => Err(self.stop_writing(format!("{} is gone: {error}", path.display()))),
        }
    }

    /// Decides what a failure means, after undoing the transaction.
    fn failed(&self, error: &rusqlite::Error, at_commit: bool) -> StoreError {
        if !self.conn.is_autocommit() {
            // SQLite undoes it by itself after the errors that make this fail.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                let cause = format!("no space is left on the disk: {error}");
                self.health.lock().full = Some(cause.clone());
                StoreError::Full(cause)
            }
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => match (self.stop_writing(error.to_string()), at_commit) {
                // The log may have reached the disk although its sync failed.
                (_, true) => StoreError::Unknown(error.to_string()),
                (stopped, false) => stopped,
            },
            _ if at_commit => StoreError::Unknown(error.to_string()),
            _ => StoreError::Read(format!("the batch could not be applied: {error}")),
        }
    }

    /// Ends writing until the host is restarted: after a failed sync nobody knows what the disk holds, and a second
    /// sync would say that all is well.
    fn stop_writing(&self, cause: String) -> StoreError {
        tracing::error!(cause, "StoreReadOnly");
        let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.health.lock().read_only.get_or_insert(cause.clone());
        StoreError::ReadOnly(cause)
    }

    fn record(&self, append: Duration, sync: Duration, batches: u64) {
        let mut health = self.health.lock();
        health.commits += 1;
        health.batches += batches;
        health.append.add(append);
        health.sync.add(sync);
    }

    /// Moves the write-ahead log into the database when it is long. Nothing else does: SQLite's own checkpoints would
    /// hide a failed sync.
    fn checkpoint(&self) {
        let done = self.frames("NOOP").and_then(|(log, moved)| {
            if log >= RESTART_FRAMES {
                self.frames("RESTART").map(drop)
            } else if log - moved >= self.checkpoint_pages {
                self.frames("PASSIVE").map(drop)
            } else {
                Ok(())
            }
        });
        match done {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                self.stop_writing(error.to_string());
            }
            Err(error) => tracing::warn!(%error, "StoreCheckpointError"),
            Ok(()) => {}
        }
    }

    /// Runs a checkpoint and returns the frames in the log, and those that were moved.
    fn frames(&self, mode: &str) -> rusqlite::Result<(i64, i64)> {
        let mut pragma = self.conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
        pragma.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let closed = self.alone(Timestamp::from_millis(0), |tx| tx.mark_clean(true));
        // A store that stopped writing is left as it is, for the next start to recover.
        if closed.is_ok()
            && let Err(error) = self.frames("TRUNCATE")
        {
            tracing::warn!(%error, "StoreCheckpointError");
        }
        closed
    }
}
