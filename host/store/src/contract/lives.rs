//! Rules about the life of a delivery: claims, fences, retries, dead letters.

use pilothouse_core::delivery::{DeliveryState, FailureKind};

use super::*;
use crate::{EventFilter, KeyValueWrite, Seq, TimerWrite};

/// Two batches that derive the same delivery make it once.
pub async fn a_delivery_is_made_once(store: &dyn Store) {
    commit(store, batch_to("1", &["slack"])).await;
    let again = NewDelivery { event: Seq(1), due: at(9_000), ..delivery_of("1", "slack") };
    let wake_up = NewDelivery {
        id: DeliveryId::derive("/ci", "1", &consumer("slack"), "wake-up 1"),
        cause: Cause::WakeUp,
        ..again.clone()
    };
    commit(store, Batch { deliveries: vec![again, wake_up.clone()], ..Batch::new(at(5)) }).await;
    let first = row(store, delivery_id("1", "slack")).await;
    let second = row(store, wake_up.id).await;
    assert_eq!((first.due, first.created, first.cause), (NOW, NOW, Cause::Observed));
    assert_eq!((second.due, second.created, second.event), (at(9_000), at(5), Seq(1)));
    assert!(first.number < second.number);
}

/// A claim is fenced by the attempts so far.
pub async fn only_one_of_two_claims_wins(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack"])).await;
    assert_conflict(store.commit(claim(id, 1)).await);
    commit(store, claim(id, 0)).await;
    assert_conflict(store.commit(claim(id, 0)).await);
    assert_conflict(store.commit(claim(id, 1)).await);
    let claimed = row(store, id).await;
    assert_eq!((claimed.state, claimed.attempts), (DeliveryState::Running, 1));
}

/// An attempt that is no longer the one under way cannot settle the delivery, nor leave anything behind.
pub async fn a_settlement_of_another_attempt_is_refused(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack"])).await;
    assert_conflict(store.commit(settle(id, 0, Settlement::Done)).await);
    commit(store, claim(id, 0)).await;
    let retry = Settlement::Retry { due: NOW, kind: FailureKind::Timeout, reason: "slow".into() };
    commit(store, settle(id, 1, retry)).await;
    commit(store, claim(id, 1)).await;
    let late = Batch { events: vec![new_event(event("returned"))], ..settle(id, 1, Settlement::Done) };
    assert_conflict(store.commit(late).await);
    assert_eq!(store.event_by_identity("/ci", "returned").await.unwrap(), None);
    assert_eq!(row(store, id).await.state, DeliveryState::Running);
    let twice = vec![settled(id, 2, Settlement::Done), settled(id, 2, Settlement::Done)];
    assert_conflict(store.commit(Batch { settled: twice, ..Batch::new(NOW) }).await);
    commit(store, settle(id, 2, Settlement::Done)).await;
    assert_conflict(store.commit(settle(id, 2, Settlement::Done)).await);
}

/// What a plugin returned, what it wrote and the mark that it is done are one commit.
pub async fn a_delivery_settles_together_with_what_it_returned(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack"])).await;
    commit(store, claim(id, 0)).await;
    let returned = NewEvent {
        caused_by: Some(id),
        depth: 1,
        actor: Actor::plugin(&consumer("slack")),
        deliveries: vec![delivery_of("2", "jmeter")],
        ..new_event(event("2"))
    };
    let key = KeyValueWrite { owner: consumer("slack"), scope: "shop".into(), key: "k".into(), value: Some(vec![1]) };
    let timer = TimerWrite::Set { name: "wake".into(), due: at(1), payload: Vec::new() };
    let end =
        Batch { events: vec![returned], key_values: vec![key], timers: vec![timer], ..settle(id, 1, Settlement::Done) };
    assert!(!end.is_ingest());
    commit(store, Batch { now: at(7), ..end }).await;
    let done = row(store, id).await;
    assert_eq!((done.state, done.updated, done.failure), (DeliveryState::Done, at(7), None));
    assert_eq!(row(store, delivery_id("2", "jmeter")).await.state, DeliveryState::Ready);
    let filter = EventFilter { caused_by: Some(id), ..EventFilter::default() };
    let caused = store.events(&filter, None, 10).await.unwrap().items;
    assert_eq!(caused.iter().map(|row| (row.seq, row.depth)).collect::<Vec<_>>(), [(Seq(2), 1)]);
    assert_eq!(store.key_value(&consumer("slack"), "shop", "k").await.unwrap(), Some(vec![1]));
}

