//! Guests that misbehave: each one ends within its limits, says why, and hurts nobody else.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::delivery::FailureKind;

use super::bench::{Bench, KEY_THAT_NEVER_ANSWERS, KEY_THAT_PANICS};
use super::guest::{Guest, RESULT, events, finished, store, text};
use crate::{CallReport, LOG_LINE_BYTES_MAX, LoadError};

const KEY_VALUE: &str = "wasi:keyvalue/store@0.2.0-draft";

/// Reads `key` from the bucket; the answer lies at 512.
fn reads(key: &str) -> Guest {
    let (data, length) = text(1024, key);
    Guest::new(&format!(
        "(call $open (i32.const 0) (i32.const 0) (i32.const 256))
         (call $get (i32.load (i32.const 260)) (i32.const 1024) (i32.const {length}) (i32.const 512))"
    ))
    .import(KEY_VALUE, "open", "open", "(param i32 i32 i32)")
    .import(KEY_VALUE, "[method]bucket.get", "get", "(param i32 i32 i32 i32)")
    .items(&data)
}

fn kind_and_reason(report: &CallReport) -> (FailureKind, &str) {
    let failure = report.outcome.as_ref().unwrap_err();
    (failure.kind, &failure.reason)
}

#[tokio::test]
async fn a_guest_in_a_loop_is_stopped_at_its_cpu_limit_and_others_go_on_meanwhile() {
    let bench = Arc::new(Bench::new());
    let hog = bench.load(&Guest::new("(loop $for-ever (br $for-ever))")).await;
    let quick = bench.load(&Guest::new("")).await;
    let call = bench.call_for(&hog);
    let runtime = Arc::clone(&bench.runtime);
    let looping = tokio::spawn(async move { runtime.call(&hog, call).await });
    // One thread for all guests: these calls end only if the loop gives way.
    for _ in 0..3 {
        assert!(bench.call(&quick).await.outcome.is_ok());
    }
    assert!(!looping.is_finished());
    let report = looping.await.unwrap();
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Cpu);
    assert!(reason.starts_with("stopped: over its limit of 1s of CPU time (in "), "{reason}");
    assert!(report.cpu >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_guest_that_loops_in_its_start_function_does_not_load() {
    let bench = Bench::new();
    let guest = Guest::new("").items("(func $spin (loop $x (br $x))) (start $spin)");
    let error = bench.runtime.load(guest.wasm()).await.unwrap_err();
    assert!(matches!(&error, LoadError::Start(reason) if reason.contains("CPU time")), "{error}");
    bench.assert_alive().await;
}

#[tokio::test]
async fn a_wait_in_a_host_call_ends_at_the_wall_clock_limit_and_costs_no_cpu() {
    let mut bench = Bench::new();
    bench.grants.limits.timeout = Duration::from_millis(50);
    let report = bench.run(&reads(KEY_THAT_NEVER_ANSWERS)).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!((kind, reason), (FailureKind::Timeout, "stopped: over its limit of 50ms of wall-clock time"));
    assert!(report.cpu < Duration::from_millis(50), "{:?}", report.cpu);
    bench.grants.limits.timeout = Duration::from_secs(10);
    bench.assert_alive().await;
}

#[tokio::test]
async fn a_panic_of_the_host_is_the_hosts_fault_and_ends_one_call_only() {
    let bench = Bench::new();
    let report = bench.run(&reads(KEY_THAT_PANICS)).await;
    assert_eq!(kind_and_reason(&report).0, FailureKind::Host);
    bench.assert_alive().await;
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let bench = Bench::new();
    let guest = Guest::new("(call $deeper)").items("(func $deeper (call $deeper) (call $deeper))");
    let report = bench.run(&guest).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Trap);
    assert!(reason.contains("call stack exhausted"), "{reason}");
    bench.assert_alive().await;
}

#[tokio::test]
async fn a_guest_that_wants_all_memory_gets_its_limit_and_the_failure_says_so() {
    let mut bench = Bench::new();
    bench.grants.limits.memory_bytes_max = 4 << 20;
    let guest =
        Guest::new("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable");
    let report = bench.run(&guest).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Memory);
    assert!(reason.contains("it asked for 4160 KiB of memory in all and may have 4096 KiB"), "{reason}");
    assert_eq!(report.memory_bytes_max, 4 << 20);
}

#[tokio::test]
async fn a_guest_that_lives_with_a_refused_growth_is_not_failed() {
    let mut bench = Bench::new();
    bench.grants.limits.memory_bytes_max = 1 << 20;
    let report = bench.run(&Guest::new("(drop (memory.grow (i32.const 100)))")).await;
    assert!(report.outcome.is_ok(), "{report:?}");
}

#[tokio::test]
async fn a_flood_of_handles_is_stopped() {
    let bench = Bench::new();
    let guest = Guest::new("(loop $more (drop (call $subscribe (i64.const 1))) (br $more))").import(
        "wasi:clocks/monotonic-clock@0.2.12",
        "subscribe-duration",
        "subscribe",
        "(param i64) (result i32)",
    );
    let report = bench.run(&guest).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Memory, "{reason}");
}

