//! Read-only connections, and the reads that look up by a key.
//!
//! Never here: listings with filters (see [`super::listing`]).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::name::InstallationName;
use pilothouse_core::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use tokio::sync::Semaphore;

use super::schema::{DELIVERY_COLUMNS, attempt_keys, delivery_row, read_error, to_i64, to_u64, word};
use crate::{AttemptRecord, DeliveryRow, StateKey, StateRow, StoreError, TimerRow};

/// Most rows that one read returns, whatever its caller asks for: an answer has to fit into memory.
pub(super) const ROWS_MAX: usize = 4_096;
/// Due deliveries that are sorted rather than looked for in log order; a consumer with more has them close together.
const DUE_SORTED_MAX: usize = 4_096;
/// Page cache of a reader, in KiB.
const CACHE_KIB: i64 = 8 * 1_024;

/// Why a read failed: in SQLite, or on what it found.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => read_error(error),
            Fault::Store(error) => error,
        }
    }
}

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    vfs: Option<String>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    pub(super) fn new(path: PathBuf, vfs: Option<String>, count: usize) -> Self {
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let permits = Arc::new(Semaphore::new(count as usize));
        Self { path, vfs, idle: Mutex::default(), permits, count }
    }

    /// Opens one more connection.
    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match &self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
            None => Connection::open_with_flags(&self.path, flags),
        };
        let conn = opened.map_err(read_error)?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.pragma_update(None, "cache_size", -CACHE_KIB).map_err(read_error)?;
        Ok(conn)
    }

    pub(super) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = idle.map_or_else(|| self.connect(), Ok)?;
            let result = snapshot(&conn, work);
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Read(error.to_string())))
    }

    /// Waits for the reads under way, and closes every connection.
    pub(super) async fn close(&self) {
        if let Ok(_all) = self.permits.acquire_many(self.count).await {
            self.permits.close();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

fn snapshot<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
    let transaction = conn.unchecked_transaction().map_err(read_error)?;
    // Dropping the transaction ends the snapshot.
    Ok(work(&transaction)?)
}

fn rows<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Fault> {
    let mut select = conn.prepare_cached(sql)?;
    Ok(select.query_map(params, read)?.collect::<Result<_, _>>()?)
}

fn row<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    Ok(conn.prepare_cached(sql)?.query_row(params, read).optional()?)
}

pub(super) fn limit_of(limit: usize) -> i64 {
    to_i64(limit.min(ROWS_MAX) as u64)
}

pub(super) fn delivery(conn: &Connection, id: DeliveryId) -> Result<Option<DeliveryRow>, Fault> {
    let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE id = ?");
    row(conn, &sql, [id.0.as_bytes()], delivery_row)
}

pub(super) fn attempts(conn: &Connection, id: DeliveryId) -> Result<Vec<AttemptRecord>, Fault> {
    let found = row(conn, "SELECT number FROM deliveries WHERE id = ?", [id.0.as_bytes()], |row| row.get(0))?;
    let Some(number) = found else { return Ok(Vec::new()) };
    let (first, last) = attempt_keys(to_u64(number));
    let sql = "SELECT attempt, started, ended, outcome, reason, log, cpu_us, wall_us, memory_bytes_max FROM attempts \
               WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?";
    rows(conn, sql, [first, last, limit_of(ROWS_MAX)], |row| {
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            started: Timestamp::from_millis(row.get(1)?),
            ended: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
            outcome: row.get(3)?,
            reason: row.get(4)?,
            log: row.get(5)?,
            cpu_us: to_u64(row.get(6)?),
            wall_us: to_u64(row.get(7)?),
            memory_bytes_max: to_u64(row.get(8)?),
        })
    })
}

