//! What a call returns: outcomes and their rules, effects, emitted events, denials.

use std::time::Duration;

use pilothouse_core::delivery::FailureKind;
use pilothouse_core::task::Answer;

use super::bench::Bench;
use super::guest::{EVENT, Guest, event, events, finished, reject, retry, store, text};

const KEY_VALUE: &str = "wasi:keyvalue/store@0.2.0-draft";
/// Where the tests put their events, beyond the data.
const EVENTS: u32 = 8_192;

/// A guest that returns `count` events of type `ty`.
fn returns(ty: &str, count: u32) -> Guest {
    let (data, length) = text(1024, ty);
    let records: String = (0..count.min(80)).map(|index| event(EVENTS + index * EVENT, (1024, length))).collect();
    Guest::new(&(records + &events(EVENTS, count))).items(&data)
}

async fn outcome_rule(bench: &Bench, guest: &Guest) -> String {
    let report = bench.run(guest).await;
    let failure = report.outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Outcome);
    failure.reason
}

#[tokio::test]
async fn a_guest_returns_events_of_the_types_that_its_manifest_lists() {
    let bench = Bench::new();
    let report = bench.run(&returns("dev.example.made", 2)).await;
    assert_eq!(report.outcome.unwrap().events.len(), 2);
    assert!(bench.run(&returns("dev.example.many.more", 1)).await.outcome.is_ok());
    assert_eq!(
        outcome_rule(&bench, &returns("dev.example.other", 1)).await,
        "event 0 of the outcome: its type `dev.example.other` is not in the manifest's `emits`"
    );
}

#[tokio::test]
async fn an_outcome_counts_as_a_whole_or_not_at_all() {
    let bench = Bench::new();
    let (data, length) = text(1024, "dev.example.made");
    let (bad, bad_length) = text(1100, "not a time");
    let code = event(EVENTS, (1024, length))
        + &event(EVENTS + EVENT, (1024, length))
        + &store(EVENTS + EVENT + 36, 1)
        + &store(EVENTS + EVENT + 40, 1100)
        + &store(EVENTS + EVENT + 44, u32::try_from(bad_length).unwrap())
        + &events(EVENTS, 2);
    let rule = outcome_rule(&bench, &Guest::new(&code).items(&data).items(&bad)).await;
    assert!(rule.starts_with("event 1 of the outcome: ") && rule.contains("time"), "{rule}");
    let rule = outcome_rule(&bench, &Guest::new(&events(65_536, 257)).pages(4)).await;
    assert_eq!(rule, "the outcome has 257 events; at most 256 are accepted");
}

#[tokio::test]
async fn an_answer_needs_a_task_and_its_output_is_json() {
    let mut bench = Bench::new();
    let (data, length) = text(1024, "{\"a\": 1.0}");
    let good = Guest::new(&finished(Some((1024, length)))).items(&data);
    assert!(outcome_rule(&bench, &good).await.contains("belongs to none"));
    bench.task = true;
    match bench.run(&good).await.outcome.unwrap().answer {
        Some(Answer::Finished(finished)) => assert_eq!(finished.output.as_deref(), Some("{\"a\": 1.0}")),
        other => panic!("{other:?}"),
    }
    let bad = Guest::new(&finished(Some((1024, length - 1)))).items(&data);
    assert!(outcome_rule(&bench, &bad).await.starts_with("the answer's output is not JSON: line 1"));
}

#[tokio::test]
async fn a_guest_can_ask_for_a_retry_or_reject() {
    let bench = Bench::new();
    let (data, length) = text(1024, "busy\n");
    let failure = bench.run(&Guest::new(&retry((1024, length), 1_500)).items(&data)).await.outcome.unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Retry, "busy\\n"));
    assert_eq!(failure.retry_after, Some(Duration::from_millis(1_500)));
    let failure = bench.run(&Guest::new(&reject((1024, length))).items(&data)).await.outcome.unwrap_err();
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Reject, None));
}

/// A guest that sets the key `k` to `v`, traps unless it then reads it back, and runs `then`.
fn writes(then: &str) -> Guest {
    Guest::new(&format!(
        "(call $open (i32.const 0) (i32.const 0) (i32.const 256))
         (if (i32.load8_u (i32.const 256)) (then unreachable))
         (local.set $a (i32.load (i32.const 260)))
         (call $set (local.get $a) (i32.const 1024) (i32.const 1) (i32.const 1025) (i32.const 1) (i32.const 512))
         (call $get (local.get $a) (i32.const 1024) (i32.const 1) (i32.const 640))
         (if (i32.ne (i32.load8_u (i32.load (i32.const 648))) (i32.const 118)) (then unreachable))
         {then}"
    ))
    .import(KEY_VALUE, "open", "open", "(param i32 i32 i32)")
    .import(KEY_VALUE, "[method]bucket.set", "set", "(param i32 i32 i32 i32 i32 i32)")
    .import(KEY_VALUE, "[method]bucket.get", "get", "(param i32 i32 i32 i32)")
    .items("(data (i32.const 1024) \"kv\")")
}

