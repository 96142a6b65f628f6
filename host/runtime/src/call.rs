//! What goes into one call of a plugin, and what comes out.
//!
//! Plain data: nothing here runs anything.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId, FailureKind};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::{InstallationName, TaskName};
use pilothouse_core::scope::Place;
use pilothouse_core::task::Answer;

use crate::log::LogLine;
use crate::services::{JobStart, Services};

/// One attempt of one delivery.
pub struct Call {
    /// What the plugin is told about the delivery.
    pub context: CallContext,
    /// The event in hand.
    pub event: Event,
    /// The installation's settings.
    pub settings: Arc<Settings>,
    /// Manifest ∩ grant ∩ ceiling, worked out by the caller for this call.
    pub grants: Arc<EffectiveGrants>,
    /// What lies behind the plugin's imports.
    pub services: Arc<dyn Services>,
}

/// What a plugin is told about the delivery in hand.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The installation that is called.
    pub installation: InstallationName,
    /// The delivery; the same for every attempt.
    pub delivery: DeliveryId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The task that the delivery belongs to, if any. An answer is accepted only then.
    pub task: Option<TaskInfo>,
    /// Project, stage and service of the event.
    pub place: Place,
    /// The commit that the run is pinned to.
    pub commit: Option<String>,
    /// The run (`shkeptncontext`) that the event belongs to.
    pub run: Option<String>,
    /// W3C `traceparent` of the host's span for this call.
    pub traceparent: Option<String>,
}

/// The task that a delivery belongs to.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The task's name.
    pub name: TaskName,
    /// The id of its `.triggered` event.
    pub triggered_id: String,
    /// The run it belongs to.
    pub run: String,
    /// Why this delivery is made. [`Cause::Observed`] does not belong to a task and is told to the plugin as
    /// `triggered`.
    pub cause: Cause,
}

/// An installation's settings as `wasi:config` shows them: the key `settings` has the whole JSON document, and each
/// top-level property is a key of its own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The document, a JSON object as text.
    pub document: String,
    /// Each top-level property: text as it is, anything else as JSON.
    pub properties: Vec<(String, String)>,
}

impl Settings {
    /// Makes the pairs from a JSON object.
    pub fn from_object(object: &serde_json::Map<String, serde_json::Value>) -> Self {
        let properties = object
            .iter()
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), text)
            })
            .collect();
        // A map of values always serializes: its keys are strings.
        let document = serde_json::to_string(object).unwrap_or_else(|_| "{}".to_owned());
        Self { document, properties }
    }

    /// Makes the settings of an installation that has none: an empty document.
    pub fn none() -> Self {
        Self::from_object(&serde_json::Map::new())
    }
}

/// What a call did and used. Always made, whatever the guest did.
#[derive(Debug)]
pub struct CallReport {
    /// What the plugin returned, or why the attempt failed.
    pub outcome: Result<Outcome, CallFailure>,
    /// What is to be committed together with the outcome. Empty when the call failed.
    pub effects: Effects,
    /// The guest's log: `wasi:logging`, standard output and standard error in the order written, and the host's
    /// remarks on denied calls. Bounded by `limits.log_bytes_max` of the grants; control characters are escaped.
    pub log: Vec<LogLine>,
    /// How many lines were dropped because the log was full.
    pub log_dropped: u64,
    /// CPU time charged to the guest, counted in ticks of 5 ms: an upper estimate.
    pub cpu: Duration,
    /// Wall-clock time from instantiation to the answer.
    pub wall: Duration,
    /// Most linear memory in use at one time, summed over all memories of the instance.
    pub memory_bytes_max: u64,
    /// How long the call waited for a free place in the pool before it started.
    pub started_after: Duration,
    /// Events that the plugin emitted before it returned.
    pub emitted: u32,
}

/// What a plugin returned.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events to send, checked against every rule but with `id` and `source` as the guest gave them: the engine sets
    /// both.
    pub events: Vec<EventBuilder>,
    /// The task's answer; only on a delivery that belongs to a task.
    pub answer: Option<Answer>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CallFailure {
    /// What kind of failure it is, and so whose fault and whether another attempt can help.
    pub kind: FailureKind,
    /// One line for people; control characters from the guest are escaped.
    pub reason: String,
    /// The wait that the plugin asked for.
    pub retry_after: Option<Duration>,
}

/// What a call wants to happen once it is committed.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Key-value writes in key order; `None` removes the key.
    pub key_values: Vec<(String, Option<Vec<u8>>)>,
    /// Jobs to start, already checked against their templates.
    pub jobs_started: Vec<JobStart>,
    /// Ids of jobs to cancel.
    pub jobs_cancelled: Vec<String>,
}
