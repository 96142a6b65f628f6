//! Follows the host's log: keeps every event that the demo has seen, finds out what each follows from, and prints it.
//!
//! Goes on where it stopped when the host goes away and comes back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::error::DemoError;
use super::print::{EventLine, Printer};

/// Time between two attempts to reach a host that is away.
const RECONNECT: Duration = Duration::from_millis(200);
/// Largest piece of the stream without an end: an event of 1 MiB, quoted.
const PIECE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An event that the demo has seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Position in the log.
    pub(super) seq: u64,
    /// The event.
    pub(super) event: Value,
    /// The run that it belongs to.
    pub(super) run: Option<String>,
    /// Position of the event that it follows from.
    pub(super) cause: Option<u64>,
}

impl Seen {
    /// Returns a text of the event: an attribute, or with a `/` a member of it.
    pub(super) fn text(&self, pointer: &str) -> &str {
        let value = if pointer.starts_with('/') { self.event.pointer(pointer) } else { self.event.get(pointer) };
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// Tells whether it is of type `ty` and answers the task that the event `triggered_id` triggered.
    pub(super) fn answers(&self, ty: &str, triggered_id: &str) -> bool {
        self.text("type") == ty && self.text("triggeredid") == triggered_id
    }
}

/// Every event seen so far; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct EventLog(Arc<Mutex<Vec<Seen>>>);

impl EventLog {
    /// Returns the first event that `is` accepts.
    pub(super) fn find(&self, is: impl Fn(&Seen) -> bool) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|seen| is(seen)).cloned()
    }

    /// Returns the events of a run, in the order of the log.
    pub(super) fn of_run(&self, run: &str) -> Vec<Seen> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|seen| seen.run.as_deref() == Some(run)).cloned().collect()
    }

    /// Returns the position of the newest.
    fn last(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().map_or(0, |seen| seen.seq)
    }

    fn push(&self, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

/// Follows the log for ever.
pub(super) async fn follow(api: Api, log: EventLog, printer: Arc<Printer>) {
    loop {
        // A host that is away is part of the demo; whoever waits for an event says so in its time.
        let _ = follow_once(&api, &log, &printer).await;
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn follow_once(api: &Api, log: &EventLog, printer: &Printer) -> Result<(), DemoError> {
    let mut stream = api.tail(log.last()).await?;
    let mut rest = Vec::new();
    while let Some(chunk) = stream.chunk().await.map_err(DemoError::request("reading the tail"))? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let piece: Vec<u8> = rest.drain(..end + 2).collect();
            if let Some(view) = data(&piece) {
                take(api, log, printer, &view).await?;
            }
        }
        if rest.len() > PIECE_BYTES_MAX {
            return Err(DemoError::Wrong("the tail sends no end of an event".to_owned()));
        }
    }
    Ok(())
}

/// Returns the event in one piece of the stream; `None` for a sign of life and for the end.
fn data(piece: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(piece).ok()?;
    if text.lines().any(|line| line.starts_with("event:")) {
        return None;
    }
    let line = text.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(line).ok()
}

async fn take(api: &Api, log: &EventLog, printer: &Printer, view: &Value) -> Result<(), DemoError> {
    let seq = view.get("seq").and_then(Value::as_u64).unwrap_or_default();
    if seq <= log.last() {
        return Ok(());
    }
    let event = view.get("event").cloned().unwrap_or_default();
    let run = view.get("context").and_then(Value::as_str).map(str::to_owned);
    let mut seen = Seen { seq, event, run, cause: None };
    seen.cause = cause(api, log, view, &seen).await?;
    let who = view.get("actor").and_then(Value::as_str).unwrap_or_default();
    let message = message(&seen);
    printer.event(&EventLine {
        seq,
        accepted: view.get("accepted").and_then(Value::as_str).unwrap_or_default(),
        ty: seen.text("type"),
        who: who.rsplit_once(':').map_or(who, |(_, name)| name),
        message: message.as_deref(),
        cause: seen.cause,
    });
    log.push(seen);
    Ok(())
}

/// Finds what an event follows from: the delivery that it came out of, the letter that died, the task that it answers,
/// or the event that the host acted on.
async fn cause(api: &Api, log: &EventLog, view: &Value, seen: &Seen) -> Result<Option<u64>, DemoError> {
    if let Some(delivery) = view.get("caused-by").and_then(Value::as_str) {
        let delivery = api.get(&format!("/v1/deliveries/{delivery}")).await?;
        return Ok(delivery.get("event").and_then(Value::as_u64));
    }
    if let Some(seq) = seen.event.pointer("/data/event/seq").and_then(Value::as_u64) {
        return Ok(Some(seq));
    }
    let triggered_id = seen.text("triggeredid");
    if !triggered_id.is_empty() {
        return Ok(log.find(|it| it.text("id") == triggered_id).map(|it| it.seq));
    }
    if seen.text("source") == pilothouse_core::host_event::HOST_SOURCE && seen.run.is_some() {
        return Ok(log.find(|it| it.run == seen.run).map(|it| it.seq));
    }
    Ok(None)
}

/// Makes the line about an event from its result and message.
fn message(seen: &Seen) -> Option<String> {
    let (result, text) = (seen.text("/data/result"), seen.text("/data/message"));
    let text = if text.is_empty() { seen.text("/data/reason") } else { text };
    let state = seen.text("/data/state");
    let parts: Vec<&str> = [result, state, text].into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_piece_of_the_stream_is_an_event_or_nothing() {
        assert_eq!(data(b"id: 3\ndata: {\"seq\":3}\n\n"), Some(json!({ "seq": 3 })));
        assert_eq!(data(b": alive\n\n"), None);
        assert_eq!(data(b"event: end\ndata: {\"reason\":\"x\"}\n\n"), None);
    }

    #[test]
    fn an_event_is_summed_up_by_its_result_and_message() {
        let seen = |data: Value| Seen { seq: 1, event: json!({ "data": data }), run: None, cause: None };
        assert_eq!(message(&seen(json!({ "result": "pass", "message": "fine" }))).as_deref(), Some("pass: fine"));
        assert_eq!(message(&seen(json!({ "reason": "it trapped" }))).as_deref(), Some("it trapped"));
        assert_eq!(message(&seen(json!({ "order": 1 }))), None);
    }
}
