//! No open door: each path of the API asks for a token and for a right, and no answer shows a secret.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use pilothouse_core::right::Right;
use serde_json::json;
use utoipa::OpenApi as _;

use super::{Harness, event, request_as};
use crate::http::{Description, OPEN_PATHS};

/// Whether a signature opens a path instead of a token.
fn is_signed(method: &Method, path: &str) -> bool {
    path == "/v1/projects/x/upstream/webhook"
        || (method == Method::GET && path.starts_with("/reports/"))
        || (method == Method::POST && path == "/v1/inbound/x")
}

/// Every operation of the API's description, with something in place of each parameter.
fn operations() -> Vec<(Method, String)> {
    let description = serde_json::to_value(Description::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        let filled = [("{seq}", "1"), ("{name}", "x"), ("{id}", "00000000-0000-0000-0000-000000000000")]
            .into_iter()
            .chain([("{project}", "x"), ("{service}", "x"), ("{path}", "x")])
            .fold(path.clone(), |path, (parameter, value)| path.replace(parameter, value));
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            operations.push((method, filled.clone()));
        }
    }
    assert!(operations.len() >= 25, "{operations:?}");
    operations
}

#[tokio::test]
async fn every_path_but_the_open_ones_refuses_without_a_token() {
    let harness = Harness::new().await;
    for (method, path) in operations() {
        let request = Request::builder().method(method.clone()).uri(&path).body(Body::empty()).unwrap();
        let answer = harness.call(request).await;
        if OPEN_PATHS.contains(&path.as_str()) {
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
        } else if is_signed(&method, &path) {
            // Its signature is its token.
            let refused = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
            assert!(refused, "{method} {path}: {}", answer.status);
        } else {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert_eq!(answer.json()["code"], "token-needed");
        }
    }
    let unknown = Request::builder().uri("/v1/nothing").body(Body::empty()).unwrap();
    assert_eq!(harness.call(unknown).await.status, StatusCode::UNAUTHORIZED, "what exists is not told to strangers");
}

