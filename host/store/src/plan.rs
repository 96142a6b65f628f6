//! Decides what a batch does before anything of it is written; both engines apply a [`Plan`] blindly.
//!
//! Never here: writing. What is looked at is what the transaction sees.

use std::collections::HashMap;

use pilothouse_core::Event;
use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::time::Timestamp;

use crate::{
    Attempt, Batch, Committed, EventOutcome, Precondition, Seq, Settled, Settlement, StateKey, StateWrite, StoreError,
};

/// Longest key of an installation's key-value state, in bytes: as [`crate::KeyValueWrite::key`] promises; longer ones
/// would spill an index page each.
const KEY_BYTES_MAX: usize = 512;

/// Where a delivery stands, as far as fences look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: DeliveryState,
    pub(crate) attempts: u32,
}

/// An event that the log has, or remembers, under an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) seq: Seq,
    /// Whether its attributes or data differ from those of the event asked about.
    pub(crate) mismatch: bool,
}

/// What the plan needs to see of the store.
pub(crate) trait Look {
    fn routing(&self) -> Result<u64, StoreError>;
    fn head(&self) -> u64;
    /// Looks up the identity of the batch's event at `index`.
    fn known(&self, index: usize, event: &Event) -> Result<Option<Known>, StoreError>;
    fn has_event(&self, seq: Seq) -> Result<bool, StoreError>;
    fn standing(&self, id: DeliveryId) -> Result<Option<Standing>, StoreError>;
    fn revision(&self, key: &StateKey) -> Result<u64, StoreError>;
}

/// What a batch does.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One outcome per event of the batch; an event that is no duplicate is to be stored at its position.
    pub(crate) committed: Committed,
    /// One state per settlement, in which the delivery was before it.
    pub(crate) settled_from: Vec<DeliveryState>,
}

/// Decides what `batch` does, or why it is refused.
pub(crate) fn plan(batch: &Batch, look: &impl Look) -> Result<Plan, StoreError> {
    check_size(batch)?;
    if let Some(routed) = batch.routing {
        let current = look.routing()?;
        if routed != current {
            return Err(StoreError::StaleRouting { routed, current });
        }
    }
    for Precondition::StateRevision { key, revision } in &batch.preconditions {
        check_revision(key, *revision, look.revision(key)?)?;
    }
    let mut standings = HashMap::new();
    let settled_from = settle_all(&batch.settled, &mut standings, look)?;
    attempt_all(&batch.attempts, &mut standings, look)?;
    let events = place_events(&batch.events, look)?;
    let mut revisions = HashMap::new();
    for (new, outcome) in batch.events.iter().zip(&events) {
        if !outcome.duplicate {
            write_states(&new.states, &mut revisions, look)?;
        }
    }
    write_states(&batch.states, &mut revisions, look)?;
    for new in &batch.deliveries {
        if !look.has_event(new.event)? {
            return Err(StoreError::Conflict(format!("event {} of a new delivery is not in the log", new.event)));
        }
    }
    Ok(Plan { committed: Committed { events }, settled_from })
}

fn check_size(batch: &Batch) -> Result<(), StoreError> {
    if batch.events.len() > Batch::EVENTS_MAX {
        let (len, max) = (batch.events.len(), Batch::EVENTS_MAX);
        return Err(StoreError::TooLarge(format!("{len} events, at most {max} are allowed")));
    }
    match batch.key_values.iter().find(|write| write.key.len() > KEY_BYTES_MAX) {
        Some(write) => Err(StoreError::TooLarge(format!(
            "a key of {} has {} bytes, at most {KEY_BYTES_MAX} are allowed",
            write.owner,
            write.key.len()
        ))),
        None => Ok(()),
    }
}

fn check_revision(key: &StateKey, expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("{} `{}` has revision {found}, not {expected}", key.kind, key.key)))
}

fn standing(
    id: DeliveryId,
    standings: &HashMap<DeliveryId, Standing>,
    look: &impl Look,
) -> Result<Standing, StoreError> {
    if let Some(known) = standings.get(&id) {
        return Ok(*known);
    }
    look.standing(id)?.ok_or_else(|| StoreError::Conflict(format!("there is no delivery {id}")))
}

fn settle_all(
    settled: &[Settled],
    standings: &mut HashMap<DeliveryId, Standing>,
    look: &impl Look,
) -> Result<Vec<DeliveryState>, StoreError> {
    use DeliveryState::{Dead, Ready, Running};
    let mut from = Vec::with_capacity(settled.len());
    for it in settled {
        let before = standing(it.delivery, standings, look)?;
        let fits = match it.settlement {
            Settlement::Done | Settlement::Retry { .. } => before.state == Running,
            Settlement::Handled => before.state == Ready,
            Settlement::Dead { .. } | Settlement::Cancelled { .. } => matches!(before.state, Ready | Running),
            Settlement::Redriven { .. } => before.state == Dead,
        };
        if !fits || before.attempts != it.attempt {
            return Err(StoreError::Conflict(format!(
                "delivery {} is {} at attempt {}, it cannot be settled for attempt {}",
                it.delivery,
                before.state.as_str(),
                before.attempts,
                it.attempt
            )));
        }
        let change = change_of(&it.settlement);
        let attempts = if change.attempts_reset { 0 } else { before.attempts };
        standings.insert(it.delivery, Standing { state: change.state, attempts });
        from.push(before.state);
    }
    Ok(from)
}

