//! One run through a sequence, and the rules that concern it alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::payload::{self, Data};
use crate::keptn::{ACTION, GET_ACTION};
use crate::right::Actor;
use crate::shipyard::{Concurrency, Sequence, TaskDefinition};
use crate::task::{TaskResult, TaskStatus};
use crate::time::Timestamp;

/// Version of the serialized form; a change adds a migration in [`Execution::from_json`].
const SCHEMA: u32 = 1;
/// Longest pause: then a sequence is aborted, so that no wait is without an end.
pub const PAUSE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The task for which a sequence gives its place to others while a person decides (Keptn V1 did the same).
const APPROVAL: &str = "approval";
/// Namespace of the ids of executions and of the events that they send (a random UUID, fixed for ever).
const NAMESPACE: Uuid = Uuid::from_u128(0x5c1e_92d7_40ab_4f3c_a8e6_17d3_0b9f_64e2);

/// Derives the id of an execution from the identity of the event that triggered it.
pub fn execution_id(source: &str, id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{source}\u{0}{id}").as_bytes())
}

/// Derives the id of the `.triggered` event of one attempt of a task.
pub fn task_event_id(execution: Uuid, step: usize, task: &str, attempt: u32) -> String {
    Uuid::new_v5(&execution, format!("{step}\u{0}{task}\u{0}{attempt}").as_bytes()).to_string()
}

/// Project, stage and service: what a queue is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The service.
    pub service: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.project, self.stage, self.service)
    }
}

/// One run through a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    schema: u32,
    /// Its id.
    pub id: Uuid,
    /// The run that it belongs to (`shkeptncontext`).
    pub run: String,
    /// When the first sequence of its run was triggered.
    pub run_began: Timestamp,
    /// Where it runs.
    pub key: Key,
    /// The sequence as its shipyard had it at the trigger. Later changes of the file do not touch it.
    pub definition: Sequence,
    /// The commit that it is pinned to.
    pub commit: Option<String>,
    /// The id of the event that triggered it.
    pub trigger: String,
    /// The execution whose end fired it.
    pub fired_by: Option<Uuid>,
    /// The execution that it repeats.
    pub rerun_of: Option<Uuid>,
    /// Who triggered it.
    pub actor: Actor,
    /// How many sequences fired each other on the way to it.
    pub depth: u32,
    /// The trigger's data, for another run from the start.
    pub input: Data,
    /// What is passed on: the trigger's data, with the outputs of all ended steps.
    pub data: Data,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When its first task was triggered.
    pub began: Option<Timestamp>,
    /// The present step, counted from 0.
    pub step: usize,
    /// The tasks of the present step.
    pub tasks: Vec<TaskRun>,
    /// Every attempt of a task that has ended, in the order of the ends.
    pub done: Vec<TaskRecord>,
    /// Who paused it, while it is paused.
    pub paused: Option<Pause>,
    /// When it is decided about again by itself.
    pub wake_at: Option<Timestamp>,
    /// How it ended.
    pub end: Option<End>,
}

/// A task of the present step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// What the shipyard says about it.
    pub definition: TaskDefinition,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: TaskRunState,
    /// What its executors returned; merged into the data when the step has ended.
    pub outputs: Vec<Data>,
}

/// Where a task of the present step stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskRunState {
    /// Its time has not come: `triggeredAfter`, or the wait before a retry.
    Delayed {
        /// When it comes.
        due: Timestamp,
    },
    /// Its time has come; it waits for the sequence's turn.
    Ready,
    /// Triggered.
    Open {
        /// The id of its `.triggered` event.
        task: String,
        /// Since when.
        since: Timestamp,
    },
    /// Over.
    Ended {
        /// Its result.
        result: TaskResult,
        /// Whether the executors could do their work.
        status: TaskStatus,
        /// Why, for people.
        message: String,
    },
}

