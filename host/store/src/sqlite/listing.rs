//! Reads of the log, and listings that scan a bounded number of rows per page.
//!
//! A listing picks the index that narrows most, takes candidates from it newest first, and checks the rest of the
//! filter on each. When it has looked at [`SCAN_MAX`] rows it stops and says where to go on.
//!
//! Never here: an unbounded scan.

use pilothouse_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::reader::{Fault, ROWS_MAX, limit_of};
use super::schema::{
    BLOCK_SHIFT, DELIVERY_COLUMNS, EVENT_COLUMNS, delivery_row, event_columns, event_row, id_hash, identity_of, to_i64,
    to_u64,
};
use crate::filter::delivery_matches;
use crate::{DeliveryFilter, DeliveryRow, EventFilter, EventRow, Page, Seq};

/// Most rows that one page looks at: a few milliseconds when they are cached.
const SCAN_MAX: usize = 2_000;
/// Most bytes of events in one answer, over the first event: an answer has to fit into memory.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most types that a prefix is resolved to; a prefix of more is checked while scanning the log.
const TYPES_MAX: usize = 64;
/// Most events of one id (with different sources) that are sorted; an id of more is checked while scanning the log.
const SAME_ID_MAX: usize = 2_000;

pub(super) fn event(conn: &Connection, seq: Seq) -> Result<Option<EventRow>, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq = ?"))?;
    let mut rows = select.query([to_i64(seq.0)])?;
    Ok(rows.next()?.map(event_row).transpose()?)
}

pub(super) fn event_by_identity(conn: &Connection, source: &str, id: &str) -> Result<Option<EventRow>, Fault> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM events INDEXED BY events_identity WHERE identity = ? AND source = ? AND id = ?"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![identity_of(source, id), source, id])?;
    Ok(rows.next()?.map(event_row).transpose()?)
}

pub(super) fn read_log(conn: &Connection, from: Seq, limit: usize) -> Result<Vec<EventRow>, Fault> {
    let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq >= ? ORDER BY seq LIMIT ?");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([to_i64(from.0), limit_of(limit)])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        bytes += blob_len(row)?;
        if bytes > BYTES_MAX && !events.is_empty() {
            break;
        }
        events.push(event_row(row)?);
    }
    Ok(events)
}

/// Returns the length of the event's bytes.
fn blob_len(row: &rusqlite::Row<'_>) -> rusqlite::Result<usize> {
    Ok(row.get_ref(15)?.as_blob()?.len())
}

/// Where candidates come from: an index with a value, ordered by position.
enum Drive {
    /// The log itself.
    Log,
    /// One value of one index: table hint, column and value.
    Index(&'static str, &'static str, Value),
    /// Several types.
    Types(Vec<String>),
    /// These positions, newest first.
    Positions(Vec<i64>),
}

pub(super) fn events(
    conn: &Connection,
    filter: &EventFilter,
    cursor: Option<u64>,
    limit: usize,
) -> Result<Page<EventRow>, Fault> {
    let limit = limit.clamp(1, ROWS_MAX);
    let mut items = Vec::new();
    let Some((low, mut below)) = bounds(conn, filter, cursor)? else { return Ok(Page { items, next: None }) };
    let drive = drive(conn, filter)?;
    let mut select = conn.prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM events WHERE seq = ?"))?;
    let (mut scanned, mut bytes) = (0, 0);
    while scanned < SCAN_MAX {
        let wanted = (limit + 1).min(SCAN_MAX - scanned);
        let found = candidates(conn, &drive, low, below, wanted)?;
        for seq in &found {
            let mut rows = select.query([seq])?;
            let Some(row) = rows.next()? else { continue };
            if event_columns(row)?.match_filter(filter) {
                bytes += blob_len(row)?;
                if items.len() == limit || (bytes > BYTES_MAX && !items.is_empty()) {
                    return Ok(Page { items, next: Some(to_u64(below)) });
                }
                items.push(event_row(row)?);
            }
            below = *seq;
        }
        scanned += found.len();
        if found.len() < wanted {
            return Ok(Page { items, next: None });
        }
    }
    Ok(Page { items, next: Some(to_u64(below)) })
}

