//! State rows of sequences: executions, each with a small one for listings beside it, and queues.

use std::collections::HashMap;

use pilothouse_core::sequence::{Execution, Key, Need, Queue, Rows};
use pilothouse_store::{Batch, StateKey, StateWrite, Store};
use uuid::Uuid;

use super::index::{INDEX_KIND, Index};
use super::{InputError, ProjectSource};

/// Kind of the state rows of executions; the key is the id.
pub(crate) const SEQUENCE_KIND: &str = "sequence";
/// Kind of the state rows of queues; the key is `project/stage/service`.
pub(crate) const QUEUE_KIND: &str = "sequence-queue";

/// Rows as they were read, and as they are decided to be.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) rows: Rows,
    /// Revisions of the rows that were read, 0 where there is none. An execution and its row for listings are always
    /// written together, so they have the same.
    executions: HashMap<Uuid, u64>,
    queues: HashMap<Key, u64>,
    changed_executions: Vec<Uuid>,
    changed_queues: Vec<Key>,
}

impl Loaded {
    /// Reads what a decision needs.
    pub(super) async fn load(
        &mut self,
        need: Need,
        store: &dyn Store,
        shipyards: &dyn ProjectSource,
    ) -> Result<(), InputError> {
        match need {
            Need::Execution(id) => {
                let row = store.state(&StateKey::new(SEQUENCE_KIND, id.to_string())).await?;
                let read = row.as_ref().map(|row| Execution::from_json(&row.value)).transpose();
                let execution = read.map_err(|error| InputError::Unreadable(format!("sequence {id}: {error}")))?;
                self.executions.insert(id, row.map_or(0, |row| row.revision));
                self.rows.executions.insert(id, execution);
            }
            Need::Queue(key) => {
                let row = store.state(&StateKey::new(QUEUE_KIND, key.to_string())).await?;
                let read = row.as_ref().map(|row| Queue::from_json(&row.value)).transpose();
                let queue = read.map_err(|error| InputError::Unreadable(format!("queue {key}: {error}")))?;
                self.queues.insert(key.clone(), row.map_or(0, |row| row.revision));
                self.rows.queues.insert(key, queue.unwrap_or_default());
            }
            Need::Shipyard { project, commit } => {
                let resolved = shipyards.shipyard(&project, commit.as_deref()).await?;
                self.rows.shipyards.insert((project, commit), resolved);
            }
        }
        Ok(())
    }

    /// Takes over what was decided.
    pub(super) fn decided(&mut self, decision: &pilothouse_core::sequence::Decision) {
        for execution in &decision.executions {
            if !self.changed_executions.contains(&execution.id) {
                self.changed_executions.push(execution.id);
            }
        }
        for (key, _) in &decision.queues {
            if !self.changed_queues.contains(key) {
                self.changed_queues.push(key.clone());
            }
        }
        self.rows.apply(decision);
    }

    /// Adds the changed rows to a batch.
    pub(super) fn write(&self, batch: &mut Batch) {
        for id in &self.changed_executions {
            let Some(execution) = self.rows.executions.get(id).and_then(Option::as_ref) else { continue };
            let revision = self.executions.get(id).copied().unwrap_or(0);
            let index = Index::of(execution);
            batch.states.push(put(StateKey::new(SEQUENCE_KIND, id.to_string()), revision, Some(execution.to_json())));
            batch.states.push(put(StateKey::new(INDEX_KIND, index.key()), revision, Some(index.to_json())));
        }
        for key in &self.changed_queues {
            let Some(queue) = self.rows.queues.get(key) else { continue };
            let revision = self.queues.get(key).copied().unwrap_or(0);
            let value = (!queue.entries.is_empty()).then(|| queue.to_json());
            if revision > 0 || value.is_some() {
                batch.states.push(put(StateKey::new(QUEUE_KIND, key.to_string()), revision, value));
            }
        }
    }
}

/// Makes the write of a row that holds no event.
pub(super) fn put(key: StateKey, revision: u64, value: Option<Vec<u8>>) -> StateWrite {
    StateWrite { key, revision, value, holds: None, holds_own_event: false }
}