/// An attempt of a task that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The step, counted from 0.
    pub step: usize,
    /// The task.
    pub name: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The id of its `.triggered` event.
    pub task: String,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its result.
    pub result: TaskResult,
    /// Whether the executors could do their work.
    pub status: TaskStatus,
    /// Why, for people.
    pub message: String,
    /// Whether its time was over.
    #[serde(default)]
    pub timed_out: bool,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOutcome {
    /// Its result.
    pub result: TaskResult,
    /// Its status.
    pub status: TaskStatus,
    /// Why, for people.
    pub message: String,
    /// Whether its time was over.
    pub timed_out: bool,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Who paused it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Its result.
    pub result: TaskResult,
    /// `succeeded`, `errored`, or `aborted`.
    pub status: TaskStatus,
    /// Why, for people.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Whether a task of it was out of time.
    #[serde(default)]
    pub timed_out: bool,
    /// Who aborted it, if a person did.
    pub actor: Option<Actor>,
}

/// What an ended step leads to.
pub(super) enum StepEnd {
    /// The next step.
    Next,
    /// The end of the sequence.
    Finish(TaskResult, TaskStatus, String),
}

impl Execution {
    /// Makes an execution that has not begun.
    pub(super) fn new(id: Uuid, key: Key, definition: Sequence, actor: Actor, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id,
            run: String::new(),
            run_began: now,
            key,
            definition,
            commit: None,
            trigger: String::new(),
            fired_by: None,
            rerun_of: None,
            actor,
            depth: 0,
            input: Data::new(),
            data: Data::new(),
            triggered_at: now,
            began: None,
            step: 0,
            tasks: Vec::new(),
            done: Vec::new(),
            paused: None,
            wake_at: None,
            end: None,
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The text is not an execution of a version that this host knows.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let execution: Self = serde_json::from_slice(bytes)?;
        if execution.schema > SCHEMA {
            let text = format!("sequence row of version {}, this host knows up to {SCHEMA}", execution.schema);
            return Err(serde::de::Error::custom(text));
        }
        Ok(execution)
    }

