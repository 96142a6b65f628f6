//! The database's layout: versions, and what rows look like.
//!
//! Never here: transactions. Whoever calls decides what belongs together.

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId, DeliveryState, FailureKind};
use pilothouse_core::event::json;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::filter::Columns;
use crate::{DeliveryRow, EventRow, NewEvent, Seq, StoreError};

/// Marks a file as ours (`PRAGMA application_id`): "PILO".
pub(super) const APPLICATION_ID: i32 = 0x5049_4c4f;

/// The scripts that lead from each version to the next; the first makes version 1 from an empty file.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// Positions per row of `blocks`, as a shift: 4,096. A log of 100 million events has 25,000 rows.
pub(super) const BLOCK_SHIFT: u32 = 12;

/// Bits of an attempt's key that count the attempts of one delivery: a million, then the last record is overwritten.
pub(super) const ATTEMPT_BITS: u32 = 20;

/// Brings the file to the newest version, one transaction per step.
pub(super) fn migrate(conn: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (index, script) in migrations.iter().enumerate() {
        let version = to_i64(index as u64) + 1;
        if version > found {
            let step = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            step.execute_batch(script)?;
            step.pragma_update(None, "application_id", APPLICATION_ID)?;
            step.pragma_update(None, "user_version", version)?;
            step.commit()?;
        }
    }
    Ok(())
}

/// Writes an unsigned number as SQLite's; the largest stands for all beyond.
pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads an unsigned number; a negative one, which is never written, as 0.
pub(super) fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Namespaces of the two halves of an identity's hash (random, fixed for ever).
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x1c9d_8f5e_2f61_4d2b_9a60_55c0_6f0b_3a11);
const SOURCE_NAMESPACE: Uuid = Uuid::from_u128(0xb5a3_02d7_7c44_4f0e_8f6d_1e92_c7aa_4d02);

/// Hashes an identity to 16 bytes: 8 of the id, then 8 of the source.
pub(super) fn identity_of(source: &str, id: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    let (first, second) = hash.split_at_mut(8);
    first.copy_from_slice(&id_hash(id));
    second.copy_from_slice(&half(&SOURCE_NAMESPACE, source));
    hash
}

/// Hashes an id to the first half of an identity.
pub(super) fn id_hash(id: &str) -> [u8; 8] {
    half(&ID_NAMESPACE, id)
}

fn half(namespace: &Uuid, text: &str) -> [u8; 8] {
    let (_, low) = Uuid::new_v5(namespace, text.as_bytes()).as_u64_pair();
    low.to_be_bytes()
}

/// Returns the bounds of an attempt's keys: first and last, for the delivery of this number.
pub(super) fn attempt_keys(number: u64) -> (i64, i64) {
    let first = to_i64(number << ATTEMPT_BITS);
    (first, first.saturating_add((1 << ATTEMPT_BITS) - 1))
}

/// The columns of an event in the order that [`event_row`] reads.
pub(super) const EVENT_COLUMNS: &str = "seq, accepted, ty, source, id, subject, project, stage, service, run, \
     triggered_id, caused_by, depth, actor, crc, event";

/// Computes the checksum of a row: of the event's bytes, then of every column beside it.
pub(super) fn checksum(seq: Seq, accepted: Timestamp, new: &NewEvent, bytes: &[u8]) -> u32 {
    let place = &new.place;
    let texts = [
        place.project.as_deref(),
        place.stage.as_deref(),
        place.service.as_deref(),
        new.run.as_deref(),
        new.triggered_id.as_deref(),
        Some(new.actor.as_str()),
    ];
    let numbers = (seq, accepted, new.caused_by, new.depth);
    columns_checksum(numbers, texts, bytes)
}

fn columns_checksum(
    (seq, accepted, caused_by, depth): (Seq, Timestamp, Option<DeliveryId>, u32),
    texts: [Option<&str>; 6],
    bytes: &[u8],
) -> u32 {
    let mut crc = crc32c::crc32c(bytes);
    crc = crc32c::crc32c_append(crc, &seq.0.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &accepted.as_millis().to_le_bytes());
    crc = crc32c::crc32c_append(crc, &depth.to_le_bytes());
    crc = crc32c::crc32c_append(crc, caused_by.as_ref().map_or(&[][..], |id| id.0.as_bytes()));
    for text in texts {
        // 0xff is in no UTF-8 text, so parts do not run together.
        crc = crc32c::crc32c_append(crc, text.map_or(&[0xff, 0][..], str::as_bytes));
        crc = crc32c::crc32c_append(crc, &[0xff]);
    }
    crc
}