fn attempt_all(
    attempts: &[Attempt],
    standings: &mut HashMap<DeliveryId, Standing>,
    look: &impl Look,
) -> Result<(), StoreError> {
    for it in attempts {
        let before = standing(it.delivery, standings, look)?;
        if before.state != DeliveryState::Ready || before.attempts != it.attempts_before {
            return Err(StoreError::Conflict(format!(
                "delivery {} is {} after {} attempts, it cannot be claimed after {}",
                it.delivery,
                before.state.as_str(),
                before.attempts,
                it.attempts_before
            )));
        }
        let after = Standing { state: DeliveryState::Running, attempts: before.attempts.saturating_add(1) };
        standings.insert(it.delivery, after);
    }
    Ok(())
}

fn place_events(events: &[crate::NewEvent], look: &impl Look) -> Result<Vec<EventOutcome>, StoreError> {
    let mut within: HashMap<(&str, &str), (Seq, &Event)> = HashMap::new();
    let mut head = look.head();
    let mut outcomes = Vec::with_capacity(events.len());
    for (index, new) in events.iter().enumerate() {
        let event = &new.event;
        let identity = (event.source(), event.id());
        let known = match within.get(&identity) {
            Some((seq, first)) => Some(Known { seq: *seq, mismatch: !same_content(first, event) }),
            None => look.known(index, event)?,
        };
        outcomes.push(match known {
            Some(Known { seq, mismatch }) => EventOutcome { seq, duplicate: true, mismatch },
            None => {
                head += 1;
                within.insert(identity, (Seq(head), event));
                EventOutcome { seq: Seq(head), duplicate: false, mismatch: false }
            }
        });
    }
    Ok(outcomes)
}

fn write_states<'a>(
    writes: &'a [StateWrite],
    revisions: &mut HashMap<&'a StateKey, u64>,
    look: &impl Look,
) -> Result<(), StoreError> {
    for write in writes {
        let found = match revisions.get(&write.key) {
            Some(revision) => *revision,
            None => look.revision(&write.key)?,
        };
        check_revision(&write.key, write.revision, found)?;
        let next = if write.value.is_some() { found + 1 } else { 0 };
        revisions.insert(&write.key, next);
    }
    Ok(())
}

/// Tells whether two events of one identity are the same: attributes, and data bytes in whatever mode they came.
pub(crate) fn same_content(a: &Event, b: &Event) -> bool {
    a == b
        || (a.ty() == b.ty()
            && a.subject() == b.subject()
            && a.time() == b.time()
            && a.datacontenttype() == b.datacontenttype()
            && a.dataschema() == b.dataschema()
            && a.extensions() == b.extensions()
            && a.data().map(|data| data.as_bytes()) == b.data().map(|data| data.as_bytes()))
}

/// What a settlement writes into the delivery's row, and into the record of the attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) state: DeliveryState,
    pub(crate) attempts_reset: bool,
    /// The new due time; `None` leaves it.
    pub(crate) due: Option<Timestamp>,
    pub(crate) failure: Option<pilothouse_core::delivery::FailureKind>,
    pub(crate) reason: Option<String>,
    /// What the attempt's record says.
    pub(crate) outcome: &'static str,
}

/// Returns what a settlement writes.
pub(crate) fn change_of(settlement: &Settlement) -> Change {
    let end = |state, outcome| Change { state, attempts_reset: false, due: None, failure: None, reason: None, outcome };
    match settlement {
        Settlement::Done | Settlement::Handled => end(DeliveryState::Done, "done"),
        Settlement::Retry { due, kind, reason } => Change {
            due: Some(*due),
            failure: Some(*kind),
            reason: Some(reason.clone()),
            ..end(DeliveryState::Ready, kind.as_str())
        },
        Settlement::Dead { kind, reason } => {
            Change { failure: Some(*kind), reason: Some(reason.clone()), ..end(DeliveryState::Dead, kind.as_str()) }
        }
        Settlement::Cancelled { reason } => {
            Change { reason: Some(reason.clone()), ..end(DeliveryState::Cancelled, "cancelled") }
        }
        Settlement::Redriven { actor, due } => Change {
            attempts_reset: true,
            due: Some(*due),
            reason: Some(format!("put back by {}", actor.as_str())),
            ..end(DeliveryState::Ready, "redriven")
        },
    }
}
