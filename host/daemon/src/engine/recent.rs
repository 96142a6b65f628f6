//! Events that were just accepted and are owed to somebody: kept in memory, so that a delivery that begins at once reads
//! nothing from the store.
//!
//! Never the truth: what is not here is read from the store, and an event is here only after its commit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pilothouse_store::{EventRow, Seq};

/// Bytes of events that are kept: a second of the fastest ingest.
const BYTES_MAX: usize = 8 << 20;

/// The newest events that are owed to somebody.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: HashMap<Seq, EventRow>,
    oldest_first: VecDeque<Seq>,
    bytes: usize,
}

impl Recent {
    /// Keeps an event, and lets go of the oldest ones instead.
    pub(super) fn keep(&self, row: EventRow) {
        let mut kept = self.lock();
        let (seq, size) = (row.seq, row.event.size_bytes());
        if size > BYTES_MAX || kept.rows.insert(seq, row).is_some() {
            return;
        }
        kept.bytes += size;
        kept.oldest_first.push_back(seq);
        while kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.oldest_first.pop_front() else { return };
            if let Some(row) = kept.rows.remove(&oldest) {
                kept.bytes = kept.bytes.saturating_sub(row.event.size_bytes());
            }
        }
    }

    /// Returns an event, if it is kept.
    pub(super) fn get(&self, seq: Seq) -> Option<EventRow> {
        self.lock().rows.get(&seq).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::event::EventBuilder;
    use pilothouse_core::right::Actor;
    use pilothouse_core::scope::Place;
    use pilothouse_core::time::Timestamp;

    use super::*;

    fn row(seq: u64, bytes: usize) -> EventRow {
        EventRow {
            seq: Seq(seq),
            event: EventBuilder::new("1", "/s", "t").json(&serde_json::Value::from("x".repeat(bytes))).build().unwrap(),
            accepted: Timestamp::from_millis(0),
            place: Place::default(),
            run: None,
            triggered_id: None,
            actor: Actor::host(),
            caused_by: None,
            depth: 0,
        }
    }

    #[test]
    fn the_oldest_go_first_and_never_more_is_kept_than_allowed() {
        let recent = Recent::default();
        for seq in 1..=20 {
            recent.keep(row(seq, 1_000_000));
            recent.keep(row(seq, 1_000_000));
        }
        let kept: Vec<u64> = (1..=20).filter(|seq| recent.get(Seq(*seq)).is_some()).collect();
        assert_eq!(kept, [13, 14, 15, 16, 17, 18, 19, 20]);
        assert!(recent.lock().bytes <= BYTES_MAX);
        assert_eq!(recent.lock().oldest_first.len(), kept.len());
    }
}