/// Reads the columns of an event that filters look at, without its bytes.
pub(super) fn event_columns<'a>(row: &'a Row<'_>) -> rusqlite::Result<Columns<'a>> {
    let text = |index: usize| -> rusqlite::Result<Option<&'a str>> { Ok(row.get_ref(index)?.as_str_or_null()?) };
    Ok(Columns {
        accepted: Timestamp::from_millis(row.get(1)?),
        ty: row.get_ref(2)?.as_str()?,
        source: row.get_ref(3)?.as_str()?,
        id: row.get_ref(4)?.as_str()?,
        subject: text(5)?,
        project: text(6)?,
        stage: text(7)?,
        service: text(8)?,
        run: text(9)?,
        triggered_id: text(10)?,
        caused_by: uuid(row, 11)?.map(DeliveryId),
    })
}

/// Reads an event and verifies its checksum.
pub(super) fn event_row(row: &Row<'_>) -> Result<EventRow, StoreError> {
    let seq = Seq(to_u64(row.get(0).map_err(read_error)?));
    let columns = event_columns(row).map_err(|error| damaged(seq, &error))?;
    let rest = || -> rusqlite::Result<(u32, String, u32, &[u8])> {
        Ok((row.get(12)?, row.get(13)?, row.get(14)?, row.get_ref(15)?.as_blob()?))
    };
    let (depth, actor, crc, bytes) = rest().map_err(|error| damaged(seq, &error))?;
    let texts =
        [columns.project, columns.stage, columns.service, columns.run, columns.triggered_id, Some(actor.as_str())];
    let found = columns_checksum((seq, columns.accepted, columns.caused_by, depth), texts, bytes);
    if found != crc {
        return Err(StoreError::Corrupt {
            seq,
            detail: format!("the checksum is {found:08x}, it should be {crc:08x}"),
        });
    }
    let event = json::parse(bytes).map_err(|error| damaged(seq, &error))?;
    if !belongs(&columns, &event) {
        return Err(damaged(seq, &"an index column does not fit the event"));
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(EventRow {
        seq,
        accepted: columns.accepted,
        place: Place { project: owned(columns.project), stage: owned(columns.stage), service: owned(columns.service) },
        run: owned(columns.run),
        triggered_id: owned(columns.triggered_id),
        caused_by: columns.caused_by,
        actor: Actor::from_stored(actor),
        depth,
        event,
    })
}

/// Columns that repeat an attribute are no part of the checksum: they are compared with the event.
fn belongs(columns: &Columns<'_>, event: &Event) -> bool {
    columns.ty == event.ty()
        && columns.source == event.source()
        && columns.id == event.id()
        && columns.subject == event.subject()
}

fn damaged(seq: Seq, detail: &impl ToString) -> StoreError {
    StoreError::Corrupt { seq, detail: detail.to_string() }
}

/// Turns an error of a read into ours.
pub(super) fn read_error(error: rusqlite::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

/// The columns of a delivery in the order that [`delivery_row`] reads.
pub(super) const DELIVERY_COLUMNS: &str = "number, id, event, consumer, cause, task, order_key, state, attempts, due, \
     created, updated, failure, reason";

/// Reads a delivery.
pub(super) fn delivery_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let consumer = row.get_ref(3)?.as_str()?;
    Ok(DeliveryRow {
        number: to_u64(row.get(0)?),
        id: DeliveryId(uuid(row, 1)?.ok_or_else(|| unknown_word(1, "no id"))?),
        event: Seq(to_u64(row.get(2)?)),
        consumer: InstallationName::new(consumer).map_err(|_| unknown_word(3, consumer))?,
        cause: word(row, 4, cause_of)?,
        task: row.get(5)?,
        order_key: row.get(6)?,
        state: word(row, 7, DeliveryState::from_word)?,
        attempts: row.get(8)?,
        due: Timestamp::from_millis(row.get(9)?),
        created: Timestamp::from_millis(row.get(10)?),
        updated: Timestamp::from_millis(row.get(11)?),
        failure: match row.get_ref(12)?.as_str_or_null()? {
            Some(_) => Some(word(row, 12, failure_of)?),
            None => None,
        },
        reason: row.get(13)?,
    })
}

fn uuid(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Uuid>> {
    match row.get_ref(index)?.as_blob_or_null()? {
        Some(bytes) => Uuid::from_slice(bytes)
            .map(Some)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, Box::new(error))),
        None => Ok(None),
    }
}

pub(super) fn word<T>(row: &Row<'_>, index: usize, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str()?;
    read(text).ok_or_else(|| unknown_word(index, text))
}

fn unknown_word(index: usize, word: &str) -> rusqlite::Error {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, format!("`{word}` is not a word of this column"));
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

fn cause_of(text: &str) -> Option<Cause> {
    use Cause::{Decided, JobEnded, Observed, TaskFinished, Triggered, WakeUp};
    [Observed, Triggered, WakeUp, JobEnded, TaskFinished, Decided].into_iter().find(|it| it.as_str() == text)
}

fn failure_of(text: &str) -> Option<FailureKind> {
    use FailureKind::{Cpu, Host, Interrupted, Memory, Outcome, Reject, Retry, Timeout, Trap};
    let all = [Retry, Reject, Trap, Timeout, Cpu, Memory, Outcome, Host, Interrupted];
    all.into_iter().find(|it| it.as_str() == text)
}
