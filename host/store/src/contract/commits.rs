//! Rules about one commit: all or nothing, identity, revisions.

use pilothouse_core::event::{Data, EventBuilder};

use super::*;
use crate::{KeyValueWrite, Precondition, Seq, TimerWrite};

fn everything() -> Batch {
    Batch {
        states: vec![state_write("task", "t", 0, Some(b"open"))],
        key_values: vec![KeyValueWrite {
            owner: consumer("slack"),
            scope: String::new(),
            key: "k".into(),
            value: Some(b"v".to_vec()),
        }],
        timers: vec![TimerWrite::Set { name: "t/finish".into(), due: NOW, payload: b"p".to_vec() }],
        set_routing: Some(1),
        ..batch_to("1", &["slack"])
    }
}

async fn assert_empty(store: &dyn Store) {
    assert_eq!(store.read_log(Seq(1), 10).await.unwrap(), []);
    assert_eq!(store.event_by_identity("/ci", "1").await.unwrap(), None);
    assert_eq!(store.delivery(delivery_id("1", "slack")).await.unwrap(), None);
    assert_eq!(store.state(&StateKey::new("task", "t")).await.unwrap(), None);
    assert_eq!(store.key_value(&consumer("slack"), "", "k").await.unwrap(), None);
    assert_eq!(store.due_timers(NOW, 10).await.unwrap(), (Vec::new(), None));
    assert_eq!(*store.head().borrow(), Seq(0));
}

/// Each thing that can refuse a batch leaves nothing of it behind.
pub async fn a_batch_that_is_refused_changes_nothing(store: &dyn Store) {
    let unknown = delivery_id("none", "slack");
    let wrong = Precondition::StateRevision { key: StateKey::new("run", "r"), revision: 7 };
    assert_conflict(store.commit(Batch { preconditions: vec![wrong], ..everything() }).await);
    let states = vec![state_write("task", "t", 0, Some(b"open")), state_write("task", "u", 3, Some(b"x"))];
    assert_conflict(store.commit(Batch { states, ..everything() }).await);
    let attempts = vec![Attempt { delivery: unknown, attempts_before: 0 }];
    assert_conflict(store.commit(Batch { attempts, ..everything() }).await);
    let ended = vec![settled(unknown, 1, Settlement::Done)];
    assert_conflict(store.commit(Batch { settled: ended, ..everything() }).await);
    let deliveries = vec![NewDelivery { event: Seq(99), ..delivery_of("9", "slack") }];
    assert_conflict(store.commit(Batch { deliveries, ..everything() }).await);
    let stale = store.commit(Batch { routing: Some(5), ..everything() }).await;
    assert_eq!(stale, Err(StoreError::StaleRouting { routed: 5, current: 0 }));
    assert_empty(store).await;
}

/// What a batch holds becomes true together.
pub async fn a_batch_sets_everything_together(store: &dyn Store) {
    let committed = store.commit(everything()).await.unwrap();
    let outcome = committed.events[..].first().copied();
    assert_eq!(outcome, Some(crate::EventOutcome { seq: Seq(1), duplicate: false, mismatch: false }));
    let stored = store.event(Seq(1)).await.unwrap().unwrap();
    assert_eq!((stored.event, stored.accepted, stored.actor), (event("1"), NOW, Actor::token("ci")));
    let delivery = row(store, delivery_id("1", "slack")).await;
    assert_eq!((delivery.event, delivery.consumer, delivery.attempts), (Seq(1), consumer("slack"), 0));
    let state = store.state(&StateKey::new("task", "t")).await.unwrap().unwrap();
    assert_eq!((state.revision, state.value), (1, b"open".to_vec()));
    assert_eq!(store.key_value(&consumer("slack"), "", "k").await.unwrap(), Some(b"v".to_vec()));
    assert_eq!(store.due_timers(NOW, 10).await.unwrap().0.len(), 1);
    assert_eq!(*store.head().borrow(), Seq(1));
}

