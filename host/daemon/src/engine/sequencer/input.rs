//! From a delivery to what it means for a sequence.

use pilothouse_core::delivery::Cause;
use pilothouse_core::host_event::{PROJECT_DELETED, SEQUENCE_ORDERED};
use pilothouse_core::keptn::{self, ACTION, COMMIT_EXTENSION, GET_ACTION, TaskEventKind};
use pilothouse_core::right::Actor;
use pilothouse_core::sequence::{Answered, Command, Input, Key, TaskOutcome, TriggerEvent};
use pilothouse_core::task::Task;
use pilothouse_store::{DeliveryRow, EventFilter, EventRow, StateKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::Inner;
use super::super::plan::TASK_KIND;
use super::InputError;
use super::rows::QUEUE_KIND;

/// Most `.finished` events of one task that are read: one per executor.
const ANSWERS_MAX: usize = 256;
/// Rows of queues read at a time.
const QUEUES_PER_READ: usize = 256;

/// Data of [`SEQUENCE_ORDERED`].
#[derive(Deserialize)]
struct Ordered {
    execution: Uuid,
    command: Command,
    actor: String,
    #[serde(default)]
    reason: String,
}

impl Inner {
    /// Returns what a delivery means for a sequence; `None` if nothing.
    pub(super) async fn input_of(&self, row: &DeliveryRow) -> Result<Option<Input>, InputError> {
        if let (Cause::TaskFinished, Some(task)) = (row.cause, &row.task) {
            return self.task_input(task).await;
        }
        let event = match self.recent.get(row.event) {
            Some(event) => event,
            None => {
                let gone = || InputError::Unreadable(format!("event {} of delivery {} is gone", row.event, row.id));
                self.store.event(row.event).await?.ok_or_else(gone)?
            }
        };
        match event.event.ty() {
            SEQUENCE_ORDERED => ordered(&event).map(Some),
            PROJECT_DELETED => {
                let project = event.place.project.clone().unwrap_or_default();
                let keys = self.queues_of(&project).await?;
                let data = event.event.data_json().unwrap_or_default();
                let actor = data.get("actor").and_then(Value::as_str).unwrap_or_default().to_owned();
                Ok(Some(Input::ProjectDeleted { keys, actor: Actor::from_stored(actor) }))
            }
            _ => Ok(Some(Input::Triggered(Box::new(triggered(&event))))),
        }
    }

    async fn task_input(&self, id: &str) -> Result<Option<Input>, InputError> {
        let Some(row) = self.store.state(&StateKey::new(TASK_KIND, id)).await? else { return Ok(None) };
        let task = Task::from_json(&row.value)
            .map_err(|error| InputError::Unreadable(format!("the row of task {id}: {error}")))?;
        let (Some(execution), Some(end)) = (task.sequence, &task.end) else { return Ok(None) };
        let filter = EventFilter {
            triggered_id: Some(id.to_owned()),
            ty: Some(keptn::task_event_type(&task.name, TaskEventKind::Finished)),
            ..EventFilter::default()
        };
        let mut finished = self.store.events(&filter, None, ANSWERS_MAX).await?.items;
        finished.sort_by_key(|row| row.seq);
        let answers = finished.iter().map(|row| answered(row, task.name.as_str())).collect();
        Ok(Some(Input::TaskEnded {
            execution,
            task: id.to_owned(),
            outcome: TaskOutcome {
                result: end.result,
                status: end.status,
                message: end.reason.clone(),
                timed_out: end.timed_out,
            },
            answers,
        }))
    }

    /// Returns the queues in which something of a project runs or waits.
    async fn queues_of(&self, project: &str) -> Result<Vec<Key>, InputError> {
        let prefix = format!("{project}/");
        let mut keys = Vec::new();
        let mut after = prefix.clone();
        loop {
            let rows = self.store.states(QUEUE_KIND, Some(&after), QUEUES_PER_READ).await?;
            for row in &rows {
                let mut parts = row.key.splitn(3, '/').map(str::to_owned);
                if !row.key.starts_with(&prefix) {
                    return Ok(keys);
                }
                if let (Some(project), Some(stage), Some(service)) = (parts.next(), parts.next(), parts.next()) {
                    keys.push(Key { project, stage, service });
                }
            }
            match rows.last() {
                Some(last) => after.clone_from(&last.key),
                None => return Ok(keys),
            }
        }
    }
}

fn triggered(row: &EventRow) -> TriggerEvent {
    let event = &row.event;
    TriggerEvent {
        source: event.source().to_owned(),
        id: event.id().to_owned(),
        ty: event.ty().to_owned(),
        data: event.data_json(),
        run: row.run.clone().unwrap_or_default(),
        commit: event.extension_str(COMMIT_EXTENSION).filter(|commit| !commit.is_empty()).map(str::to_owned),
        depth: row.depth,
        actor: row.actor.clone(),
    }
}

fn ordered(row: &EventRow) -> Result<Input, InputError> {
    let data = row.event.data_json().unwrap_or_default();
    let read: Ordered = serde_json::from_value(data)
        .map_err(|error| InputError::Unreadable(format!("the order in event {}: {error}", row.seq)))?;
    Ok(Input::Ordered {
        execution: read.execution,
        command: read.command,
        actor: Actor::from_stored(read.actor),
        reason: read.reason,
        event: row.event.id().to_owned(),
    })
}

/// Returns what an executor's `.finished` passes on.
fn answered(row: &EventRow, task: &str) -> Answered {
    let mut data = match row.event.data_json() {
        Some(Value::Object(data)) => data,
        _ => Map::new(),
    };
    let labels = match data.remove("labels") {
        Some(Value::Object(labels)) => labels,
        _ => Map::new(),
    };
    let action = (task == GET_ACTION).then(|| data.remove(ACTION)).flatten();
    Answered { labels, output: data.remove(task), action }
}