/// Finds due deliveries in log order. Few due among many that wait are found by their time and sorted; many due are
/// found in log order, where the first ones come soon.
pub(super) fn ready_deliveries(
    conn: &Connection,
    consumer: &InstallationName,
    after: u64,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DeliveryRow>, Fault> {
    let (name, now, after) = (consumer.as_str(), now.as_millis(), to_i64(after));
    let sql = "SELECT number FROM deliveries INDEXED BY deliveries_due \
               WHERE state = 'ready' AND consumer = ? AND due <= ? LIMIT ?";
    let mut due: Vec<i64> = rows(conn, sql, params![name, now, DUE_SORTED_MAX as i64 + 1], |row| row.get(0))?;
    if due.len() > DUE_SORTED_MAX {
        let sql = "SELECT number FROM deliveries INDEXED BY deliveries_ready \
                   WHERE state = 'ready' AND consumer = ? AND number > ? AND due <= ? ORDER BY number LIMIT ?";
        due = rows(conn, sql, params![name, after, now, limit_of(limit)], |row| row.get(0))?;
    } else {
        due.retain(|number| *number > after);
        due.sort_unstable();
        due.truncate(limit.min(ROWS_MAX));
    }
    let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE number = ?");
    let mut select = conn.prepare_cached(&sql)?;
    Ok(due.into_iter().map(|number| select.query_row([number], delivery_row)).collect::<Result<_, _>>()?)
}

pub(super) fn next_due(
    conn: &Connection,
    consumer: &InstallationName,
    now: Timestamp,
) -> Result<Option<Timestamp>, Fault> {
    let sql = "SELECT due FROM deliveries INDEXED BY deliveries_due \
               WHERE state = 'ready' AND consumer = ? AND due > ? ORDER BY due LIMIT 1";
    let due = row(conn, sql, params![consumer.as_str(), now.as_millis()], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_millis))
}

pub(super) fn delivery_counts(conn: &Connection) -> Result<Vec<(InstallationName, DeliveryState, u64)>, Fault> {
    let sql = "SELECT consumer, state, count FROM delivery_counts WHERE count > 0 ORDER BY consumer, state";
    rows(conn, sql, [], |row| {
        let consumer = word(row, 0, |text| InstallationName::new(text).ok())?;
        Ok((consumer, word(row, 1, DeliveryState::from_word)?, to_u64(row.get(2)?)))
    })
}

fn state_row(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    Ok(StateRow {
        key: row.get(0)?,
        revision: to_u64(row.get(1)?),
        value: row.get(2)?,
        updated: Timestamp::from_millis(row.get(3)?),
    })
}

pub(super) fn state(conn: &Connection, key: &StateKey) -> Result<Option<StateRow>, Fault> {
    let sql = "SELECT key, revision, value, updated FROM states WHERE kind = ? AND key = ?";
    row(conn, sql, [key.kind, &key.key], state_row)
}

pub(super) fn states(conn: &Connection, kind: &str, after: Option<&str>, limit: usize) -> Result<Vec<StateRow>, Fault> {
    // A key may be empty, so an absent `after` is not the empty text.
    let sql = match after {
        Some(_) => {
            "SELECT key, revision, value, updated FROM states WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3"
        }
        None => "SELECT key, revision, value, updated FROM states WHERE kind = ?1 AND ?2 IS NULL ORDER BY key LIMIT ?3",
    };
    rows(conn, sql, params![kind, after, limit_of(limit)], state_row)
}

pub(super) fn key_value(
    conn: &Connection,
    owner: &InstallationName,
    scope: &str,
    key: &str,
) -> Result<Option<Vec<u8>>, Fault> {
    let sql = "SELECT value FROM key_values WHERE owner = ? AND scope = ? AND key = ?";
    row(conn, sql, [owner.as_str(), scope, key], |row| row.get(0))
}

pub(super) fn keys(
    conn: &Connection,
    owner: &InstallationName,
    scope: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, Fault> {
    let sql = match after {
        Some(_) => "SELECT key FROM key_values WHERE owner = ?1 AND scope = ?2 AND key > ?3 ORDER BY key LIMIT ?4",
        None => "SELECT key FROM key_values WHERE owner = ?1 AND scope = ?2 AND ?3 IS NULL ORDER BY key LIMIT ?4",
    };
    rows(conn, sql, params![owner.as_str(), scope, after, limit_of(limit)], |row| row.get(0))
}

pub(super) fn due_timers(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<(Vec<TimerRow>, Option<Timestamp>), Fault> {
    let limit = limit.min(ROWS_MAX);
    let sql = "SELECT name, due, payload FROM timers INDEXED BY timers_due ORDER BY due, name LIMIT ?";
    let mut select = conn.prepare_cached(sql)?;
    let mut timers = select.query([to_i64(limit as u64 + 1)])?;
    let mut due = Vec::new();
    while let Some(row) = timers.next()? {
        let at = Timestamp::from_millis(row.get(1)?);
        if at > now || due.len() == limit {
            return Ok((due, Some(at)));
        }
        due.push(TimerRow { name: row.get(0)?, due: at, payload: row.get(2)? });
    }
    Ok((due, None))
}
