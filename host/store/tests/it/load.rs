//! Batches whose parts belong together, and a check that each is there whole or not at all.

use std::collections::BTreeSet;
use std::path::Path;

use pilothouse_store::contract::{NOW, batch_to, consumer, delivery_id, event, new_event, state_write};
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{Batch, KeyValueWrite, Seq, StateKey, Store, StoreError};

/// Events in one batch.
const EVENTS: usize = 3;

/// Opens a store for a test: on any disk, however full.
pub(crate) fn config(path: impl AsRef<Path>) -> SqliteConfig {
    SqliteConfig { reserve_bytes: 0, ..SqliteConfig::new(path.as_ref()) }
}

fn event_id(number: u64, part: usize) -> String {
    format!("{number}-{part}")
}

/// Makes batch `number`: three events, a delivery, a state row and a key-value write.
pub(crate) fn batch(number: u64) -> Batch {
    let mut batch = batch_to(&event_id(number, 0), &["slack"]);
    batch.events.extend((1..EVENTS).map(|part| new_event(event(&event_id(number, part)))));
    let value = vec![u8::try_from(number % 251).unwrap(); 300];
    batch.states = vec![state_write("run", &number.to_string(), 0, Some(&value))];
    let key = number.to_string();
    batch.key_values = vec![KeyValueWrite { owner: consumer("slack"), scope: String::new(), key, value: Some(value) }];
    batch
}

/// Tells which of the parts of a batch are there.
async fn parts(store: &SqliteStore, number: u64) -> Result<Vec<bool>, StoreError> {
    let mut there = Vec::new();
    for part in 0..EVENTS {
        there.push(store.event_by_identity("/ci", &event_id(number, part)).await?.is_some());
    }
    there.push(store.delivery(delivery_id(&event_id(number, 0), "slack")).await?.is_some());
    there.push(store.state(&StateKey::new("run", number.to_string())).await?.is_some());
    there.push(store.key_value(&consumer("slack"), "", &number.to_string()).await?.is_some());
    Ok(there)
}

/// Looks for what must not be: an acknowledged batch that is missing, half a batch, a gap, an event that nobody sent.
pub(crate) async fn check(store: &SqliteStore, acknowledged: &BTreeSet<u64>, sent: u64) -> Result<(), String> {
    let mut whole = 0;
    for number in 0..sent {
        let parts = parts(store, number).await.map_err(|error| error.to_string())?;
        let there = parts.iter().filter(|it| **it).count();
        if there != 0 && there != parts.len() {
            return Err(format!("batch {number} is there by half: {parts:?}"));
        }
        if there == 0 && acknowledged.contains(&number) {
            return Err(format!("batch {number} was acknowledged and is gone"));
        }
        whole += u64::from(there != 0);
    }
    let log = store.read_log(Seq(1), 4_000).await.map_err(|error| error.to_string())?;
    let seqs: Vec<u64> = log.iter().map(|row| row.seq.0).collect();
    let expected: Vec<u64> = (1..=whole * EVENTS as u64).collect();
    if seqs != expected || store.head().borrow().0 != whole * EVENTS as u64 {
        return Err(format!("the log is {seqs:?}, {whole} batches are there"));
    }
    let next = batch(sent);
    store.commit(Batch { now: NOW, ..next }).await.map(drop).map_err(|error| format!("cannot go on: {error}"))
}
