//! A task: bound at its trigger, started and finished by the host alone, and never left hanging.

use pilothouse_core::delivery::DeliveryState;
use pilothouse_store::DeliveryFilter;
use pilothouse_tests::{Host, Options, data, event, extension, sender};
use serde_json::{Value, json};

const TRIGGERED: &str = "sh.keptn.event.echo-task.triggered";
const STARTED: &str = "sh.keptn.event.echo-task.started";
const CHANGED: &str = "sh.keptn.event.echo-task.status.changed";
const FINISHED: &str = "sh.keptn.event.echo-task.finished";

fn trigger(id: &str) -> pilothouse_core::Event {
    let data = json!({ "project": "shop", "stage": "dev", "service": "carts", "labels": { "build": "7" } });
    event(id, TRIGGERED, &data).unwrap()
}

async fn host_with(mode: &str) -> Host {
    let host = Host::start(Options::default()).await.unwrap();
    let settings =
        if mode == "pending" { json!({ "mode": mode, "wake-after-ms": 1 }) } else { json!({ "mode": mode }) };
    host.install("executor", "", settings).await.unwrap();
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_started_and_finished_by_the_host_with_what_the_executor_answered() {
    let host = host_with("finish").await;
    let accepted = host.send(trigger("t1")).await.unwrap();
    let run = accepted.run.unwrap();
    let finished = host.wait_for(FINISHED, |_| true).await.unwrap();
    let started = &host.events_of(STARTED).await.unwrap()[0];
    for row in [started, &finished] {
        assert_eq!(row.event.source(), "/plugins/executor");
        assert_eq!(extension(row, "triggeredid").as_deref(), Some("t1"));
        assert_eq!(extension(row, "shkeptncontext").as_deref(), Some(run.as_str()));
        assert_eq!(data(row)["service"], "carts");
    }
    let data = data(&finished);
    assert_eq!((data["result"].as_str(), data["status"].as_str()), (Some("pass"), Some("succeeded")));
    assert_eq!(data["labels"], json!({ "build": "7", "executor": "echo" }));
    assert_eq!(data["echo-task"]["triggered"], "t1");
    let view = host.engine.task("t1").await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.result.as_deref()), ("ended", Some("pass")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_an_executor_fails_at_once_and_says_so() {
    let host = Host::start(Options::default()).await.unwrap();
    let accepted = host.send(trigger("t1")).await.unwrap();
    assert_eq!(accepted.deliveries, 0);
    let finished = &host.events_of(FINISHED).await.unwrap()[0];
    assert_eq!(finished.event.source(), "/pilothouse");
    assert_eq!(data(finished)["status"], "errored");
    assert!(data(finished)["message"].as_str().unwrap().contains("no executor"), "{}", data(finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_says_not_yet_is_woken_and_then_finishes() {
    let host = host_with("pending").await;
    host.send(trigger("t1")).await.unwrap();
    let finished = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!(data(&finished)["echo-task"]["cause"], "WakeUp");
    assert_eq!(host.events_of(STARTED).await.unwrap().len(), 1, "started is sent once");
    let progress = &host.events_of(CHANGED).await.unwrap()[0];
    assert_eq!(extension(progress, "triggeredid").as_deref(), Some("t1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_gives_up_answers_its_task_with_an_error() {
    let host = host_with("reject").await;
    host.send(trigger("t1")).await.unwrap();
    let finished = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!(data(&finished)["status"], "errored");
    assert!(data(&finished)["message"].as_str().unwrap().contains("told to reject"), "{}", data(&finished));
    let dead = host.wait_deliveries(DeliveryFilter::default(), DeliveryState::Dead, 1).await.unwrap();
    let error = host.engine.redrive(dead[0].id, &sender().actor).await.unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_executor_declines_there_is_none() {
    let host = host_with("decline").await;
    host.send(trigger("t1")).await.unwrap();
    let finished = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!(finished.event.source(), "/pilothouse");
    assert!(data(&finished)["message"].as_str().unwrap().contains("told to decline"), "{}", data(&finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_must_both_answer_and_the_worse_result_counts() {
    let host = host_with("finish").await;
    let file = pilothouse_tests::guests().join("executor.wasm");
    host.install_file(&file, "executor-b", "", json!({ "mode": "warning" })).await.unwrap();
    let accepted = host.send(trigger("t1")).await.unwrap();
    assert_eq!(accepted.deliveries, 2);
    host.wait_for(FINISHED, |row| row.event.source() == "/plugins/executor").await.unwrap();
    host.wait_for(FINISHED, |row| row.event.source() == "/plugins/executor-b").await.unwrap();
    let view = host.engine.task("t1").await.unwrap().unwrap();
    assert_eq!(view.result.as_deref(), Some("warning"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_outside_is_refused_and_recorded() {
    let host = host_with("silent").await;
    host.send(trigger("t1")).await.unwrap();
    host.wait_for(STARTED, |_| true).await.unwrap();
    for ty in [STARTED, CHANGED, FINISHED] {
        let forged = event(&format!("forged {ty}"), ty, &json!({ "result": "pass" })).unwrap();
        let error = host.send(forged).await.unwrap_err();
        assert!(error.to_string().contains("was not asked to do"), "{error}");
    }
    let refused = host.events_of("dev.pilothouse.answer.refused.v1").await.unwrap();
    refused.iter().for_each(|row| pilothouse_tests::check_published(row).unwrap());
    assert_eq!(refused.len(), 3);
    assert_eq!(data(&refused[0])["actor"], "token:test");
    assert_eq!(host.engine.task("t1").await.unwrap().unwrap().state, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggering_a_task_needs_its_own_right() {
    let host = host_with("finish").await;
    let mut without = sender();
    without.may_trigger = pilothouse_core::right::Reach::Projects(std::collections::BTreeSet::new());
    let error = host.engine.ingest(vec![trigger("t1")], &without).await.unwrap_err();
    assert!(error.to_string().contains("needs the right `task`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_whose_id_is_a_task_of_another_source_is_refused() {
    let host = host_with("finish").await;
    host.send(trigger("t1")).await.unwrap();
    let other = trigger("t1").to_builder().source("/other").build().unwrap();
    let error = host.send(other).await.unwrap_err();
    assert!(error.to_string().contains("send the event with another id"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_configure_triggers_the_task_configure_monitoring_with_the_same_data() {
    let host = Host::start(Options::default()).await.unwrap();
    let asked = json!({ "type": "prometheus", "project": "shop", "service": "carts" });
    let accepted = host.send(event("m1", "sh.keptn.event.monitoring.configure", &asked).unwrap()).await.unwrap();
    let triggered = &host.events_of("sh.keptn.event.configure-monitoring.triggered").await.unwrap()[0];
    let data: Value = data(triggered);
    assert_eq!(
        (data["project"].as_str(), data["configureMonitoring"]["type"].as_str()),
        (Some("shop"), Some("prometheus"))
    );
    assert_eq!(extension(triggered, "shkeptncontext"), accepted.run);
}
