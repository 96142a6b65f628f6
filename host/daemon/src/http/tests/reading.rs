//! Reading back: listings, the tail, health, metrics, tokens, backups, and the published description.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use utoipa::OpenApi as _;

use super::{Harness, event, request_as};
use crate::http::{Description, router};

#[tokio::test]
async fn a_listing_is_newest_first_and_goes_on_with_its_cursor() {
    let harness = Harness::new().await;
    for number in 1..=5 {
        harness.send(&event(&number.to_string())).await;
    }
    let seqs = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let first = harness.get("/v1/events?limit=3&type=com.example.*").await.json();
    assert_eq!(seqs(&first), [5, 4, 3]);
    let second = harness.get(&format!("/v1/events?limit=3&cursor={}", first["next"])).await.json();
    assert_eq!(seqs(&second), [2, 1]);
    assert_eq!(seqs(&harness.get("/v1/events?id=4").await.json()), [4]);
    assert_eq!(seqs(&harness.get("/v1/events?since=2100-01-01T00:00:00Z").await.json()), [0_u64; 0]);
}

#[tokio::test]
async fn a_listing_shows_data_only_when_asked() {
    let harness = Harness::new().await;
    let mut sent = event("1");
    sent["data"] = json!({"n": 1});
    harness.send(&sent).await;
    assert_eq!(harness.get("/v1/events").await.json()["items"][0]["event"].get("data"), None);
    assert_eq!(harness.get("/v1/events?data=true").await.json()["items"][0]["event"]["data"]["n"], 1);
    assert_eq!(harness.get("/v1/events/1").await.json()["event"]["data"]["n"], 1);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_a_suggestion() {
    let harness = Harness::new().await;
    for (path, part) in [
        ("/v1/events?projct=x", "did you mean `project`?"),
        ("/v1/events?since=yesterday", "`since` is not a time"),
        ("/v1/events/abc", "whole number"),
        ("/v1/deliveries?state=lost", "`state` is"),
        ("/v1/deliveries/abc", "UUID"),
    ] {
        let answer = harness.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
    for path in [
        "/v1/events/99",
        "/v1/tasks/x",
        "/v1/installations/x",
        "/v1/nothing",
        "/v1/deliveries/00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(harness.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

/// Reads the tail until `count` events came, and returns their positions.
async fn tail(harness: &Harness, path: &str, last: Option<&str>, count: usize) -> Vec<u64> {
    let headers: Vec<(&str, &str)> = last.map(|last| ("last-event-id", last)).into_iter().collect();
    let request = request_as(&harness.token, Method::GET, path, &headers, Body::empty());
    let response = router(harness.app.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut body, mut text) = (response.into_body(), String::new());
    while text.matches("\ndata: ").count() < count {
        let frame = body.frame().await.expect("the tail ended").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn the_tail_goes_on_after_the_last_event_that_was_seen() {
    let harness = Harness::new().await;
    for number in 1..=20 {
        harness.send(&event(&number.to_string())).await;
    }
    assert_eq!(tail(&harness, "/v1/events/tail", Some("17"), 3).await, [18, 19, 20]);
    assert_eq!(tail(&harness, "/v1/events/tail?id=4", Some("0"), 1).await, [4]);
}

#[tokio::test]
async fn the_tail_shows_an_event_as_it_is_accepted() {
    let harness = Harness::new().await;
    harness.send(&event("before")).await;
    let reading = tail(&harness, "/v1/events/tail", None, 1);
    let sending = async {
        // Sent again and again under new ids until the tail has begun and seen one.
        for number in 0.. {
            harness.send(&event(&format!("after-{number}"))).await;
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::select! {
        seen = reading => seen,
        () = sending => Vec::new(),
    };
    assert!(seen[0] > 1, "{seen:?}");
}

#[tokio::test]
async fn health_says_whether_events_are_taken_and_metrics_count_them() {
    let harness = Harness::new().await;
    let open = |path: &str| harness.call(Request::builder().uri(path).body(Body::empty()).unwrap());
    assert_eq!(open("/healthz").await.json()["status"], "ok");
    assert_eq!(open("/readyz").await.json()["status"], "ok");
    harness.send(&event("1")).await;
    harness.send(&event("1")).await;
    harness.send(&json!({})).await;
    let metrics = harness.get("/metrics").await.text();
    for line in [
        "pilothouse_events_received_total 1",
        "pilothouse_events_duplicate_total 1",
        "pilothouse_requests_refused_total{code=\"attribute-missing\"} 1",
        "pilothouse_store_head 1",
        "pilothouse_store_refusing 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_token_is_made_used_and_listed_without_its_text() {
    let harness = Harness::new().await;
    let headers = [("content-type", "application/json")];
    let body = json!({"name": "ci", "rights": ["ingest"]}).to_string();
    let made = harness.request(Method::POST, "/v1/tokens", &headers, body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let headers_event = [("content-type", "application/cloudevents+json")];
    let sent =
        harness.call(request_as(&token, Method::POST, "/v1/events", &headers_event, event("1").to_string())).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    assert_eq!(harness.get("/v1/events/1").await.json()["actor"], "token:ci");
    assert!(!harness.get("/v1/tokens").await.text().contains(&token));
    assert_eq!(harness.request(Method::POST, "/v1/tokens", &headers, body).await.status, StatusCode::CONFLICT);
    let wrong = json!({"name": "x", "rihgts": ["read"]}).to_string();
    let wrong = harness.request(Method::POST, "/v1/tokens", &headers, wrong).await;
    assert!(wrong.text().contains("did you mean `rights`?"), "{}", wrong.text());
}

#[tokio::test]
async fn a_backup_holds_every_acknowledged_event_and_can_be_restored_once() {
    let harness = Harness::new().await;
    harness.send(&event("kept")).await;
    let shipyard =
        "apiVersion: spec.keptn.sh/0.2.2\nkind: Shipyard\nmetadata: {name: p}\nspec: {stages: [{name: dev}]}\n";
    let project = harness.json(Method::POST, "/v1/projects", &json!({ "name": "shop", "shipyard": shipyard })).await;
    assert_eq!(project.status, StatusCode::CREATED, "{}", project.text());
    let headers = [("content-type", "application/json")];
    let made = harness.request(Method::POST, "/v1/backup", &headers, r#"{"name":"b"}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let again = harness.request(Method::POST, "/v1/backup", &headers, r#"{"name":"b"}"#).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    for name in ["../x", "", ".b", "a/b"] {
        let body = json!({"name": name}).to_string();
        assert_eq!(
            harness.request(Method::POST, "/v1/backup", &headers, body).await.status,
            StatusCode::BAD_REQUEST,
            "{name}"
        );
    }
    let path = made.json()["path"].as_str().unwrap().to_owned();
    let target = tempfile::tempdir().unwrap();
    let data_dir = target.path().join("data");
    crate::backup::restore(path.as_ref(), &data_dir).unwrap();
    assert!(crate::backup::restore(path.as_ref(), &data_dir).is_err(), "a data folder is never overwritten");
    let store = pilothouse_store::sqlite::SqliteStore::open(pilothouse_store::sqlite::SqliteConfig::new(
        data_dir.join(crate::data_dir::STORE_FILE),
    ))
    .unwrap();
    let row = pilothouse_store::Store::event_by_identity(&store, "/test", "kept").await.unwrap();
    assert!(row.is_some());
    // A project is restored with the commit that its event told of.
    let name = pilothouse_core::name::ProjectName::new("shop").unwrap();
    let folder = crate::git::Repositories::new(data_dir.join(crate::data_dir::REPOSITORIES_DIR)).path(&name);
    let repository = crate::git::Repository::open(&folder, &name).unwrap();
    let present = repository.present().unwrap();
    assert_eq!(present.as_str(), project.json()["commit"].as_str().unwrap());
    assert_eq!(repository.file(&present, "shipyard.yaml").unwrap().unwrap(), shipyard.as_bytes());
}

/// Run with `PILOTHOUSE_UPDATE=1` to write the file anew.
#[test]
fn the_published_description_is_the_one_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = format!("{}\n", Description::openapi().to_pretty_json().unwrap());
    crate::testing::same_as_file(&path, &text);
}
