//! One transaction: batches are decided against it and applied to it, and what they share is written once at its end.
//!
//! Never here: beginning, committing or rolling back (the writer's), and deciding (the plan's).

use std::cell::RefCell;
use std::collections::HashMap;

use pilothouse_core::Event;
use pilothouse_core::delivery::{DeliveryId, DeliveryState, FailureKind};
use pilothouse_core::event::json;
use pilothouse_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{
    ATTEMPT_BITS, BLOCK_SHIFT, DELIVERY_COLUMNS, attempt_keys, checksum, delivery_row, identity_of, to_i64, to_u64,
    word,
};
use crate::plan::{Known, Look, Plan, Standing, change_of, plan, same_content};
use crate::{
    Attempt, Batch, Committed, DeliveryRow, EventOutcome, KeyValueWrite, NewDelivery, NewEvent, Seq, Settled, StateKey,
    StateWrite, StoreError, TimerWrite,
};

/// How long the answer to a batch is kept, in milliseconds: what [`Batch::id`] promises.
const BATCH_KEPT_MS: i64 = 10 * 60 * 1_000;
/// Answers kept whatever the clock says, so that one that jumps ahead does not end what was promised.
const BATCHES_KEPT_MIN: i64 = 10_000;
/// Old answers removed per transaction, over those that it adds: pruning keeps up, and no commit waits for it.
const BATCHES_PRUNED_EXTRA: i64 = 64;

/// A batch with its events encoded: done before the writer's thread, which is the bottleneck.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: Batch,
    pub(super) encoded: Vec<Vec<u8>>,
    pub(super) bytes: usize,
}

impl Prepared {
    pub(super) fn new(batch: Batch) -> Self {
        let encoded: Vec<Vec<u8>> = batch.events.iter().map(|new| json::to_vec(&new.event)).collect();
        let bytes = encoded.iter().map(Vec::len).sum();
        Self { batch, encoded, bytes }
    }
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(super) enum Halt {
    /// It alone is refused; nothing of it was written.
    Refused(StoreError),
    /// The engine failed: the transaction is lost, with all that is in it.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// The numbers that the writer keeps in memory between transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) head: u64,
    pub(super) number: u64,
    pub(super) routing: u64,
}

impl Numbers {
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let value = |name: &str| -> rusqlite::Result<u64> {
            conn.query_row("SELECT value FROM counters WHERE name = ?", [name], |row| row.get(0)).map(to_u64)
        };
        Ok(Self { head: value("head")?, number: value("number")?, routing: value("routing")? })
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Tx<'c> {
    conn: &'c Connection,
    before: Numbers,
    pub(super) numbers: Numbers,
    counts: HashMap<(String, &'static str), i64>,
    blocks: HashMap<i64, (i64, i64)>,
    applied: i64,
}

/// The transaction as a plan looks at it; an error of the engine is set aside for the caller.
struct View<'t, 'c> {
    tx: &'t Tx<'c>,
    prepared: &'t Prepared,
    failure: RefCell<Option<rusqlite::Error>>,
}

impl View<'_, '_> {
    fn keep<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let told = StoreError::Read(error.to_string());
            self.failure.replace(Some(error));
            told
        })
    }
}

impl Look for View<'_, '_> {
    fn routing(&self) -> Result<u64, StoreError> {
        Ok(self.tx.numbers.routing)
    }

    fn head(&self) -> u64 {
        self.tx.numbers.head
    }

    fn known(&self, index: usize, event: &Event) -> Result<Option<Known>, StoreError> {
        let bytes = self.prepared.encoded.get(index).map_or(&[][..], Vec::as_slice);
        self.keep(self.tx.known(event, bytes))
    }

    fn has_event(&self, seq: Seq) -> Result<bool, StoreError> {
        self.keep(self.tx.exists("SELECT 1 FROM events WHERE seq = ?", to_i64(seq.0)))
    }

    fn standing(&self, id: DeliveryId) -> Result<Option<Standing>, StoreError> {
        let found = self.keep(self.tx.found(id))?;
        Ok(found.map(|it| Standing { state: it.state, attempts: it.attempts }))
    }

    fn revision(&self, key: &StateKey) -> Result<u64, StoreError> {
        self.keep(self.tx.revision(key))
    }
}

