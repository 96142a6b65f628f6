//! A stand-in for Slack's incoming webhook: takes what Slack would take, refuses what Slack would refuse, and keeps the
//! messages so that the demo can show them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

use super::error::DemoError;
use crate::engine::clock::{Clock as _, SystemClock};

/// The path of the webhook, of the form that Slack's have.
pub(super) const WEBHOOK_PATH: &str = "/services/T0DEMO/B0DEMO/demo";
/// Most blocks of a message, by Slack's limit.
const BLOCKS_MAX: usize = 50;
/// Most messages that are kept: the demo posts a handful, `--keep` may go on for days.
const MESSAGES_MAX: usize = 1_000;

/// The stand-in; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct SlackStandIn(Arc<Mutex<Vec<(i64, String)>>>);

impl SlackStandIn {
    /// Starts it on a free port, and returns its address.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn start(&self) -> Result<SocketAddr, DemoError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("no free port"))?;
        let address = listener.local_addr().map_err(DemoError::io("no address"))?;
        let app = Router::new().route(WEBHOOK_PATH, post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    /// Returns the messages that it got, as the lines that a person would read, each with when it came, in
    /// milliseconds since 1970.
    pub(super) fn messages(&self) -> Vec<(i64, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(State(slack): State<SlackStandIn>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let is_json = headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let payload = if is_json { serde_json::from_slice(&body).unwrap_or(Value::Null) } else { Value::Null };
    match read(&payload) {
        Ok(message) => {
            let mut messages = slack.0.lock().unwrap_or_else(PoisonError::into_inner);
            if messages.len() < MESSAGES_MAX {
                messages.push((SystemClock.now().as_millis(), message));
            }
            (StatusCode::OK, "ok")
        }
        Err(reason) => (StatusCode::BAD_REQUEST, reason),
    }
}

/// Reads a message, or says with Slack's word why it is none.
fn read(payload: &Value) -> Result<String, &'static str> {
    if !payload.is_object() {
        return Err("invalid_payload");
    }
    let blocks = payload.get("blocks").and_then(Value::as_array).filter(|blocks| !blocks.is_empty());
    let blocks = blocks.ok_or("no_text")?;
    if blocks.len() > BLOCKS_MAX || blocks.iter().any(|block| block.get("type").is_none_or(|ty| !ty.is_string())) {
        return Err("invalid_blocks");
    }
    let mut lines = Vec::new();
    for block in blocks {
        collect(block, &mut lines);
    }
    if lines.iter().any(|line| line.trim().is_empty()) {
        return Err("invalid_blocks");
    }
    Ok(lines.join("\n"))
}

/// Collects the texts of a block; the fields of a section stand in one line.
fn collect(block: &Value, lines: &mut Vec<String>) {
    let text = |object: &Value| object.get("text").and_then(Value::as_str).map(|text| text.trim_end().to_owned());
    if let Some(found) = block.get("text").and_then(text) {
        // An empty text stays as an empty line, which `read` refuses; empty lines inside a text are nothing to see.
        let seen = found.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned);
        lines.extend(if found.is_empty() { vec![String::new()] } else { seen.collect() });
    }
    for name in ["fields", "elements"] {
        let list = block.get(name).and_then(Value::as_array).into_iter().flatten();
        let found: Vec<String> = list.filter_map(text).map(|text| text.replace('\n', " ")).collect();
        if !found.is_empty() {
            lines.push(found.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_read_as_a_person_reads_it() {
        let message = json!({ "text": "t", "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": "Test passed" } },
            { "type": "section", "fields": [{ "text": "Requests\n2" }, { "text": "p95\n3 ms" }] },
        ] });
        assert_eq!(read(&message).unwrap(), "Test passed\nRequests 2 | p95 3 ms");
    }

    #[test]
    fn what_slack_refuses_is_refused_with_its_word() {
        for (payload, word) in [
            (json!("text"), "invalid_payload"),
            (json!({ "text": "t" }), "no_text"),
            (json!({ "blocks": [] }), "no_text"),
            (json!({ "blocks": [{ "text": { "text": "a" } }] }), "invalid_blocks"),
            (json!({ "blocks": [{ "type": "section", "text": { "text": "" } }] }), "invalid_blocks"),
        ] {
            assert_eq!(read(&payload), Err(word), "{payload}");
        }
    }
}
