//! The state of the memory engine, and how a decided batch changes it.

use std::collections::{BTreeMap, HashMap};

use pilothouse_core::Event;
use pilothouse_core::delivery::{DeliveryId, DeliveryState, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::time::Timestamp;
use uuid::Uuid;

use crate::plan::{Known, Look, Plan, Standing, change_of, plan, same_content};
use crate::removed::RemovedEvent;
use crate::{
    Attempt, AttemptRecord, Batch, Committed, DeliveryRow, EventRow, IDENTITY_KEPT, KeyValueWrite, NewDelivery,
    NewEvent, REMOVED_DEAD_LETTER_KIND, RemovedDeadLetter, RetentionPolicy, Seq, Settled, StateKey, StateRow,
    StateWrite, StoreError, TimerRow, TimerWrite,
};

/// An event as the engine remembers its identity: the position, and the event to compare a repeat with.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) seq: Seq,
    event: Event,
    accepted: Timestamp,
}

/// Everything that was committed.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) head: u64,
    pub(super) events: BTreeMap<u64, EventRow>,
    pub(super) identities: HashMap<(String, String), Identity>,
    pub(super) deliveries: BTreeMap<u64, DeliveryRow>,
    numbers: HashMap<DeliveryId, u64>,
    last_number: u64,
    pub(super) attempts: HashMap<DeliveryId, Vec<AttemptRecord>>,
    pub(super) states: BTreeMap<(String, String), (StateRow, Option<Seq>)>,
    pub(super) key_values: BTreeMap<(InstallationName, String, String), Vec<u8>>,
    pub(super) timers: BTreeMap<String, TimerRow>,
    batches: HashMap<Uuid, Committed>,
    routing: u64,
    pub(super) commits: u64,
    pub(super) closed: bool,
    pub(super) full: Option<String>,
    pub(super) was_clean: bool,
}

impl Look for State {
    fn routing(&self) -> Result<u64, StoreError> {
        Ok(self.routing)
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn known(&self, _index: usize, event: &Event) -> Result<Option<Known>, StoreError> {
        let known = self.identities.get(&(event.source().to_owned(), event.id().to_owned()));
        Ok(known.map(|it| Known { seq: it.seq, mismatch: !same_content(&it.event, event) }))
    }

    fn has_event(&self, seq: Seq) -> Result<bool, StoreError> {
        Ok(self.events.contains_key(&seq.0))
    }

    fn standing(&self, id: DeliveryId) -> Result<Option<Standing>, StoreError> {
        Ok(self.delivery(id).map(|row| Standing { state: row.state, attempts: row.attempts }))
    }

    fn revision(&self, key: &StateKey) -> Result<u64, StoreError> {
        let at = (key.kind.to_owned(), key.key.clone());
        Ok(self.states.get(&at).map_or(0, |(row, _)| row.revision))
    }
}

impl State {
    pub(super) fn delivery(&self, id: DeliveryId) -> Option<&DeliveryRow> {
        self.numbers.get(&id).and_then(|number| self.deliveries.get(number))
    }

    fn delivery_mut(&mut self, id: DeliveryId) -> Option<&mut DeliveryRow> {
        self.numbers.get(&id).and_then(|number| self.deliveries.get_mut(number))
    }

