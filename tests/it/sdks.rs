//! Any CloudEvents SDK works unchanged: the official ones for JavaScript and Python send in every mode that they can.

use std::process::Command;

use pilothouse_tests::root;
use serde_json::Value;

use crate::program::{Program, client};

const JAVASCRIPT: &str = include_str!("sdks/send.mjs");
const PYTHON: &str = include_str!("sdks/send.py");

/// Runs the sender, and returns what the log then holds of its events, by id.
async fn sent(host: &Program, command: &mut Command, source: &str) -> Vec<Value> {
    let token = host.token.clone().unwrap();
    command.env("URL", format!("{}/v1/events", host.url)).env("TOKEN", &token);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let url = format!("{}/v1/events?data=true&source={source}", host.url);
    let answer = client().get(url).bearer_auth(&token).send().await.unwrap().error_for_status().unwrap();
    let page: Value = answer.json().await.unwrap();
    let mut events: Vec<Value> = page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect();
    events.sort_by_key(|event| event["id"].as_str().unwrap().to_owned());
    events
}

fn check(events: &[Value], modes: &[&str], subject: &str) {
    let ids: Vec<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, modes);
    for event in events {
        assert_eq!(event["type"], "com.example.said.v1", "{event}");
        assert_eq!(event["subject"], subject, "{event}");
        assert_eq!(event["data"]["text"], "naïve", "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_is_understood_in_binary_structured_and_batch_mode() {
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("target/npm/send.mjs");
    std::fs::write(&script, JAVASCRIPT).unwrap();
    let host = Program::start(folder.path(), &[]);
    let events = sent(&host, Command::new("node").arg(&script), "/javascript").await;
    // The SDK does not encode headers, so its binary mode cannot carry more than ASCII.
    check(&events, &["batch-1", "batch-2", "binary", "structured"], "Euro 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_is_understood_in_binary_structured_and_batch_mode() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("send.py");
    std::fs::write(&script, PYTHON).unwrap();
    let host = Program::start(folder.path(), &[]);
    let python = root().join("target/venv/bin/python");
    let events = sent(&host, Command::new(python).arg(&script), "/python").await;
    check(&events, &["batch-1", "batch-2", "binary", "structured"], "Euro €");
}