/// Returns the lowest position that can match, and the position below which to begin; `None` if nothing can match.
fn bounds(conn: &Connection, filter: &EventFilter, cursor: Option<u64>) -> Result<Option<(i64, i64)>, Fault> {
    let below = cursor.map_or(i64::MAX, to_i64);
    if filter.since.is_none() && filter.until.is_none() {
        return Ok(Some((0, below)));
    }
    let since = filter.since.map_or(i64::MIN, Timestamp::as_millis);
    let until = filter.until.map_or(i64::MAX, Timestamp::as_millis);
    let sql = "SELECT min(block), max(block) FROM blocks WHERE accepted_max >= ? AND accepted_min < ? AND block <= ?";
    let mut select = conn.prepare_cached(sql)?;
    let found: (Option<i64>, Option<i64>) =
        select.query_row([since, until, below >> BLOCK_SHIFT], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(first), Some(last)) = found else { return Ok(None) };
    let end = last.saturating_add(1) << BLOCK_SHIFT;
    Ok(Some((first << BLOCK_SHIFT, first_in_time(conn, below.min(end), until)?)))
}

/// Steps over the newest events of a block that are too late, so that the first page is not spent on them.
fn first_in_time(conn: &Connection, below: i64, until: i64) -> Result<i64, Fault> {
    let from = below.saturating_sub(1 << BLOCK_SHIFT);
    let sql = "SELECT max(seq) FROM events WHERE seq >= ? AND seq < ? AND accepted < ?";
    let newest: Option<i64> = conn.prepare_cached(sql)?.query_row([from, below, until], |row| row.get(0))?;
    Ok(newest.map_or(from, |seq| seq + 1).min(below))
}

/// Picks the index that narrows most.
fn drive(conn: &Connection, filter: &EventFilter) -> Result<Drive, Fault> {
    if let (Some(source), Some(id)) = (&filter.source, &filter.id) {
        let hash = identity_of(source, id).to_vec();
        return Ok(Drive::Index("events_identity", "identity", Value::Blob(hash)));
    }
    if let Some(id) = &filter.id {
        return same_id(conn, id);
    }
    if let Some(id) = filter.caused_by {
        return Ok(Drive::Index("events_caused_by", "caused_by", Value::Blob(id.0.as_bytes().to_vec())));
    }
    let ty = filter.ty.as_ref().filter(|ty| !ty.ends_with('*'));
    let narrowest_first = [
        ("events_triggered_id", "triggered_id", &filter.triggered_id),
        ("events_run", "run", &filter.run),
        ("events_subject", "subject", &filter.subject),
        ("events_service", "service", &filter.service),
        ("events_stage", "stage", &filter.stage),
        ("events_project", "project", &filter.project),
        ("events_ty", "ty", &ty.cloned()),
        ("events_source", "source", &filter.source),
    ];
    for (index, column, value) in narrowest_first {
        if let Some(value) = value {
            return Ok(Drive::Index(index, column, Value::Text(value.clone())));
        }
    }
    match filter.ty.as_deref().and_then(|ty| ty.strip_suffix('*')) {
        Some(prefix) if !prefix.is_empty() => types_of(conn, prefix),
        _ => Ok(Drive::Log),
    }
}

fn same_id(conn: &Connection, id: &str) -> Result<Drive, Fault> {
    let hash = id_hash(id);
    let (first, last) = ([&hash[..], &[0; 8]].concat(), [&hash[..], &[0xff; 8]].concat());
    let sql = "SELECT seq FROM events INDEXED BY events_identity WHERE identity BETWEEN ? AND ? LIMIT ?";
    let mut select = conn.prepare_cached(sql)?;
    let found = select.query_map(params![first, last, to_i64(SAME_ID_MAX as u64)], |row| row.get(0))?;
    let mut seqs: Vec<i64> = found.collect::<Result<_, _>>()?;
    if seqs.len() == SAME_ID_MAX {
        return Ok(Drive::Log);
    }
    seqs.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Drive::Positions(seqs))
}

