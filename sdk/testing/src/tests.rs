//! The test host, tried on the guests of the repository's own tests. `cargo xtask guests` builds them.

use std::path::PathBuf;

use serde_json::json;

use crate::*;

fn path(guest: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")), PathBuf::from);
    target.join(format!("guests/out/{guest}.wasm"))
}

fn host(guest: &str) -> TestHost {
    TestHost::load(path(guest)).unwrap_or_else(|error| panic!("run `cargo xtask guests` first: {error:?}"))
}

fn said(data: &serde_json::Value) -> Event {
    event("com.example.said.v1", data)
}

#[test]
fn an_event_comes_back_with_attributes_of_all_seven_types() {
    let delivered = host("echo").deliver(said(&json!({ "n": 1 }))).unwrap();
    assert_eq!(delivered.reason(), "");
    assert_eq!(delivered.data("com.example.echoed.v1"), json!({ "n": 1 }));
    let echo = &delivered.events[0];
    assert_eq!(echo.source(), "/plugins/echo");
    let attribute = |name| echo.extension(name).unwrap().to_string();
    assert_eq!(attribute("xboolean"), "true");
    assert_eq!(attribute("xinteger"), "-2147483648");
    assert_eq!(attribute("xtext"), "text");
    assert_eq!(attribute("xbinary"), "AH//");
    assert_eq!(attribute("xuri"), "https://example.com/a");
    assert_eq!(attribute("xurireference"), "../a");
    assert_eq!(attribute("xtimestamp"), "2026-01-02T03:04:05Z");
    assert!(delivered.logged("echo of 1 at attempt 1"), "{:?}", delivered.log);
}

#[test]
fn a_task_is_answered_as_the_settings_say() {
    let trigger = || event("sh.keptn.event.echo-task.triggered", &json!({ "project": "shop", "n": 2 }));
    let with = |mode| host("executor").settings(&json!({ "mode": mode, "wake-after-ms": 250 })).unwrap();

    let delivered = with("finish").deliver(trigger()).unwrap();
    assert_eq!(delivered.finished().unwrap().result, TaskResult::Pass);
    assert_eq!(delivered.output()["data"]["n"], 2);

    let waiting = with("pending");
    let delivered = waiting.deliver(trigger()).unwrap();
    assert_eq!(delivered.answer, Some(Answer::Pending { wake_after_ms: Some(250) }));
    assert_eq!(delivered.emitted.len(), 1);
    let woken = waiting.delivery(trigger()).task("echo-task", Cause::WakeUp, "1").deliver().unwrap();
    assert_eq!(woken.output()["cause"], "WakeUp");

    let declined = with("decline").deliver(trigger()).unwrap();
    assert!(matches!(declined.answer, Some(Answer::Declined { .. })));
    assert_eq!(with("error").deliver(trigger()).unwrap().finished().unwrap().status, TaskStatus::Errored);
    assert_eq!(with("reject").deliver(trigger()).unwrap().failure.unwrap().kind, FailureKind::Reject);
}

#[test]
fn a_job_ends_as_the_test_says_and_the_plugin_reads_its_output() {
    let host = host("job_runner").job(|request| {
        assert_eq!(request.parameters["name"], "deploy");
        JobResult::exit(3).file("stdout", "three\n")
    });
    let trigger = event("sh.keptn.event.run-script.triggered", &json!({ "run-script": { "name": "deploy" } }));
    let delivered = host.deliver(trigger).unwrap();
    assert_eq!(delivered.reason(), "");
    let [job] = delivered.jobs.as_slice() else { panic!("one job, not {:?}", delivered.jobs) };

    let ended = host.job_event(&job.id).unwrap();
    let delivered = host.delivery(ended).task("run-script", Cause::JobEnded, "1").deliver().unwrap();
    assert_eq!(delivered.finished().unwrap().result, TaskResult::Fail);
    assert_eq!(delivered.output(), json!({ "state": "State::Failed", "exit-code": 3, "stdout": "three\n" }));
    assert!(delivered.key_values.is_empty());
}

#[test]
fn state_is_kept_only_of_calls_that_succeed() {
    let host = host("counter");
    let count = |data| host.deliver(event("com.example.count.v1", &data)).unwrap();
    assert_eq!(count(json!(null)).data("com.example.result.v1")["read-back"], "1");
    let trapped = count(json!("trap"));
    assert_eq!(trapped.failure.unwrap().kind, FailureKind::Trap);
    assert_eq!(trapped.key_values["count"], b"1");
    assert_eq!(count(json!(null)).data("com.example.result.v1")["count"], 2);
}

