//! Opening: every way in which it can fail has a name, and an unclean stop is followed by a check.
//!
//! Never here: repairing. What is damaged is refused, and the operator restores a backup.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::watch;

use super::apply::Numbers;
use super::reader::Readers;
use super::schema::{APPLICATION_ID, MIGRATIONS, migrate};
use super::space::Space;
use super::writer::{SharedHealth, Writer};
use super::{SqliteConfig, SqliteStore};
use crate::{Seq, StoreError};

/// Page cache of the writer, in KiB: the inner pages of every index of a large log.
const CACHE_KIB: i64 = 64 * 1_024;
/// Size to which the write-ahead log is cut when it starts over, in bytes.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Prepared statements that are kept: more than the writer has.
const STATEMENTS_KEPT: usize = 64;
/// How long the writer waits for readers when it asks them to let the write-ahead log start over, in milliseconds.
const BUSY_MS: u64 = 200;
/// What the lock file says once the store was made: a database that is missing then was lost.
const MADE: &[u8] = b"pilothouse store\n";

pub(super) fn open(config: SqliteConfig) -> Result<SqliteStore, StoreError> {
    let path = config.path.as_path();
    let mut lock = lock(path)?;
    if config.vfs.is_none() {
        check_file(path, made(&mut lock))?;
    }
    let mut conn = connect(&config)?;
    let was_clean = prepare(&mut conn, &config).map_err(|error| told(path, error))?;
    if config.vfs.is_none() {
        mark_made(&mut lock).map_err(|error| failed(path, format!("its lock file cannot be written: {error}")))?;
    }
    let numbers = Numbers::load(&conn).map_err(|error| explain(path, &error))?;
    let folder = folder_of(path);
    let head = watch::Sender::new(Seq(numbers.head));
    let health = SharedHealth::default();
    let space = Space { folder, reserve_bytes: config.reserve_bytes, size_bytes_max: config.size_bytes_max };
    let file = if config.vfs.is_none() { Some((path.to_owned(), inode(path)?)) } else { None };
    let writer = Writer {
        conn,
        numbers,
        space: space.clone(),
        head: head.clone(),
        health: health.clone(),
        file,
        checkpoint_pages: i64::from(config.checkpoint_pages),
        _lock: lock,
    };
    let queue_max = config.queue_max.max(1);
    let (jobs, queue) = std::sync::mpsc::sync_channel(queue_max);
    let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(&queue));
    let thread = thread.map_err(|error| failed(path, format!("the writer's thread cannot be started: {error}")))?;
    Ok(SqliteStore {
        readers: Arc::new(Readers::new(config.path.clone(), config.vfs, config.readers)),
        path: config.path,
        jobs: Some(jobs),
        thread: Some(thread),
        queue_max,
        head,
        health,
        space,
        was_clean,
    })
}

pub(super) fn failed(path: &Path, what: impl std::fmt::Display) -> StoreError {
    StoreError::Open(format!("{}: {what}", path.display()))
}

/// Returns the folder of a file, also of one that is named without a folder.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn inode(path: &Path) -> Result<u64, StoreError> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|found| found.ino()).map_err(|error| failed(path, error))
}

