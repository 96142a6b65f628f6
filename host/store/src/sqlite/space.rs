//! How much space is left, and whether new events may use it.
//!
//! Never here: removing anything.

use std::path::PathBuf;

use rusqlite::Connection;

use super::schema::to_u64;
use crate::StoreError;

/// Where the store lives, and what it must leave.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) folder: PathBuf,
    pub(super) reserve_bytes: u64,
    pub(super) size_bytes_max: u64,
}

impl Space {
    /// Says why new events are refused, if they are.
    pub(super) fn refusal(&self, conn: &Connection) -> Option<StoreError> {
        let free = self.free_bytes(conn);
        if free < self.reserve_bytes {
            let (folder, reserve) = (self.folder.display(), self.reserve_bytes);
            return Some(StoreError::Full(format!(
                "{free} bytes are free in {folder}, new events are taken from {reserve} bytes on; make room there, or \
                 shorten the retention"
            )));
        }
        let used = used_bytes(conn).unwrap_or(0);
        (used > self.size_bytes_max).then(|| StoreError::Full(self.over_size(conn, used)))
    }

    fn over_size(&self, conn: &Connection, used: u64) -> String {
        let max = self.size_bytes_max;
        let sql = "SELECT consumer || ' (' || sum(count) || ')' FROM delivery_counts \
                   WHERE state IN ('ready', 'running', 'dead') GROUP BY consumer ORDER BY sum(count) DESC LIMIT 1";
        let most: Option<String> = conn.prepare_cached(sql).and_then(|mut it| it.query_row([], |row| row.get(0))).ok();
        let owed = most.map_or(String::new(), |most| format!("; most deliveries are owed to, or dead for, {most}"));
        format!("the store has {used} bytes, its limit is {max}{owed}")
    }

    /// Returns what can still be written: free space of the disk, and pages of the database that are free.
    pub(super) fn free_bytes(&self, conn: &Connection) -> u64 {
        let disk = nix::sys::statvfs::statvfs(&self.folder)
            .map_or(u64::MAX, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
        disk.saturating_add(pages(conn, "freelist_count").unwrap_or(0))
    }
}

/// Returns the bytes of the pages that are in use.
pub(super) fn used_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    Ok(pages(conn, "page_count")?.saturating_sub(pages(conn, "freelist_count")?))
}

fn pages(conn: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let value = |pragma: &str| -> rusqlite::Result<u64> {
        conn.prepare_cached(&format!("PRAGMA {pragma}"))?.query_row([], |row| row.get(0)).map(to_u64)
    };
    Ok(value(pragma)?.saturating_mul(value("page_size")?))
}
