//! Who runs and who waits for one project, stage and service.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::name::SequenceName;
use crate::time::Timestamp;

/// Version of the serialized form.
const SCHEMA: u32 = 1;
/// Most executions of one project, stage and service that have not ended. Thousands that wait for one service were
/// triggered by a program gone wrong.
pub const QUEUE_MAX: usize = 5_000;

/// The executions of one project, stage and service that have not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    schema: u32,
    /// In the order of their turn.
    pub entries: Vec<Entry>,
}

/// One execution in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The execution.
    pub execution: Uuid,
    /// Its run. Executions of one run do not block each other.
    pub run: String,
    /// Its sequence.
    pub sequence: SequenceName,
    /// When its run began: the order of the turns.
    pub since: Timestamp,
    /// Where it stands.
    pub state: EntryState,
}

/// Where an execution stands in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// It has the place; others wait for it.
    Holding,
    /// It waits for its turn.
    Waiting,
    /// It neither has the place nor waits for it: paused, delayed, or waiting for a person's approval.
    Away,
    /// Its shipyard lets it run beside the others.
    Beside,
}

impl Default for Queue {
    fn default() -> Self {
        Self { schema: SCHEMA, entries: Vec::new() }
    }
}

impl Queue {
    /// Reads the stored form.
    ///
    /// # Errors
    /// The text is not a queue of a version that this host knows.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let queue: Self = serde_json::from_slice(bytes)?;
        if queue.schema > SCHEMA {
            let text = format!("queue row of version {}, this host knows up to {SCHEMA}", queue.schema);
            return Err(serde::de::Error::custom(text));
        }
        Ok(queue)
    }

    /// Writes the stored form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns an execution's entry.
    pub fn entry(&self, execution: Uuid) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.execution == execution)
    }

    /// Adds an execution behind all whose run began earlier or at the same time.
    pub(super) fn add(&mut self, entry: Entry) {
        let at = self.entries.iter().position(|it| it.since > entry.since).unwrap_or(self.entries.len());
        self.entries.insert(at, entry);
    }

    pub(super) fn remove(&mut self, execution: Uuid) {
        self.entries.retain(|entry| entry.execution != execution);
    }

    /// Gives the place to an execution, or makes it wait for its turn; returns whether it has the place.
    ///
    /// It gets the place at once where those that have it belong to its own run, or where nobody has it and nobody of
    /// another run waits before it.
    pub(super) fn acquire(&mut self, execution: Uuid) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.execution == execution) else { return true };
        let Some(own) = self.entries.get(at) else { return true };
        if matches!(own.state, EntryState::Holding | EntryState::Beside) {
            return true;
        }
        let foreign = |entry: &Entry, state| entry.state == state && entry.run != own.run;
        let mut holders = self.entries.iter().filter(|entry| entry.state == EntryState::Holding).peekable();
        let free = if holders.peek().is_some() {
            !holders.any(|entry| foreign(entry, EntryState::Holding))
        } else {
            !self.entries.iter().take(at).any(|entry| foreign(entry, EntryState::Waiting))
        };
        if let Some(own) = self.entries.get_mut(at) {
            own.state = if free { EntryState::Holding } else { EntryState::Waiting };
        }
        free
    }

    /// Takes an execution's place away, or its wait for it.
    pub(super) fn release(&mut self, execution: Uuid) {
        for entry in self.entries.iter_mut().filter(|entry| entry.execution == execution) {
            if entry.state != EntryState::Beside {
                entry.state = EntryState::Away;
            }
        }
    }

    /// Returns whose turn it is, if nobody has the place: the first that waits, with the others of its run.
    pub(super) fn next_up(&self) -> Vec<Uuid> {
        if self.entries.iter().any(|entry| entry.state == EntryState::Holding) {
            return Vec::new();
        }
        let mut waiting = self.entries.iter().filter(|entry| entry.state == EntryState::Waiting).peekable();
        let Some(run) = waiting.peek().map(|entry| entry.run.clone()) else { return Vec::new() };
        waiting.filter(|entry| entry.run == run).map(|entry| entry.execution).collect()
    }

    /// Returns who has the place that an execution waits for, and how many wait before it.
    pub fn blockers(&self, execution: Uuid) -> (Vec<&Entry>, usize) {
        let holders = self.entries.iter().filter(|entry| entry.state == EntryState::Holding).collect();
        let before = self.entries.iter().take_while(|entry| entry.execution != execution);
        (holders, before.filter(|entry| entry.state == EntryState::Waiting).count())
    }
}
