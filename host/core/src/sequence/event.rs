//! The events that a sequence sends (Keptn spec 0.2.x): its own `.triggered` and `.finished`, and its tasks' `.triggered`.

use serde_json::Value;
use uuid::Uuid;

use super::execution::{End, Execution, Key, TaskRun, task_event_id};
use super::payload::{self, Data};
use crate::event::{Event, EventBuilder, EventError};
use crate::host_event::HOST_SOURCE;
use crate::keptn::{
    COMMIT_EXTENSION, RUN_EXTENSION, SPEC_VERSION, SPEC_VERSION_EXTENSION, TRIGGERED_ID_EXTENSION, TaskEventKind,
    task_event_type,
};
use crate::name::{SequenceName, StageName};
use crate::time::Timestamp;

/// What `sh.keptn.event.<stage>.<sequence>.triggered` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The stage.
    pub stage: StageName,
    /// The sequence.
    pub sequence: SequenceName,
}

/// Reads what sequence an event type triggers; `None` if it triggers none.
///
/// `sh.keptn.event.service.create.triggered` and the like have as many parts, and are about projects and services.
pub fn parse_triggered(ty: &str) -> Option<Asked> {
    let rest = ty.strip_prefix("sh.keptn.event.")?.strip_suffix(".triggered")?;
    let (stage, sequence) = rest.split_once('.')?;
    if matches!(stage, "project" | "service") {
        return None;
    }
    Some(Asked { stage: StageName::new(stage).ok()?, sequence: SequenceName::new(sequence).ok()? })
}

/// Returns the type of a sequence's event.
pub fn event_type(stage: &str, sequence: &str, kind: &str) -> String {
    format!("sh.keptn.event.{stage}.{sequence}.{kind}")
}

fn builder(execution: &Execution, id: String, ty: String, now: Timestamp) -> EventBuilder {
    let mut builder = EventBuilder::new(id, HOST_SOURCE, ty)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, &execution.run)
        .extension_str(SPEC_VERSION_EXTENSION, SPEC_VERSION);
    if let Some(commit) = &execution.commit {
        builder = builder.extension_str(COMMIT_EXTENSION, commit);
    }
    builder
}

/// Makes the `.triggered` event of a task: the data so far, with the shipyard's properties under the task's own name.
///
/// # Errors
/// The data is larger than an event may be.
pub(super) fn task_triggered(execution: &Execution, run: &TaskRun, now: Timestamp) -> Result<Event, EventError> {
    let name = &run.definition.name;
    let id = task_event_id(execution.id, execution.step, name.as_str(), run.attempt);
    let mut data = execution.data.clone();
    payload::set_base(&mut data, &execution.key, execution.last_outcome());
    let own = data.entry(name.as_str()).or_insert_with(|| Value::Object(Data::new()));
    payload::merge(own, Value::Object(run.definition.properties.clone()));
    builder(execution, id, task_event_type(name, TaskEventKind::Triggered), now).json(&Value::Object(data)).build()
}

/// Makes the event that a sequence has ended. It answers the event that triggered it.
///
/// # Errors
/// The labels are larger than an event may be.
pub(super) fn finished(execution: &Execution, end: &End, now: Timestamp) -> Result<Event, EventError> {
    let id = Uuid::new_v5(&execution.id, b"finished").to_string();
    let ty = event_type(&execution.key.stage, execution.definition.name.as_str(), "finished");
    let mut data = Data::new();
    payload::set_base(&mut data, &execution.key, Some((end.result, end.status)));
    if let Some(labels @ Value::Object(_)) = execution.data.get("labels") {
        data.insert("labels".to_owned(), labels.clone());
    }
    data.insert("message".to_owned(), end.message.as_str().into());
    let builder = builder(execution, id, ty, now).extension_str(TRIGGERED_ID_EXTENSION, &execution.trigger);
    builder.json(&Value::Object(data)).build()
}

/// Makes the event that triggers a sequence in the host's own name: because another one ended, or to repeat one.
///
/// # Errors
/// The data is larger than an event may be.
pub(super) fn triggered(execution: &Execution, now: Timestamp) -> Result<Event, EventError> {
    let ty = event_type(&execution.key.stage, execution.definition.name.as_str(), "triggered");
    builder(execution, execution.trigger.clone(), ty, now).json(&Value::Object(execution.data.clone())).build()
}

/// Returns the data of a sequence that another one fires: what was passed on so far, in another stage.
pub(super) fn follow_up_data(parent: &Execution, end: &End, key: &Key) -> Data {
    let mut data = parent.data_after_step();
    payload::set_base(&mut data, key, Some((end.result, end.status)));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_triggered_by_six_parts_that_are_not_about_projects_services_or_progress() {
        let parse = |ty: &str| parse_triggered(ty).map(|it| (it.stage.to_string(), it.sequence.to_string()));
        assert_eq!(parse("sh.keptn.event.dev.delivery.triggered"), Some(("dev".into(), "delivery".into())));
        for other in [
            "sh.keptn.event.test.triggered",
            "sh.keptn.event.service.create.triggered",
            "sh.keptn.event.project.create.triggered",
            "sh.keptn.event.test.status.changed",
            "sh.keptn.event.dev.delivery.finished",
            "sh.keptn.event.dev..triggered",
            "sh.keptn.event.dev.a.b.triggered",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
