//! Rules about reading: filters, pages, order.

use pilothouse_core::delivery::DeliveryState;

use super::*;
use crate::{DeliveryFilter, EventFilter, KeyValueWrite, Seq, TimerRow, TimerWrite};

/// Reads all pages of two rows and returns the positions.
async fn select(store: &dyn Store, filter: EventFilter) -> Vec<u64> {
    let (mut seqs, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.events(&filter, cursor, 2).await.unwrap();
        assert!(page.items.len() <= 2);
        seqs.extend(page.items.iter().map(|row| row.seq.0));
        let Some(next) = page.next else { return seqs };
        assert!(cursor.is_none_or(|cursor| next < cursor), "a listing gets on");
        cursor = Some(next);
    }
}

/// Ten events: odd ones are Keptn's, even ones are builds; every third has a subject.
async fn ten_events(store: &dyn Store) {
    for number in 1..=10_u32 {
        let odd = number % 2 == 1;
        let ty = if odd { "sh.keptn.event.test.triggered" } else { "build.done" };
        let source = if number <= 4 { "/early" } else { "/ci" };
        let subject = (number % 3 == 0).then(|| "shop".to_owned());
        let plain = event(&number.to_string()).to_builder().ty(ty).source(source).subject(subject);
        let own = |text: &str| odd.then(|| text.to_owned());
        let new = NewEvent {
            place: Place { project: own("shop"), stage: own("dev"), service: own("carts") },
            run: own("run-1"),
            triggered_id: own("trigger-1"),
            caused_by: odd.then(|| delivery_id("0", "slack")),
            ..new_event(plain.build().unwrap())
        };
        commit(store, Batch { events: vec![new], ..Batch::new(at(i64::from(number))) }).await;
    }
}

/// Each filter alone selects exactly its events, newest first, page by page.
pub async fn each_event_filter_selects_and_pages(store: &dyn Store) {
    ten_events(store).await;
    let all = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let odd = [9, 7, 5, 3, 1];
    let builds = [10, 8, 6, 4, 2];
    let everything = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    let cases: [(EventFilter, &[u64]); 19] = [
        (all(), &everything),
        (EventFilter { ty: text("build.done"), ..all() }, &builds),
        (EventFilter { ty: text("build"), ..all() }, &[]),
        (EventFilter { ty: text("build*"), ..all() }, &builds),
        (EventFilter { ty: text("sh.keptn.*"), ..all() }, &odd),
        (EventFilter { ty: text("*"), ..all() }, &everything),
        (EventFilter { ty: text("x*"), ..all() }, &[]),
        (EventFilter { source: text("/early"), ..all() }, &[4, 3, 2, 1]),
        (EventFilter { id: text("7"), ..all() }, &[7]),
        (EventFilter { id: text("77"), ..all() }, &[]),
        (EventFilter { subject: text("shop"), ..all() }, &[9, 6, 3]),
        (EventFilter { run: text("run-1"), ..all() }, &odd),
        (EventFilter { triggered_id: text("trigger-1"), ..all() }, &odd),
        (EventFilter { project: text("shop"), ..all() }, &odd),
        (EventFilter { stage: text("dev"), ..all() }, &odd),
        (EventFilter { service: text("carts"), ..all() }, &odd),
        (EventFilter { caused_by: Some(delivery_id("0", "slack")), ..all() }, &odd),
        (EventFilter { since: Some(at(8)), ..all() }, &[10, 9, 8]),
        (EventFilter { until: Some(at(3)), ..all() }, &[2, 1]),
    ];
    for (filter, expected) in cases {
        assert_eq!(select(store, filter.clone()).await, expected, "{filter:?}");
    }
}

/// All given fields must match.
pub async fn filters_combine(store: &dyn Store) {
    ten_events(store).await;
    let text = |text: &str| Some(text.to_owned());
    let all = EventFilter::default;
    let early = EventFilter { source: text("/early"), run: text("run-1"), ..all() };
    assert_eq!(select(store, early).await, [3, 1]);
    let window = EventFilter { since: Some(at(2)), until: Some(at(8)), ty: text("build.*"), ..all() };
    assert_eq!(select(store, window).await, [6, 4, 2]);
    let identity = EventFilter { source: text("/ci"), id: text("7"), ..all() };
    assert_eq!(select(store, identity).await, [7]);
    let other = EventFilter { source: text("/early"), id: text("7"), ..all() };
    assert_eq!(select(store, other).await, [0; 0]);
    let subject = EventFilter { subject: text("shop"), project: text("shop"), stage: text("dev"), ..all() };
    assert_eq!(select(store, subject).await, [9, 3]);
}