/// What a change of a delivery needs to know of it.
struct Found {
    number: u64,
    consumer: String,
    state: DeliveryState,
    attempts: u32,
    attempts_total: u64,
    due: i64,
}

impl Found {
    /// The key of the newest attempt's record.
    fn attempt_key(&self) -> i64 {
        let (first, last) = attempt_keys(self.number);
        first.saturating_add(to_i64(self.attempts_total)).min(last)
    }
}

impl<'c> Tx<'c> {
    /// Wraps a connection on which a transaction was begun.
    pub(super) fn new(conn: &'c Connection, numbers: Numbers) -> Self {
        let (counts, blocks) = (HashMap::new(), HashMap::new());
        Self { conn, before: numbers, numbers, counts, blocks, applied: 0 }
    }

    /// Decides and applies one batch; `refuse_ingest` says why new events are not taken, if they are not.
    pub(super) fn run(&mut self, prepared: &Prepared, refuse_ingest: Option<&StoreError>) -> Result<Committed, Halt> {
        let batch = &prepared.batch;
        if let Some(first) = self.answered(batch)? {
            return Ok(first);
        }
        if let (Some(error), true) = (refuse_ingest, batch.is_ingest()) {
            return Err(Halt::Refused(error.clone()));
        }
        let view = View { tx: self, prepared, failure: RefCell::new(None) };
        let decided = plan(batch, &view);
        let failure = view.failure.into_inner();
        let Plan { committed, .. } = match (decided, failure) {
            (_, Some(error)) => return Err(Halt::Failed(error)),
            (Err(refusal), None) => return Err(Halt::Refused(refusal)),
            (Ok(plan), None) => plan,
        };
        self.apply(prepared, &committed)?;
        Ok(committed)
    }

    fn apply(&mut self, prepared: &Prepared, committed: &Committed) -> rusqlite::Result<()> {
        let batch = &prepared.batch;
        for settled in &batch.settled {
            self.settle(settled, batch.now)?;
        }
        for attempt in &batch.attempts {
            self.begin(*attempt, batch.now)?;
        }
        for ((new, bytes), outcome) in batch.events.iter().zip(&prepared.encoded).zip(&committed.events) {
            if !outcome.duplicate {
                self.append(new, bytes, outcome.seq, batch.now)?;
            }
        }
        for new in &batch.deliveries {
            self.deliver(new, new.event, batch.now)?;
        }
        for write in &batch.states {
            self.write_state(write, write.holds, batch.now)?;
        }
        for write in &batch.key_values {
            self.write_key_value(write)?;
        }
        for write in &batch.timers {
            self.write_timer(write)?;
        }
        self.numbers.routing = batch.set_routing.unwrap_or(self.numbers.routing);
        self.applied += 1;
        let outcome: Vec<u8> = committed.events.iter().flat_map(encode_outcome).collect();
        let mut insert = self.conn.prepare_cached("INSERT INTO batches(id, at, outcome) VALUES (?, ?, ?)")?;
        insert.execute(params![batch.id.as_bytes(), batch.now.as_millis(), outcome]).map(drop)
    }

    /// Writes what the batches share. To be followed by the commit.
    pub(super) fn finish(self, now: Timestamp) -> rusqlite::Result<Numbers> {
        let numbers = [
            ("head", self.before.head, self.numbers.head),
            ("number", self.before.number, self.numbers.number),
            ("routing", self.before.routing, self.numbers.routing),
        ];
        for (name, _, after) in numbers.into_iter().filter(|(_, before, after)| before != after) {
            let mut update = self.conn.prepare_cached("UPDATE counters SET value = ? WHERE name = ?")?;
            update.execute(params![to_i64(after), name])?;
        }
        for ((consumer, state), change) in self.counts.iter().filter(|(_, change)| **change != 0) {
            let sql = "INSERT INTO delivery_counts(consumer, state, count) VALUES (?1, ?2, ?3) \
                       ON CONFLICT DO UPDATE SET count = count + ?3";
            self.conn.prepare_cached(sql)?.execute(params![consumer, state, change])?;
        }
        for (block, (min, max)) in &self.blocks {
            let sql = "INSERT INTO blocks(block, accepted_min, accepted_max) VALUES (?1, ?2, ?3) ON CONFLICT DO \
                       UPDATE SET accepted_min = min(accepted_min, ?2), accepted_max = max(accepted_max, ?3)";
            self.conn.prepare_cached(sql)?.execute(params![block, min, max])?;
        }
        if self.applied > 0 {
            let sql = "DELETE FROM batches WHERE number < (SELECT min(number) FROM batches) + ?1 \
                       AND number <= (SELECT max(number) FROM batches) - ?2 AND abs(?3 - at) > ?4";
            let limit = self.applied + BATCHES_PRUNED_EXTRA;
            let mut prune = self.conn.prepare_cached(sql)?;
            prune.execute(params![limit, BATCHES_KEPT_MIN, now.as_millis(), BATCH_KEPT_MS])?;
        }
        Ok(self.numbers)
    }

