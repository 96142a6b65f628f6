//! What came of one delivery, for a test to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_core::Event;
use pilothouse_core::event::EventError;
use pilothouse_core::task::{Answer, Finished};
use pilothouse_runtime::{CallFailure, LogLine};

use crate::{HttpRequest, StartedJob};

/// What came of one delivery.
#[derive(Debug)]
pub struct Delivered {
    /// Why the attempt failed, if it did; nothing that is committed happened then.
    pub failure: Option<CallFailure>,
    /// The events that the plugin returned, with the id and source that a host gives them.
    pub events: Vec<Event>,
    /// Events that were emitted or returned but that no host would accept, with the rule that they break.
    pub invalid: Vec<EventError>,
    /// The task's answer.
    pub answer: Option<Answer>,
    /// The events that the plugin emitted before it returned.
    pub emitted: Vec<Event>,
    /// The log of this call.
    pub log: Vec<LogLine>,
    /// The requests that arrived at the test's server during this call.
    pub requests: Vec<HttpRequest>,
    /// The jobs that this call started.
    pub jobs: Vec<StartedJob>,
    /// The plugin's key-value state after this call.
    pub key_values: BTreeMap<String, Vec<u8>>,
    /// CPU time charged: an upper estimate.
    pub cpu: Duration,
    /// Wall-clock time.
    pub wall: Duration,
    /// Most linear memory in use at one time.
    pub memory_bytes_max: u64,
}

impl Delivered {
    /// Returns the end of the task, if that was the answer.
    pub fn finished(&self) -> Option<&Finished> {
        match self.answer.as_ref()? {
            Answer::Finished(finished) => Some(finished),
            Answer::Pending { .. } | Answer::Declined { .. } => None,
        }
    }

    /// Returns what the finished task reports as `data.<task>`; `null` when it reports nothing.
    pub fn output(&self) -> serde_json::Value {
        let text = self.finished().and_then(|finished| finished.output.as_deref());
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Returns the data of the only event of that type among those returned; `null` when there is none or several.
    pub fn data(&self, ty: &str) -> serde_json::Value {
        let mut found = self.events.iter().filter(|event| event.ty() == ty);
        match (found.next(), found.next()) {
            (Some(event), None) => event.data_json().unwrap_or_default(),
            _ => serde_json::Value::Null,
        }
    }

    /// Returns why the attempt failed; empty when it did not.
    pub fn reason(&self) -> &str {
        self.failure.as_ref().map_or("", |failure| failure.reason.as_str())
    }

    /// Tells whether a line of the log holds `text`.
    pub fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.message.contains(text))
    }
}
