//! Rules about the head, retention, clocks and closing.

use super::*;
use crate::{REMOVED_DEAD_LETTER_KIND, RemovedDeadLetter, Seq};

const DAY: i64 = 24 * 3_600_000;

fn days(count: u64) -> Duration {
    Duration::from_hours(count * 24)
}

async fn seqs(store: &dyn Store) -> Vec<u64> {
    store.read_log(Seq(1), 1_000).await.unwrap().iter().map(|row| row.seq.0).collect()
}

/// Who watches the head is woken by a commit that appends, and by no other.
pub async fn the_head_wakes_who_waits(store: &dyn Store) {
    let mut head = store.head();
    assert_eq!(*head.borrow_and_update(), Seq(0));
    commit(store, Batch { states: vec![state_write("run", "r", 0, Some(b""))], ..Batch::new(NOW) }).await;
    assert!(!head.has_changed().unwrap());
    commit(store, batch_of(&["1", "2"])).await;
    head.changed().await.unwrap();
    assert_eq!(*head.borrow_and_update(), Seq(2));
    commit(store, batch_of(&["1"])).await;
    assert!(!head.has_changed().unwrap());
}

/// The longest matching rule decides; a later event may go before an earlier one.
pub async fn retention_removes_by_age_of_the_type(store: &dyn Store) {
    let typed = |id: &str, ty: &str| new_event(event_of(id, ty, "1"));
    let events = vec![typed("1", "eval.done"), typed("2", "build.done"), typed("3", "eval.draft.x")];
    commit(store, Batch { events, ..Batch::new(NOW) }).await;
    commit(store, Batch { now: at(5 * DAY), ..batch_of(&["4"]) }).await;
    let by_type = vec![("eval.".to_owned(), days(400)), ("eval.draft".to_owned(), days(1))];
    let policy = RetentionPolicy { age: days(3), by_type, ..keep_all() };
    assert_eq!(store.retain(&policy, at(3 * DAY)).await.unwrap(), 1);
    assert_eq!(seqs(store).await, [1, 2, 4]);
    assert_eq!(store.retain(&policy, at(5 * DAY)).await.unwrap(), 1);
    assert_eq!(seqs(store).await, [1, 4]);
    assert_eq!(store.retain(&policy, at(500 * DAY)).await.unwrap(), 2);
    assert_eq!(seqs(store).await, [0; 0]);
    commit(store, batch_of(&["5"])).await;
    assert_eq!(seqs(store).await, [5]);
}

/// An open delivery, a young dead letter and a state row each keep their event; when they end, it goes with them.
pub async fn retention_removes_nothing_that_is_owed_or_held(store: &dyn Store) {
    for id in ["1", "2", "3"] {
        commit(store, batch_to(id, &["slack"])).await;
    }
    commit(store, claim(delivery_id("2", "slack"), 0)).await;
    commit(store, Batch { now: at(10 * DAY), ..settle(delivery_id("3", "slack"), 0, dead("no")) }).await;
    let own = StateWrite { holds_own_event: true, ..state_write("task", "t", 0, Some(b"open")) };
    let other = StateWrite { holds: Some(Seq(5)), ..state_write("run", "r", 0, Some(b"open")) };
    let events = vec![NewEvent { states: vec![own], ..new_event(event("4")) }, new_event(event("5"))];
    commit(store, Batch { events, states: vec![other], ..Batch::new(NOW) }).await;
    let nothing = Duration::ZERO;
    let policy = RetentionPolicy { age: nothing, dead_letters: days(5), size_bytes_max: 0, ..keep_all() };
    assert_eq!(store.retain(&policy, at(14 * DAY)).await.unwrap(), 0);
    assert_eq!(seqs(store).await, [1, 2, 3, 4, 5]);
    commit(store, settle(delivery_id("2", "slack"), 1, Settlement::Done)).await;
    commit(store, Batch { states: vec![state_write("task", "t", 1, None)], ..Batch::new(NOW) }).await;
    commit(store, Batch { states: vec![state_write("run", "r", 1, Some(b"let go"))], ..Batch::new(NOW) }).await;
    assert_eq!(store.retain(&policy, at(16 * DAY)).await.unwrap(), 4);
    assert_eq!(seqs(store).await, [1]);
    // Only the third was a dead letter: what it was is kept, until somebody has said that it is gone.
    let told = store.states(REMOVED_DEAD_LETTER_KIND, None, 10).await.unwrap();
    let rows: Vec<_> = told.iter().map(|row| (row.key.clone(), row.revision)).collect();
    assert_eq!(rows, [(delivery_id("3", "slack").to_string(), 1)]);
    let told = RemovedDeadLetter::from_json(&told.first().unwrap().value).unwrap();
    assert_eq!((told.installation.as_str(), told.seq, told.id.as_str()), ("slack", Seq(3), "3"));
    assert_eq!((told.reason.as_deref(), told.attempts), (Some("no"), 0));
    for gone in ["2", "3"] {
        assert_eq!(store.delivery(delivery_id(gone, "slack")).await.unwrap(), None);
        assert_eq!(store.attempts(delivery_id(gone, "slack")).await.unwrap(), []);
    }
    assert_eq!(store.status().await.tail, 1);
}

