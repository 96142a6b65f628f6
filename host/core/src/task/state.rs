//! The state of one task and the one function that changes it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Finished, TaskResult, TaskStatus};
use crate::name::{InstallationName, TaskName};
use crate::quantity::Span;
use crate::scope::Place;
use crate::time::Timestamp;

/// Version of the serialized form; a change adds a migration in [`Task::from_json`].
const SCHEMA: u32 = 2;

/// A task: asked for by a `.triggered` event, done by its executors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    schema: u32,
    /// The id of its `.triggered` event.
    pub id: String,
    /// Its name.
    pub name: TaskName,
    /// The run it belongs to.
    pub run: String,
    /// Project, stage and service of the trigger.
    pub place: Place,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When each of its executors must have begun; no such time in rows of version 1.
    #[serde(default)]
    pub start_by: Option<Timestamp>,
    /// When it ends at the latest.
    pub finish_by: Timestamp,
    /// Who must answer; bound at the trigger, never added to later.
    pub executors: Vec<Executor>,
    /// The task whose executor triggered this one, and is told of its end.
    pub parent: Option<Parent>,
    /// The execution of a sequence that waits for its end.
    #[serde(default)]
    pub sequence: Option<Uuid>,
    /// Depth of its `.triggered` event.
    pub depth: u32,
    /// How it ended; `None` while it is open.
    pub end: Option<TaskEnd>,
}

/// What a task is made from.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The id of the `.triggered` event.
    pub id: String,
    /// The task's name.
    pub name: TaskName,
    /// The run.
    pub run: String,
    /// Project, stage and service.
    pub place: Place,
    /// Executors that match.
    pub executors: Vec<InstallationName>,
    /// The task whose executor triggered this one.
    pub parent: Option<Parent>,
    /// Depth of the event.
    pub depth: u32,
    /// The execution of a sequence that waits for the end.
    pub sequence: Option<Uuid>,
    /// Longest time until each executor has begun, where there is one.
    pub start_timeout: Option<std::time::Duration>,
    /// Longest time to the end.
    pub finish_timeout: std::time::Duration,
}

/// The task whose executor triggered another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its id.
    pub task: String,
    /// The executor.
    pub installation: InstallationName,
}

/// One bound executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    /// The installation.
    pub installation: InstallationName,
    /// Where it stands.
    pub state: ExecutorState,
}

/// Where a bound executor stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorState {
    /// Asked; its first delivery has not begun.
    Bound,
    /// At work.
    Started {
        /// Since when.
        at: Timestamp,
    },
    /// It said "not yet".
    Pending {
        /// When it is called again; by an event only, when `None`.
        wake_at: Option<Timestamp>,
    },
    /// It answered.
    Answered {
        /// The result.
        result: TaskResult,
        /// Whether the executor worked.
        status: TaskStatus,
        /// Its message.
        message: String,
    },
    /// It does not take the task.
    Declined {
        /// Why.
        reason: String,
    },
}

impl ExecutorState {
    fn is_open(&self) -> bool {
        matches!(self, Self::Bound | Self::Started { .. } | Self::Pending { .. })
    }

    /// Says in words where the executor stands.
    pub fn describe(&self) -> String {
        match self {
            Self::Bound => "waits for its first attempt".to_owned(),
            Self::Started { at } => format!("at work since {at}"),
            Self::Pending { wake_at: Some(at) } => format!("waits; is called again at {at}"),
            Self::Pending { wake_at: None } => "waits for an event: the end of a job or of a task".to_owned(),
            Self::Answered { result, message, .. } => format!("{}: {message}", result.as_str()),
            Self::Declined { reason } => format!("declined: {reason}"),
        }
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// The worst result.
    pub result: TaskResult,
    /// The worst status.
    pub status: TaskStatus,
    /// Why, for people.
    pub reason: String,
    /// Whether a time was over: to begin, or to finish.
    #[serde(default)]
    pub timed_out: bool,
    /// When.
    pub at: Timestamp,
}

/// What can happen to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The first attempt of an executor begins.
    Started {
        /// Whose.
        installation: InstallationName,
    },
    /// An executor's delivery was handled.
    Answered {
        /// Whose.
        installation: InstallationName,
        /// What it said.
        answer: Answer,
    },
    /// The attempts of an executor's delivery are used up, or it rejected the event.
    GaveUp {
        /// Whose.
        installation: InstallationName,
        /// Why.
        reason: String,
    },
    /// An executor was removed while the task was open.
    Removed {
        /// Which.
        installation: InstallationName,
    },
    /// The time to begin is over.
    StartTimedOut,
    /// The time to finish is over.
    TimedOut,
    /// Nobody waits for it any more.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// What the engine does after a step, in the same commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `.started` in the name of this executor.
    SendStarted(InstallationName),
    /// Send `.finished` in the name of this executor, or in the host's own when there is none.
    SendFinished(Option<InstallationName>, Finished),
    /// Deliver the trigger again to this executor at that time.
    WakeAt(InstallationName, Timestamp),
    /// The task ended: clear its timers, cancel its open deliveries and jobs, and tell the parent.
    End,
}

