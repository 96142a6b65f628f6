//! Copies of the store, made while it is in use, and their way back.
//!
//! Never here: overwriting a store. A copy appears at its name only when it is complete and on disk.

use std::fs::File;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open::{Trouble, beside, check_pages, check_version, explain, failed, folder_of, told};
use super::schema::{MIGRATIONS, read_error};
use crate::StoreError;

/// Pages copied per step; all steps read one snapshot, so that a busy writer cannot make the copy start over.
const STEP_PAGES: i32 = 4_096;

/// Writes a copy of the store that `source` reads to `target`, replacing an earlier copy there.
pub(super) fn backup(source: &Connection, store: &Path, target: &Path) -> Result<(), StoreError> {
    if same_file(store, target) {
        return Err(StoreError::Read(format!("{} is the store itself; copy it elsewhere", target.display())));
    }
    let partial = beside(target, ".partial");
    let written = copy(source, &partial).and_then(|()| publish(&partial, target));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn writing(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Read(format!("the copy cannot be written to {}: {error}", path.display()))
}

fn copy(source: &Connection, partial: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(writing(partial, &error)),
        _ => {}
    }
    let mut target = Connection::open(partial).map_err(read_error)?;
    let snapshot = source.unchecked_transaction().map_err(read_error)?;
    // A snapshot begins with its first read.
    snapshot.query_row("SELECT value FROM counters LIMIT 1", [], |row| row.get::<_, i64>(0)).map_err(read_error)?;
    let steps = Backup::new(source, &mut target).map_err(read_error)?;
    loop {
        match steps.step(STEP_PAGES).map_err(read_error)? {
            StepResult::Done => break,
            StepResult::More => {}
            other => return Err(StoreError::Read(format!("the copy cannot go on: {other:?}"))),
        }
    }
    drop(steps);
    // One file without a log beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(read_error)
}

fn publish(partial: &Path, target: &Path) -> Result<(), StoreError> {
    let synced = File::open(partial).and_then(|file| file.sync_all());
    let renamed = synced.and_then(|()| std::fs::rename(partial, target));
    let published = renamed.and_then(|()| File::open(folder_of(target))?.sync_all());
    published.map_err(|error| writing(target, &error))
}

/// Puts a checked copy at `target`, where nothing may be.
pub(super) fn restore(backup: &Path, target: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let there = beside(target, suffix);
        if there.exists() {
            return Err(failed(&there, "exists; a backup is restored only where no store is"));
        }
    }
    let partial = beside(target, ".partial");
    let copied = std::fs::copy(backup, &partial).and_then(|_| File::open(&partial)?.sync_all());
    let checked = copied.map_err(|error| failed(backup, error)).and_then(|()| check_copy(backup, &partial));
    // Linking, unlike renaming, fails if somebody was faster.
    let linked = checked.and_then(|()| {
        let linked = std::fs::hard_link(&partial, target).and_then(|()| File::open(folder_of(target))?.sync_all());
        linked.map_err(|error| failed(target, error))
    });
    // What is left of it would only take up space.
    let _ = std::fs::remove_file(&partial);
    linked
}

fn check_copy(backup: &Path, copy: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(copy, flags).map_err(|error| explain(backup, &error))?;
    let checked = check_version(&conn, MIGRATIONS.len()).and_then(|()| {
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            return Err(Trouble::Ours("empty; it is no copy of a store".to_owned()));
        }
        check_pages(&conn)
    });
    checked.map_err(|trouble| told(backup, trouble))
}
