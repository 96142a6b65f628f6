//! Removal of what retention allows: found by a reader, removed by the writer in small steps.
//!
//! Never here: removing what is owed. The writer looks again inside the transaction, since a delivery may have been
//! redriven, or a state row may have taken hold, after the reader looked.

use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::apply::Tx;
use super::schema::{BLOCK_SHIFT, DELIVERY_COLUMNS, attempt_keys, delivery_row, to_i64, to_u64};
use super::space::used_bytes;
use super::writer::Job;
use crate::removed::RemovedEvent;
use crate::{DeliveryRow, IDENTITY_KEPT, REMOVED_DEAD_LETTER_KIND, RemovedDeadLetter, RetentionPolicy, StoreError};

/// Events looked at per step.
const SCAN_EVENTS: i64 = 2_000;
/// Events removed per step: other commits wait for one step at most.
const STEP_EVENTS: usize = 500;
/// What an event costs beside its own bytes, in bytes: its columns and index entries. Only the order of magnitude
/// matters, since the size is measured again after each step.
const ROW_BYTES: u64 = 500;
/// Identities forgotten per step.
const FORGET_MAX: i64 = 5_000;

/// Whether something keeps the event: `?2` is the instant at which dead letters are too old to be kept.
const IS_OWED: &str = "EXISTS (SELECT 1 FROM states INDEXED BY states_holds WHERE holds = ?1) \
     OR EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_event WHERE event = ?1 \
     AND (state IN ('ready', 'running') OR (state = 'dead' AND updated >= ?2)))";

/// One step for the writer.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    pub(super) seqs: Vec<i64>,
    pub(super) now: Timestamp,
    dead_before: i64,
}

/// What a look at the log found.
struct Scan {
    seqs: Vec<i64>,
    /// Where to look on; `None` at the end.
    next: Option<i64>,
}

/// Removes everything that the policy allows.
pub(super) async fn retain(store: &SqliteStore, policy: &RetentionPolicy, now: Timestamp) -> Result<u64, StoreError> {
    let dead_before = before(now, policy.dead_letters);
    let mut removed = 0;
    // Under pressure of size, what a rule keeps longer than the rest goes last: comparisons with earlier results need it.
    let mut spare = true;
    // What an event takes up is an estimate: a pass may end a little over the size.
    loop {
        let pass = pass(store, policy, now, dead_before, spare).await?;
        removed += pass;
        let used = store.read(|conn| Ok(used_bytes(conn)?)).await?;
        if used <= policy.size_bytes_max || (pass == 0 && !spare) {
            break;
        }
        spare &= pass > 0;
    }
    let last = Removal { seqs: Vec::new(), now, dead_before };
    Ok(removed + store.ask(|reply| Job::Remove(last, reply)).await?)
}

async fn pass(
    store: &SqliteStore,
    policy: &RetentionPolicy,
    now: Timestamp,
    dead_before: i64,
    spare: bool,
) -> Result<u64, StoreError> {
    let (mut removed, mut from) = (0, Some(0));
    while let Some(position) = from {
        let rules = policy.clone();
        let scan = store.read(move |conn| Ok(scan(conn, &rules, now, dead_before, position, spare)?)).await?;
        from = scan.next;
        if !scan.seqs.is_empty() {
            let step = Removal { seqs: scan.seqs, now, dead_before };
            removed += store.ask(|reply| Job::Remove(step, reply)).await?;
        }
    }
    Ok(removed)
}

fn before(now: Timestamp, age: std::time::Duration) -> i64 {
    now.as_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

/// Looks at the next events from `from` on.
fn scan(
    conn: &Connection,
    policy: &RetentionPolicy,
    now: Timestamp,
    dead_before: i64,
    from: i64,
    spare: bool,
) -> rusqlite::Result<Scan> {
    let mut excess = used_bytes(conn)?.saturating_sub(policy.size_bytes_max);
    let from = if excess > 0 { Some(from) } else { skip_young(conn, before(now, policy.age_min()), from)? };
    let Some(from) = from else { return Ok(Scan { seqs: Vec::new(), next: None }) };
    let sql = "SELECT seq, ty, accepted, length(event) FROM events WHERE seq >= ? ORDER BY seq LIMIT ?";
    let mut select = conn.prepare_cached(sql)?;
    let mut owed = conn.prepare_cached(&format!("SELECT {IS_OWED}"))?;
    let mut rows = select.query([from, SCAN_EVENTS])?;
    let mut scan = Scan { seqs: Vec::new(), next: None };
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        scan.next = Some(seq + 1);
        let age = policy.age_of(row.get_ref(1)?.as_str()?);
        let old = now.since(Timestamp::from_millis(row.get(2)?)) > age;
        let may_go = excess > 0 && !(spare && age > policy.age);
        if !(old || may_go) || owed.query_row([seq, dead_before], |row| row.get(0))? {
            continue;
        }
        excess = excess.saturating_sub(to_u64(row.get(3)?) + ROW_BYTES);
        scan.seqs.push(seq);
        if scan.seqs.len() >= STEP_EVENTS {
            break;
        }
    }
    Ok(scan)
}

