//! The plugin `webhook`: a task done by a request, and requests that follow events, against a server that checks what it is
//! sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use pilothouse::git::Change;
use pilothouse::project::Cause;
use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::FilePath;
use pilothouse_core::right::Actor;
use pilothouse_store::DeliveryFilter;
use pilothouse_tests::{Host, Options, data, event, plugins};
use serde_json::{Value, json};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: release}]}]
";

const WEBHOOKS: &str = "apiVersion: pilothouse.dev/v1
kind: Webhooks
tasks:
  release:
    connection: api
    path: /releases/{/service}
    query: { stage: '{/stage}' }
    headers: { X-Version: '{/release/version}' }
    body: { version: { pointer: /release/version }, labels: { pointer: /labels, default: {} } }
    output: /data
  gone: { connection: api, path: /status/410 }
  busy: { connection: api, path: /busy }
  elsewhere: { connection: other }
  text: { connection: api, path: /text, method: GET }
events:
  - type: sh.keptn.event.dev.delivery.finished
    when: { /result: [pass] }
    request: { connection: api, method: PUT, path: /done, body: { text: '{/service} is out' } }
  - type: sh.keptn.event.gone.finished
    request: { connection: api, path: /status/404 }
";

/// What the server was sent: method, path with query, the headers that matter, the body.
type Sent = Arc<Mutex<Vec<(String, String, Vec<(String, String)>, Value)>>>;

async fn server() -> (String, Sent) {
    let sent: Sent = Arc::default();
    let kept = Arc::clone(&sent);
    let app = Router::new().fallback(move |request: Request| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let header =
                |name: &str| parts.headers.get(name).map(|value| (name.to_owned(), value.to_str().unwrap().to_owned()));
            let headers = ["authorization", "x-version", "idempotency-key"].into_iter().filter_map(header).collect();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let path = parts.uri.to_string();
            let entry =
                (parts.method.to_string(), path.clone(), headers, serde_json::from_slice(&body).unwrap_or_default());
            let mut kept = kept.lock().unwrap();
            kept.push(entry);
            let times = kept.iter().filter(|(_, known, ..)| *known == path).count();
            match path.as_str() {
                "/base/busy" if times == 1 => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
                "/base/text" => (StatusCode::OK, "plain".to_owned()),
                "/base/status/410" => (StatusCode::GONE, "{\"error\": \"no such release\"}".to_owned()),
                "/base/status/404" => (StatusCode::NOT_FOUND, String::new()),
                _ => (StatusCode::OK, json!({"data": {"id": 7}}).to_string()),
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, sent)
}

async fn host() -> (Host, Sent) {
    let (url, sent) = server().await;
    let credential = vec![("authorization".to_owned(), "Bearer s3cret".to_owned())];
    let options = Options { connections: [("deployer".to_owned(), (url, credential))].into(), ..Options::default() };
    let host = Host::start(options).await.unwrap();
    let tasks: String =
        ["release", "gone", "busy", "elsewhere", "text"].map(|task| format!("[tasks.{task}]\n")).concat();
    let grants = format!("resources = true\nconnections = {{ api = \"deployer\" }}\n{tasks}");
    host.install_file(&plugins().join("webhook.wasm"), "webhook", &grants, json!({})).await.unwrap();
    host.create_project("podtato", SHIPYARD).await.unwrap();
    let path = FilePath::new("webhooks.yaml").unwrap();
    let changes = vec![Change { path, content: Some(WEBHOOKS.as_bytes().to_vec()) }];
    let cause = Cause { actor: Actor::token("test"), message: "Webhooks".to_owned(), origin: "api" };
    host.projects.write(&ProjectName::new("podtato").unwrap(), changes, None, &cause).await.unwrap();
    (host, sent)
}

async fn answer(host: &Host, task: &str) -> Value {
    let place = json!({ "project": "podtato", "stage": "dev", "service": "hello" });
    host.send(event(task, &format!("sh.keptn.event.{task}.triggered"), &place).unwrap()).await.unwrap();
    data(&host.wait_for(&format!("sh.keptn.event.{task}.finished"), |_| true).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_by_a_request_and_another_follows_the_end_of_its_sequence() {
    let (host, sent) = host().await;
    let data = json!({
        "project": "podtato", "stage": "dev", "service": "he llo/x", "release": {"version": "2.1"}, "labels": {"a": "b"},
    });
    // A service with such a name belongs to no sequence; the task alone shows how a value becomes part of a path.
    host.send(event("t1", "sh.keptn.event.release.triggered", &data).unwrap()).await.unwrap();
    let finished = host.wait_for("sh.keptn.event.release.finished", |_| true).await.unwrap();
    let answered = pilothouse_tests::data(&finished);
    assert_eq!((&answered["result"], &answered["release"]), (&json!("pass"), &json!({"id": 7})), "{answered}");
    let (method, path, headers, body) = sent.lock().unwrap()[0].clone();
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/base/releases/he%20llo%2Fx?stage=dev"));
    assert!(headers.contains(&("authorization".to_owned(), "Bearer s3cret".to_owned())), "{headers:?}");
    assert!(headers.contains(&("x-version".to_owned(), "2.1".to_owned())), "{headers:?}");
    assert_eq!(body, json!({"version": "2.1", "labels": {"a": "b"}}));

    let data = json!({"project": "podtato", "stage": "dev", "service": "hello", "release": {"version": "3"}});
    host.send(event("s1", "sh.keptn.event.dev.delivery.triggered", &data).unwrap()).await.unwrap();
    let mut settled = host.store().head();
    loop {
        let found = sent.lock().unwrap().iter().find(|(_, path, ..)| path == "/base/done").cloned();
        if let Some((method, _, headers, body)) = found {
            assert_eq!((method.as_str(), &body), ("PUT", &json!({"text": "hello is out"})));
            assert!(headers.iter().any(|(name, _)| name == "idempotency-key"), "{headers:?}");
            break;
        }
        let _ = tokio::time::timeout(std::time::Duration::from_millis(100), settled.changed()).await;
    }
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_busy_is_asked_again_and_one_that_refuses_makes_the_task_errored() {
    let (host, sent) = host().await;
    assert_eq!(answer(&host, "busy").await["result"], "pass");
    let busy: Vec<_> = sent.lock().unwrap().iter().filter(|(_, path, ..)| path == "/base/busy").cloned().collect();
    assert_eq!(busy.len(), 2);
    assert_eq!(busy[0].2, busy[1].2, "the same idempotency key");
    assert_eq!(answer(&host, "text").await["text"]["text"], "plain");
    for (task, says) in [
        ("gone", "`api` answered with status 410: {\"error\": \"no such release\"}"),
        ("elsewhere", "the connection `other` is not granted"),
        ("release", "the event has no text, number or boolean at `/release/version`"),
    ] {
        let answer = answer(&host, task).await;
        assert_eq!(answer["status"], "errored", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
    }
    // The request that follows the end of `gone` is refused, and waits for somebody to look at it.
    let finished = host.wait_for("sh.keptn.event.gone.finished", |_| true).await.unwrap();
    let filter = DeliveryFilter { event: Some(finished.seq), ..DeliveryFilter::default() };
    let dead = host.wait_deliveries(filter, DeliveryState::Dead, 1).await.unwrap();
    assert!(
        dead.iter().any(|row| row.reason.as_deref().is_some_and(|reason| reason.contains("status 404"))),
        "{dead:?}"
    );
}
