//! What every engine promises, as one test per rule.
//!
//! An engine's test module says `store_contract!(async { (store, guard) })`, where the guard keeps alive whatever the
//! store lives in. Each rule gets a fresh store. A rule here looks through [`Store`] only; what an engine promises
//! beyond it (durability, damage) is tested beside the engine.
#![expect(clippy::unwrap_used, reason = "this module is tests that engines share; a failed step ends the test")]

mod commits;
mod lives;
mod reads;
mod upkeep;

use std::time::Duration;

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId, FailureKind};
use pilothouse_core::event::{Data, EventBuilder};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;

use crate::{
    Attempt, Batch, DeliveryRow, NewDelivery, NewEvent, RetentionPolicy, Settled, Settlement, StateKey, StateWrite,
    Store, StoreError,
};

pub use commits::*;
pub use lives::*;
pub use reads::*;
pub use upkeep::*;

/// Makes one test per rule of the contract. The argument is a future that makes a fresh store and a guard.
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::store_contract!(@rules $make;
            a_batch_that_is_refused_changes_nothing
            a_batch_sets_everything_together
            positions_have_no_gaps
            a_precondition_on_a_revision_refuses_a_batch_that_is_out_of_date
            a_batch_routed_with_old_subscriptions_is_refused
            a_repeated_event_has_no_consequences
            a_repeated_event_with_other_content_is_a_mismatch
            a_repeat_within_one_batch_is_a_duplicate
            a_repeated_batch_changes_nothing_and_gets_the_first_answer
            a_batch_over_its_bound_is_refused
            a_state_row_counts_its_revisions
            a_delivery_is_made_once
            only_one_of_two_claims_wins
            a_settlement_of_another_attempt_is_refused
            a_delivery_settles_together_with_what_it_returned
            a_retry_waits_for_its_time
            a_dead_letter_keeps_its_reason_and_starts_again_from_zero_attempts
            a_cancelled_delivery_is_owed_no_more
            what_the_host_handles_itself_is_done_without_an_attempt
            a_delivery_dead_on_arrival_can_be_redriven
            attempts_are_recorded_with_their_logs
            a_stopped_host_finds_its_running_deliveries
            each_event_filter_selects_and_pages
            filters_combine
            the_log_is_read_in_order
            an_event_is_found_by_its_identity
            delivery_filters_select_and_page
            ready_deliveries_come_in_log_order
            deliveries_are_counted_by_consumer_and_state
            states_are_listed_by_kind_in_order
            key_values_are_kept_apart_by_owner_and_scope
            timers_fire_in_order_and_can_be_replaced
            the_head_wakes_who_waits
            retention_removes_by_age_of_the_type
            retention_removes_nothing_that_is_owed_or_held
            retention_by_size_removes_the_oldest
            retention_by_size_takes_last_what_a_rule_keeps_longer
            an_identity_outlives_its_event_for_a_week
            a_clock_that_jumps_back_loses_nothing
            a_closed_store_refuses_commits
        );
    };
    (@rules $make:expr; $($rule:ident)*) => {
        $(
            #[tokio::test]
            async fn $rule() {
                let (store, _guard) = $make.await;
                $crate::contract::$rule(&store).await;
            }
        )*
    };
}

/// The instant at which the tests begin.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Returns the instant `millis` after [`NOW`].
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

/// Makes an installation name.
pub fn consumer(name: &str) -> InstallationName {
    InstallationName::new(name).unwrap()
}

/// Makes an event of source `/ci` and type `build.done`, with JSON data that names its id.
pub fn event(id: &str) -> Event {
    event_of(id, "build.done", &format!("{{\"build\": \"{id}\"}}"))
}

/// Makes an event of source `/ci`.
pub fn event_of(id: &str, ty: &str, data: &str) -> Event {
    let json = EventBuilder::new(id, "/ci", ty).datacontenttype(Some("application/json".to_owned()));
    json.data(Some(Data::Json(data.to_owned()))).build().unwrap()
}

/// Makes an event to append, with nothing that follows from it.
pub fn new_event(event: Event) -> NewEvent {
    NewEvent {
        event,
        place: Place::default(),
        run: None,
        triggered_id: None,
        actor: Actor::token("ci"),
        caused_by: None,
        depth: 0,
        deliveries: Vec::new(),
        states: Vec::new(),
        timers: Vec::new(),
    }
}

/// Makes a batch of events with these ids.
pub fn batch_of(ids: &[&str]) -> Batch {
    Batch { events: ids.iter().map(|id| new_event(event(id))).collect(), ..Batch::new(NOW) }
}

/// Makes a delivery of the event `id` of source `/ci`, due at once.
pub fn delivery_of(id: &str, to: &str) -> NewDelivery {
    NewDelivery {
        id: delivery_id(id, to),
        event: crate::Seq(0),
        consumer: consumer(to),
        cause: Cause::Observed,
        task: None,
        order_key: None,
        due: NOW,
        dead: None,
    }
}

/// Returns the id of [`delivery_of`].
pub fn delivery_id(id: &str, to: &str) -> DeliveryId {
    DeliveryId::derive("/ci", id, &consumer(to), Cause::Observed.as_str())
}

/// Makes a batch of one event with deliveries to these consumers.
pub fn batch_to(id: &str, to: &[&str]) -> Batch {
    let deliveries = to.iter().map(|to| delivery_of(id, to)).collect();
    Batch { events: vec![NewEvent { deliveries, ..new_event(event(id)) }], ..Batch::new(NOW) }
}

/// Makes a write of a state row.
pub fn state_write(kind: &'static str, key: &str, revision: u64, value: Option<&[u8]>) -> StateWrite {
    StateWrite {
        key: StateKey::new(kind, key),
        revision,
        value: value.map(<[u8]>::to_vec),
        holds: None,
        holds_own_event: false,
    }
}

/// Makes a batch that begins an attempt.
pub fn claim(delivery: DeliveryId, attempts_before: u32) -> Batch {
    Batch { attempts: vec![Attempt { delivery, attempts_before }], ..Batch::new(NOW) }
}

/// Makes the end of an attempt.
pub fn settled(delivery: DeliveryId, attempt: u32, settlement: Settlement) -> Settled {
    Settled { delivery, attempt, settlement, log: Vec::new(), cpu_us: 0, wall_us: 0, memory_bytes_max: 0 }
}

/// Makes a batch with one settlement.
pub fn settle(delivery: DeliveryId, attempt: u32, settlement: Settlement) -> Batch {
    Batch { settled: vec![settled(delivery, attempt, settlement)], ..Batch::new(NOW) }
}

/// Makes a settlement that gives up.
pub fn dead(reason: &str) -> Settlement {
    Settlement::Dead { kind: FailureKind::Reject, reason: reason.to_owned() }
}

/// Makes a policy that keeps everything; tests narrow it.
pub fn keep_all() -> RetentionPolicy {
    let long = Duration::from_hours(10_000 * 24);
    RetentionPolicy { age: long, by_type: Vec::new(), dead_letters: long, size_bytes_max: u64::MAX }
}

async fn commit(store: &dyn Store, batch: Batch) {
    store.commit(batch).await.unwrap();
}

async fn row(store: &dyn Store, id: DeliveryId) -> DeliveryRow {
    store.delivery(id).await.unwrap().unwrap()
}

fn assert_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
}