    pub(super) fn refuse_if_closed(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Closed) } else { Ok(()) }
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        self.refuse_if_closed()?;
        if let Some(first) = self.batches.get(&batch.id) {
            return Ok(first.clone());
        }
        if let (Some(reason), true) = (&self.full, batch.is_ingest()) {
            return Err(StoreError::Full(reason.clone()));
        }
        let Plan { committed, settled_from } = plan(batch, self)?;
        for (settled, from) in batch.settled.iter().zip(settled_from) {
            self.settle(settled, from, batch.now);
        }
        for attempt in &batch.attempts {
            self.begin(*attempt, batch.now);
        }
        for (new, outcome) in batch.events.iter().zip(&committed.events) {
            if !outcome.duplicate {
                self.append(new, outcome.seq, batch.now);
            }
        }
        for new in &batch.deliveries {
            self.deliver(new, new.event, batch.now);
        }
        for write in &batch.states {
            self.write_state(write, write.holds, batch.now);
        }
        for write in &batch.key_values {
            self.write_key_value(write);
        }
        for write in &batch.timers {
            self.write_timer(write);
        }
        self.routing = batch.set_routing.unwrap_or(self.routing);
        self.batches.insert(batch.id, committed.clone());
        self.commits += 1;
        Ok(committed)
    }

    fn settle(&mut self, settled: &Settled, from: DeliveryState, now: Timestamp) {
        let change = change_of(&settled.settlement);
        if let Some(row) = self.delivery_mut(settled.delivery) {
            row.state = change.state;
            row.attempts = if change.attempts_reset { 0 } else { row.attempts };
            row.due = change.due.unwrap_or(row.due);
            row.updated = now;
            row.failure = change.failure;
            row.reason.clone_from(&change.reason);
        }
        let records = self.attempts.get_mut(&settled.delivery);
        if let (DeliveryState::Running, Some(record)) = (from, records.and_then(|it| it.last_mut())) {
            record.ended = Some(now);
            record.outcome = Some(change.outcome.to_owned());
            record.reason = change.reason;
            record.log.clone_from(&settled.log);
            record.cpu_us = settled.cpu_us;
            record.wall_us = settled.wall_us;
            record.memory_bytes_max = settled.memory_bytes_max;
        }
    }

    fn begin(&mut self, attempt: Attempt, now: Timestamp) {
        let Some(row) = self.delivery_mut(attempt.delivery) else { return };
        row.state = DeliveryState::Running;
        row.attempts += 1;
        row.updated = now;
        let record = AttemptRecord {
            attempt: row.attempts,
            started: now,
            ended: None,
            outcome: None,
            reason: None,
            log: Vec::new(),
            cpu_us: 0,
            wall_us: 0,
            memory_bytes_max: 0,
        };
        self.attempts.entry(attempt.delivery).or_default().push(record);
    }

    fn append(&mut self, new: &NewEvent, seq: Seq, now: Timestamp) {
        self.head = seq.0;
        let identity = (new.event.source().to_owned(), new.event.id().to_owned());
        self.identities.insert(identity, Identity { seq, event: new.event.clone(), accepted: now });
        let row = EventRow {
            seq,
            event: new.event.clone(),
            accepted: now,
            place: new.place.clone(),
            run: new.run.clone(),
            triggered_id: new.triggered_id.clone(),
            actor: new.actor.clone(),
            caused_by: new.caused_by,
            depth: new.depth,
        };
        self.events.insert(seq.0, row);
        for delivery in &new.deliveries {
            self.deliver(delivery, seq, now);
        }
        for write in &new.states {
            self.write_state(write, if write.holds_own_event { Some(seq) } else { write.holds }, now);
        }
        for write in &new.timers {
            self.write_timer(write);
        }
    }

    fn deliver(&mut self, new: &NewDelivery, event: Seq, now: Timestamp) {
        if self.numbers.contains_key(&new.id) {
            return;
        }
        self.last_number += 1;
        self.numbers.insert(new.id, self.last_number);
        let row = DeliveryRow {
            number: self.last_number,
            id: new.id,
            event,
            consumer: new.consumer.clone(),
            cause: new.cause,
            task: new.task.clone(),
            order_key: new.order_key.clone(),
            state: if new.dead.is_some() { DeliveryState::Dead } else { DeliveryState::Ready },
            attempts: 0,
            due: new.due,
            created: now,
            updated: now,
            failure: None,
            reason: new.dead.clone(),
        };
        self.deliveries.insert(self.last_number, row);
    }

    fn write_state(&mut self, write: &StateWrite, holds: Option<Seq>, now: Timestamp) {
        let at = (write.key.kind.to_owned(), write.key.key.clone());
        match &write.value {
            Some(value) => {
                let row = StateRow {
                    key: write.key.key.clone(),
                    revision: write.revision + 1,
                    value: value.clone(),
                    updated: now,
                };
                self.states.insert(at, (row, holds));
            }
            None => drop(self.states.remove(&at)),
        }
    }

    fn write_key_value(&mut self, write: &KeyValueWrite) {
        let at = (write.owner.clone(), write.scope.clone(), write.key.clone());
        match &write.value {
            Some(value) => drop(self.key_values.insert(at, value.clone())),
            None => drop(self.key_values.remove(&at)),
        }
    }

    fn write_timer(&mut self, write: &TimerWrite) {
        match write {
            TimerWrite::Set { name, due, payload } => {
                let row = TimerRow { name: name.clone(), due: *due, payload: payload.clone() };
                self.timers.insert(name.clone(), row);
            }
            TimerWrite::Clear { name } => drop(self.timers.remove(name)),
        }
    }

    pub(super) fn recover_running(&mut self, now: Timestamp) -> Vec<DeliveryRow> {
        let running = self.deliveries.values_mut().filter(|row| row.state == DeliveryState::Running);
        let recovered = running.map(|row| {
            row.state = DeliveryState::Ready;
            row.due = now;
            row.updated = now;
            row.failure = Some(FailureKind::Interrupted);
            row.reason = Some(crate::INTERRUPTED_REASON.to_owned());
            row.clone()
        });
        recovered.collect()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        let of = |event: &Event| event.data().map_or(0, |data| data.as_bytes().len()) as u64;
        self.events.values().map(|row| of(&row.event)).sum()
    }

    pub(super) fn retain(&mut self, policy: &RetentionPolicy, now: Timestamp) -> u64 {
        let mut removed = 0;
        let oldest_first: Vec<u64> = self.events.keys().copied().collect();
        let passes = [true, false].iter().flat_map(|spare| oldest_first.iter().map(|seq| (*seq, *spare)));
        for (seq, spare) in passes {
            let Some(row) = self.events.get(&seq) else { continue };
            let age = policy.age_of(row.event.ty());
            let old = now.since(row.accepted) > age;
            let may_go = self.size_bytes() > policy.size_bytes_max && !(spare && age > policy.age);
            if (old || may_go) && !self.is_owed(Seq(seq), policy, now) {
                self.remove(Seq(seq), now);
                removed += 1;
            }
        }
        let events = &self.events;
        self.identities.retain(|_, it| events.contains_key(&it.seq.0) || now.since(it.accepted) <= IDENTITY_KEPT);
        removed
    }

    fn is_owed(&self, seq: Seq, policy: &RetentionPolicy, now: Timestamp) -> bool {
        let held = self.states.values().any(|(_, holds)| *holds == Some(seq));
        let owed = |row: &DeliveryRow| {
            row.state.is_open() || (row.state == DeliveryState::Dead && now.since(row.updated) <= policy.dead_letters)
        };
        held || self.deliveries.values().any(|row| row.event == seq && owed(row))
    }

    fn remove(&mut self, seq: Seq, now: Timestamp) {
        let Some(event) = self.events.remove(&seq.0) else { return };
        let gone: Vec<DeliveryRow> = self.deliveries.values().filter(|row| row.event == seq).cloned().collect();
        for row in gone {
            if row.state == DeliveryState::Dead {
                self.remember_dead_letter(&row, &event, now);
            }
            self.deliveries.remove(&row.number);
            self.numbers.remove(&row.id);
            self.attempts.remove(&row.id);
        }
    }

    fn remember_dead_letter(&mut self, row: &DeliveryRow, event: &EventRow, now: Timestamp) {
        let removed = RemovedEvent {
            source: event.event.source().to_owned(),
            id: event.event.id().to_owned(),
            ty: event.event.ty().to_owned(),
            place: event.place.clone(),
            run: event.run.clone(),
        };
        let key = StateKey::new(REMOVED_DEAD_LETTER_KIND, row.id.to_string());
        let value = Some(RemovedDeadLetter::new(row, removed).to_json());
        self.write_state(&StateWrite { key, revision: 0, value, holds: None, holds_own_event: false }, None, now);
    }
}
