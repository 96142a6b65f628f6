//! Hostile guests: each is stopped, none harms the host or another plugin, and what it may not do is refused with a
//! reason. Hostile guests that need no host around them (loops at start, many memories, tables) are tested in
//! `host/runtime`.

use pilothouse_core::delivery::{DeliveryState, FailureKind};
use pilothouse_store::{DeliveryFilter, DeliveryRow};
use pilothouse_tests::{Host, Options, data, event, extension};
use serde_json::{Value, json};

const ATTACK: &str = "com.example.attack.v1";
const RESULT: &str = "com.example.result.v1";
const ONE_ATTEMPT: &str = "[limits]\nattempts = 1\ncpu = \"200ms\"\ntimeout = \"2s\"\n";

/// Lets `guest` handle one event, and returns its dead letter.
async fn stopped(guest: &str, payload: Value) -> (Host, DeliveryRow) {
    let host = Host::start(Options::default()).await.unwrap();
    host.install(guest, ONE_ATTEMPT, json!({})).await.unwrap();
    let accepted = host.send(event("1", ATTACK, &payload).unwrap()).await.unwrap();
    let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
    // The host lives: a good plugin is served.
    host.install("echo", "", json!({})).await.unwrap();
    host.send(event("2", "com.example.said.v1", &json!("still here")).unwrap()).await.unwrap();
    host.wait_for("com.example.echoed.v1", |_| true).await.unwrap();
    (host, dead)
}