/// Returns the path with a suffix after its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps other processes out for as long as the file is open.
fn lock(path: &Path) -> Result<File, StoreError> {
    let at = beside(path, ".lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&at);
    let file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(path, "its folder does not exist; create it"),
        _ => failed(path, format!("not writable: {}: {error}", at.display())),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(failed(path, format!("locked by another process ({}); only one host may use a store", at.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed(path, format!("{} cannot be locked: {error}", at.display()))),
    }
}

fn made(lock: &mut File) -> bool {
    let mut text = Vec::new();
    lock.read_to_end(&mut text).is_ok() && text == MADE
}

fn mark_made(lock: &mut File) -> std::io::Result<()> {
    lock.seek(SeekFrom::Start(0))?;
    lock.write_all(MADE)?;
    lock.sync_all()
}

/// Looks at the file before SQLite does, which takes an empty file for a new database and goes on.
fn check_file(path: &Path, made: bool) -> Result<(), StoreError> {
    if beside(path, "-journal").exists() {
        // The very first transaction was cut off: SQLite undoes it, and what is in the file till then means nothing.
        return Ok(());
    }
    let mut header = [0; 100];
    let length = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(failed(path, "not a file")),
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(path, error)),
    };
    if length == 0 {
        let lock = beside(path, ".lock");
        let lost = format!(
            "missing or empty, although a store was made here; restore a backup, or remove {} to begin a new one",
            lock.display()
        );
        return if made { Err(failed(path, lost)) } else { Ok(()) };
    }
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(failed(path, format!("not readable: {error}")));
        }
        Ok(()) if header.starts_with(b"SQLite format 3\0") => {}
        _ => return Err(failed(path, "not a database")),
    }
    let wal = std::fs::metadata(beside(path, "-wal")).map_or(0, |found| found.len());
    let expected = page_size(&header) * u64::from(number_at(&header, 28));
    // With a write-ahead log the header may run ahead of the file, until the log is moved into it.
    if wal == 0 && length < expected {
        return Err(failed(path, format!("truncated: {length} bytes of {expected} are there; restore a backup")));
    }
    Ok(())
}

fn page_size(header: &[u8; 100]) -> u64 {
    match u64::from(number_at(header, 16) >> 16) {
        1 => 65_536,
        size => size,
    }
}

fn number_at(header: &[u8; 100], at: usize) -> u32 {
    header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn connect(config: &SqliteConfig) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match &config.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(&config.path, flags, vfs.as_str()),
        None => Connection::open_with_flags(&config.path, flags),
    };
    opened.map_err(|error| explain(&config.path, &error))
}

/// Why a file was not taken: an error of SQLite's, or what we found in it.
pub(super) enum Trouble {
    Sql(rusqlite::Error),
    Ours(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) fn told(path: &Path, trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Sql(error) => explain(path, &error),
        Trouble::Ours(what) => failed(path, what),
    }
}

/// Says in words what SQLite's error means for a store.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let what = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "not a database",
        Some(ErrorCode::DatabaseCorrupt) => "damaged; restore a backup",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => "not writable",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "locked by another program",
        Some(ErrorCode::DiskFull) => "no space is left on its disk",
        Some(ErrorCode::SystemIoFailure) => "its disk fails, or the file is truncated",
        _ => "SQLite refuses it",
    };
    failed(path, format!("{what} ({error})"))
}

/// Sets the connection up, brings the file to the newest version and checks it; tells whether it was closed cleanly.
fn prepare(conn: &mut Connection, config: &SqliteConfig) -> Result<bool, Trouble> {
    // A damaged schema must not make SQLite run what an attacker wrote into it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    check_version(conn, MIGRATIONS.len())?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Ours(format!("its file system cannot do write-ahead logging (SQLite chose `{mode}`)")));
    }
    conn.pragma_update(None, "synchronous", if config.without_sync { "OFF" } else { "FULL" })?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    migrate(conn, MIGRATIONS)?;
    let clean: bool = conn.query_row("SELECT value FROM counters WHERE name = 'clean'", [], |row| row.get(0))?;
    if !clean {
        tracing::warn!(path = %config.path.display(), "StoreUncleanStop");
        check_pages(conn)?;
    }
    conn.execute("UPDATE counters SET value = 0 WHERE name = 'clean'", [])?;
    Ok(clean)
}

/// Refuses files that are not ours, and files that a newer program wrote.
pub(super) fn check_version(conn: &Connection, newest: usize) -> Result<(), Trouble> {
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (id != 0 || version != 0 || tables != 0) {
        return Err(Trouble::Ours("a database, but not a store of Pilothouse".to_owned()));
    }
    if version > i64::try_from(newest).unwrap_or(i64::MAX) {
        return Err(Trouble::Ours(format!(
            "made by a newer program: its version is {version}, this program knows versions up to {newest}"
        )));
    }
    Ok(())
}

/// Reads every page and looks for damage.
pub(super) fn check_pages(conn: &Connection) -> Result<(), Trouble> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Trouble::Ours(format!("damaged: {found}; restore a backup"))) }
}
