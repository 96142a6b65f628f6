//! What tools have of a project: asked of the plugins that keep them in step, by the task `sync-monitoring`.

use pilothouse_core::Event;
use pilothouse_core::event::{EventBuilder, EventError};
use pilothouse_core::keptn::{COMMIT_EXTENSION, RUN_EXTENSION};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{EventFilter, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Engine;

/// The task that brings tools in step with a project, or says where they are not.
pub const SYNC_TASK: &str = "sync-monitoring";
/// The event that asks for it.
const SYNC_TRIGGERED: &str = "sh.keptn.event.sync-monitoring.triggered";
/// An executor's answer.
const SYNC_FINISHED: &str = "sh.keptn.event.sync-monitoring.finished";
/// Most executors whose answers are read: one for each tool.
const EXECUTORS_MAX: usize = 100;

/// How the tools stand to a project.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MonitoringView {
    /// Its id: that of the task's triggered event.
    pub id: String,
    /// The project.
    pub project: String,
    /// `running` or `finished`.
    pub state: String,
    /// `pass`, `warning` or `fail`; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What the executors said.
    pub message: String,
    /// One for each tool, stage and service: `tool`, `project`, `stage`, `service`, `state` (`in-step`, `behind`, `drifted`
    /// or `failed`), `commit`, `reason`, and what else the tool has to say.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
}

/// Makes the event that asks the plugins which keep tools in step with a project to look (`mode` is `check`), or to bring them in
/// step (`sync`). What is written names `commit`.
///
/// # Errors
/// A name makes no valid event.
pub fn sync_event(
    id: &str,
    source: &str,
    project: &str,
    mode: &str,
    commit: Option<&str>,
    now: Timestamp,
) -> Result<Event, EventError> {
    let data = json!({ "project": project, "sync-monitoring": { "mode": mode } });
    let event = EventBuilder::new(id, source, SYNC_TRIGGERED)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, Uuid::new_v4().to_string())
        .json(&data);
    match commit {
        Some(commit) => event.extension_str(COMMIT_EXTENSION, commit),
        None => event,
    }
    .build()
}

impl Engine {
    /// Tells whether a plugin keeps tools in step with projects.
    pub fn keeps_in_step(&self) -> bool {
        let snapshot = self.0.snapshot.load();
        let does = |it: &super::installation::Installation| {
            it.manifest.tasks.iter().any(|task| task.name.as_str() == SYNC_TASK)
        };
        snapshot.installations.values().any(|it| does(it))
    }

    /// Returns what a task `sync-monitoring` has come to so far; `None` if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn monitoring(&self, id: &str) -> Result<Option<MonitoringView>, StoreError> {
        let task = self.0.task_view(id).await?.filter(|task| task.name == SYNC_TASK);
        let Some(task) = task else { return Ok(None) };
        let filter = EventFilter {
            ty: Some(SYNC_FINISHED.to_owned()),
            triggered_id: Some(id.to_owned()),
            ..EventFilter::default()
        };
        let events = self.0.store.events(&filter, None, EXECUTORS_MAX).await?.items;
        let (mut items, mut messages) = (Vec::new(), Vec::new());
        for row in events.iter().rev() {
            let data = row.event.data_json().unwrap_or_default();
            let found = data.pointer("/sync-monitoring/items").and_then(Value::as_array);
            items.extend(found.into_iter().flatten().cloned());
            messages.extend(data.get("message").and_then(Value::as_str).map(str::to_owned));
        }
        Ok(Some(MonitoringView {
            id: id.to_owned(),
            project: task.project.unwrap_or_default(),
            state: if task.state == "open" { "running" } else { "finished" }.to_owned(),
            result: task.result,
            message: messages.join("; "),
            items,
        }))
    }
}
