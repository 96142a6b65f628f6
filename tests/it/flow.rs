//! An event comes in, a sandbox handles it, and what it returns is in the log: once, with the host's marks on it.

use std::time::Duration;

use pilothouse_core::delivery::DeliveryState;
use pilothouse_store::{DeliveryFilter, REMOVED_DEAD_LETTER_KIND, RetentionPolicy};
use pilothouse_tests::{Host, Options, PATIENCE, check_published, data, event, extension, sender};
use serde_json::json;

const SAID: &str = "com.example.said.v1";
const ECHOED: &str = "com.example.echoed.v1";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_its_observer_and_the_returned_event_is_in_the_log() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("echo", "", json!({})).await.unwrap();
    let accepted = host.send(event("1", SAID, &json!({ "text": "hello" })).unwrap()).await.unwrap();
    assert_eq!((accepted.deliveries, accepted.duplicate), (1, false));
    let echoed = host.wait_for(ECHOED, |_| true).await.unwrap();
    assert_eq!(echoed.event.source(), "/plugins/echo");
    assert_eq!(echoed.actor.as_str(), "plugin:echo");
    assert_eq!(extension(&echoed, "pilothousedepth").as_deref(), Some("1"));
    let delivery = host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    assert_eq!(echoed.caused_by, Some(delivery.id));
    assert_eq!(echoed.event.id(), delivery.id.returned_event_id(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_again_is_a_success_without_effect_and_other_content_is_flagged() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("echo", "", json!({})).await.unwrap();
    let first = host.send(event("1", SAID, &json!("a")).unwrap()).await.unwrap();
    host.wait_delivery(first.seq, DeliveryState::Done).await.unwrap();
    let again = host.send(event("1", SAID, &json!("a")).unwrap()).await.unwrap();
    assert_eq!((again.seq, again.duplicate, again.mismatch, again.deliveries), (first.seq, true, false, 0));
    let other = host.send(event("1", SAID, &json!("b")).unwrap()).await.unwrap();
    assert_eq!((other.seq, other.duplicate, other.mismatch), (first.seq, true, true));
    let all = host.store().deliveries(&DeliveryFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_gets_is_answered_with_what_was_meant() {
    let host = Host::start(Options::default()).await.unwrap();
    let alone = host.send(event("1", SAID, &json!(1)).unwrap()).await.unwrap();
    assert_eq!(alone.hint.as_deref(), Some("no plugin is installed yet"));
    host.install("echo", "", json!({})).await.unwrap();
    let typo = host.send(event("2", "com.example.sad.v1", &json!(1)).unwrap()).await.unwrap();
    assert!(typo.hint.unwrap().contains("did you mean `com.example.said.v1`"), "the nearest type is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_starts_from_now() {
    let host = Host::start(Options::default()).await.unwrap();
    let before = host.send(event("1", SAID, &json!(1)).unwrap()).await.unwrap();
    host.install("echo", "", json!({})).await.unwrap();
    let after = host.send(event("2", SAID, &json!(2)).unwrap()).await.unwrap();
    host.wait_delivery(after.seq, DeliveryState::Done).await.unwrap();
    let filter = DeliveryFilter { event: Some(pilothouse_store::Seq(before.seq)), ..Default::default() };
    assert!(host.store().deliveries(&filter, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_accepted_whole_or_not_at_all() {
    let host = Host::start(Options::default()).await.unwrap();
    let good = event("1", SAID, &json!(1)).unwrap();
    let bad = event("2", "dev.pilothouse.job.finished.v1", &json!(1)).unwrap();
    let error = host.engine.ingest(vec![good, bad], &sender()).await.unwrap_err();
    assert!(error.to_string().contains("come from the host alone"), "{error}");
    assert!(host.events_of(SAID).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_tried_again_until_it_succeeds() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("retries", "", json!({ "succeed-at": 2 })).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let done = host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    assert_eq!(done.attempts, 2);
    assert_eq!(host.store().attempts(done.id).await.unwrap()[0].outcome.as_deref(), Some("retry"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_is_a_dead_letter_at_once_and_can_be_redriven() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("rejects", "", json!({})).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
    assert_eq!(dead.attempts, 1);
    let told = host.wait_for("dev.pilothouse.delivery.dead-lettered.v1", |_| true).await.unwrap();
    assert_eq!(data(&told)["installation"], "rejects");
    assert_eq!(data(&told)["kind"], "reject");
    check_published(&told).unwrap();
    // The same name, a plugin that takes it: what was given up is handled.
    host.install_file(&pilothouse_tests::guests().join("counter.wasm"), "rejects", "keyvalue = true", json!({}))
        .await
        .unwrap();
    host.engine.redrive(dead.id, &sender().actor).await.unwrap();
    host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    let error = host.engine.redrive(dead.id, &sender().actor).await.unwrap_err();
    assert!(error.to_string().contains("the delivery is done"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_retention_removes_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Some(folder.path().to_owned()), ..Options::default() };
    let host = Host::start(options.clone()).await.unwrap();
    host.install("rejects", "", json!({})).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
    assert!(host.engine.drain(PATIENCE).await);
    host.store().close().await;
    drop(host);

    // The events of this test alone are too old at once; what tells of them is not.
    let zero = Duration::ZERO;
    let by_type = vec![("com.example.".to_owned(), zero)];
    let retention = RetentionPolicy { age: PATIENCE, by_type, dead_letters: zero, size_bytes_max: u64::MAX };
    for _ in 0..2 {
        let host = Host::start(Options { retention: Some(retention.clone()), ..options.clone() }).await.unwrap();
        let told = host.wait_for("dev.pilothouse.delivery.removed.v1", |_| true).await.unwrap();
        check_published(&told).unwrap();
        assert_eq!((&data(&told)["delivery"], &data(&told)["kind"]), (&json!(dead.id.to_string()), &json!("reject")));
        assert_eq!(data(&told)["event"]["id"], "1");
        assert_eq!(host.store().delivery(dead.id).await.unwrap(), None);
        assert_eq!(host.events_of("dev.pilothouse.delivery.removed.v1").await.unwrap().len(), 1);
        assert!(host.store().states(REMOVED_DEAD_LETTER_KIND, None, 1).await.unwrap().is_empty());
        assert!(host.engine.drain(PATIENCE).await);
        host.store().close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_traps_is_retried_and_its_effects_do_not_happen() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("counter", "keyvalue = true\n[limits]\nattempts = 2", json!({})).await.unwrap();
    let trap = host.send(event("1", "com.example.count.v1", &json!("trap")).unwrap()).await.unwrap();
    let dead = host.wait_delivery(trap.seq, DeliveryState::Dead).await.unwrap();
    assert_eq!((dead.attempts, dead.failure.unwrap().as_str()), (2, "trap"));
    host.send(event("2", "com.example.count.v1", &json!(1)).unwrap()).await.unwrap();
    let counted = host.wait_for("com.example.result.v1", |_| true).await.unwrap();
    // Two attempts wrote before they trapped; neither write counts.
    assert_eq!(data(&counted)["count"], 1, "{}", data(&counted));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_the_plugin_refuses_are_refused_at_install_with_the_reason() {
    let host = Host::start(Options::default()).await.unwrap();
    let error = host.install("checks_settings", "", json!({ "low": 5, "high": 1 })).await.unwrap_err();
    assert!(error.to_string().contains("low") || format!("{error:#}").contains("low"), "{error:#}");
    let unknown = host.install("echo", "", json!({ "colour": "red" })).await.unwrap_err();
    assert!(unknown.to_string().contains("takes no settings"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_waits_is_not_removed_until_a_person_says_what_shall_become_of_it() {
    use pilothouse::engine::view::Waiting;
    let host = Host::start(Options::default()).await.unwrap();
    host.install("retries", "", json!({ "succeed-at": 99 })).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let name = pilothouse_core::name::InstallationName::new("retries").unwrap();
    let error = host.engine.remove(&name, Waiting::Refuse, &sender().actor).await.unwrap_err();
    assert!(error.to_string().contains("deliveries wait"), "{error}");
    host.engine.remove(&name, Waiting::DeadLetter, &sender().actor).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await;
    // An attempt under way at that moment ends by itself and is then a dead letter too.
    let dead = dead.unwrap();
    assert!(dead.reason.unwrap_or_default().contains("removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_an_event_shows_its_cause_its_deliveries_and_why_others_did_not_get_it() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("echo", "", json!({})).await.unwrap();
    host.install("ping", "", json!({})).await.unwrap();
    let accepted = host.send(event("1", SAID, &json!(1)).unwrap()).await.unwrap();
    let echoed = host.wait_for(ECHOED, |_| true).await.unwrap();
    let trace = host.engine.trace(echoed.seq).await.unwrap().unwrap();
    assert_eq!(trace.root.seq, accepted.seq);
    assert_eq!(trace.root.deliveries[0].events[0].seq, echoed.seq.0);
    let of_first = host.engine.trace(pilothouse_store::Seq(accepted.seq)).await.unwrap().unwrap();
    let ping = of_first.subscriptions.iter().find(|it| it.installation == "ping").unwrap();
    assert!(!ping.matched && !ping.reason.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_restart_is_delivered_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Some(folder.path().to_owned()), ..Options::default() };
    let host = Host::start(options.clone()).await.unwrap();
    host.install("retries", "", json!({ "succeed-at": 2 })).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    assert!(host.engine.drain(pilothouse_tests::PATIENCE).await, "it drains");
    host.store().close().await;
    drop(host);
    let host = Host::start(options).await.unwrap();
    let done = host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    assert!(done.attempts >= 2);
    assert_eq!(host.events_of("com.example.result.v1").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_counted_apart_and_the_last_words_of_the_guest_are_kept() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("traps", "[limits]\nattempts = 1", json!({})).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
    assert_eq!(dead.failure.unwrap().as_str(), "trap");
    assert!(host.log_of(&dead).await.unwrap().contains("panicked"), "standard error is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_mended_by_a_setting_handles_what_trapped_it() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("fragile", "[limits]\nattempts = 1", json!({})).await.unwrap();
    let order = event("1", "com.example.order.placed.v1", &json!({ "order": 1 })).unwrap();
    let accepted = host.send(order).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
    host.install("fragile", "", json!({ "mended": true })).await.unwrap();
    host.engine.redrive(dead.id, &sender().actor).await.unwrap();
    host.wait_for("com.example.order.confirmed.v1", |_| true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_called_with_the_hosts_address_and_a_busy_peer_is_asked_again() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&calls);
    let answer = move || {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move { if first { axum::http::StatusCode::SERVICE_UNAVAILABLE } else { axum::http::StatusCode::OK } }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/echo", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let connections = [("peer".to_owned(), (url, Vec::new()))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    host.install("calls_connection", "connections = { api = \"peer\" }", json!({})).await.unwrap();
    let accepted = host.send(event("1", "com.example.try.v1", &json!(1)).unwrap()).await.unwrap();
    let done = host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    assert_eq!(done.attempts, 2);
    let called = host.wait_for("com.example.result.v1", |_| true).await.unwrap();
    assert_eq!(data(&called)["status"], 200);
}
