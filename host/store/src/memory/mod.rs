//! The engine for tests: everything in memory, and a "crash" between any two commits.
//!
//! Never here: cleverness. A batch is decided first (`crate::plan`) and then applied, under one lock.

mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::name::InstallationName;
use pilothouse_core::time::Timestamp;
use tokio::sync::watch;

use crate::filter::{Columns, delivery_matches};
use crate::{
    AttemptRecord, Batch, Committed, DeliveryFilter, DeliveryRow, EventFilter, EventRow, Page, RetentionPolicy, Seq,
    StateKey, StateRow, Store, StoreError, StoreStatus, TimerRow,
};
use state::State;

/// A store in memory, for tests.
///
/// It keeps every promise of [`Store`] but the one about stable storage, for which [`MemoryStore::crash`] stands in.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    head: watch::Sender<Seq>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::with(State::default())
    }

    /// Ends this store as a crash of the host would, and returns one with exactly what was committed: deliveries that
    /// were running still are. This one then fails with [`StoreError::Closed`].
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.lock();
        let mut survived = state.clone();
        state.closed = true;
        drop(state);
        survived.was_clean = false;
        Self::with(survived)
    }

    /// Refuses new events with [`StoreError::Full`] and this text from now on, or takes them again with `None`.
    pub fn refuse_ingest(&self, reason: Option<&str>) {
        self.lock().full = reason.map(str::to_owned);
    }

    fn with(state: State) -> Self {
        let head = watch::Sender::new(Seq(state.head));
        Self { state: Mutex::new(state), head }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts what is newer than the cursor, takes a page, and says where the next one starts.
fn page<T: Clone>(
    newest_first: impl Iterator<Item = (u64, T)>,
    cursor: Option<u64>,
    limit: usize,
) -> Result<Page<T>, StoreError> {
    let limit = limit.max(1);
    let mut rows = newest_first.skip_while(|(at, _)| cursor.is_some_and(|cursor| *at >= cursor));
    let page: Vec<(u64, T)> = rows.by_ref().take(limit).collect();
    let next = rows.next().and_then(|_| page.last().map(|(at, _)| *at));
    Ok(Page { items: page.into_iter().map(|(_, row)| row).collect(), next })
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let mut state = self.lock();
        let committed = state.commit(&batch)?;
        let head = Seq(state.head);
        drop(state);
        self.head.send_if_modified(|it| std::mem::replace(it, head) != head);
        Ok(committed)
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    async fn event(&self, seq: Seq) -> Result<Option<EventRow>, StoreError> {
        Ok(self.lock().events.get(&seq.0).cloned())
    }

    async fn event_by_identity(&self, source: &str, id: &str) -> Result<Option<EventRow>, StoreError> {
        let state = self.lock();
        let seq = state.identities.get(&(source.to_owned(), id.to_owned()));
        Ok(seq.and_then(|known| state.events.get(&known.seq.0)).cloned())
    }

    async fn events(
        &self,
        filter: &EventFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let state = self.lock();
        let matching = state.events.iter().rev().filter(|(_, row)| Columns::of(row).match_filter(filter));
        page(matching.map(|(seq, row)| (*seq, row.clone())), cursor, limit)
    }

    async fn read_log(&self, from: Seq, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        Ok(self.lock().events.range(from.0..).take(limit).map(|(_, row)| row.clone()).collect())
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(self.lock().delivery(id).cloned())
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError> {
        Ok(self.lock().attempts.get(&id).cloned().unwrap_or_default())
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let state = self.lock();
        let matching = state.deliveries.iter().rev().filter(|(_, row)| delivery_matches(filter, row));
        page(matching.map(|(number, row)| (*number, row.clone())), cursor, limit)
    }

    async fn ready_deliveries(
        &self,
        consumer: &InstallationName,
        after: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let state = self.lock();
        let later = state.deliveries.range(after.saturating_add(1)..).map(|(_, row)| row);
        let ready = later.filter(|row| row.consumer == *consumer && row.state == DeliveryState::Ready);
        Ok(ready.filter(|row| row.due <= now).take(limit).cloned().collect())
    }

    async fn next_due(&self, consumer: &InstallationName, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let state = self.lock();
        let ready = state.deliveries.values().filter(|row| row.state == DeliveryState::Ready);
        Ok(ready.filter(|row| row.consumer == *consumer && row.due > now).map(|row| row.due).min())
    }

    async fn delivery_counts(&self) -> Result<Vec<(InstallationName, DeliveryState, u64)>, StoreError> {
        let mut counts = std::collections::BTreeMap::new();
        for row in self.lock().deliveries.values() {
            let entry = counts.entry((row.consumer.clone(), row.state.as_str()));
            entry.or_insert((row.state, 0_u64)).1 += 1;
        }
        Ok(counts.into_iter().map(|((consumer, _), (state, count))| (consumer, state, count)).collect())
    }

    async fn state(&self, key: &StateKey) -> Result<Option<StateRow>, StoreError> {
        let at = (key.kind.to_owned(), key.key.clone());
        Ok(self.lock().states.get(&at).map(|(row, _)| row.clone()))
    }

    async fn states(&self, kind: &str, after: Option<&str>, limit: usize) -> Result<Vec<StateRow>, StoreError> {
        let state = self.lock();
        let of_kind = state.states.iter().filter(|((its_kind, _), _)| its_kind == kind);
        let later = of_kind.filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after));
        Ok(later.take(limit).map(|(_, (row, _))| row.clone()).collect())
    }

    async fn key_value(&self, owner: &InstallationName, scope: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let at = (owner.clone(), scope.to_owned(), key.to_owned());
        Ok(self.lock().key_values.get(&at).cloned())
    }

    async fn keys(
        &self,
        owner: &InstallationName,
        scope: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let state = self.lock();
        let own = state.key_values.keys().filter(|(its_owner, its_scope, _)| its_owner == owner && its_scope == scope);
        let later = own.map(|(_, _, key)| key).filter(|key| after.is_none_or(|after| key.as_str() > after));
        Ok(later.take(limit).cloned().collect())
    }

    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<(Vec<TimerRow>, Option<Timestamp>), StoreError> {
        let mut timers: Vec<TimerRow> = self.lock().timers.values().cloned().collect();
        timers.sort_by(|a, b| (a.due, &a.name).cmp(&(b.due, &b.name)));
        let due: Vec<TimerRow> = timers.iter().filter(|timer| timer.due <= now).take(limit).cloned().collect();
        let next = timers.get(due.len()).map(|timer| timer.due);
        Ok((due, next))
    }

    async fn recover_running(&self, now: Timestamp) -> Result<Vec<DeliveryRow>, StoreError> {
        let mut state = self.lock();
        state.refuse_if_closed()?;
        Ok(state.recover_running(now))
    }

    async fn retain(&self, policy: &RetentionPolicy, now: Timestamp) -> Result<u64, StoreError> {
        let mut state = self.lock();
        state.refuse_if_closed()?;
        Ok(state.retain(policy, now))
    }

    async fn status(&self) -> StoreStatus {
        let state = self.lock();
        StoreStatus {
            engine: "memory",
            head: state.head,
            tail: state.events.keys().next().copied().unwrap_or(state.head + 1),
            size_bytes: state.size_bytes(),
            free_bytes: u64::MAX,
            refusing: if state.closed { Some("closed".to_owned()) } else { state.full.clone() },
            was_clean: state.was_clean,
            commits: state.commits,
            batches: state.commits,
            append: crate::Times::default(),
            sync: crate::Times::default(),
        }
    }

    async fn backup(&self, _target: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::Read("the memory engine keeps nothing on disk that could be copied".to_owned()))
    }

    async fn close(&self) {
        self.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_contract!(async { (MemoryStore::new(), ()) });

    #[tokio::test]
    async fn a_crash_keeps_what_was_committed_and_ends_the_old_store() {
        let store = MemoryStore::new();
        store.commit(crate::contract::batch_of(&["1", "2"])).await.unwrap();
        let survivor = store.crash();
        assert_eq!(survivor.read_log(Seq(1), 10).await.unwrap().len(), 2);
        assert_eq!(*survivor.head().borrow(), Seq(2));
        assert_eq!(store.commit(crate::contract::batch_of(&["3"])).await, Err(StoreError::Closed));
    }
}