/// A failed delivery is not ready before its time, and `next_due` says when that is.
pub async fn a_retry_waits_for_its_time(store: &dyn Store) {
    let (id, slack) = (delivery_id("1", "slack"), consumer("slack"));
    commit(store, batch_to("1", &["slack"])).await;
    commit(store, claim(id, 0)).await;
    assert_eq!(store.ready_deliveries(&slack, 0, at(9_999), 10).await.unwrap(), []);
    let retry = Settlement::Retry { due: at(1_000), kind: FailureKind::Retry, reason: "busy".into() };
    commit(store, settle(id, 1, retry)).await;
    assert_eq!(store.ready_deliveries(&slack, 0, at(999), 10).await.unwrap(), []);
    assert_eq!(store.next_due(&slack, at(999)).await.unwrap(), Some(at(1_000)));
    assert_eq!(store.next_due(&slack, at(1_000)).await.unwrap(), None);
    let ready = store.ready_deliveries(&slack, 0, at(1_000), 10).await.unwrap();
    let told: Vec<_> = ready.iter().map(|it| (it.id, it.attempts, it.failure, it.reason.as_deref())).collect();
    assert_eq!(told, [(id, 1, Some(FailureKind::Retry), Some("busy"))]);
    assert_eq!(store.next_due(&consumer("other"), NOW).await.unwrap(), None);
}

/// Redriving fences by the attempts so far and starts to count again.
pub async fn a_dead_letter_keeps_its_reason_and_starts_again_from_zero_attempts(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack"])).await;
    commit(store, claim(id, 0)).await;
    commit(store, settle(id, 1, dead("not for me"))).await;
    let letter = row(store, id).await;
    assert_eq!((letter.state, letter.failure), (DeliveryState::Dead, Some(FailureKind::Reject)));
    assert_eq!(letter.reason.as_deref(), Some("not for me"));
    let redriven = || Settlement::Redriven { actor: Actor::token("ann"), due: at(50) };
    assert_conflict(store.commit(claim(id, 1)).await);
    assert_conflict(store.commit(settle(id, 0, redriven())).await);
    commit(store, settle(id, 1, redriven())).await;
    let again = row(store, id).await;
    assert_eq!((again.state, again.attempts, again.due), (DeliveryState::Ready, 0, at(50)));
    assert_eq!((again.failure, again.reason.as_deref()), (None, Some("put back by token:ann")));
    assert_conflict(store.commit(settle(id, 0, redriven())).await);
    commit(store, claim(id, 0)).await;
    let attempts = store.attempts(id).await.unwrap();
    assert_eq!(attempts.iter().map(|it| it.attempt).collect::<Vec<_>>(), [1, 1]);
}

/// A delivery of an ended task is cancelled, ready or running, and never claimed again.
pub async fn a_cancelled_delivery_is_owed_no_more(store: &dyn Store) {
    let (ready, running) = (delivery_id("1", "slack"), delivery_id("1", "jmeter"));
    commit(store, batch_to("1", &["slack", "jmeter"])).await;
    commit(store, claim(running, 0)).await;
    let cancelled = || Settlement::Cancelled { reason: "the task timed out".into() };
    let both = vec![settled(ready, 0, cancelled()), settled(running, 1, cancelled())];
    commit(store, Batch { settled: both, ..Batch::new(NOW) }).await;
    for (id, attempts) in [(ready, 0), (running, 1)] {
        let row = row(store, id).await;
        assert_eq!((row.state, row.reason.as_deref()), (DeliveryState::Cancelled, Some("the task timed out")));
        assert_conflict(store.commit(claim(id, attempts)).await);
        assert_conflict(store.commit(settle(id, attempts, Settlement::Done)).await);
    }
    assert_eq!(store.ready_deliveries(&consumer("slack"), 0, at(9), 10).await.unwrap(), []);
}

