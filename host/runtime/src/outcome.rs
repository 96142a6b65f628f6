//! What a guest returned, checked as a whole: one broken rule and nothing of it counts.

use pilothouse_core::delivery::FailureKind;
use pilothouse_core::event::{EventBuilder, EventError};
use pilothouse_core::manifest::Manifest;
use pilothouse_core::task::{Answer, Finished, TaskResult, TaskStatus};

use crate::bindings::exports::pilothouse::plugin::handler as wit;
use crate::bindings::pilothouse::plugin::delivery::Failure;
use crate::call::{CallFailure, Outcome};
use crate::event;
use crate::log::escape;

/// Events of one outcome; they are one commit.
const EVENTS_MAX: usize = 256;
/// Most events that a request becomes: an alert is some 600 bytes, and a request has at most 1 MiB.
pub(crate) const RECEIVED_EVENTS_MAX: usize = 2_000;
/// Bytes of all events of one outcome together.
const EVENTS_BYTES_MAX: usize = 4 << 20;
/// Longest reason that a plugin can give, in bytes: it is shown in lists.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest message of an answer, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1_024;
/// Labels of an answer; they are copied to every event that follows in the run.
const LABELS_MAX: usize = 64;
/// Longest `output` of an answer: it travels inside an event together with what was there before.
const OUTPUT_BYTES_MAX: usize = 768 << 10;

/// Builds the event with an id and a source like those that the engine sets, and so checks every rule.
pub(crate) fn check_event(builder: &EventBuilder) -> Result<usize, EventError> {
    // A UUID, and the longest source that an installation's name can make.
    let id = "00000000-0000-0000-0000-000000000000";
    let source = format!("/plugins/{}", "n".repeat(pilothouse_core::name::NAME_LENGTH_MAX));
    builder.clone().id(id).source(source).build().map(|event| event.size_bytes())
}

/// Makes the report's outcome from what `handle` returned.
///
/// # Errors
/// The plugin's own failure, or [`FailureKind::Outcome`] with the position and the rule.
pub(crate) fn check(
    returned: Result<wit::Outcome, Failure>,
    manifest: &Manifest,
    has_task: bool,
) -> Result<Outcome, CallFailure> {
    match returned {
        Ok(outcome) => {
            let events = check_events(outcome.events, manifest, EVENTS_MAX).map_err(broken)?;
            let answer = outcome.answer.map(|answer| check_answer(answer, has_task)).transpose().map_err(broken)?;
            Ok(Outcome { events, answer })
        }
        Err(Failure::Retry(retry)) => Err(CallFailure {
            kind: FailureKind::Retry,
            reason: escape(&retry.reason, REASON_BYTES_MAX),
            retry_after: retry.after_ms.map(std::time::Duration::from_millis),
        }),
        Err(Failure::Reject(reason)) => {
            Err(CallFailure { kind: FailureKind::Reject, reason: escape(&reason, REASON_BYTES_MAX), retry_after: None })
        }
    }
}

pub(crate) fn broken(reason: String) -> CallFailure {
    CallFailure { kind: FailureKind::Outcome, reason, retry_after: None }
}

pub(crate) fn check_events(
    events: Vec<crate::bindings::pilothouse::plugin::event::Event>,
    manifest: &Manifest,
    most: usize,
) -> Result<Vec<EventBuilder>, String> {
    if events.len() > most {
        return Err(format!("the outcome has {} events; at most {most} are accepted", events.len()));
    }
    let mut bytes = 0_usize;
    let mut builders = Vec::with_capacity(events.len());
    for (position, event) in events.into_iter().enumerate() {
        if !manifest.may_emit(&event.type_) {
            let ty = escape(&event.type_, 120);
            return Err(format!("event {position} of the outcome: its type `{ty}` is not in the manifest's `emits`"));
        }
        let builder = event::from_guest(event).map_err(|rule| format!("event {position} of the outcome: {rule}"))?;
        let size = check_event(&builder)
            .map_err(|error| format!("event {position} of the outcome: {}", escape(&error.to_string(), 500)))?;
        bytes = bytes.saturating_add(size);
        if bytes > EVENTS_BYTES_MAX {
            return Err(format!("the outcome's events have more than {EVENTS_BYTES_MAX} bytes together"));
        }
        builders.push(builder);
    }
    Ok(builders)
}

fn check_answer(answer: wit::Answer, has_task: bool) -> Result<Answer, String> {
    if !has_task {
        return Err(
            "the outcome answers a task, but this delivery belongs to none (`context.task` is empty)".to_owned()
        );
    }
    match answer {
        wit::Answer::Finished(finished) => check_finished(finished).map(Answer::Finished),
        wit::Answer::Pending(pending) => Ok(Answer::Pending { wake_after_ms: pending.wake_after_ms }),
        wit::Answer::Declined(declined) => Ok(Answer::Declined { reason: escape(&declined.reason, REASON_BYTES_MAX) }),
    }
}

fn check_finished(finished: wit::Finished) -> Result<Finished, String> {
    if finished.labels.len() > LABELS_MAX {
        return Err(format!("the answer has {} labels; at most {LABELS_MAX} are accepted", finished.labels.len()));
    }
    if finished.message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("the answer's message has more than {MESSAGE_BYTES_MAX} bytes"));
    }
    if let Some(output) = &finished.output {
        if output.len() > OUTPUT_BYTES_MAX {
            return Err(format!("the answer's output has more than {OUTPUT_BYTES_MAX} bytes"));
        }
        // The parser's own text may quote the output; position and kind do not.
        serde_json::from_str::<serde::de::IgnoredAny>(output).map_err(|error| {
            format!("the answer's output is not JSON: line {}, column {}", error.line(), error.column())
        })?;
    }
    Ok(Finished {
        result: match finished.result {
            wit::TaskResult::Pass => TaskResult::Pass,
            wit::TaskResult::Warning => TaskResult::Warning,
            wit::TaskResult::Fail => TaskResult::Fail,
        },
        status: match finished.status {
            wit::TaskStatus::Succeeded => TaskStatus::Succeeded,
            wit::TaskStatus::Errored => TaskStatus::Errored,
            wit::TaskStatus::Unknown => TaskStatus::Unknown,
        },
        message: finished.message,
        labels: finished.labels.into_iter().collect(),
        output: finished.output,
    })
}
