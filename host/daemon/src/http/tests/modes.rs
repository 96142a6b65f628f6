//! The three modes in, and the same event out.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Harness, event};

#[tokio::test]
async fn an_event_is_answered_with_its_position_and_what_follows_from_it() {
    let harness = Harness::new().await;
    let answer = harness.send(&event("1")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["duplicates"], &body["seq"]), (&json!(1), &json!(0), &json!([1])));
    assert_eq!(body["events"][0]["deliveries"], 0);
    assert!(body["events"][0]["hint"].is_string(), "nobody gets it, so something may have been meant: {body}");
}

#[tokio::test]
async fn json_data_comes_out_byte_for_byte_as_it_came_in() {
    let harness = Harness::new().await;
    let data = r#"{"z":1.10,  "a":12345678901234567890123, "e":1E400}"#;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("content-type", "application/json"),
    ];
    let answer = harness.request(Method::POST, "/v1/events", &headers, data).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    assert!(harness.get("/v1/events/1").await.text().contains(data));
}

#[tokio::test]
async fn the_same_event_in_two_modes_is_one_event() {
    let harness = Harness::new().await;
    let mut sent = event("1");
    sent["datacontenttype"] = json!("text/plain");
    sent["data"] = json!("x");
    harness.send(&sent).await;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/test"),
        ("ce-type", "com.example.test.v1"),
        ("content-type", "text/plain"),
    ];
    let again = harness.request(Method::POST, "/v1/events", &headers, "x").await.json();
    assert_eq!(
        (&again["events"][0]["duplicate"], &again["events"][0]["mismatch"]),
        (&json!(true), &json!(false)),
        "{again}"
    );
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let harness = Harness::new().await;
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = harness.request(Method::POST, "/v1/events?dryrun=1", &headers, event("1").to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["events"][0]["deliveries"], 0);
    assert_eq!(harness.get("/v1/events").await.json()["items"], json!([]));
    let wrong = harness.request(Method::POST, "/v1/events?dryrum=1", &headers, event("1").to_string()).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("did you mean `dryrun`?"), "{}", wrong.text());
}

#[tokio::test]
async fn row_56_a_thousand_requests_with_one_event_store_it_once() {
    let harness = Harness::new().await;
    let sent = event("raced");
    let answers = futures_util::future::join_all((0..1_000).map(|_| harness.send(&sent))).await;
    let mut new = 0;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        new += answer.json()["accepted"].as_u64().unwrap();
        assert_eq!(answer.json()["seq"], json!([1]));
    }
    assert_eq!(new, 1);
    assert_eq!(harness.get("/v1/events").await.json()["items"].as_array().unwrap().len(), 1);
}