/// What the host itself handles is done without an attempt, once, and only while it waits.
pub async fn what_the_host_handles_itself_is_done_without_an_attempt(store: &dyn Store) {
    let (ready, running) = (delivery_id("1", "slack"), delivery_id("1", "jmeter"));
    commit(store, batch_to("1", &["slack", "jmeter"])).await;
    commit(store, claim(running, 0)).await;
    assert_conflict(store.commit(settle(running, 1, Settlement::Handled)).await);
    commit(store, settle(ready, 0, Settlement::Handled)).await;
    let row = row(store, ready).await;
    assert_eq!((row.state, row.attempts, row.reason.as_deref()), (DeliveryState::Done, 0, None));
    assert_eq!(store.attempts(ready).await.unwrap(), []);
    assert_conflict(store.commit(settle(ready, 0, Settlement::Handled)).await);
}

/// An event beyond the depth limit makes a dead letter at once, which a person can put back.
pub async fn a_delivery_dead_on_arrival_can_be_redriven(store: &dyn Store) {
    let deep = NewDelivery { dead: Some("65 hops".into()), ..delivery_of("1", "slack") };
    let id = deep.id;
    let events = vec![NewEvent { deliveries: vec![deep], ..new_event(event("1")) }];
    commit(store, Batch { events, ..Batch::new(NOW) }).await;
    let letter = row(store, id).await;
    assert_eq!((letter.state, letter.attempts, letter.reason.as_deref()), (DeliveryState::Dead, 0, Some("65 hops")));
    assert_conflict(store.commit(claim(id, 0)).await);
    commit(store, settle(id, 0, Settlement::Redriven { actor: Actor::host(), due: NOW })).await;
    commit(store, claim(id, 0)).await;
}

/// Each attempt keeps when, how and with what log it ended.
pub async fn attempts_are_recorded_with_their_logs(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack", "jmeter"])).await;
    commit(store, claim(id, 0)).await;
    let retry = Settlement::Retry { due: NOW, kind: FailureKind::Trap, reason: "unreachable".into() };
    let first = Settled { log: b"{}\n".to_vec(), cpu_us: 5, wall_us: 6, memory_bytes_max: 7, ..settled(id, 1, retry) };
    commit(store, Batch { settled: vec![first], ..Batch::new(at(10)) }).await;
    commit(store, Batch { now: at(20), ..claim(id, 1) }).await;
    let attempts = store.attempts(id).await.unwrap();
    let told: Vec<_> = attempts.iter().map(|it| (it.attempt, it.started, it.ended, it.outcome.as_deref())).collect();
    assert_eq!(told, [(1, NOW, Some(at(10)), Some("trap")), (2, at(20), None, None)]);
    let first = attempts.into_iter().next().unwrap();
    assert_eq!((first.reason.as_deref(), first.log.as_slice()), (Some("unreachable"), b"{}\n".as_slice()));
    assert_eq!((first.cpu_us, first.wall_us, first.memory_bytes_max), (5, 6, 7));
    commit(store, Batch { now: at(30), ..settle(id, 2, Settlement::Done) }).await;
    let last = store.attempts(id).await.unwrap().pop().unwrap();
    assert_eq!((last.ended, last.outcome.as_deref(), last.reason), (Some(at(30)), Some("done"), None));
    assert_eq!(store.attempts(delivery_id("1", "jmeter")).await.unwrap(), []);
}

/// What was running when the host stopped is ready again; the attempt still counts.
pub async fn a_stopped_host_finds_its_running_deliveries(store: &dyn Store) {
    let id = delivery_id("1", "slack");
    commit(store, batch_to("1", &["slack", "jmeter"])).await;
    commit(store, claim(id, 0)).await;
    let recovered = store.recover_running(at(100)).await.unwrap();
    assert_eq!(recovered, [row(store, id).await]);
    let back = row(store, id).await;
    assert_eq!((back.state, back.attempts, back.due), (DeliveryState::Ready, 1, at(100)));
    assert_eq!(back.failure, Some(FailureKind::Interrupted));
    assert_eq!(store.recover_running(at(200)).await.unwrap(), []);
    assert_conflict(store.commit(settle(id, 1, Settlement::Done)).await);
    let attempt = store.attempts(id).await.unwrap().pop().unwrap();
    assert_eq!((attempt.ended, attempt.outcome), (None, None));
    commit(store, claim(id, 1)).await;
}