#[tokio::test]
async fn every_path_asks_for_a_right_that_a_stranger_to_it_does_not_have() {
    let harness = Harness::new().await;
    let ingest = harness.token("ingest", &[Right::Ingest], None).await;
    let read = harness.token("read", &[Right::Read], None).await;
    for (method, path) in operations() {
        if OPEN_PATHS.contains(&path.as_str()) || path == "/v1/openapi.json" || is_signed(&method, &path) {
            continue;
        }
        // Whoever may only send may not look or change; whoever may only look may not send or change.
        let only_looks = method == Method::GET || (path.starts_with("/v1/reports/") && path.ends_with("/link"));
        let token = if only_looks { &ingest } else { &read };
        let headers = [("content-type", "application/json")];
        let body = match path.as_str() {
            "/v1/tokens" => r#"{"name":"n","rights":["read"]}"#,
            "/v1/projects" => r#"{"name":"x","shipyard":""}"#,
            "/v1/projects/x/services" => r#"{"name":"x"}"#,
            "/v1/projects/x/commits" => r#"{"changes":[]}"#,
            "/v1/projects/x/upstream" => r#"{"url":"https://x"}"#,
            "/v1/projects/x/conflict" => r#"{"take":"ours"}"#,
            "/v1/sequences" => r#"{"project":"x","stage":"x","sequence":"x","service":"x"}"#,
            "/v1/evaluate" => r#"{"slo":"","sli":{}}"#,
            "/v1/evaluations" | "/v1/evaluations/import" | "/v1/monitoring" => r#"{"project":"x"}"#,
            "/v1/approvals/00000000-0000-0000-0000-000000000000" => r#"{"decision":"approve"}"#,
            "/v1/executors/x" => r#"{"tasks":{"x":{}}}"#,
            "/v1/inbound/x" => r#"{"verification":{"scheme":"github"},"secret":"x","mapping":""}"#,
            "/v1/secrets/x" => r#"{"text":"x"}"#,
            "/v1/installations/x" => r#"{"digest":"sha256:0"}"#,
            _ => "{}",
        };
        let body = if method == Method::GET { "" } else { body };
        let answer = harness.call(request_as(token, method.clone(), &path, &headers, body)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_token_is_refused_the_moment_it_is_revoked() {
    let harness = Harness::new().await;
    let token = harness.token("ci", &[Right::Read], None).await;
    let list = || request_as(&token, Method::GET, "/v1/events", &[], "");
    assert_eq!(harness.call(list()).await.status, StatusCode::OK);
    assert_eq!(harness.request(Method::DELETE, "/v1/tokens/ci", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(harness.call(list()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn triggering_a_task_needs_its_own_right_and_gives_no_other() {
    let harness = Harness::new().await;
    let ingest = harness.token("ingest", &[Right::Ingest], None).await;
    let task = harness.token("task", &[Right::Task], None).await;
    let triggered = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "sh.keptn.event.test.triggered", "data": {"project": "p"}});
    let send = |token: &str, event: &serde_json::Value| {
        let headers = [("content-type", "application/cloudevents+json")];
        harness.call(request_as(token, Method::POST, "/v1/events", &headers, event.to_string()))
    };
    assert_eq!(send(&ingest, &triggered).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(&task, &triggered).await.status, StatusCode::ACCEPTED);
    assert_eq!(send(&task, &event("2")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(&ingest, &event("2")).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_token_narrowed_to_a_project_sees_no_other() {
    let harness = Harness::new().await;
    let in_project = |id: &str, project: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "sh.keptn.event.x", "data": {"project": project}});
    harness.send(&in_project("1", "shop")).await;
    harness.send(&in_project("2", "other")).await;
    let token = harness.token("shop", &[Right::Read], Some(&["shop"])).await;
    let get = |path: &str| harness.call(request_as(&token, Method::GET, path, &[], ""));
    let listed = get("/v1/events").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(get("/v1/events/1").await.status, StatusCode::OK);
    assert_eq!(get("/v1/events/2").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get("/v1/events/2/trace").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get("/v1/events?project=other").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_token_that_sends_too_fast_is_told_when_to_come_back() {
    let harness = Harness::with(|config| config.limits.requests_per_second = 1).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(harness.get("/v1/openapi.json").await);
    }
    let refused =
        statuses.iter().find(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).expect("none was refused");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(statuses[0].status, StatusCode::OK);
}

#[tokio::test]
async fn no_answer_shows_a_token_a_credential_or_a_secret_address() {
    let folder = tempfile::tempdir().unwrap();
    let (url, credential) = (folder.path().join("url"), folder.path().join("credential"));
    std::fs::write(&url, "http://127.0.0.1:1/T0PSECRET").unwrap();
    std::fs::write(&credential, "hunter2").unwrap();
    let toml = format!(
        "[connections.hook]\nurl-file = {url:?}\n\n[connections.api]\nurl = \"http://127.0.0.1:1/api\"\nauth = \"bearer\"\ncredential = {{ file = {credential:?} }}\n"
    );
    let file = Some(("x.toml".into(), toml));
    let loaded = crate::config::load(&crate::config::Sources { file, ..Default::default() }).unwrap();
    let harness = Harness::with(|config| config.connections = loaded.config.connections).await;
    let mut shown = String::new();
    for path in ["/v1/connections", "/v1/tokens", "/v1/installations", "/metrics"] {
        shown.push_str(&harness.get(path).await.text());
    }
    for name in ["hook", "api"] {
        let answer = harness.request(Method::POST, &format!("/v1/connections/{name}/test"), &[], "").await;
        assert_eq!(answer.json()["reachable"], false);
        shown.push_str(&answer.text());
    }
    let wrong = request_as("ph_0_notatoken", Method::GET, "/v1/events", &[], "");
    shown.push_str(&harness.call(wrong).await.text());
    // `ph_<id>_<secret>`; the secret itself may have a `_`.
    let secret = harness.token.splitn(3, '_').nth(2).unwrap();
    for secret in ["T0PSECRET", "hunter2", "notatoken", secret] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("hook") && shown.contains("http://127.0.0.1:1/api"));
}

#[tokio::test]
async fn a_refused_event_is_not_repeated_in_the_answer() {
    let harness = Harness::new().await;
    let mut wrong = event("1");
    wrong["data"] = json!("CONFIDENTIAL");
    wrong["time"] = json!("never");
    let answer = harness.send(&wrong).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.text().contains("CONFIDENTIAL"));
}