#[test]
fn a_connection_leads_to_the_test() {
    let host = host("calls_connection").respond(|request| HttpResponse::json(200, &request.json()));
    let delivered = host.deliver(event("com.example.call.v1", &json!({ "a": "b" }))).unwrap();
    assert_eq!(delivered.reason(), "");
    let result = delivered.data("com.example.result.v1");
    assert_eq!((&result["status"], &result["body"]), (&json!(200), &json!(r#"{"a":"b"}"#)));
    let [request] = delivered.requests.as_slice() else { panic!("one request, not {:?}", delivered.requests) };
    assert_eq!((request.connection.as_str(), request.path.as_str()), ("api", "/echo?attempt=1"));
    assert!(request.header("idempotency-key").is_some());
}

#[test]
fn a_busy_peer_is_asked_again_when_it_says() {
    let host = host("calls_connection").respond(|_| HttpResponse::new(429).header("retry-after", "7"));
    let failure = host.deliver(event("com.example.call.v1", &json!(1))).unwrap().failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Retry);
    assert_eq!(failure.retry_after, Some(std::time::Duration::from_secs(7)));
}

#[test]
fn what_is_not_granted_is_denied() {
    let host = host("calls_connection").grants("").unwrap();
    let delivered = host.deliver(event("com.example.call.v1", &json!(1))).unwrap();
    assert!(delivered.requests.is_empty());
    let failure = delivered.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Reject, "{failure:?}");
}

#[test]
fn settings_that_the_plugin_refuses_never_reach_it() {
    let refused = host("checks_settings").settings(&json!({ "low": 2, "high": 1 })).unwrap_err();
    assert!(matches!(&refused, TestError::SettingsRefused(problems) if problems[0].path == "/low"), "{refused:?}");
    host("checks_settings").settings(&json!({ "low": 1, "high": 2 })).unwrap();
}

#[test]
fn attempts_count_up_to_success() {
    let host = host("retries").settings(&json!({ "succeed-at": 2, "after-ms": 5 })).unwrap();
    let at = |attempt| host.delivery(event("com.example.try.v1", &json!(1))).attempt(attempt).deliver().unwrap();
    assert_eq!(at(1).failure.unwrap().kind, FailureKind::Retry);
    assert_eq!(at(2).data("com.example.result.v1")["attempt"], 2);
}

#[test]
fn outputs_do_not_escape_and_refusals_are_told() {
    let host = host("output_escape");
    let delivered = host.deliver(event("com.example.attack.v1", &json!(1))).unwrap();
    let answers = delivered.data("com.example.result.v1");
    assert!(answers.as_array().unwrap().iter().all(|it| it["write"].is_string()), "{answers:#}");
    assert_eq!(std::fs::read_dir(host.output_directory("files")).unwrap().count(), 0);
}

/// The contract holds for other toolchains too: the same behavior from an interpreter and from plain C.
#[test]
fn guests_in_other_languages_do_the_same() {
    for language in ["js", "python", "c"] {
        let manifest =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests").join(language).join("plugin.toml");
        let wasm = std::fs::read(path(language)).unwrap();
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let wasm = embed_manifest(&wasm, &manifest).unwrap_or(wasm);
        let host = TestHost::from_bytes(wasm).unwrap().respond(|_| HttpResponse::json(201, &json!("made")));
        let act = |what: &str| host.deliver(said(&json!({ "do": what }))).unwrap();

        let delivered = act("report");
        assert_eq!(delivered.reason(), "", "{language}");
        assert_eq!(delivered.data("com.example.result.v1")["language"], language);
        assert_eq!(delivered.data("com.example.result.v1")["attempt"], 1);
        assert_eq!(delivered.events[0].extension_str("xlanguage"), Some(language));
        assert!(!delivered.log.is_empty(), "{language}");

        let delivered = act("call");
        assert_eq!(delivered.reason(), "", "{language}: {:?}", delivered.log);
        assert_eq!(delivered.data("com.example.result.v1")["status"], 201, "{language}");
        assert_eq!(delivered.requests[0].json()["do"], "call", "{language}");

        let failure = act("retry").failure.unwrap();
        assert_eq!(
            (failure.kind, failure.retry_after),
            (FailureKind::Retry, Some(std::time::Duration::from_millis(500)))
        );
        assert_eq!(act("reject").failure.unwrap().kind, FailureKind::Reject, "{language}");
        assert_eq!(act("trap").failure.unwrap().kind, FailureKind::Trap, "{language}");
    }
}