/// Why an input does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The task has ended.
    #[error("task `{name}` ({id}) ended at {at}: {reason}")]
    Ended {
        /// The task's id.
        id: String,
        /// Its name.
        name: TaskName,
        /// When it ended.
        at: Timestamp,
        /// Why it ended.
        reason: String,
    },
    /// The executor has answered; the first answer wins.
    #[error("`{0}` has answered this task already; the first answer counts")]
    Answered(InstallationName),
    /// The executor was not asked.
    #[error("`{0}` is not bound to this task")]
    NotBound(InstallationName),
}

impl Task {
    /// Makes the task of an accepted `.triggered` event. Without an executor it has ended already, and the actions say so.
    pub fn trigger(trigger: Trigger, now: Timestamp) -> (Self, Vec<Action>) {
        let mut task = Self {
            schema: SCHEMA,
            id: trigger.id,
            name: trigger.name,
            run: trigger.run,
            place: trigger.place,
            triggered_at: now,
            start_by: trigger.start_timeout.map(|timeout| now.after(timeout)),
            finish_by: now.after(trigger.finish_timeout),
            executors: trigger
                .executors
                .into_iter()
                .map(|installation| Executor { installation, state: ExecutorState::Bound })
                .collect(),
            parent: trigger.parent,
            sequence: trigger.sequence,
            depth: trigger.depth,
            end: None,
        };
        let actions = if task.executors.is_empty() { task.end_without_executor(now) } else { Vec::new() };
        (task, actions)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The text is not a task of a version that this host knows.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let task: Self = serde_json::from_slice(bytes)?;
        if task.schema > SCHEMA {
            let text = format!("task row of version {}, this host knows up to {SCHEMA}", task.schema);
            return Err(serde::de::Error::custom(text));
        }
        Ok(task)
    }

    /// Writes the stored form.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Tells whether the task has not ended.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Returns an executor by its name.
    pub fn executor(&self, installation: &InstallationName) -> Option<&Executor> {
        self.executors.iter().find(|executor| executor.installation == *installation)
    }

    /// Applies one input and says what follows.
    ///
    /// # Errors
    /// The input does not count; the state is unchanged.
    pub fn step(&mut self, input: Input, now: Timestamp) -> Result<Vec<Action>, Refusal> {
        if let Some(end) = &self.end {
            let (id, name) = (self.id.clone(), self.name.clone());
            return Err(Refusal::Ended { id, name, at: end.at, reason: end.reason.clone() });
        }
        match input {
            Input::Started { installation } => self.start(installation, now),
            Input::Answered { installation, answer } => self.answer(installation, answer, now),
            Input::GaveUp { installation, reason } => {
                self.answer(installation, Answer::Finished(Finished::errored(reason)), now)
            }
            Input::Removed { installation } => {
                let reason = format!("`{installation}` was removed before it answered");
                self.answer(installation, Answer::Finished(Finished::errored(reason)), now)
            }
            Input::StartTimedOut => {
                let actions = self.start_timed_out(now);
                Ok(self.noting_time(actions))
            }
            Input::TimedOut => {
                let actions = self.time_out(now);
                Ok(self.noting_time(actions))
            }
            Input::Cancelled { reason } => Ok(self.cancel(&reason, now)),
        }
    }

    fn open_executor(&mut self, installation: &InstallationName) -> Result<&mut Executor, Refusal> {
        let executor = self
            .executors
            .iter_mut()
            .find(|executor| executor.installation == *installation)
            .ok_or_else(|| Refusal::NotBound(installation.clone()))?;
        if executor.state.is_open() { Ok(executor) } else { Err(Refusal::Answered(installation.clone())) }
    }

    fn start(&mut self, installation: InstallationName, now: Timestamp) -> Result<Vec<Action>, Refusal> {
        let executor = self.open_executor(&installation)?;
        let first = executor.state == ExecutorState::Bound;
        executor.state = ExecutorState::Started { at: now };
        Ok(if first { vec![Action::SendStarted(installation)] } else { Vec::new() })
    }