/// Refused and repeated events take no position.
pub async fn positions_have_no_gaps(store: &dyn Store) {
    commit(store, batch_of(&["1", "2"])).await;
    assert!(store.commit(Batch { routing: Some(9), ..batch_of(&["3"]) }).await.is_err());
    commit(store, batch_of(&["2", "4"])).await;
    let seqs: Vec<u64> = store.read_log(Seq(0), 10).await.unwrap().iter().map(|row| row.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!((store.status().await.head, store.status().await.tail), (3, 1));
}

/// A batch that was decided on an old row is refused; 0 means that there is no row.
pub async fn a_precondition_on_a_revision_refuses_a_batch_that_is_out_of_date(store: &dyn Store) {
    let needs = |revision| Batch {
        preconditions: vec![Precondition::StateRevision { key: StateKey::new("run", "r"), revision }],
        ..Batch::new(NOW)
    };
    commit(store, needs(0)).await;
    assert_conflict(store.commit(needs(1)).await);
    commit(store, Batch { states: vec![state_write("run", "r", 0, Some(b"1"))], ..Batch::new(NOW) }).await;
    assert_conflict(store.commit(needs(0)).await);
    commit(store, needs(1)).await;
}

/// A batch routed with another generation of the subscriptions is routed again by the caller.
pub async fn a_batch_routed_with_old_subscriptions_is_refused(store: &dyn Store) {
    let routed = |id, routing| Batch { routing, ..batch_of(&[id]) };
    commit(store, routed("1", Some(0))).await;
    commit(store, Batch { set_routing: Some(7), ..Batch::new(NOW) }).await;
    let stale = store.commit(routed("2", Some(0))).await;
    assert_eq!(stale, Err(StoreError::StaleRouting { routed: 0, current: 7 }));
    commit(store, routed("2", Some(7))).await;
    commit(store, routed("3", None)).await;
}

/// The consequences of an event that was there already are not applied.
pub async fn a_repeated_event_has_no_consequences(store: &dyn Store) {
    commit(store, batch_of(&["0", "1"])).await;
    let mut again = batch_to("1", &["slack"]);
    for new in &mut again.events {
        // The revision does not fit either: a repeat is a success all the same.
        new.states = vec![state_write("task", "t", 4, Some(b"open"))];
        new.timers = vec![TimerWrite::Set { name: "t".into(), due: NOW, payload: Vec::new() }];
    }
    let committed = store.commit(again).await.unwrap();
    assert_eq!(committed.events, [crate::EventOutcome { seq: Seq(2), duplicate: true, mismatch: false }]);
    assert_eq!(store.delivery(delivery_id("1", "slack")).await.unwrap(), None);
    assert_eq!(store.state(&StateKey::new("task", "t")).await.unwrap(), None);
    assert_eq!(store.due_timers(NOW, 10).await.unwrap().0, []);
}

/// The same identity with other attributes or data is flagged; the first one stays.
pub async fn a_repeated_event_with_other_content_is_a_mismatch(store: &dyn Store) {
    commit(store, batch_of(&["1"])).await;
    let other_data = event_of("1", "build.done", "{\"build\": \"other\"}");
    let other_type = event_of("1", "build.failed", "{\"build\": \"1\"}");
    let subject = event("1").to_builder().subject(Some("s".into())).build().unwrap();
    for other in [other_data, other_type, subject] {
        let batch = Batch { events: vec![new_event(other)], ..Batch::new(NOW) };
        let outcome = store.commit(batch).await.unwrap().events;
        assert_eq!(outcome, [crate::EventOutcome { seq: Seq(1), duplicate: true, mismatch: true }]);
    }
    let other_source = EventBuilder::new("1", "/other", "build.done").build().unwrap();
    let batch = Batch { events: vec![new_event(other_source)], ..Batch::new(NOW) };
    let outcome = store.commit(batch).await.unwrap().events;
    assert_eq!(outcome, [crate::EventOutcome { seq: Seq(2), duplicate: false, mismatch: false }]);
    assert_eq!(store.event(Seq(1)).await.unwrap().unwrap().event, event("1"));
}

/// A batch that holds the same event twice stores it once.
pub async fn a_repeat_within_one_batch_is_a_duplicate(store: &dyn Store) {
    let mut batch = batch_to("1", &["slack"]);
    batch.events.push(new_event(event("1")));
    batch.events.push(new_event(event_of("1", "build.done", "null")));
    batch.events.push(new_event(event("2")));
    let outcomes = store.commit(batch).await.unwrap().events;
    let told: Vec<_> = outcomes.iter().map(|it| (it.seq.0, it.duplicate, it.mismatch)).collect();
    assert_eq!(told, [(1, false, false), (1, true, false), (1, true, true), (2, false, false)]);
    assert_eq!(row(store, delivery_id("1", "slack")).await.event, Seq(1));
    assert_eq!(store.read_log(Seq(1), 10).await.unwrap().len(), 2);
}

/// A commit whose outcome got lost can be repeated.
pub async fn a_repeated_batch_changes_nothing_and_gets_the_first_answer(store: &dyn Store) {
    commit(store, batch_of(&["0"])).await;
    let mut batch = everything();
    let blob = EventBuilder::new("blob", "/ci", "blob").data(Some(Data::Binary(vec![0, 255])));
    batch.events.push(new_event(blob.datacontenttype(Some("application/zip".into())).build().unwrap()));
    batch.events.push(new_event(event("0")));
    let first = store.commit(batch.clone()).await.unwrap();
    assert_eq!(store.commit(batch).await.unwrap(), first);
    assert_eq!(first.events.iter().map(|it| it.duplicate).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(store.state(&StateKey::new("task", "t")).await.unwrap().unwrap().revision, 1);
}

/// The bounds on a batch hold before anything is written.
pub async fn a_batch_over_its_bound_is_refused(store: &dyn Store) {
    let many = vec![new_event(event("1")); Batch::EVENTS_MAX + 1];
    let refused = store.commit(Batch { events: many, ..Batch::new(NOW) }).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
    let long =
        KeyValueWrite { owner: consumer("slack"), scope: String::new(), key: "k".repeat(513), value: Some(vec![]) };
    let refused = store.commit(Batch { key_values: vec![long], ..batch_of(&["1"]) }).await;
    assert!(matches!(refused, Err(StoreError::TooLarge(_))));
    assert_empty(store).await;
}

/// Each write raises the revision by one; removing the row starts again.
pub async fn a_state_row_counts_its_revisions(store: &dyn Store) {
    let write = |revision, value| Batch { states: vec![state_write("run", "r", revision, value)], ..Batch::new(NOW) };
    commit(store, write(0, Some(b"a"))).await;
    assert_conflict(store.commit(write(0, Some(b"b"))).await);
    commit(store, write(1, Some(b"b"))).await;
    let state = store.state(&StateKey::new("run", "r")).await.unwrap().unwrap();
    assert_eq!((state.revision, state.value), (2, b"b".to_vec()));
    assert_conflict(store.commit(write(1, None)).await);
    commit(store, write(2, None)).await;
    assert_eq!(store.state(&StateKey::new("run", "r")).await.unwrap(), None);
    let twice = vec![state_write("run", "r", 0, Some(b"c")), state_write("run", "r", 1, Some(b"d"))];
    commit(store, Batch { states: twice, ..Batch::new(NOW) }).await;
    assert_eq!(store.state(&StateKey::new("run", "r")).await.unwrap().unwrap().revision, 2);
}