/// Returns the first position from `from` on whose block holds something accepted before `cutoff`.
fn skip_young(conn: &Connection, cutoff: i64, from: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT min(block) FROM blocks WHERE block >= ? AND accepted_min < ?";
    let block: Option<i64> = conn.prepare_cached(sql)?.query_row([from >> BLOCK_SHIFT, cutoff], |row| row.get(0))?;
    Ok(block.map(|block| from.max(block << BLOCK_SHIFT)))
}

/// Removes the events of one step that still nothing keeps; returns how many went.
pub(super) fn remove(tx: &mut Tx<'_>, step: &Removal) -> rusqlite::Result<u64> {
    let week_ago = before(step.now, IDENTITY_KEPT);
    let mut removed = 0;
    for &seq in &step.seqs {
        let owed: bool = {
            let mut select = tx.conn().prepare_cached(&format!("SELECT {IS_OWED}"))?;
            select.query_row([seq, step.dead_before], |row| row.get(0))?
        };
        if !owed {
            remember_identity(tx.conn(), seq, week_ago)?;
            remove_deliveries(tx, seq, step.now)?;
            removed += tx.conn().prepare_cached("DELETE FROM events WHERE seq = ?")?.execute([seq])? as u64;
        }
    }
    let sql = "DELETE FROM removed WHERE rowid IN (SELECT rowid FROM removed INDEXED BY removed_accepted \
               WHERE accepted < ? LIMIT ?)";
    tx.conn().prepare_cached(sql)?.execute([week_ago, FORGET_MAX])?;
    let sql = "DELETE FROM blocks WHERE block < (SELECT coalesce(min(seq), 0) FROM events) >> ?";
    tx.conn().prepare_cached(sql)?.execute([BLOCK_SHIFT])?;
    Ok(removed)
}

fn remember_identity(conn: &Connection, seq: i64, week_ago: i64) -> rusqlite::Result<()> {
    let sql = "SELECT event FROM events WHERE seq = ? AND accepted >= ?";
    let mut select = conn.prepare_cached(sql)?;
    let crc = select.query_row([seq, week_ago], |row| Ok(crc32c::crc32c(row.get_ref(0)?.as_blob()?))).optional()?;
    let Some(crc) = crc else { return Ok(()) };
    let sql = "INSERT INTO removed(identity, seq, accepted, source, id, crc) \
               SELECT identity, seq, accepted, source, id, ? FROM events WHERE seq = ?";
    conn.prepare_cached(sql)?.execute(params![crc, seq]).map(drop)
}

fn remove_deliveries(tx: &mut Tx<'_>, seq: i64, now: Timestamp) -> rusqlite::Result<()> {
    let found: Vec<DeliveryRow> = {
        let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_event WHERE event = ?");
        let mut select = tx.conn().prepare_cached(&sql)?;
        select.query_map([seq], delivery_row)?.collect::<Result<_, _>>()?
    };
    for row in found {
        if row.state == DeliveryState::Dead {
            remember_dead_letter(tx.conn(), &row, now)?;
        }
        let (first, last) = attempt_keys(row.number);
        tx.conn().prepare_cached("DELETE FROM attempts WHERE key BETWEEN ? AND ?")?.execute([first, last])?;
        tx.conn().prepare_cached("DELETE FROM deliveries WHERE number = ?")?.execute([to_i64(row.number)])?;
        tx.count(row.consumer.as_str().to_owned(), row.state, -1);
    }
    Ok(())
}

fn remember_dead_letter(conn: &Connection, row: &DeliveryRow, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "SELECT source, id, ty, project, stage, service, run FROM events WHERE seq = ?";
    let event = conn.prepare_cached(sql)?.query_row([to_i64(row.event.0)], |event| {
        Ok(RemovedEvent {
            source: event.get(0)?,
            id: event.get(1)?,
            ty: event.get(2)?,
            place: Place { project: event.get(3)?, stage: event.get(4)?, service: event.get(5)? },
            run: event.get(6)?,
        })
    })?;
    let value = RemovedDeadLetter::new(row, event).to_json();
    let sql = "INSERT OR REPLACE INTO states(kind, key, revision, updated, holds, value) VALUES (?, ?, 1, ?, NULL, ?)";
    let (kind, key) = (REMOVED_DEAD_LETTER_KIND, row.id.to_string());
    conn.prepare_cached(sql)?.execute(params![kind, key, now.as_millis(), value]).map(drop)
}