/// Over the size, the oldest go first whatever their age.
pub async fn retention_by_size_removes_the_oldest(store: &dyn Store) {
    let filler = format!("\"{}\"", "x".repeat(10_000));
    for id in 0..100 {
        let new = new_event(event_of(&id.to_string(), "build.done", &filler));
        commit(store, Batch { events: vec![new], ..Batch::new(NOW) }).await;
    }
    let size = store.status().await.size_bytes;
    let policy = RetentionPolicy { size_bytes_max: size / 2, ..keep_all() };
    let removed = store.retain(&policy, NOW).await.unwrap();
    assert!((20..=80).contains(&removed), "{removed} of 100 events went");
    let kept = seqs(store).await;
    assert_eq!(kept.first().copied(), Some(removed + 1));
    assert_eq!(kept.len() as u64, 100 - removed);
    assert_eq!(store.retain(&policy, NOW).await.unwrap(), 0);
}

/// What a rule keeps longer than the rest goes only when nothing else is left to go.
pub async fn retention_by_size_takes_last_what_a_rule_keeps_longer(store: &dyn Store) {
    let filler = format!("\"{}\"", "x".repeat(10_000));
    for id in 0..60 {
        let ty = if id < 20 { "eval.done" } else { "build.done" };
        let new = new_event(event_of(&id.to_string(), ty, &filler));
        commit(store, Batch { events: vec![new], ..Batch::new(NOW) }).await;
    }
    let size = store.status().await.size_bytes;
    let by_type = vec![("eval.".to_owned(), days(400))];
    let policy = RetentionPolicy { age: days(3), by_type, size_bytes_max: size / 2, ..keep_all() };
    store.retain(&policy, NOW).await.unwrap();
    let kept = seqs(store).await;
    assert!(kept.len() < 60 && kept.starts_with(&(1..=20).collect::<Vec<u64>>()), "{kept:?}");
    let nothing = RetentionPolicy { size_bytes_max: 0, ..policy };
    store.retain(&nothing, NOW).await.unwrap();
    assert_eq!(seqs(store).await, [0; 0]);
}

/// A producer that repeats an event which went to save space does not bring it back within a week.
pub async fn an_identity_outlives_its_event_for_a_week(store: &dyn Store) {
    commit(store, batch_of(&["1", "2"])).await;
    let all = RetentionPolicy { age: Duration::ZERO, ..keep_all() };
    assert_eq!(store.retain(&all, at(DAY)).await.unwrap(), 2);
    let outcome = store.commit(batch_of(&["1"])).await.unwrap().events;
    assert_eq!(outcome, [crate::EventOutcome { seq: Seq(1), duplicate: true, mismatch: false }]);
    let other = Batch { events: vec![new_event(event_of("2", "build.done", "0"))], ..Batch::new(NOW) };
    let outcome = store.commit(other).await.unwrap().events;
    assert_eq!(outcome, [crate::EventOutcome { seq: Seq(2), duplicate: true, mismatch: true }]);
    assert_eq!(store.event_by_identity("/ci", "1").await.unwrap(), None);
    assert_eq!(store.retain(&all, at(8 * DAY)).await.unwrap(), 0);
    let outcome = store.commit(batch_of(&["1"])).await.unwrap().events;
    assert_eq!(outcome, [crate::EventOutcome { seq: Seq(3), duplicate: false, mismatch: false }]);
}

/// Positions and filters by time hold when the wall clock is set back, and nothing young is removed.
pub async fn a_clock_that_jumps_back_loses_nothing(store: &dyn Store) {
    let hour = 3_600_000;
    for (id, now) in [("1", 0), ("2", hour), ("3", -hour), ("4", 1), ("5", 1)] {
        commit(store, Batch { now: at(now), ..batch_to(id, &["slack"]) }).await;
    }
    assert_eq!(seqs(store).await, [1, 2, 3, 4, 5]);
    let between = |since, until| crate::EventFilter {
        since: Some(at(since)),
        until: Some(at(until)),
        ..crate::EventFilter::default()
    };
    let found = async |filter: crate::EventFilter| -> Vec<u64> {
        store.events(&filter, None, 10).await.unwrap().items.iter().map(|row| row.seq.0).collect()
    };
    assert_eq!(found(between(0, 10)).await, [5, 4, 1]);
    assert_eq!(found(between(-hour, 0)).await, [3]);
    assert_eq!(found(between(10, 2 * hour)).await, [2]);
    let policy = RetentionPolicy { age: days(1), ..keep_all() };
    assert_eq!(store.retain(&policy, at(-hour)).await.unwrap(), 0);
    assert_eq!(store.ready_deliveries(&consumer("slack"), 0, at(0), 10).await.unwrap().len(), 5);
}

/// After [`Store::close`] nothing is taken any more.
pub async fn a_closed_store_refuses_commits(store: &dyn Store) {
    commit(store, batch_of(&["1"])).await;
    store.close().await;
    assert_eq!(store.commit(batch_of(&["2"])).await, Err(StoreError::Closed));
    assert_eq!(store.recover_running(NOW).await, Err(StoreError::Closed));
    assert!(store.status().await.refusing.is_some());
    store.close().await;
}
