//! The one write: everything that must become true together.

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;
use uuid::Uuid;

use crate::Seq;

/// Everything that must become true together.
///
/// Order of effect: preconditions are checked first, all of them; then settlements, attempts, events with what follows
/// from each, and the rest. Nothing is applied if a precondition fails.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Makes the commit idempotent: remembered for at least ten minutes.
    pub id: Uuid,
    /// The instant recorded with everything in the batch.
    pub now: Timestamp,
    /// The generation of the subscriptions that events were routed with; `None` when the batch has no events or none
    /// of them depends on subscriptions.
    pub routing: Option<u64>,
    /// What must hold.
    pub preconditions: Vec<Precondition>,
    /// Events to append.
    pub events: Vec<NewEvent>,
    /// Deliveries of events that are in the log already: wake-ups, ends of jobs.
    pub deliveries: Vec<NewDelivery>,
    /// Attempts that begin.
    pub attempts: Vec<Attempt>,
    /// Attempts that ended, and deliveries that are moved by hand.
    pub settled: Vec<Settled>,
    /// State rows to write.
    pub states: Vec<StateWrite>,
    /// Key-value writes.
    pub key_values: Vec<KeyValueWrite>,
    /// Timers to set or clear.
    pub timers: Vec<TimerWrite>,
    /// Sets the generation of the subscriptions in force, together with the state rows that changed them.
    pub set_routing: Option<u64>,
}

impl Batch {
    /// Most events in one batch: a client's largest batch with room for what follows from it.
    pub const EVENTS_MAX: usize = 4_096;

    /// Makes an empty batch with a fresh id.
    pub fn new(now: Timestamp) -> Self {
        Self {
            id: Uuid::now_v7(),
            now,
            routing: None,
            preconditions: Vec::new(),
            events: Vec::new(),
            deliveries: Vec::new(),
            attempts: Vec::new(),
            settled: Vec::new(),
            states: Vec::new(),
            key_values: Vec::new(),
            timers: Vec::new(),
            set_routing: None,
        }
    }

    /// Tells whether the batch takes new events from outside, which a full store refuses; everything else is let
    /// through to the last reserve, so that deliveries can complete.
    pub fn is_ingest(&self) -> bool {
        !self.events.is_empty() && self.settled.is_empty() && self.attempts.is_empty() && self.timers.is_empty()
    }
}

/// What must hold for the batch to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The state row has this revision; 0 means that there is no such row.
    StateRevision {
        /// The row.
        key: StateKey,
        /// Its revision.
        revision: u64,
    },
}

/// An event to append, with what follows from it.
///
/// If an event with the same source and id is in the log already, nothing of this is stored, consequences included, and
/// the outcome says so.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Event,
    /// Its project, stage and service, as index columns.
    pub place: Place,
    /// The run it belongs to (`shkeptncontext`, or derived).
    pub run: Option<String>,
    /// The triggered event that it answers (`triggeredid`).
    pub triggered_id: Option<String>,
    /// Who caused it.
    pub actor: Actor,
    /// The delivery that returned or emitted it, if one did.
    pub caused_by: Option<DeliveryId>,
    /// How far it is from the event that came in from outside.
    pub depth: u32,
    /// Who gets it.
    pub deliveries: Vec<NewDelivery>,
    /// State that is written only if the event is new.
    pub states: Vec<StateWrite>,
    /// Timers that are set only if the event is new.
    pub timers: Vec<TimerWrite>,
}

/// A delivery to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id, from [`DeliveryId::derive`]. If it exists already, nothing happens.
    pub id: DeliveryId,
    /// The event to deliver, for [`Batch::deliveries`]; ignored inside [`NewEvent`], whose own event it is.
    pub event: Seq,
    /// Who gets it.
    pub consumer: InstallationName,
    /// Why.
    pub cause: Cause,
    /// The task that it belongs to, by the id of its `.triggered` event.
    pub task: Option<String>,
    /// Key of ordered delivery, where the installation asks for it.
    pub order_key: Option<String>,
    /// When it is due.
    pub due: Timestamp,
    /// Dead on arrival, with the reason: an event beyond the depth limit. `None` for every ordinary delivery.
    pub dead: Option<String>,
}

/// An attempt that begins: on disk before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The delivery; it must be `ready`.
    pub delivery: DeliveryId,
    /// Its attempts so far; one more is recorded. Fences off a second claim.
    pub attempts_before: u32,
}

/// The end of an attempt, or a move by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The attempt that ended; the batch is refused if it is not the one under way.
    /// For `Redriven` and `Cancelled` the attempts so far.
    pub attempt: u32,
    /// How it ended.
    pub settlement: Settlement,
    /// The plugin's log lines of this attempt, as JSON lines, bounded by the runtime.
    pub log: Vec<u8>,
    /// CPU time used, in microseconds.
    pub cpu_us: u64,
    /// Wall-clock time used, in microseconds.
    pub wall_us: u64,
    /// Peak of linear memory, in bytes.
    pub memory_bytes_max: u64,
}

/// How a delivery goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// Handled (from `running`).
    Done,
    /// Handled by the host itself, without an attempt (from `ready`).
    Handled,
    /// Failed, to be tried again (from `running`).
    Retry {
        /// When.
        due: Timestamp,
        /// What failed.
        kind: FailureKind,
        /// The reason, for people.
        reason: String,
    },
    /// Given up (from `running` or `ready`).
    Dead {
        /// What failed.
        kind: FailureKind,
        /// The reason, for people.
        reason: String,
    },
    /// Its task ended (from `ready` or `running`).
    Cancelled {
        /// The reason, for people.
        reason: String,
    },
    /// A person puts a dead letter back (from `dead`); attempts start again from 0.
    Redriven {
        /// Who.
        actor: Actor,
        /// When it is due.
        due: Timestamp,
    },
}

/// Names a state row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// What kind of state, such as `task`, `job`, `installation`, `token`.
    pub kind: &'static str,
    /// Which one.
    pub key: String,
}

impl StateKey {
    /// Makes a key.
    pub fn new(kind: &'static str, key: impl Into<String>) -> Self {
        Self { kind, key: key.into() }
    }
}

/// A state row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWrite {
    /// Which row.
    pub key: StateKey,
    /// The revision that the row must have, 0 for none; the new one is one higher. A mismatch refuses the batch.
    pub revision: u64,
    /// The value, serialized with a schema version inside; `None` removes the row.
    pub value: Option<Vec<u8>>,
    /// The event that the row still needs, kept by retention.
    pub holds: Option<Seq>,
    /// With [`NewEvent::states`]: the row holds the new event itself, whatever `holds` says.
    pub holds_own_event: bool,
}

/// A key-value write of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValueWrite {
    /// Whose.
    pub owner: InstallationName,
    /// The project, or empty.
    pub scope: String,
    /// The key, at most 512 bytes.
    pub key: String,
    /// The value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// A timer to set or clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerWrite {
    /// Sets the timer, replacing one of the same name.
    Set {
        /// Its name, such as `task/<id>/finish`.
        name: String,
        /// When it is due.
        due: Timestamp,
        /// What the owner needs to know when it fires.
        payload: Vec<u8>,
    },
    /// Removes the timer, if there.
    Clear {
        /// Its name.
        name: String,
    },
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// One outcome per event of the batch, in its order.
    pub events: Vec<EventOutcome>,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOutcome {
    /// Its position in the log; of the first one, for a duplicate.
    pub seq: Seq,
    /// Whether the same source and id was in the log already.
    pub duplicate: bool,
    /// Whether it was there with other attributes or other data.
    pub mismatch: bool,
}