#[tokio::test]
async fn a_result_that_is_too_large_to_copy_is_refused() {
    let bench = Bench::new();
    // A million empty labels: nothing in the guest, tens of megabytes in the host.
    let code = finished(None) + &store(RESULT + 44, 65_536) + &store(RESULT + 48, 1_000_000);
    let report = bench.run(&Guest::new(&code).pages(300)).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Memory, "{reason}");
    assert!(reason.contains("too much data"), "{reason}");
    // 100,000 events are ten megabytes of empty records.
    let report = bench.run(&Guest::new(&events(65_536, 100_000)).pages(300)).await;
    assert!(matches!(kind_and_reason(&report).0, FailureKind::Memory | FailureKind::Outcome), "{report:?}");
}

#[tokio::test]
async fn a_table_that_grows_for_ever_stays_at_its_limit() {
    let bench = Bench::new();
    let guest = Guest::new(
        "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)))) unreachable",
    )
    .items("(table $t 1 funcref)");
    let report = bench.run(&guest).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Memory, "{reason}");
    assert!(reason.contains("table"), "{reason}");
}

#[tokio::test]
async fn the_text_of_a_trap_comes_from_standard_error_and_is_escaped() {
    let bench = Bench::new();
    let (data, length) = text(1024, "thread 'main' panicked at src/lib.rs:3:5:\nno \u{1b}[31mfile\nnote: more\n");
    let guest = Guest::new(&format!(
        "(call $write (call $stderr) (i32.const 1024) (i32.const {length}) (i32.const 512)) unreachable"
    ))
    .import("wasi:cli/stderr@0.2.12", "get-stderr", "stderr", "(result i32)")
    .import(
        "wasi:io/streams@0.2.12",
        "[method]output-stream.blocking-write-and-flush",
        "write",
        "(param i32 i32 i32 i32)",
    )
    .items(&data);
    let report = bench.run(&guest).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Trap);
    assert!(
        reason.starts_with(
            "trapped: wasm `unreachable` instruction executed: thread 'main' panicked at src/lib.rs:3:5: no \
             \\u{1b}[31mfile (in "
        ),
        "{reason}"
    );
    assert_eq!(report.log.len(), 3);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_escaped_and_counted() {
    let mut bench = Bench::new();
    bench.grants.limits.log_bytes_max = 20_000;
    bench.grants.limits.cpu = Duration::from_secs(20);
    bench.grants.limits.timeout = Duration::from_secs(60);
    let (data, length) = text(1024, "\u{1b}[2Jwiped\n{\"fake\":\"json\"}");
    let guest = Guest::new(&format!(
        "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 65536))
         (loop $more
            (call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const {length}))
            (local.set $a (i32.add (local.get $a) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $a) (i32.const 10000))))"
    ))
    .import("wasi:logging/logging@0.1.0-draft", "log", "log", "(param i32 i32 i32 i32 i32)")
    .items(&data);
    let report = bench.run(&guest).await;
    assert!(report.outcome.is_ok(), "{:?}", report.outcome);
    assert_eq!(u64::try_from(report.log.len()).unwrap() + report.log_dropped, 10_001);
    assert!(report.log_dropped > 9_000);
    assert!(report.log.iter().map(|line| line.message.len()).sum::<usize>() <= 20_000);
    assert!(report.log[0].message.len() <= LOG_LINE_BYTES_MAX);
    assert_eq!(report.log[1].message, "\\u{1b}[2Jwiped\\n{\"fake\":\"json\"}");
}

#[tokio::test]
async fn a_guest_never_sees_what_another_left_in_the_same_slot() {
    let bench = Bench::sized(1);
    let dirty =
        bench.load(&Guest::new("(memory.fill (i32.const 65536) (i32.const 0xab) (i32.const 1000000))").pages(20)).await;
    let scan = Guest::new(
        "(local.set $a (i32.const 65536))
         (loop $next
            (if (i64.ne (i64.load (local.get $a)) (i64.const 0)) (then unreachable))
            (local.set $a (i32.add (local.get $a) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $a) (i32.const 1310720))))",
    );
    let scan = bench.load(&scan.pages(20)).await;
    for _ in 0..50 {
        assert!(bench.call(&dirty).await.outcome.is_ok());
        let report = bench.call(&scan).await;
        assert!(report.outcome.is_ok(), "{:?}", report.outcome);
    }
}

#[tokio::test]
async fn more_calls_than_places_wait_and_none_fails() {
    let bench = Bench::sized(1);
    let plugin = bench.load(&Guest::new("")).await;
    let calls = (0..20).map(|_| bench.call(&plugin));
    for report in futures_util::future::join_all(calls).await {
        assert!(report.outcome.is_ok(), "{report:?}");
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_gives_its_place_back() {
    let bench = Bench::sized(1);
    let plugin = bench.load(&reads(KEY_THAT_NEVER_ANSWERS)).await;
    let dropped = tokio::time::timeout(Duration::from_millis(20), bench.call(&plugin)).await;
    assert!(dropped.is_err());
    bench.assert_alive().await;
}

#[tokio::test]
async fn a_context_that_is_kept_past_the_call_is_a_trap() {
    let bench = Bench::new();
    let report = bench.run(&Guest::new("(return (i32.const 16))")).await;
    let (kind, reason) = kind_and_reason(&report);
    assert_eq!(kind, FailureKind::Trap);
    assert!(reason.contains("borrow handles still remain"), "{reason}");
}
