//! Executors as the API shows them: plugins and outside clients, what they execute, and how they are.

use std::collections::BTreeMap;

use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::event::json;
use pilothouse_core::filter::DataMatch;
use pilothouse_core::name::InstallationName;
use pilothouse_core::scope::Scope;
use pilothouse_core::subscription::{Subscriber, SubscriberKind};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{DeliveryRow, EventRow, StoreError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::Inner;

/// An executor.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ExecutorView {
    /// Its name.
    pub name: String,
    /// `plugin` or `outside`.
    pub kind: String,
    /// What it executes.
    pub tasks: Vec<TaskMatch>,
    /// Where; everywhere when empty.
    #[schema(value_type = Object)]
    pub scope: Scope,
    /// The token whose answers count, of an outside executor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The connection that its tasks are sent to, of an outside executor that does not fetch them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// When an outside executor was last heard of since the host started (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Tasks that wait to be handed out.
    pub waiting: u64,
    /// Tasks that are handed out, or at work in the sandbox.
    pub open: u64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A task, and which of its triggers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TaskMatch {
    /// The task.
    pub task: String,
    /// JSON pointers into the trigger's data, each with the values accepted.
    #[serde(rename = "match", skip_serializing_if = "DataMatch::is_empty")]
    #[schema(value_type = Object)]
    pub data_match: DataMatch,
}

/// A task that was handed out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LeaseView {
    /// The task: the id of the event, which answers carry as `triggeredid`.
    pub task: String,
    /// How often it has been handed out, this time included.
    pub attempt: u32,
    /// When it is handed out again, unless it was answered or its progress was told (RFC 3339).
    pub until: String,
    /// The `.triggered` event, as a CloudEvent in JSON.
    #[schema(value_type = Object)]
    pub event: Value,
    /// The delivery, for the host's own use.
    #[serde(skip)]
    pub(crate) delivery: DeliveryId,
}

impl LeaseView {
    pub(super) fn new(row: &DeliveryRow, event: &EventRow, until: Timestamp) -> Self {
        Self {
            task: event.event.id().to_owned(),
            attempt: row.attempts + 1,
            until: until.to_string(),
            delivery: row.id,
            event: serde_json::from_slice(&json::to_vec(&event.event)).unwrap_or_default(),
        }
    }
}

impl Inner {
    /// See [`crate::engine::Engine::executors`].
    pub(in super::super) async fn executor_views(&self) -> Result<Vec<ExecutorView>, StoreError> {
        let snapshot = self.snapshot.load_full();
        let mut counts: BTreeMap<InstallationName, (u64, u64)> = BTreeMap::new();
        for (name, state, count) in self.store.delivery_counts().await? {
            let entry = counts.entry(name).or_default();
            match state {
                DeliveryState::Ready => entry.0 += count,
                DeliveryState::Running => entry.1 += count,
                _ => {}
            }
        }
        let tasks = |name: &InstallationName| -> Vec<TaskMatch> {
            snapshot.subscriptions.subscribers().iter().filter(|it| it.installation == *name).filter_map(task).collect()
        };
        let mut views = Vec::new();
        for (name, installation) in &snapshot.installations {
            let tasks = tasks(name);
            if tasks.is_empty() {
                continue;
            }
            let (waiting, open) = counts.get(name).copied().unwrap_or_default();
            views.push(ExecutorView {
                name: name.to_string(),
                kind: "plugin".to_owned(),
                tasks,
                scope: installation.row.scope.clone(),
                owner: None,
                push: None,
                last_seen: None,
                waiting,
                open,
                last_error: installation.failure.load_full().map(|failure| failure.to_string()),
            });
        }
        for (name, executor) in &snapshot.executors {
            let seen = self.seen.get(name);
            let (waiting, open) = counts.get(name).copied().unwrap_or_default();
            views.push(ExecutorView {
                name: name.to_string(),
                kind: "outside".to_owned(),
                tasks: tasks(name),
                scope: executor.row.scope.clone(),
                owner: Some(executor.row.owner.as_str().to_owned()),
                push: executor.row.push.as_ref().map(ToString::to_string),
                last_seen: seen.at.map(|at| at.to_string()),
                waiting,
                open,
                last_error: seen.error,
            });
        }
        Ok(views)
    }
}

fn task(subscriber: &Subscriber) -> Option<TaskMatch> {
    match &subscriber.kind {
        SubscriberKind::Executor { task, data_match, .. } => {
            Some(TaskMatch { task: task.to_string(), data_match: data_match.clone() })
        }
        SubscriberKind::Observer { .. } => None,
    }
}