#[tokio::test]
async fn key_value_writes_are_read_back_at_once_and_are_effects_of_a_call_that_succeeds() {
    let bench = Bench::new();
    let report = bench.run(&writes("")).await;
    assert!(report.outcome.is_ok(), "{report:?}");
    assert_eq!(report.effects.key_values, [("k".to_owned(), Some(b"v".to_vec()))]);
}

#[tokio::test]
async fn a_call_that_fails_has_no_effects() {
    let bench = Bench::new();
    let (data, length) = text(1030, "no");
    let report = bench.run(&writes(&reject((1030, length))).items(&data)).await;
    assert!(report.outcome.is_err() && report.effects.key_values.is_empty(), "{report:?}");
    let report = bench.run(&writes("unreachable")).await;
    assert!(report.outcome.is_err() && report.effects.key_values.is_empty(), "{report:?}");
}

#[tokio::test]
async fn key_value_that_is_not_granted_is_denied_and_the_log_names_the_grant() {
    let mut bench = Bench::new();
    bench.grants.keyvalue = false;
    // The guest traps when `open` fails, so the denial is the only thing that can have happened.
    let report = bench.run(&writes("")).await;
    assert_eq!(report.outcome.unwrap_err().kind, FailureKind::Trap);
    let log: Vec<&str> = report.log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(log, ["denied: wasi:keyvalue: add keyvalue = true to the grants of `my-guest`"]);
}

/// A guest that emits `count` events of type `ty` and returns how many were stored as the number of events.
fn emits(ty: &str, count: u32) -> Guest {
    let (data, length) = text(1024, ty);
    Guest::new(&format!(
        "(i32.store (i32.const {source}) (i32.load (local.get $in)))
         {record}
         (loop $more
            (call $emit (i32.const {source}) (i32.const 512))
            (if (i32.eqz (i32.load8_u (i32.const 512))) (then (local.set $b (i32.add (local.get $b) (i32.const 1)))))
            (local.set $a (i32.add (local.get $a) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $a) (i32.const {count}))))
         {returned}
         (i32.store (i32.const 28) (local.get $b))",
        // The method's parameters: the context, then the event.
        source = EVENTS - 4,
        record = event(EVENTS, (1024, length)),
        returned = events(EVENTS, 0),
    ))
    .import("pilothouse:plugin/delivery@0.1.0", "[method]context.emit", "emit", "(param i32 i32)")
    .items(&data)
    .pages(4)
}

#[tokio::test]
async fn a_guest_emits_progress_at_once_and_at_most_64_times() {
    let bench = Bench::new();
    let report = bench.run(&emits("dev.example.made", 2)).await;
    assert_eq!(report.emitted, 2, "{report:?}");
    let report = {
        bench.services.emitted.lock().unwrap().clear();
        bench.run(&emits("dev.example.made", 100)).await
    };
    assert_eq!(report.emitted, 64);
    assert_eq!(bench.services.emitted.lock().unwrap().len(), 64);
}

#[tokio::test]
async fn a_type_that_the_manifest_does_not_list_is_not_emitted() {
    let bench = Bench::new();
    let report = bench.run(&emits("dev.example.other", 1)).await;
    assert_eq!(report.emitted, 0);
    assert!(bench.services.emitted.lock().unwrap().is_empty());
    assert_eq!(
        report.log[0].message,
        "denied: emit of type `dev.example.other`: the manifest's `emits` does not list it"
    );
}

/// A guest whose `settings.validate` finds one problem in documents longer than two bytes.
fn validates() -> Guest {
    Guest::new("").with_settings().items(
        r#"(data (i32.const 1024) "/aa bug")
           (func (export "pilothouse:plugin/settings@0.1.0#validate") (param i32 i32) (result i32)
                (if (i32.eq (local.get 1) (i32.const 3)) (then (loop $x (br $x))))
                (if (i32.gt_u (local.get 1) (i32.const 2)) (then
                    (i32.store (i32.const 256) (i32.const 1))
                    (i32.store (i32.const 260) (i32.const 512))
                    (i32.store (i32.const 264) (i32.const 1))
                    (i32.store (i32.const 512) (i32.const 1024))
                    (i32.store (i32.const 516) (i32.const 2))
                    (i32.store (i32.const 520) (i32.const 1026))
                    (i32.store (i32.const 524) (i32.const 5))))
                (i32.const 256))"#,
    )
}

#[tokio::test]
async fn a_plugin_checks_its_settings_and_one_that_hangs_is_a_problem_too() {
    let bench = Bench::new();
    let plugin = bench.load(&validates()).await;
    let validate = |document: &'static str| bench.runtime.validate_settings(&plugin, document);
    assert_eq!(validate("{}").await, Ok(()));
    let problems = validate("{\"a\":1}").await.unwrap_err();
    assert_eq!((problems[0].path.as_str(), problems[0].message.as_str()), ("/a", "a bug"));
    let problems = validate("{ }").await.unwrap_err();
    assert!(problems[0].message.starts_with("the plugin could not check the settings: stopped"), "{problems:?}");
    let other = bench.load(&Guest::new("")).await;
    assert_eq!(bench.runtime.validate_settings(&other, "{\"a\":1}").await, Ok(()));
}
