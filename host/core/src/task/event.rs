//! The events that the host makes for a task. Only the host makes `.started` and `.finished`.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Finished, Task};
use crate::event::{Event, EventBuilder, EventError};
use crate::host_event::{HOST_SOURCE, plugin_source};
use crate::keptn::{
    ACTION, COMMIT_EXTENSION, GET_ACTION, RUN_EXTENSION, SPEC_VERSION, SPEC_VERSION_EXTENSION, TRIGGERED_ID_EXTENSION,
    TaskEventKind, task_event_type,
};
use crate::name::InstallationName;
use crate::time::Timestamp;

/// Namespace of the ids of task events (a random UUID, fixed for ever).
const TASK_NAMESPACE: Uuid = Uuid::from_u128(0x8a5e_0c1f_39d2_4f6b_9e47_c1d0_b2a8_7735);

/// Derives the id of the one event of `kind` that `installation` has for the task, so that a repeat is absorbed.
fn event_id(trigger: &Event, installation: Option<&InstallationName>, kind: &str) -> String {
    let who = installation.map_or("", InstallationName::as_str);
    let name = [trigger.source(), trigger.id(), who, kind].join("\u{0}");
    Uuid::new_v5(&TASK_NAMESPACE, name.as_bytes()).to_string()
}

/// Starts an event about the task: type, source, run, commit and the data that every Keptn event carries.
fn base(
    task: &Task,
    trigger: &Event,
    installation: Option<&InstallationName>,
    kind: TaskEventKind,
    now: Timestamp,
) -> (EventBuilder, Map<String, Value>) {
    let ty = task_event_type(&task.name, kind);
    let source = installation.map_or_else(|| HOST_SOURCE.to_owned(), plugin_source);
    let mut builder = EventBuilder::new(event_id(trigger, installation, &ty), source, &ty)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, &task.run)
        .extension_str(TRIGGERED_ID_EXTENSION, &task.id)
        .extension_str(SPEC_VERSION_EXTENSION, SPEC_VERSION);
    for name in [COMMIT_EXTENSION, "traceparent", "tracestate"] {
        if let Some(value) = trigger.extension(name) {
            builder = builder.extension(name, value.clone());
        }
    }
    let mut data = Map::new();
    let place = [("project", &task.place.project), ("stage", &task.place.stage), ("service", &task.place.service)];
    for (name, value) in place {
        if let Some(value) = value {
            data.insert(name.to_owned(), Value::String(value.clone()));
        }
    }
    let labels = trigger.data_json().and_then(|data| data.get("labels").cloned());
    if let Some(labels @ Value::Object(_)) = labels {
        data.insert("labels".to_owned(), labels);
    }
    (builder, data)
}

/// Makes `.started` in the name of `installation`.
///
/// # Errors
/// The trigger carries something that no event can repeat; this does not happen for an accepted trigger.
pub fn started(
    task: &Task,
    trigger: &Event,
    installation: &InstallationName,
    now: Timestamp,
) -> Result<Event, EventError> {
    let (builder, mut data) = base(task, trigger, Some(installation), TaskEventKind::Started, now);
    data.insert("status".to_owned(), "succeeded".into());
    builder.json(&Value::Object(data)).build()
}

/// Makes `.finished` from an answer, in the name of `installation`, or in the host's own when there is no executor.
///
/// Labels of the answer are added to those of the trigger; the newer value wins. The output becomes `data.<task>`.
///
/// # Errors
/// The output is not JSON, or the event is over a size limit.
pub fn finished(
    task: &Task,
    trigger: &Event,
    installation: Option<&InstallationName>,
    answer: &Finished,
    now: Timestamp,
) -> Result<Event, EventError> {
    let (builder, mut data) = base(task, trigger, installation, TaskEventKind::Finished, now);
    data.insert("status".to_owned(), answer.status.as_str().into());
    data.insert("result".to_owned(), answer.result.as_str().into());
    data.insert("message".to_owned(), answer.message.clone().into());
    if !answer.labels.is_empty() {
        let labels = data.entry("labels").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(labels) = labels {
            labels.extend(answer.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        }
    }
    if let Some(output) = &answer.output {
        let output: Value = serde_json::from_str(output).map_err(|error| {
            EventError::invalid("output-not-json", format!("the answer's output is not JSON: {error}"))
        })?;
        let mut output = output;
        // Keptn has the action beside the task that found it.
        if task.name.as_str() == GET_ACTION
            && let Some(action) = output.as_object_mut().and_then(|members| members.remove(ACTION))
        {
            data.insert(ACTION.to_owned(), action);
        }
        data.insert(task.name.to_string(), output);
    }
    builder.json(&Value::Object(data)).build()
}
