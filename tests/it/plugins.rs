//! The bundled plugins where things go wrong around them: Slack that is busy or gone, JMeter that fails, Prometheus that
//! refuses a file.
//!
//! Slack and Prometheus are small servers on the loopback interface that answer as told. A shell script stands for JMeter,
//! in its failures only: that tests run, and how they are judged, is shown by the demo with the real one.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use pilothouse_core::delivery::{DeliveryState, FailureKind};
use pilothouse_store::DeliveryRow;
use pilothouse_tests::{Host, Options, data, event, plugins, root};
use serde_json::{Value, json};

/// What a peer was asked: when, the path, and the body.
#[derive(Clone, Debug)]
struct Asked {
    at: Instant,
    path: String,
    body: Value,
}

/// An answer: status, `Retry-After`, and body.
type Answer<Body> = (u16, Option<&'static str>, Body);

/// A server that answers as told: for each path a queue of answers, whose last one repeats.
#[derive(Clone, Default)]
struct Peer {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<BTreeMap<String, VecDeque<Answer<String>>>>>,
}

impl Peer {
    /// Sets the answers of `path`.
    fn answers(&self, path: &str, answers: &[Answer<&str>]) {
        let answers = answers.iter().map(|(status, after, body)| (*status, *after, (*body).to_owned())).collect();
        self.answers.lock().unwrap().insert(path.to_owned(), answers);
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    async fn answer(self, request: Request) -> (StatusCode, HeaderMap, String) {
        let (at, path) = (Instant::now(), request.uri().path().to_owned());
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        self.asked.lock().unwrap().push(Asked { at, path: path.clone(), body });
        let mut answers = self.answers.lock().unwrap();
        let Some(queue) = answers.get_mut(&path) else {
            return (StatusCode::NOT_IMPLEMENTED, HeaderMap::new(), format!("nobody said what {path} answers"));
        };
        let (status, after, body) = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }.unwrap();
        let headers =
            after.map(|after| (axum::http::header::RETRY_AFTER, after.parse().unwrap())).into_iter().collect();
        (StatusCode::from_u16(status).unwrap(), headers, body)
    }

    /// Starts to serve, and returns the base URL.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = self.clone();
        let router = Router::new().fallback(move |request: Request| peer.clone().answer(request));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

/// Installs a bundled plugin with what the examples grant it.
async fn install(host: &Host, plugin: &str) {
    let grants = fs::read_to_string(root().join(format!("examples/grants/{plugin}.toml"))).unwrap();
    host.install_file(&plugins().join(format!("{plugin}.wasm")), plugin, &grants, json!({})).await.unwrap();
}

// Slack.

const WEBHOOK: &str = "/services/T1/B1/secret";
const OK: Answer<&str> = (200, None, "ok");

fn report() -> Value {
    json!({
        "project": "shop", "stage": "dev", "service": "carts", "result": "pass", "status": "succeeded",
        "message": "all is well", "labels": { "build": "7" },
        "start": "2026-01-05T10:00:00.000Z", "end": "2026-01-05T10:01:00.000Z",
        "indicatorValues": [{ "metric": "throughput", "value": 1.5, "success": true, "message": "" }],
        "test": { "count": 400, "errors": 2, "errorRate": 0.005, "mean": 12.0, "p95": 25.0 },
    })
}

/// Delivers one report to a Slack that gives these answers, until the delivery is in `state`.
async fn reported(report: &Value, answers: &[Answer<&str>], state: DeliveryState) -> (DeliveryRow, Vec<Asked>) {
    let peer = Peer::default();
    peer.answers(WEBHOOK, answers);
    let url = format!("{}{WEBHOOK}", peer.serve().await);
    let connections = [("slack-releases".to_owned(), (url, Vec::new()))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    install(&host, "slack").await;
    let seq = host.send(event("r1", "io.prometheus.test.reported.v1", report).unwrap()).await.unwrap().seq;
    let row = host.wait_delivery(seq, state).await.unwrap();
    (row, peer.asked())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_report_is_posted_to_slack_as_one_message() {
    let (row, asked) = reported(&report(), &[OK], DeliveryState::Done).await;
    assert_eq!((row.attempts, asked.len()), (1, 1), "{asked:?}");
    let message = &asked[0].body;
    assert_eq!(asked[0].path, WEBHOOK);
    assert_eq!(message["blocks"][0]["type"], "header", "{message}");
    assert_eq!(message["blocks"][0]["text"]["text"], "✅ Test passed: carts in shop/dev");
    let text = message.to_string();
    for shown in ["all is well", "Requests\\n400", "2 (0.5 %)", "throughput: 1.5", "build: 7"] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_that_is_busy_is_asked_again_no_sooner_than_it_said() {
    let (row, asked) = reported(&report(), &[(429, Some("2"), "rate_limited"), OK], DeliveryState::Done).await;
    assert_eq!((row.attempts, asked.len()), (2, 2), "{row:?}");
    // A lower bound, which a slow machine cannot break, and above the 1.5 s that the host's own backoff takes at most.
    let between = asked[1].at - asked[0].at;
    assert!(between >= Duration::from_secs(2), "asked again after {between:?}");
    assert_eq!(asked[0].body, asked[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_that_is_away_for_a_moment_is_asked_again() {
    let (row, asked) = reported(&report(), &[(503, None, ""), OK], DeliveryState::Done).await;
    assert_eq!((row.attempts, asked.len()), (2, 2), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_that_never_answers_is_given_up_and_others_are_served_meanwhile() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{WEBHOOK}", silent.local_addr().unwrap());
    let connections = [("slack-releases".to_owned(), (url, Vec::new()))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    let grants = "connections = { slack = \"slack-releases\" }\n[limits]\nattempts = 2\ntimeout = \"1s\"\n";
    host.install_file(&plugins().join("slack.wasm"), "slack", grants, json!({})).await.unwrap();
    host.install("echo", "", json!({})).await.unwrap();
    let seq = host.send(event("r1", "io.prometheus.test.reported.v1", &report()).unwrap()).await.unwrap().seq;
    host.send(event("e1", "com.example.said.v1", &json!("still here")).unwrap()).await.unwrap();
    host.wait_for("com.example.echoed.v1", |_| true).await.unwrap();
    let row = host.wait_delivery(seq, DeliveryState::Dead).await.unwrap();
    assert_eq!((row.failure, row.attempts), (Some(FailureKind::Timeout), 2), "{row:?}");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_makes_a_dead_letter_that_says_what_to_do() {
    let (row, asked) = reported(&report(), &[(404, None, "no_service")], DeliveryState::Dead).await;
    assert_eq!((row.failure, row.attempts), (Some(FailureKind::Reject), 1), "{row:?}");
    // The dead letter may by now have been posted too, which this plugin shows like any other.
    let is_report = |it: &&Asked| it.body["blocks"][0]["text"]["text"] == "✅ Test passed: carts in shop/dev";
    assert_eq!(asked.iter().filter(is_report).count(), 1, "{asked:?}");
    let reason = row.reason.unwrap();
    assert!(reason.contains("`no_service`") && reason.contains("make a new one"), "{reason}");
    assert!(!reason.contains("secret"), "the webhook's address is a secret: {reason}");
}

/// Collects all text that Slack would read as markup: every `text` that is not `plain_text`.
fn marked_up(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) if members.get("type") == Some(&json!("plain_text")) => {}
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name != "type" => out.push(text.clone()),
                    _ => marked_up(member, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| marked_up(item, out)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_an_event_can_mention_anyone_or_make_a_link_in_slack() {
    let evil = "<!channel> <https://evil.example|here> <@U1> *b*";
    let mut report = report();
    for pointer in ["/project", "/stage", "/service", "/message", "/labels/build", "/start", "/end"] {
        *report.pointer_mut(pointer).unwrap() = json!(evil);
    }
    report["labels"][evil] = json!(evil);
    report["indicatorValues"] = json!([{ "metric": evil, "success": false, "message": evil }]);
    let (_, asked) = reported(&report, &[OK], DeliveryState::Done).await;
    let message = &asked[0].body;
    assert!(message["blocks"].to_string().contains("<!channel>"), "shown as it was written: {message}");
    let mut texts = Vec::new();
    marked_up(message, &mut texts);
    assert!(texts.iter().any(|text| text.contains("&lt;!channel&gt;")), "{texts:?}");
    for text in texts {
        assert!(!text.contains(['<', '>']), "Slack would read markup in: {text}");
    }
    assert_eq!((&message["unfurl_links"], &message["unfurl_media"]), (&json!(false), &json!(false)));
}

// JMeter.

/// Runs a test with `program` in the place of JMeter in the example's template, and returns its answer.
async fn tested(program: &[&str], timeout: &str) -> Value {
    let config = fs::read_to_string(root().join("examples/config/pilothouse.toml")).unwrap();
    let mut template = toml::from_str::<toml::Table>(&config).unwrap()["jobs"]["jmeter"].clone();
    template["program"] = program[0].into();
    template["arguments"] = program[1..].to_vec().into();
    template["limits"]["timeout"] = timeout.into();
    template["limits"].as_table_mut().unwrap().insert("grace".to_owned(), "1s".into());
    let jobs = [("jmeter".to_owned(), toml::to_string(&template).unwrap())].into();
    let supervisor = Some(PathBuf::from(env!("CARGO_BIN_EXE_pilothouse-host")));
    let host = Host::start(Options { jobs, supervisor, ..Options::default() }).await.unwrap();
    install(&host, "jmeter").await;
    let trigger = fs::read(root().join("examples/events/test.triggered.json")).unwrap();
    let trigger: Value = serde_json::from_slice(&trigger).unwrap();
    host.send(event("t1", "sh.keptn.event.test.triggered", &trigger["data"]).unwrap()).await.unwrap();
    let finished = data(&host.wait_for("sh.keptn.event.test.finished", |_| true).await.unwrap());
    assert_eq!((&finished["status"], &finished["result"]), (&json!("errored"), &json!("fail")), "{finished}");
    finished["message"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jmeter_that_fails_gives_an_errored_test_with_its_last_words() {
    let message = tested(&["/bin/sh", "-c", "echo no such plugin class >&2; exit 1"], "30s").await;
    let message = message.as_str().unwrap();
    assert!(message.contains("status 1") && message.contains("no such plugin class"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jmeter_that_ends_well_without_a_result_file_gives_an_errored_test() {
    let message = tested(&["/bin/sh", "-c", "echo nothing to do"], "30s").await;
    let message = message.as_str().unwrap();
    assert!(message.contains("its result file has no sample") && message.contains("nothing to do"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jmeter_that_overruns_its_time_is_stopped_and_gives_an_errored_test() {
    let message = tested(&["/bin/sh", "-c", "echo begun; sleep 30"], "1s").await;
    let message = message.as_str().unwrap();
    assert!(message.contains("took longer than it may") && message.contains("begun"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jmeter_that_is_missing_gives_an_errored_test_that_says_so() {
    let message = tested(&["/nonexistent/jmeter"], "30s").await;
    let message = message.as_str().unwrap();
    assert!(
        message.contains("JMeter was not started") && message.contains("is not installed on the host"),
        "{message}"
    );
}

// Prometheus.

const MONITORED: &str = "sh.keptn.event.configure-monitoring.finished";
const FOREIGN: &str = "written by a person\n";

fn configuration(target: &str, limit: &str) -> Value {
    json!({
        "project": "shop", "stage": "dev", "service": "carts",
        "configureMonitoring": { "type": "prometheus" },
        "prometheus": {
            "stages": ["dev"], "targets": [target], "sli": "indicators: {throughput: 'sum(up)'}",
            "slo": format!("spec_version: '1.0'\ntotal_score: {{pass: 90%}}\nobjectives:\n- {{sli: throughput, pass: [{{criteria: ['>{limit}']}}]}}"),
        },
    })
}

/// Prometheus with two folders of it, in each of which a file of somebody else lies.
struct Monitoring {
    host: Host,
    peer: Peer,
    folder: tempfile::TempDir,
}

impl Monitoring {
    async fn start() -> Self {
        let (peer, folder) = (Peer::default(), tempfile::tempdir().unwrap());
        let connections = [("prometheus".to_owned(), (peer.serve().await, Vec::new()))].into();
        let mut outputs = BTreeMap::new();
        for (name, foreign) in [("targets", "shop.prod.carts.json"), ("rules", "foreign.yml")] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(foreign), FOREIGN).unwrap();
            outputs.insert(format!("prometheus-{name}"), path);
        }
        let host = Host::start(Options { connections, outputs, ..Options::default() }).await.unwrap();
        install(&host, "prometheus").await;
        let rules = json!({ "groups": [{
            "name": "carts shop-dev alerts", "file": "/etc/prometheus/shop.carts.rules.yml",
            "rules": [{ "name": "throughput" }],
        }]});
        let targets = json!({ "activeTargets": [{
            "labels": { "job": "carts-shop-dev" }, "discoveredLabels": { "__address__": "carts:80" },
        }], "droppedTargets": [] });
        let query = json!({ "resultType": "vector", "result": [] });
        for (path, data) in [("query", query), ("rules", rules), ("targets", targets)] {
            let answer = json!({ "status": "success", "data": data }).to_string();
            peer.answers(&format!("/api/v1/{path}"), &[(200, None, &answer)]);
        }
        Self { host, peer, folder }
    }

    /// Triggers the task and returns its answer.
    async fn configure(&self, id: &str, configuration: &Value) -> Value {
        let trigger = event(id, "sh.keptn.event.configure-monitoring.triggered", configuration).unwrap();
        self.host.send(trigger).await.unwrap();
        let is_its_own = |row: &_| pilothouse_tests::extension(row, "triggeredid").as_deref() == Some(id);
        data(&self.host.wait_for(MONITORED, is_its_own).await.unwrap())
    }

    /// Reads all files of both folders.
    fn files(&self) -> BTreeMap<String, String> {
        let read = |name: &str| {
            let folder = self.folder.path().join(name);
            let paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            let relative = |path: &Path| path.strip_prefix(self.folder.path()).unwrap().display().to_string();
            paths.into_iter().map(move |path| (relative(&path), fs::read_to_string(&path).unwrap())).collect::<Vec<_>>()
        };
        [read("targets"), read("rules")].concat().into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_prometheus_refuses_are_taken_back_and_the_task_says_why() {
    let monitoring = Monitoring::start().await;
    let nothing_yet = monitoring.files();
    let refusal = (500, None, "failed to reload config: group carts is repeated");

    monitoring.peer.answers("/-/reload", &[refusal, (200, None, "")]);
    let finished = monitoring.configure("m1", &configuration("carts:80", "1")).await;
    assert_eq!(finished["status"], "errored", "{finished}");
    assert!(finished["message"].as_str().unwrap().contains("group carts is repeated"), "{finished}");
    assert_eq!(monitoring.files(), nothing_yet, "what was not there is not there");

    let finished = monitoring.configure("m2", &configuration("carts:80", "1")).await;
    assert_eq!(finished["result"], "pass", "{finished}");
    let before = monitoring.files();
    assert!(before["targets/shop.dev.carts.json"].contains("carts:80"), "{before:?}");
    assert!(before["rules/shop.carts.rules.yml"].contains("throughput"), "{before:?}");

    monitoring.peer.answers("/-/reload", &[refusal, (200, None, "")]);
    let finished = monitoring.configure("m3", &configuration("other:80", "2")).await;
    assert_eq!((&finished["status"], &finished["result"]), (&json!("errored"), &json!("fail")), "{finished}");
    assert!(finished["message"].as_str().unwrap().contains("group carts is repeated"), "{finished}");
    assert_eq!(monitoring.files(), before, "what was there is there again");
    let reloads = monitoring.peer.asked().iter().filter(|asked| asked.path == "/-/reload").count();
    assert_eq!(reloads, 5, "refused, without it, taken, refused, without it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_somebody_else_is_never_touched() {
    let monitoring = Monitoring::start().await;
    monitoring.peer.answers("/-/reload", &[(200, None, "")]);
    // Named as this plugin would name a file of a stage that is gone: only the host's list says whose it is.
    let finished = monitoring.configure("m1", &configuration("carts:80", "1")).await;
    assert_eq!(finished["result"], "pass", "{finished}");
    let files = monitoring.files();
    assert_eq!((files.len(), files["targets/shop.prod.carts.json"].as_str()), (4, FOREIGN), "{files:?}");
    assert_eq!(files["rules/foreign.yml"], FOREIGN);

    // Nor is it replaced when its name is needed.
    let mut configuration = configuration("carts:80", "1");
    configuration["prometheus"]["stages"] = json!(["prod"]);
    let trigger = event("m2", "sh.keptn.event.configure-monitoring.triggered", &configuration).unwrap();
    let seq = monitoring.host.send(trigger).await.unwrap().seq;
    let dead = monitoring.host.wait_delivery(seq, DeliveryState::Dead).await.unwrap();
    assert_eq!(dead.failure, Some(FailureKind::Reject), "{dead:?}");
    assert_eq!(monitoring.files(), files);
}