    /// Writes the stored form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the sequence's name with its stage, such as `dev.delivery`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.key.stage, self.definition.name)
    }

    /// Returns whether it runs beside the others of its project, stage and service.
    pub(super) fn is_beside(&self) -> bool {
        self.definition.concurrency == Concurrency::Parallel
    }

    /// Begins a step: each of its tasks is due now, or after its `triggeredAfter`.
    pub(super) fn enter_step(&mut self, step: usize, now: Timestamp) {
        self.step = step;
        let definitions = self.definition.steps.get(step).cloned().unwrap_or_default();
        let begin = |definition: TaskDefinition| {
            let state = if definition.triggered_after.is_zero() {
                TaskRunState::Ready
            } else {
                TaskRunState::Delayed { due: now.after(definition.triggered_after) }
            };
            TaskRun { definition, attempt: 1, state, outputs: Vec::new() }
        };
        self.tasks = definitions.into_iter().map(begin).collect();
    }

    /// Makes the tasks ready whose time has come.
    pub(super) fn make_due(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if matches!(task.state, TaskRunState::Delayed { due } if due <= now) {
                task.state = TaskRunState::Ready;
            }
        }
    }

    /// Returns whether a task waits for the sequence's turn.
    pub(super) fn has_ready(&self) -> bool {
        self.tasks.iter().any(|task| task.state == TaskRunState::Ready)
    }

    /// Returns whether others must wait for this one: a task is at work that is not a person's decision.
    pub(super) fn needs_place(&self) -> bool {
        let at_work = |task: &TaskRun| {
            matches!(task.state, TaskRunState::Open { .. }) && task.definition.name.as_str() != APPROVAL
        };
        self.tasks.iter().any(at_work)
    }

    /// Returns the ids of the tasks that are triggered and have not ended.
    pub fn open_tasks(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().filter_map(|run| match &run.state {
            TaskRunState::Open { task, .. } => Some(task.as_str()),
            _ => None,
        })
    }

    /// Notes the end of a task; returns whether the execution waited for it.
    pub(super) fn task_ended(&mut self, id: &str, ended: TaskOutcome, outputs: Vec<Data>, now: Timestamp) -> bool {
        let TaskOutcome { result, status, message, timed_out } = ended;
        let step = self.step;
        let waited_for = self.tasks.iter_mut().find_map(|run| match &run.state {
            TaskRunState::Open { task, since } if task == id => Some((*since, run)),
            _ => None,
        });
        let Some((triggered_at, run)) = waited_for else { return false };
        // Keptn: who does not know whether it worked has not passed.
        let result = if status == TaskStatus::Succeeded { result } else { TaskResult::Fail };
        self.done.push(TaskRecord {
            step,
            name: run.definition.name.to_string(),
            attempt: run.attempt,
            task: id.to_owned(),
            triggered_at,
            ended_at: now,
            result,
            status,
            message: message.clone(),
            timed_out,
        });
        if status == TaskStatus::Errored && run.attempt <= run.definition.retries {
            run.attempt += 1;
            run.state = TaskRunState::Delayed { due: now.after(run.definition.retry_after) };
        } else {
            run.state = TaskRunState::Ended { result, status, message };
            run.outputs = outputs;
        }
        true
    }

    /// Says what follows from the present step; `None` while one of its tasks has not ended.
    pub(super) fn step_end(&self) -> Option<StepEnd> {
        let mut worst: Option<(TaskResult, TaskStatus, &str)> = None;
        for task in &self.tasks {
            let TaskRunState::Ended { result, status, message } = &task.state else { return None };
            if worst.is_none_or(|(worst_result, worst_status, _)| (worst_result, worst_status) < (*result, *status)) {
                worst = Some((*result, *status, message));
            }
        }
        let (result, status, message) = worst?;
        let goes_on = result != TaskResult::Fail && status == TaskStatus::Succeeded;
        Some(if goes_on && self.step + 1 < self.definition.steps.len() {
            StepEnd::Next
        } else {
            StepEnd::Finish(result, status, message.to_owned())
        })
    }

    /// Returns the data with the outputs of the present step: what its tasks returned, in the order of the shipyard.
    pub(super) fn data_after_step(&self) -> Data {
        let mut data = self.data.clone();
        for output in self.tasks.iter().flat_map(|task| &task.outputs) {
            // The next action is another one: nothing of the one before is left in it.
            if output.contains_key(GET_ACTION) {
                data.remove(ACTION);
            }
            payload::merge_maps(&mut data, output.clone());
        }
        data
    }

    /// Returns the result and status of what ended last.
    pub(super) fn last_outcome(&self) -> Option<(TaskResult, TaskStatus)> {
        let last = self.done.iter().filter(|record| record.step < self.step).max_by_key(|record| record.step)?;
        let of_step = self.done.iter().filter(|record| record.step == last.step);
        // A retried attempt does not count any more.
        let latest = of_step.fold(Vec::<&TaskRecord>::new(), |mut latest, record| {
            latest.retain(|known| known.name != record.name);
            latest.push(record);
            latest
        });
        latest.into_iter().map(|record| (record.result, record.status)).max()
    }

    /// Returns the result of a task's last attempt, wherever the task stood in the sequence.
    pub fn result_of(&self, task: &str) -> Option<TaskResult> {
        self.done.iter().rev().find(|record| record.name == task).map(|record| record.result)
    }

    /// Returns when it must be decided about again by itself.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        if self.end.is_some() {
            return None;
        }
        if let Some(pause) = &self.paused {
            return Some(pause.at.after(PAUSE_MAX));
        }
        let delayed = self.tasks.iter().filter_map(|task| match task.state {
            TaskRunState::Delayed { due } => Some(due),
            _ => None,
        });
        delayed.min()
    }
}
