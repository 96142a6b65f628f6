//! `pilothouse event send`: reads events from files, repairs the habits of Keptn V1, and says what became of each.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use http::header::CONTENT_TYPE;
use pilothouse_core::event::json;
use serde_json::Value;

use super::api::{Api, with_query};
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};

#[derive(Debug, Args)]
pub(super) struct SendCommand {
    /// Files with one event or an array of events each; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Store nothing, and say who would get the events.
    #[arg(long)]
    dryrun: bool,
    /// Give every event a new id, so that it is not taken for a repeat.
    #[arg(long)]
    new_id: bool,
}

impl SendCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        for file in &self.files {
            let bytes = read(file, terminal)?;
            let name = file.display().to_string();
            let Prepared { body, media_type, changes } =
                prepare(&bytes, self.new_id).map_err(|error| error.because(format!("in {name}")))?;
            for change in changes {
                terminal.note(&format!("{name}: {change}"));
            }
            let dryrun = self.dryrun.then(|| "1".to_owned());
            let request = api.request(Method::POST, &with_query("/v1/events", &[("dryrun", dryrun)]));
            let answer = api.json(request.header(CONTENT_TYPE, media_type).body(body)).await?;
            report(&answer, self.dryrun, terminal)?;
        }
        Ok(())
    }
}

fn read(file: &PathBuf, terminal: &mut Terminal) -> Result<Vec<u8>, CliError> {
    if file.as_os_str() == "-" {
        return terminal.read_input();
    }
    std::fs::read(file)
        .map_err(|error| CliError::new(Exit::Usage, format!("cannot read `{}`", file.display())).caused_by(&error))
}

struct Prepared {
    body: Vec<u8>,
    media_type: &'static str,
    changes: Vec<String>,
}

const EVENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// A valid event is sent byte for byte; anything else is repaired first, as far as it can be.
fn prepare(bytes: &[u8], new_id: bool) -> Result<Prepared, CliError> {
    if !new_id {
        if json::parse(bytes).is_ok() {
            return Ok(Prepared { body: bytes.to_vec(), media_type: EVENT, changes: Vec::new() });
        }
        if json::parse_batch(bytes, usize::MAX).is_ok() {
            return Ok(Prepared { body: bytes.to_vec(), media_type: BATCH, changes: Vec::new() });
        }
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| CliError::new(Exit::Usage, "this is not JSON").caused_by(&error))?;
    let (media_type, events) = match value {
        Value::Array(events) => (BATCH, events),
        event => (EVENT, vec![event]),
    };
    let (mut repaired, mut changes) = (Vec::new(), Vec::new());
    for event in events {
        let (event, told) = repair(event, new_id);
        // The host would say the same, but here the file is at hand.
        json::parse(event.to_string().as_bytes()).map_err(|error| {
            let index = (media_type == BATCH).then(|| format!("event number {}", repaired.len() + 1));
            let failure = CliError::new(Exit::Usage, error.message);
            index.into_iter().fold(failure, CliError::because)
        })?;
        repaired.push(event);
        changes.extend(told);
    }
    let body =
        if media_type == BATCH { Value::Array(repaired) } else { repaired.into_iter().next().unwrap_or_default() };
    Ok(Prepared { body: body.to_string().into_bytes(), media_type, changes })
}

fn repair(event: Value, new_id: bool) -> (Value, Vec<String>) {
    let (mut event, mut changes) = json::repair_v1(event);
    if let Some(members) = event.as_object_mut() {
        let lacks_id = members.get("id").and_then(Value::as_str).is_none_or(str::is_empty);
        if lacks_id || new_id {
            let id = uuid::Uuid::new_v4().to_string();
            changes.push(format!("gave it the id `{id}`"));
            members.insert("id".to_owned(), Value::from(id));
        }
    }
    (event, changes)
}

fn report(answer: &Value, dryrun: bool, terminal: &mut Terminal) -> Result<(), CliError> {
    if terminal.format == Format::Json {
        return terminal.json(answer);
    }
    for event in answer.get("events").and_then(Value::as_array).into_iter().flatten() {
        if dryrun {
            report_dry_run(event, terminal)?;
        } else {
            terminal.line(&outcome(event))?;
            if let Some(hint) = event.get("hint").and_then(Value::as_str) {
                terminal.note(&format!("  hint: {hint}"));
            }
        }
    }
    Ok(())
}

fn outcome(event: &Value) -> String {
    let text = |name: &str| cell(event.get(name));
    let flag = |name: &str| event.get(name).and_then(Value::as_bool).unwrap_or(false);
    let what = if flag("mismatch") {
        "accepted before, with other content; the first one stays".to_owned()
    } else if flag("duplicate") {
        "accepted before; nothing was done".to_owned()
    } else {
        match event.get("deliveries").and_then(Value::as_u64) {
            Some(1) => "1 delivery".to_owned(),
            count => format!("{} deliveries", count.unwrap_or(0)),
        }
    };
    format!("seq {}  id {}  {what}", text("seq"), text("id"))
}

fn report_dry_run(event: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    terminal.line(&format!(
        "id {}: {} deliveries would follow",
        cell(event.get("id")),
        cell(event.get("deliveries"))
    ))?;
    for subscription in event.get("subscriptions").and_then(Value::as_array).into_iter().flatten() {
        let matched = subscription.get("matched").and_then(Value::as_bool).unwrap_or(false);
        let mark = if matched { "gets it" } else { "does not" };
        terminal.line(&format!(
            "  {} {mark}: {}",
            cell(subscription.get("installation")),
            cell(subscription.get("reason"))
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_event_is_sent_byte_for_byte() {
        let bytes = br#"{ "specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1.10} }"#;
        let prepared = prepare(bytes, false).unwrap();
        assert_eq!(prepared.body, bytes);
        assert_eq!((prepared.media_type, prepared.changes.len()), (EVENT, 0));
    }

    #[test]
    fn an_envelope_of_keptn_v1_is_repaired_and_the_changes_are_told() {
        let bytes =
            br#"{"contenttype":"application/json","source":"cli","type":"sh.keptn.event.test.triggered","data":{}}"#;
        let prepared = prepare(bytes, false).unwrap();
        assert!(json::parse(&prepared.body).is_ok());
        assert!(prepared.changes.iter().any(|change| change.contains("datacontenttype")), "{:?}", prepared.changes);
        assert!(prepared.changes.iter().any(|change| change.contains("gave it the id")), "{:?}", prepared.changes);
    }

    #[test]
    fn the_event_of_an_array_that_cannot_be_repaired_is_named() {
        let bytes = br#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"source":"/s"}]"#;
        let error = prepare(bytes, false).err().unwrap().to_string();
        assert!(error.contains("event number 2") && error.contains("type"), "{error}");
    }
}