/// Finds the types with this prefix by jumping from one to the next.
fn types_of(conn: &Connection, prefix: &str) -> Result<Drive, Fault> {
    let mut types: Vec<String> = Vec::new();
    let mut first = conn.prepare_cached("SELECT min(ty) FROM events INDEXED BY events_ty WHERE ty >= ?")?;
    let mut next = conn.prepare_cached("SELECT min(ty) FROM events INDEXED BY events_ty WHERE ty > ?")?;
    let mut found: Option<String> = first.query_row([prefix], |row| row.get(0)).optional()?.flatten();
    while let Some(ty) = found.filter(|ty| ty.starts_with(prefix)) {
        if types.len() == TYPES_MAX {
            return Ok(Drive::Log);
        }
        found = next.query_row([&ty], |row| row.get(0)).optional()?.flatten();
        types.push(ty);
    }
    Ok(Drive::Types(types))
}

/// Takes the newest `count` candidates in `low..below`.
fn candidates(conn: &Connection, drive: &Drive, low: i64, below: i64, count: usize) -> Result<Vec<i64>, Fault> {
    let limit = to_i64(count as u64);
    match drive {
        Drive::Log => {
            let sql = "SELECT seq FROM events NOT INDEXED WHERE seq >= ? AND seq < ? ORDER BY seq DESC LIMIT ?";
            let mut select = conn.prepare_cached(sql)?;
            Ok(select.query_map([low, below, limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
        }
        Drive::Index(index, column, value) => {
            let sql = format!(
                "SELECT seq FROM events INDEXED BY {index} \
                 WHERE {column} = ? AND seq >= ? AND seq < ? ORDER BY seq DESC LIMIT ?"
            );
            let mut select = conn.prepare_cached(&sql)?;
            Ok(select.query_map(params![value, low, below, limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
        }
        Drive::Types(types) => {
            let mut all = Vec::new();
            for ty in types {
                let one = Drive::Index("events_ty", "ty", Value::Text(ty.clone()));
                all.extend(candidates(conn, &one, low, below, count)?);
            }
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.truncate(count);
            Ok(all)
        }
        Drive::Positions(seqs) => {
            Ok(seqs.iter().copied().filter(|seq| (low..below).contains(seq)).take(count).collect())
        }
    }
}

pub(super) fn deliveries(
    conn: &Connection,
    filter: &DeliveryFilter,
    cursor: Option<u64>,
    limit: usize,
) -> Result<Page<DeliveryRow>, Fault> {
    use pilothouse_core::delivery::DeliveryState;
    let limit = limit.clamp(1, ROWS_MAX);
    let (hint, condition, value) = match filter {
        DeliveryFilter { event: Some(seq), .. } => {
            ("INDEXED BY deliveries_event", "event = ?", Some(Value::Integer(to_i64(seq.0))))
        }
        DeliveryFilter { task: Some(task), .. } => {
            ("INDEXED BY deliveries_task", "task = ?", Some(Value::Text(task.clone())))
        }
        DeliveryFilter { consumer: Some(name), state: Some(DeliveryState::Ready), .. } => {
            let name = Value::Text(name.as_str().to_owned());
            ("INDEXED BY deliveries_ready", "state = 'ready' AND consumer = ?", Some(name))
        }
        DeliveryFilter { state: Some(state), .. } if *state != DeliveryState::Done => {
            let word = Value::Text(state.as_str().to_owned());
            ("INDEXED BY deliveries_state", "state <> 'done' AND state = ?", Some(word))
        }
        DeliveryFilter { consumer: Some(name), .. } => {
            ("INDEXED BY deliveries_consumer", "consumer = ?", Some(Value::Text(name.as_str().to_owned())))
        }
        _ => ("NOT INDEXED", "?1 IS NULL", None),
    };
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries {hint} WHERE {condition} AND number < ? ORDER BY number DESC LIMIT ?"
    );
    let below = Value::Integer(cursor.map_or(i64::MAX, to_i64));
    let scan = Value::Integer(to_i64(SCAN_MAX as u64));
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params_from_iter([value.unwrap_or(Value::Null), below, scan]))?;
    let (mut items, mut scanned, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let row = delivery_row(row)?;
        let number = row.number;
        if delivery_matches(filter, &row) {
            if items.len() == limit {
                return Ok(Page { items, next: last });
            }
            items.push(row);
        }
        scanned += 1;
        last = Some(number);
    }
    Ok(Page { items, next: last.filter(|_| scanned == SCAN_MAX) })
}