    fn answer(
        &mut self,
        installation: InstallationName,
        answer: Answer,
        now: Timestamp,
    ) -> Result<Vec<Action>, Refusal> {
        let executor = self.open_executor(&installation)?;
        let mut actions = Vec::new();
        match answer {
            Answer::Pending { wake_after_ms } => {
                let wake_at = wake_after_ms.map(|ms| now.after(std::time::Duration::from_millis(ms)));
                executor.state = ExecutorState::Pending { wake_at };
                return Ok(wake_at.map(|at| Action::WakeAt(installation, at)).into_iter().collect());
            }
            Answer::Declined { reason } => executor.state = ExecutorState::Declined { reason },
            Answer::Finished(finished) => {
                let (result, status) = (finished.result, finished.status);
                executor.state = ExecutorState::Answered { result, status, message: finished.message.clone() };
                actions.push(Action::SendFinished(Some(installation), finished));
            }
        }
        if !self.executors.iter().any(|executor| executor.state.is_open()) {
            actions.extend(self.conclude(now));
        }
        Ok(actions)
    }

    /// Ends the task with what its executors said: the worst result wins.
    fn conclude(&mut self, now: Timestamp) -> Vec<Action> {
        let answers = self.executors.iter().filter_map(|executor| match &executor.state {
            ExecutorState::Answered { result, status, message } => Some((*result, *status, message)),
            _ => None,
        });
        let worst = answers.clone().max_by_key(|(result, status, _)| (*result, *status));
        let status = answers.map(|(_, status, _)| status).max();
        match (worst, status) {
            (Some((result, _, message)), Some(status)) => {
                self.end = Some(TaskEnd { result, status, reason: message.clone(), timed_out: false, at: now });
                vec![Action::End]
            }
            _ => self.end_without_executor(now),
        }
    }

    fn end_without_executor(&mut self, now: Timestamp) -> Vec<Action> {
        let declined: Vec<String> = self
            .executors
            .iter()
            .map(|executor| format!("`{}` {}", executor.installation, executor.state.describe()))
            .collect();
        let reason = if declined.is_empty() {
            format!("no executor: no installation that executes `{}` matches the event and its scope", self.name)
        } else {
            format!("no executor: {}", declined.join(", "))
        };
        self.end_in_the_hosts_name(reason, now)
    }

    fn end_in_the_hosts_name(&mut self, reason: String, now: Timestamp) -> Vec<Action> {
        let (result, status) = (TaskResult::Fail, TaskStatus::Errored);
        self.end = Some(TaskEnd { result, status, reason: reason.clone(), timed_out: false, at: now });
        vec![Action::SendFinished(None, Finished::errored(reason)), Action::End]
    }

    /// Notes that it is the time that ended the task, if it has ended.
    fn noting_time(&mut self, actions: Vec<Action>) -> Vec<Action> {
        if let (Some(end), false) = (&mut self.end, actions.is_empty()) {
            end.timed_out = true;
        }
        actions
    }

    /// Answers for each executor that has not begun.
    fn start_timed_out(&mut self, now: Timestamp) -> Vec<Action> {
        let allowed = Span(self.start_by.unwrap_or(now).since(self.triggered_at));
        self.answer_for(now, |executor| {
            let begun = executor.state != ExecutorState::Bound;
            (!begun).then(|| Finished::errored(format!("`{}` did not begin within {allowed}", executor.installation)))
        })
    }

    fn time_out(&mut self, now: Timestamp) -> Vec<Action> {
        let allowed = Span(self.finish_by.since(self.triggered_at));
        self.answer_for(now, |executor| {
            let was = executor.state.describe();
            Some(Finished::errored(format!("timed out after {allowed}; `{}` {was}", executor.installation)))
        })
    }

    fn cancel(&mut self, reason: &str, now: Timestamp) -> Vec<Action> {
        let message = format!("cancelled: {reason}");
        self.answer_for(now, |_| Some(Finished { status: TaskStatus::Aborted, ..Finished::errored(message.clone()) }))
    }

    /// Answers in the place of those open executors for which there is an answer.
    fn answer_for(&mut self, now: Timestamp, answer: impl Fn(&Executor) -> Option<Finished>) -> Vec<Action> {
        let mut actions = Vec::new();
        for executor in self.executors.iter_mut().filter(|executor| executor.state.is_open()) {
            let Some(finished) = answer(executor) else { continue };
            executor.state = ExecutorState::Answered {
                result: finished.result,
                status: finished.status,
                message: finished.message.clone(),
            };
            actions.push(Action::SendFinished(Some(executor.installation.clone()), finished));
        }
        if !self.executors.iter().any(|executor| executor.state.is_open()) {
            actions.extend(self.conclude(now));
        }
        actions
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