/// Lets `guest` handle one event, and returns what it reports.
async fn reported(host: &Host, guest: &str, grants: &str, settings: Value, payload: Value) -> Value {
    host.install(guest, grants, settings).await.unwrap();
    host.send(event(&format!("attack {guest}"), ATTACK, &payload).unwrap()).await.unwrap();
    let source = format!("/plugins/{}", guest.replace('_', "-"));
    data(&host.wait_for(RESULT, |row| row.event.source() == source).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_loop_is_stopped_at_its_cpu_time() {
    let (_, dead) = stopped("endless_loop", json!(1)).await;
    assert_eq!(dead.failure, Some(FailureKind::Cpu), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_forever_is_stopped_at_its_wall_clock_time() {
    let (_, dead) = stopped("waits_forever", json!(1)).await;
    assert_eq!(dead.failure, Some(FailureKind::Timeout), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_growth_is_refused_at_the_limit() {
    let (_, dead) = stopped("memory_growth", json!(1)).await;
    assert!(matches!(dead.failure, Some(FailureKind::Memory | FailureKind::Trap | FailureKind::Cpu)), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_overflow_ends_the_guest_and_not_the_host() {
    let (_, dead) = stopped("stack_overflow", json!(1)).await;
    assert_eq!(dead.failure, Some(FailureKind::Trap), "{dead:?}");
    assert!(dead.reason.as_ref().unwrap().contains("trapped"), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handle_flood_is_stopped() {
    let (_, dead) = stopped("handle_flood", json!(1)).await;
    assert!(matches!(dead.failure, Some(FailureKind::Memory | FailureKind::Trap | FailureKind::Cpu)), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_event_is_refused_whole() {
    let (host, dead) = stopped("huge_event", json!(1)).await;
    assert!(matches!(dead.failure, Some(FailureKind::Outcome | FailureKind::Memory)), "{dead:?}");
    assert!(host.events_of(RESULT).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_event_is_refused_with_the_rule_that_it_breaks() {
    let rules = [
        "type",
        "time",
        "extension-name",
        "reserved-name",
        "datacontenttype",
        "dataschema",
        "control-character",
        "json",
    ];
    let host = Host::start(Options::default()).await.unwrap();
    host.install("invalid_event", ONE_ATTEMPT, json!({})).await.unwrap();
    for rule in rules {
        let accepted = host.send(event(rule, ATTACK, &json!(rule)).unwrap()).await.unwrap();
        let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
        assert_eq!(dead.failure, Some(FailureKind::Outcome), "{rule}: {dead:?}");
    }
    assert!(host.events_of(RESULT).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn type_not_granted_is_refused_returned_or_emitted() {
    let (_, dead) = stopped("type_not_granted", json!(1)).await;
    assert_eq!(dead.failure, Some(FailureKind::Outcome), "{dead:?}");
    assert!(dead.reason.unwrap().contains("emits"), "the reason names the manifest's list");
}

#[tokio::test(flavor = "multi_thread")]
async fn emit_flood_is_cut_at_the_quota() {
    let (host, dead) = stopped("emit_flood", json!(1)).await;
    assert!(dead.failure.is_some());
    let emitted = host.events_of(RESULT).await.unwrap();
    let emitted = emitted.iter().filter(|row| row.caused_by == Some(dead.id)).count();
    assert_eq!(emitted, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_flood_is_cut_and_its_terminal_escapes_are_escaped() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("log_flood", "[limits]\nattempts = 1\nlog = \"16KiB\"", json!({})).await.unwrap();
    let accepted = host.send(event("1", ATTACK, &json!(1)).unwrap()).await.unwrap();
    let filter = DeliveryFilter { event: Some(pilothouse_store::Seq(accepted.seq)), ..Default::default() };
    let row = loop {
        let rows = host.store().deliveries(&filter, None, 1).await.unwrap().items;
        match rows.into_iter().find(|row| !row.state.is_open()) {
            Some(row) => break row,
            None => tokio::task::yield_now().await,
        }
    };
    let log = host.log_of(&row).await.unwrap();
    assert!(log.len() < 256 * 1024, "{} bytes of log are kept", log.len());
    assert!(!log.contains('\u{1b}'), "no escape character gets through");
    assert!(log.contains("dropped"), "what was dropped is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_source_and_ids_are_replaced_by_the_hosts() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("spoofed_source", ONE_ATTEMPT, json!({})).await.unwrap();
    let accepted = host.send(event("1", ATTACK, &json!(1)).unwrap()).await.unwrap();
    host.wait_for(RESULT, |_| true).await.unwrap();
    host.wait_delivery(accepted.seq, DeliveryState::Done).await.unwrap();
    for row in host.events_of(RESULT).await.unwrap() {
        assert_eq!(row.event.source(), "/plugins/spoofed-source");
        assert_eq!(row.actor.as_str(), "plugin:spoofed-source");
        assert!(
            row.event.id().parse::<std::net::IpAddr>().is_err() && row.event.id().len() == 36,
            "{}",
            row.event.id()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_finished_cannot_be_granted_nor_sent() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("executor", "", json!({ "mode": "silent" })).await.unwrap();
    let victim = event("t1", "sh.keptn.event.echo-task.triggered", &json!({ "project": "p" })).unwrap();
    host.send(victim).await.unwrap();
    let started = host.wait_for("sh.keptn.event.echo-task.started", |_| true).await.unwrap();
    let run = extension(&started, "shkeptncontext");
    if host.install("foreign_finished", ONE_ATTEMPT, json!({})).await.is_ok() {
        let attack = json!({ "task": "echo-task", "triggeredid": "t1", "shkeptncontext": run });
        let accepted = host.send(event("1", ATTACK, &attack).unwrap()).await.unwrap();
        let dead = host.wait_delivery(accepted.seq, DeliveryState::Dead).await.unwrap();
        assert_eq!(dead.failure, Some(FailureKind::Outcome), "{dead:?}");
    }
    assert!(host.events_of("sh.keptn.event.echo-task.finished").await.unwrap().is_empty());
    assert_eq!(host.engine.task("t1").await.unwrap().unwrap().state, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_denied_reaches_nothing_and_the_log_says_what_would_allow_it() {
    let host = Host::start(Options::default()).await.unwrap();
    let urls = json!([
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.169.254./",
        "http://user@169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://METADATA.google.internal/",
        "http://forbidden.example.net/",
        "https://other.connection.internal/",
    ]);
    let settings = json!({ "urls": urls });
    let report = reported(&host, "http_denied", "http = [\"http://allowed.example.test\"]", settings, json!(1)).await;
    for answer in report.as_array().unwrap() {
        assert!(answer.get("error").is_some(), "reached: {answer}");
    }
    let filter = DeliveryFilter { consumer: Some("http-denied".parse().unwrap()), ..Default::default() };
    let rows = host.wait_deliveries(filter, DeliveryState::Done, 1).await.unwrap();
    let log = host.log_of(&rows[0]).await.unwrap();
    assert!(log.contains("http://forbidden.example.net"), "the log names the grant: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_and_pong_that_trigger_each_other_for_ever_end_as_a_dead_letter() {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("ping", "", json!({})).await.unwrap();
    host.install("pong", "", json!({})).await.unwrap();
    host.send(event("1", "com.example.start.v1", &json!(1)).unwrap()).await.unwrap();
    let filter = DeliveryFilter { state: Some(DeliveryState::Dead), ..Default::default() };
    let dead = host.wait_deliveries(filter, DeliveryState::Dead, 1).await.unwrap();
    assert!(dead[0].reason.as_ref().unwrap().contains("trigger each other"), "{dead:?}");
    let last = host.store().event(dead[0].event).await.unwrap().unwrap();
    assert_eq!(last.depth, 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_unknown_template_and_job_bad_parameter_are_refused_with_the_reason() {
    let script = r#"
        program = "/bin/true"
        [parameters.name]
        pattern = "[a-z]{1,8}"
        required = true
    "#;
    let jobs = [("script".to_owned(), script.to_owned())].into();
    let host = Host::start(Options { jobs, ..Options::default() }).await.unwrap();
    let unknown = reported(&host, "job_unknown_template", "jobs = { script = \"script\" }", json!({}), json!(1)).await;
    assert!(unknown.to_string().to_lowercase().contains("denied"), "{unknown}");
    let bad = reported(&host, "job_bad_parameter", "jobs = { script = \"script\" }", json!({}), json!(1)).await;
    assert!(!bad.to_string().contains("started"), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_escape_stays_inside_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    for dir in [&inside, &outside] {
        std::fs::create_dir(dir).unwrap();
    }
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    std::fs::write(outside.join("secret"), "kept").unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), inside.join("file")).unwrap();
    let outputs = [("granted".to_owned(), inside.clone())].into();
    let host = Host::start(Options { outputs, ..Options::default() }).await.unwrap();
    let settings = json!({ "paths": ["link/new", "link/secret", "file"] });
    let grants = "outputs = { files = \"granted\" }";
    reported(&host, "output_escape", grants, settings, json!(1)).await;
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "kept");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "nothing was written outside");
    assert!(!folder.path().join("escaped").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burglar_gets_nothing_and_its_log_says_what_would_grant_each() {
    let host = Host::start(Options::default()).await.unwrap();
    // Somebody else's settings, which it must not see.
    host.install("fragile", "", json!({ "mended": true })).await.unwrap();
    host.install("burglar", "", json!({})).await.unwrap();
    let seq = host.send(event("b1", "com.example.burglary.tried.v1", &json!({})).unwrap()).await.unwrap().seq;
    let told = host.wait_for("com.example.burglary.reported.v1", |_| true).await.unwrap();
    let attempts = data(&told)["attempts"].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 6);
    assert!(!attempts.to_string().contains("GOT IN"), "{attempts}");
    let row = host.wait_delivery(seq, DeliveryState::Done).await.unwrap();
    let log = host.log_of(&row).await.unwrap();
    for line in ["http = [", "under [connections]", "resources = true", "event-log = true", "keyvalue = true"] {
        assert!(log.contains(line), "{line}: {log}");
    }
}