    /// Puts what was running back to ready.
    pub(super) fn recover_running(&mut self, now: Timestamp) -> rusqlite::Result<Vec<DeliveryRow>> {
        let sql = "UPDATE deliveries SET state = 'ready', due = ?1, updated = ?1, failure = ?2, reason = ?3 \
                   WHERE state = 'running'";
        let mut select = self.conn.prepare("SELECT number FROM deliveries WHERE state = 'running' ORDER BY number")?;
        let numbers: Vec<i64> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let failure = FailureKind::Interrupted.as_str();
        self.conn.execute(sql, params![now.as_millis(), failure, crate::INTERRUPTED_REASON])?;
        let sql = format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE number = ?");
        let mut select = self.conn.prepare(&sql)?;
        let mut rows = Vec::with_capacity(numbers.len());
        for number in numbers {
            let row = select.query_row([number], delivery_row)?;
            self.count(row.consumer.as_str().to_owned(), DeliveryState::Running, -1);
            self.count(row.consumer.as_str().to_owned(), DeliveryState::Ready, 1);
            rows.push(row);
        }
        Ok(rows)
    }

    /// Marks the file as closed cleanly, or as in use.
    pub(super) fn mark_clean(&self, clean: bool) -> rusqlite::Result<()> {
        self.conn.execute("UPDATE counters SET value = ? WHERE name = 'clean'", [i64::from(clean)]).map(drop)
    }

