//! The contract holds in other languages: the same guest in JavaScript, Python and C handles an event, calls a
//! connection, asks for another attempt, rejects and traps.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use pilothouse_core::delivery::{DeliveryState, FailureKind};
use pilothouse_tests::{Host, Options, data, event, guests};
use serde_json::{Value, json};

const SAID: &str = "com.example.said.v1";
const RESULT: &str = "com.example.result.v1";

/// A peer that answers with the body, and notes the credentials that it was given.
async fn peer() -> (String, Arc<Mutex<Vec<String>>>) {
    let credentials = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&credentials);
    let echo = move |request: Request| async move {
        let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        noted.lock().unwrap().push(authorization.unwrap_or_default());
        axum::body::to_bytes(request.into_body(), 65_536).await.unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/echo", post(echo))).await });
    (format!("http://{address}"), credentials)
}

async fn speaks(language: &str) {
    let headers = vec![("authorization".to_owned(), "Bearer secret".to_owned())];
    let (url, credentials) = peer().await;
    let connections = [("peer".to_owned(), (url, headers))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    let grants = "connections = { api = \"peer\" }\n[limits]\nattempts = 2\ncpu = \"10s\"\ntimeout = \"30s\"";
    let file = guests().join(format!("{language}.wasm"));
    host.install_file(&file, "guest", grants, json!({})).await.unwrap();
    let send =
        async |id: &str, what: &str| host.send(event(id, SAID, &json!({ "do": what })).unwrap()).await.unwrap().seq;

    let seq = send("1", "echo").await;
    host.wait_delivery(seq, DeliveryState::Done).await.unwrap();
    let echoed: Value = data(&host.wait_for(RESULT, |_| true).await.unwrap());
    assert_eq!(echoed["language"], language, "{echoed}");

    let seq = send("2", "call").await;
    host.wait_delivery(seq, DeliveryState::Done).await.unwrap();
    let called = data(&host.wait_for(RESULT, |row| data(row).get("status").is_some()).await.unwrap());
    assert_eq!(called["status"], 200, "{called}");
    assert_eq!(*credentials.lock().unwrap(), ["Bearer secret"], "the host adds the credential");

    let expected =
        [("retry", FailureKind::Retry, 2), ("reject", FailureKind::Reject, 1), ("trap", FailureKind::Trap, 2)];
    for (what, kind, attempts) in expected {
        let seq = send(what, what).await;
        let dead = host.wait_delivery(seq, DeliveryState::Dead).await.unwrap();
        assert_eq!((dead.failure, dead.attempts), (Some(kind), attempts), "{what}: {dead:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_can_be_written_in_javascript() {
    speaks("js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_can_be_written_in_python() {
    speaks("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_can_be_written_in_c() {
    speaks("c").await;
}