/// A tail reads from any position on.
pub async fn the_log_is_read_in_order(store: &dyn Store) {
    commit(store, batch_of(&["1", "2", "3", "4", "5"])).await;
    let read = async |from, limit| -> Vec<u64> {
        store.read_log(Seq(from), limit).await.unwrap().iter().map(|row| row.seq.0).collect()
    };
    assert_eq!(read(0, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(read(3, 2).await, [3, 4]);
    assert_eq!(read(6, 2).await, [0; 0]);
    assert_eq!(store.event(Seq(4)).await.unwrap().unwrap().event, event("4"));
    assert_eq!(store.event(Seq(6)).await.unwrap(), None);
}

/// Source and id together are the identity.
pub async fn an_event_is_found_by_its_identity(store: &dyn Store) {
    commit(store, batch_of(&["1", "2"])).await;
    assert_eq!(store.event_by_identity("/ci", "2").await.unwrap().unwrap().seq, Seq(2));
    assert_eq!(store.event_by_identity("/ci", "3").await.unwrap(), None);
    assert_eq!(store.event_by_identity("/c", "i2").await.unwrap(), None);
}

/// Deliveries are listed newest first by event, consumer, state and task.
pub async fn delivery_filters_select_and_page(store: &dyn Store) {
    for id in ["1", "2", "3"] {
        let mut batch = batch_to(id, &["slack", "jmeter"]);
        for delivery in batch.events.iter_mut().flat_map(|new| &mut new.deliveries) {
            delivery.task = (delivery.consumer == consumer("jmeter")).then(|| format!("task-{id}"));
        }
        commit(store, batch).await;
    }
    commit(store, claim(delivery_id("1", "slack"), 0)).await;
    commit(store, settle(delivery_id("1", "slack"), 1, Settlement::Done)).await;
    commit(store, settle(delivery_id("2", "slack"), 0, dead("no"))).await;
    let all = DeliveryFilter::default;
    let slack = || Some(consumer("slack"));
    let cases: [(DeliveryFilter, &[u64]); 9] = [
        (all(), &[6, 5, 4, 3, 2, 1]),
        (DeliveryFilter { event: Some(Seq(2)), ..all() }, &[4, 3]),
        (DeliveryFilter { consumer: slack(), ..all() }, &[5, 3, 1]),
        (DeliveryFilter { state: Some(DeliveryState::Dead), ..all() }, &[3]),
        (DeliveryFilter { state: Some(DeliveryState::Done), ..all() }, &[1]),
        (DeliveryFilter { state: Some(DeliveryState::Ready), ..all() }, &[6, 5, 4, 2]),
        (DeliveryFilter { task: Some("task-3".into()), ..all() }, &[6]),
        (DeliveryFilter { consumer: slack(), state: Some(DeliveryState::Ready), ..all() }, &[5]),
        (DeliveryFilter { consumer: slack(), task: Some("task-3".into()), ..all() }, &[]),
    ];
    for (filter, expected) in cases {
        let (mut numbers, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.deliveries(&filter, cursor, 2).await.unwrap();
            numbers.extend(page.items.iter().map(|row| row.number));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(numbers, expected, "{filter:?}");
    }
}

/// A dispatcher reads what is due in log order, after what it has.
pub async fn ready_deliveries_come_in_log_order(store: &dyn Store) {
    let slack = consumer("slack");
    for (id, due) in [("1", 50), ("2", 0), ("3", 200), ("4", 10)] {
        let mut batch = batch_to(id, &["slack", "jmeter"]);
        for delivery in batch.events.iter_mut().flat_map(|new| &mut new.deliveries) {
            delivery.due = at(due);
            delivery.order_key = Some("shop/dev".into());
        }
        commit(store, batch).await;
    }
    let ready = async |after, now, limit| -> Vec<u64> {
        store.ready_deliveries(&slack, after, at(now), limit).await.unwrap().iter().map(|row| row.event.0).collect()
    };
    assert_eq!(ready(0, 100, 10).await, [1, 2, 4]);
    assert_eq!(ready(0, 100, 2).await, [1, 2]);
    assert_eq!(ready(0, 0, 10).await, [2]);
    let second = row(store, delivery_id("2", "slack")).await;
    assert_eq!(second.order_key.as_deref(), Some("shop/dev"));
    assert_eq!(ready(second.number, 1_000, 10).await, [3, 4]);
    assert_eq!(store.next_due(&slack, at(50)).await.unwrap(), Some(at(200)));
}

/// Counts are per consumer and state, without zeros.
pub async fn deliveries_are_counted_by_consumer_and_state(store: &dyn Store) {
    assert_eq!(store.delivery_counts().await.unwrap(), []);
    commit(store, batch_to("1", &["slack", "jmeter"])).await;
    commit(store, batch_to("2", &["slack"])).await;
    commit(store, batch_to("3", &["slack"])).await;
    commit(store, settle(delivery_id("3", "slack"), 0, dead("no"))).await;
    commit(store, claim(delivery_id("1", "jmeter"), 0)).await;
    commit(store, settle(delivery_id("1", "jmeter"), 1, Settlement::Done)).await;
    let counts = store.delivery_counts().await.unwrap();
    let told: Vec<_> = counts.iter().map(|(to, state, count)| (to.as_str(), state.as_str(), *count)).collect();
    assert_eq!(told, [("jmeter", "done", 1), ("slack", "dead", 1), ("slack", "ready", 2)]);
}

/// States of one kind come in the order of their keys.
pub async fn states_are_listed_by_kind_in_order(store: &dyn Store) {
    let states = ["b", "c", "a"].map(|key| state_write("task", key, 0, Some(b"{}")));
    commit(store, Batch { states: states.into(), ..Batch::new(at(3)) }).await;
    commit(store, Batch { states: vec![state_write("run", "z", 0, Some(b"{}"))], ..Batch::new(NOW) }).await;
    let keys = async |after, limit| -> Vec<String> {
        store.states("task", after, limit).await.unwrap().into_iter().map(|row| row.key).collect()
    };
    assert_eq!(keys(None, 10).await, ["a", "b", "c"]);
    assert_eq!(keys(Some("a"), 1).await, ["b"]);
    assert_eq!(keys(Some("c"), 1).await, [""; 0]);
    let first = store.states("task", None, 1).await.unwrap().pop().unwrap();
    assert_eq!((first.revision, first.updated), (1, at(3)));
}

/// Two installations, and two projects of one, see their own values only.
pub async fn key_values_are_kept_apart_by_owner_and_scope(store: &dyn Store) {
    let write = |owner: &str, scope: &str, key: &str, value: Option<&[u8]>| KeyValueWrite {
        owner: consumer(owner),
        scope: scope.into(),
        key: key.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let key_values = vec![
        write("slack", "shop", "k", Some(b"1")),
        write("slack", "", "k", Some(b"2")),
        write("jmeter", "shop", "k", Some(b"3")),
        write("slack", "shop", "b", Some(b"")),
        write("slack", "shop", "z", Some(b"z")),
    ];
    commit(store, Batch { key_values, ..Batch::new(NOW) }).await;
    let value = async |owner: &str, scope| store.key_value(&consumer(owner), scope, "k").await.unwrap();
    assert_eq!(value("slack", "shop").await, Some(b"1".to_vec()));
    assert_eq!(value("slack", "").await, Some(b"2".to_vec()));
    assert_eq!(value("jmeter", "shop").await, Some(b"3".to_vec()));
    let slack = consumer("slack");
    assert_eq!(store.key_value(&slack, "shop", "b").await.unwrap(), Some(Vec::new()));
    assert_eq!(store.keys(&slack, "shop", None, 10).await.unwrap(), ["b", "k", "z"]);
    assert_eq!(store.keys(&slack, "shop", Some("b"), 1).await.unwrap(), ["k"]);
    let changed = vec![write("slack", "shop", "k", None), write("slack", "shop", "z", Some(b"y"))];
    commit(store, Batch { key_values: changed, ..Batch::new(NOW) }).await;
    assert_eq!(value("slack", "shop").await, None);
    assert_eq!(store.key_value(&slack, "shop", "z").await.unwrap(), Some(b"y".to_vec()));
}

/// Timers come earliest first; setting one again moves it.
pub async fn timers_fire_in_order_and_can_be_replaced(store: &dyn Store) {
    let set = |name: &str, due| TimerWrite::Set { name: name.into(), due: at(due), payload: name.as_bytes().to_vec() };
    commit(store, Batch { timers: vec![set("c", 30), set("a", 10), set("b", 20)], ..Batch::new(NOW) }).await;
    let (due, next) = store.due_timers(at(20), 10).await.unwrap();
    assert_eq!(due.iter().map(|timer| timer.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(next, Some(at(30)));
    let (due, next) = store.due_timers(at(99), 1).await.unwrap();
    assert_eq!(due, [TimerRow { name: "a".into(), due: at(10), payload: b"a".to_vec() }]);
    assert_eq!(next, Some(at(20)));
    let changes = vec![set("a", 40), TimerWrite::Clear { name: "b".into() }, TimerWrite::Clear { name: "x".into() }];
    commit(store, Batch { timers: changes, ..Batch::new(NOW) }).await;
    let (due, next) = store.due_timers(at(40), 10).await.unwrap();
    assert_eq!(due.iter().map(|timer| timer.name.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    assert_eq!(next, None);
}
