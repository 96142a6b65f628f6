//! Where an execution stands, in one word and in a sentence: every wait says what it waits for.

use super::execution::{Execution, PAUSE_MAX, TaskRunState};
use super::queue::{EntryState, Queue};
use crate::task::TaskStatus;

/// Where an execution stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits for its turn.
    Waiting,
    /// One of its tasks is at work.
    Running,
    /// Its next task begins later.
    Delayed,
    /// A person paused it.
    Paused,
    /// It ended.
    Finished,
    /// A person, or a later one, ended it.
    Aborted,
}

impl State {
    /// Returns the word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Delayed => "delayed",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
        }
    }

    /// Returns where an execution stands, by itself: what its queue says is in its tasks too.
    pub fn of(execution: &Execution) -> Self {
        match &execution.end {
            Some(end) if end.status == TaskStatus::Aborted => return Self::Aborted,
            Some(_) => return Self::Finished,
            None => {}
        }
        if execution.paused.is_some() {
            return Self::Paused;
        }
        if execution.open_tasks().next().is_some() {
            return Self::Running;
        }
        if execution.has_ready() { Self::Waiting } else { Self::Delayed }
    }
}

/// Says where an execution stands and what it waits for, a sentence each.
pub fn describe(execution: &Execution, queue: &Queue) -> Vec<String> {
    if let Some(end) = &execution.end {
        return vec![format!("ended {} ({}) at {}: {}", end.result.as_str(), end.status.as_str(), end.at, end.message)];
    }
    let mut said = Vec::new();
    if let Some(pause) = &execution.paused {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
        let end = pause.at.after(PAUSE_MAX);
        said.push(format!(
            "paused by {} at {}{reason}; it triggers nothing until `sequence resume`, and is aborted at {end}",
            pause.actor.as_str(),
            pause.at
        ));
    }
    for task in &execution.tasks {
        let name = &task.definition.name;
        let attempts = task.definition.retries + 1;
        match &task.state {
            TaskRunState::Delayed { due } if task.attempt > 1 => {
                said.push(format!("attempt {} of {attempts} of task `{name}` begins at {due}", task.attempt));
            }
            TaskRunState::Delayed { due } => said.push(format!("task `{name}` begins at {due}, as the shipyard says")),
            TaskRunState::Open { task, since } => {
                said.push(format!("waits for task `{name}` ({task}), triggered at {since}"));
            }
            TaskRunState::Ready if execution.paused.is_none() => {
                said.push(waits_for_turn(execution, queue, name.as_str()))
            }
            TaskRunState::Ready | TaskRunState::Ended { .. } => {}
        }
    }
    said
}

fn waits_for_turn(execution: &Execution, queue: &Queue, task: &str) -> String {
    let (holders, before) = queue.blockers(execution.id);
    let holders: Vec<String> = holders
        .into_iter()
        .map(|entry| format!("`{}` ({}) of run {}", entry.sequence, entry.execution, entry.run))
        .collect();
    let waits = queue.entry(execution.id).is_some_and(|entry| entry.state == EntryState::Waiting);
    if !waits || holders.is_empty() {
        return format!("task `{task}` is triggered next");
    }
    let before = match before {
        0 => "it is next".to_owned(),
        count => format!("{count} wait before it"),
    };
    format!(
        "waits for its turn at {} before task `{task}`: {} is at work, {before}",
        execution.key,
        holders.join(" and ")
    )
}