    /// Returns the connection, for upkeep inside the transaction.
    pub(super) fn conn(&self) -> &'c Connection {
        self.conn
    }

    /// Adds to the number of deliveries of a consumer in a state.
    pub(super) fn count(&mut self, consumer: String, state: DeliveryState, change: i64) {
        *self.counts.entry((consumer, state.as_str())).or_default() += change;
    }

    fn answered(&self, batch: &Batch) -> rusqlite::Result<Option<Committed>> {
        let mut select = self.conn.prepare_cached("SELECT outcome FROM batches WHERE id = ?")?;
        let outcome: Option<Vec<u8>> = select.query_row([batch.id.as_bytes()], |row| row.get(0)).optional()?;
        Ok(outcome.map(|bytes| Committed { events: bytes.chunks(9).filter_map(decode_outcome).collect() }))
    }

    fn exists(&self, sql: &str, key: i64) -> rusqlite::Result<bool> {
        self.conn.prepare_cached(sql)?.exists([key])
    }

    fn known(&self, event: &Event, bytes: &[u8]) -> rusqlite::Result<Option<Known>> {
        let identity = identity_of(event.source(), event.id());
        let sql =
            "SELECT seq, event FROM events INDEXED BY events_identity WHERE identity = ? AND source = ? AND id = ?";
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select.query_row(params![identity, event.source(), event.id()], |row| {
            let stored = row.get_ref(1)?.as_blob()?;
            let same = stored == bytes || json::parse(stored).is_ok_and(|stored| same_content(&stored, event));
            Ok(Known { seq: Seq(to_u64(row.get(0)?)), mismatch: !same })
        });
        if let Some(known) = found.optional()? {
            return Ok(Some(known));
        }
        let sql =
            "SELECT seq, crc FROM removed INDEXED BY removed_identity WHERE identity = ? AND source = ? AND id = ?";
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select.query_row(params![identity, event.source(), event.id()], |row| {
            let mismatch = row.get::<_, u32>(1)? != crc32c::crc32c(bytes);
            Ok(Known { seq: Seq(to_u64(row.get(0)?)), mismatch })
        });
        found.optional()
    }

    fn found(&self, id: DeliveryId) -> rusqlite::Result<Option<Found>> {
        let sql = "SELECT number, consumer, state, attempts, attempts_total, due FROM deliveries WHERE id = ?";
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select.query_row([id.0.as_bytes()], |row| {
            Ok(Found {
                number: to_u64(row.get(0)?),
                consumer: row.get(1)?,
                state: word(row, 2, DeliveryState::from_word)?,
                attempts: row.get(3)?,
                attempts_total: to_u64(row.get(4)?),
                due: row.get(5)?,
            })
        });
        found.optional()
    }

    fn revision(&self, key: &StateKey) -> rusqlite::Result<u64> {
        let mut select = self.conn.prepare_cached("SELECT revision FROM states WHERE kind = ? AND key = ?")?;
        let revision: Option<i64> = select.query_row([key.kind, &key.key], |row| row.get(0)).optional()?;
        Ok(revision.map_or(0, to_u64))
    }

    fn settle(&mut self, settled: &Settled, now: Timestamp) -> rusqlite::Result<()> {
        let Some(found) = self.found(settled.delivery)? else { return Ok(()) };
        let change = change_of(&settled.settlement);
        let sql = "UPDATE deliveries SET state = ?, attempts = ?, due = ?, updated = ?, failure = ?, reason = ? \
                   WHERE number = ?";
        self.conn.prepare_cached(sql)?.execute(params![
            change.state.as_str(),
            if change.attempts_reset { 0 } else { found.attempts },
            change.due.map_or(found.due, Timestamp::as_millis),
            now.as_millis(),
            change.failure.map(FailureKind::as_str),
            change.reason,
            to_i64(found.number),
        ])?;
        if found.state == DeliveryState::Running {
            let sql = "UPDATE attempts SET ended = ?, outcome = ?, reason = ?, cpu_us = ?, wall_us = ?, \
                       memory_bytes_max = ?, log = ? WHERE key = ?";
            self.conn.prepare_cached(sql)?.execute(params![
                now.as_millis(),
                change.outcome,
                change.reason,
                to_i64(settled.cpu_us),
                to_i64(settled.wall_us),
                to_i64(settled.memory_bytes_max),
                settled.log,
                found.attempt_key(),
            ])?;
        }
        self.count(found.consumer.clone(), found.state, -1);
        self.count(found.consumer, change.state, 1);
        Ok(())
    }

    fn begin(&mut self, attempt: Attempt, now: Timestamp) -> rusqlite::Result<()> {
        let Some(mut found) = self.found(attempt.delivery)? else { return Ok(()) };
        found.attempts = found.attempts.saturating_add(1);
        found.attempts_total = (found.attempts_total + 1).min((1 << ATTEMPT_BITS) - 1);
        let sql =
            "UPDATE deliveries SET state = 'running', attempts = ?, attempts_total = ?, updated = ? WHERE number = ?";
        self.conn.prepare_cached(sql)?.execute(params![
            found.attempts,
            to_i64(found.attempts_total),
            now.as_millis(),
            to_i64(found.number)
        ])?;
        let sql = "INSERT OR REPLACE INTO attempts(key, attempt, started) VALUES (?, ?, ?)";
        self.conn.prepare_cached(sql)?.execute(params![found.attempt_key(), found.attempts, now.as_millis()])?;
        self.count(found.consumer.clone(), found.state, -1);
        self.count(found.consumer, DeliveryState::Running, 1);
        Ok(())
    }

    fn append(&mut self, new: &NewEvent, bytes: &[u8], seq: Seq, now: Timestamp) -> rusqlite::Result<()> {
        let (event, at) = (&new.event, now.as_millis());
        let sql = "INSERT INTO events(seq, identity, accepted, ty, source, id, subject, project, stage, service, run, \
                   triggered_id, caused_by, depth, actor, crc, event) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.conn.prepare_cached(sql)?.execute(params![
            to_i64(seq.0),
            identity_of(event.source(), event.id()),
            at,
            event.ty(),
            event.source(),
            event.id(),
            event.subject(),
            new.place.project,
            new.place.stage,
            new.place.service,
            new.run,
            new.triggered_id,
            new.caused_by.as_ref().map(|id| id.0.as_bytes()),
            new.depth,
            new.actor.as_str(),
            checksum(seq, now, new, bytes),
            bytes,
        ])?;
        self.numbers.head = seq.0;
        let range = self.blocks.entry(to_i64(seq.0 >> BLOCK_SHIFT)).or_insert((at, at));
        *range = (range.0.min(at), range.1.max(at));
        for delivery in &new.deliveries {
            self.deliver(delivery, seq, now)?;
        }
        for write in &new.states {
            self.write_state(write, if write.holds_own_event { Some(seq) } else { write.holds }, now)?;
        }
        for write in &new.timers {
            self.write_timer(write)?;
        }
        Ok(())
    }

    fn deliver(&mut self, new: &NewDelivery, event: Seq, now: Timestamp) -> rusqlite::Result<()> {
        let number = self.numbers.number + 1;
        let state = if new.dead.is_some() { DeliveryState::Dead } else { DeliveryState::Ready };
        let sql = "INSERT INTO deliveries(number, id, event, consumer, cause, task, order_key, state, attempts, \
                   attempts_total, due, created, updated, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?) \
                   ON CONFLICT(id) DO NOTHING";
        let inserted = self.conn.prepare_cached(sql)?.execute(params![
            to_i64(number),
            new.id.0.as_bytes(),
            to_i64(event.0),
            new.consumer.as_str(),
            new.cause.as_str(),
            new.task,
            new.order_key,
            state.as_str(),
            new.due.as_millis(),
            now.as_millis(),
            now.as_millis(),
            new.dead,
        ])?;
        if inserted > 0 {
            self.numbers.number = number;
            self.count(new.consumer.as_str().to_owned(), state, 1);
        }
        Ok(())
    }

    fn write_state(&self, write: &StateWrite, holds: Option<Seq>, now: Timestamp) -> rusqlite::Result<()> {
        let StateKey { kind, key } = &write.key;
        let Some(value) = &write.value else {
            let mut delete = self.conn.prepare_cached("DELETE FROM states WHERE kind = ? AND key = ?")?;
            return delete.execute(params![kind, key]).map(drop);
        };
        let sql = "INSERT OR REPLACE INTO states(kind, key, revision, updated, holds, value) VALUES (?, ?, ?, ?, ?, ?)";
        let (revision, holds) = (to_i64(write.revision + 1), holds.map(|seq| to_i64(seq.0)));
        self.conn.prepare_cached(sql)?.execute(params![kind, key, revision, now.as_millis(), holds, value]).map(drop)
    }

    fn write_key_value(&self, write: &KeyValueWrite) -> rusqlite::Result<()> {
        let KeyValueWrite { owner, scope, key, value } = write;
        let sql = match value {
            Some(_) => "INSERT OR REPLACE INTO key_values(owner, scope, key, value) VALUES (?1, ?2, ?3, ?4)",
            None => "DELETE FROM key_values WHERE owner = ?1 AND scope = ?2 AND key = ?3 AND ?4 IS NULL",
        };
        self.conn.prepare_cached(sql)?.execute(params![owner.as_str(), scope, key, value]).map(drop)
    }

    fn write_timer(&self, write: &TimerWrite) -> rusqlite::Result<()> {
        match write {
            TimerWrite::Set { name, due, payload } => {
                let sql = "INSERT OR REPLACE INTO timers(name, due, payload) VALUES (?, ?, ?)";
                self.conn.prepare_cached(sql)?.execute(params![name, due.as_millis(), payload]).map(drop)
            }
            TimerWrite::Clear { name } => {
                self.conn.prepare_cached("DELETE FROM timers WHERE name = ?")?.execute([name]).map(drop)
            }
        }
    }
}

fn encode_outcome(outcome: &EventOutcome) -> impl Iterator<Item = u8> + use<> {
    let flags = u8::from(outcome.duplicate) | (u8::from(outcome.mismatch) << 1);
    outcome.seq.0.to_le_bytes().into_iter().chain([flags])
}

fn decode_outcome(bytes: &[u8]) -> Option<EventOutcome> {
    let (seq, flags) = bytes.split_first_chunk::<8>()?;
    let flags = *flags.first()?;
    Some(EventOutcome { seq: Seq(u64::from_le_bytes(*seq)), duplicate: flags & 1 != 0, mismatch: flags & 2 != 0 })
}
