//! The one function that changes sequences.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::Action;
use super::event::{Asked, parse_triggered};
use super::execution::{Execution, Key, PAUSE_MAX, Pause, TaskOutcome, execution_id};
use super::payload::{self, Data};
use super::queue::{Entry, QUEUE_MAX, Queue};
use super::work::{Work, find_sequence};
use crate::keptn::{ACTION, GET_ACTION};
use crate::name::{ProjectName, SequenceName, ServiceName};
use crate::right::Actor;
use crate::shipyard::{Concurrency, Sequence, Shipyard};
use crate::task::{TaskResult, TaskStatus};
use crate::time::Timestamp;

/// A shipyard with the commit that it is of, or why it cannot be had.
pub type Resolved = Result<(String, Arc<Shipyard>), String>;

/// What a decision can see.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Executions; `None` for one that does not exist.
    pub executions: HashMap<Uuid, Option<Execution>>,
    /// Queues, also those that are empty.
    pub queues: HashMap<Key, Queue>,
    /// Shipyards, by project and the commit asked for (`None` for the present one).
    pub shipyards: HashMap<(String, Option<String>), Resolved>,
}

/// What a decision must see and was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// An execution.
    Execution(Uuid),
    /// A queue.
    Queue(Key),
    /// A shipyard.
    Shipyard {
        /// Of which project.
        project: String,
        /// At which commit; the present one when `None`.
        commit: Option<String>,
    },
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody triggered a sequence.
    Triggered(Box<TriggerEvent>),
    /// A task ended that an execution asked for.
    TaskEnded {
        /// The execution.
        execution: Uuid,
        /// The id of the task's `.triggered` event.
        task: String,
        /// How it ended.
        outcome: TaskOutcome,
        /// What each executor answered, in the order of the answers.
        answers: Vec<Answered>,
    },
    /// The time has come that an execution asked for.
    Woken {
        /// The execution.
        execution: Uuid,
    },
    /// A person's order.
    Ordered {
        /// The execution.
        execution: Uuid,
        /// What to do.
        command: Command,
        /// Whose order.
        actor: Actor,
        /// Why.
        reason: String,
        /// The id of the event that carries the order.
        event: String,
    },
    /// A project was deleted; these are the queues in which something of it runs.
    ProjectDeleted {
        /// The queues.
        keys: Vec<Key>,
        /// Who deleted it.
        actor: Actor,
    },
}

/// An accepted `sh.keptn.event.<stage>.<sequence>.triggered`.
#[derive(Clone, Debug)]
pub struct TriggerEvent {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: String,
    /// Its type.
    pub ty: String,
    /// Its data.
    pub data: Option<Value>,
    /// The run.
    pub run: String,
    /// The commit that it asks for.
    pub commit: Option<String>,
    /// Its depth.
    pub depth: u32,
    /// Who sent it.
    pub actor: Actor,
}

/// What an executor answered, as far as it is passed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Labels.
    pub labels: Data,
    /// What becomes `data.<task>`.
    pub output: Option<Value>,
    /// What becomes `data.action`: only `get-action` has it (Keptn spec 0.2.x).
    pub action: Option<Value>,
}

/// A person's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Trigger no further task until resumed. What is at work goes on.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End at once. Open tasks are cancelled, nothing follows.
    Abort,
    /// Do it once more from the start, with the same input and commit.
    Rerun,
    /// Do it once more from the step that failed, with what was passed on until then.
    RerunFromFailed,
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Executions as they are now.
    pub executions: Vec<Execution>,
    /// Queues as they are now.
    pub queues: Vec<(Key, Queue)>,
    /// What else to do, in this order.
    pub actions: Vec<Action>,
}

impl Rows {
    /// Takes over what was decided, for the next decision of the same commit.
    pub fn apply(&mut self, decision: &Decision) {
        for execution in &decision.executions {
            self.executions.insert(execution.id, Some(execution.clone()));
        }
        for (key, queue) in &decision.queues {
            self.queues.insert(key.clone(), queue.clone());
        }
    }
}

/// Decides what follows from an input.
///
/// # Errors
/// [`Need`] says what must be seen first. Nothing has changed then.
pub fn decide(rows: &Rows, input: &Input, now: Timestamp) -> Result<Decision, Need> {
    let mut work = Work::new(rows, now);
    match input {
        Input::Triggered(event) => work.triggered(event)?,
        Input::TaskEnded { execution, task, outcome, answers } => {
            work.task_ended(*execution, task, outcome.clone(), answers)?;
        }
        Input::Woken { execution } => work.woken(*execution)?,
        Input::Ordered { execution, command, actor, reason, event } => {
            work.ordered(*execution, *command, actor, reason, event)?;
        }
        Input::ProjectDeleted { keys, actor } => work.project_deleted(keys, actor)?,
    }
    work.decided()
}

impl Work<'_> {
    fn triggered(&mut self, event: &TriggerEvent) -> Result<(), Need> {
        let Some(asked) = parse_triggered(&event.ty) else { return Ok(()) };
        let id = execution_id(&event.source, &event.id);
        if self.execution(id)?.is_some() {
            return Ok(());
        }
        let data = match &event.data {
            Some(Value::Object(data)) => data.clone(),
            _ => Data::new(),
        };
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = Key { project: text("project"), stage: asked.stage.to_string(), service: text("service") };
        let stage = text("stage");
        let empty = empty_sequence(asked.sequence.clone());
        let mut execution = Execution::new(id, key, empty, event.actor.clone(), self.now);
        execution.run.clone_from(&event.run);
        execution.trigger.clone_from(&event.id);
        execution.commit.clone_from(&event.commit);
        execution.depth = event.depth;
        execution.data = data;
        match self.prepare(&mut execution, &asked, &stage)? {
            Err(reason) => self.refuse(execution, reason),
            Ok(()) => {
                payload::set_base(&mut execution.data, &execution.key, None);
                execution.input.clone_from(&execution.data);
                if execution.definition.concurrency == Concurrency::Replace {
                    self.replace(&execution)?;
                }
                self.begin(execution)
            }
        }
    }

    /// Finds the sequence that an execution shall run; says why it cannot.
    fn prepare(&mut self, execution: &mut Execution, asked: &Asked, stage: &str) -> Result<Result<(), String>, Need> {
        let key = execution.key.clone();
        if let Err(error) = ProjectName::new(&key.project) {
            return Ok(Err(format!("`data.project`: {error}")));
        }
        if let Err(error) = ServiceName::new(&key.service) {
            return Ok(Err(format!("`data.service`: {error}")));
        }
        if !stage.is_empty() && stage != asked.stage.as_str() {
            return Ok(Err(format!("`data.stage` is `{stage}`, the event's type says `{}`", asked.stage)));
        }
        let (commit, shipyard) = match self.shipyard(&key.project, execution.commit.as_deref())? {
            Ok(resolved) => resolved,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        match find_sequence(shipyard, &key.stage, asked.sequence.as_str()) {
            Ok(found) => execution.definition = found,
            Err(reason) => return Ok(Err(reason)),
        }
        execution.commit = Some(commit.clone());
        if self.queue(&key)?.entries.len() >= QUEUE_MAX {
            execution.definition.steps.clear();
            return Ok(Err(format!("{QUEUE_MAX} sequences of {key} run or wait already")));
        }
        Ok(Ok(()))
    }

    /// Aborts the earlier ones of the same sequence.
    fn replace(&mut self, by: &Execution) -> Result<(), Need> {
        let of_same_name = |entry: &&Entry| entry.sequence == by.definition.name;
        let earlier: Vec<Uuid> =
            self.queue(&by.key)?.entries.iter().filter(of_same_name).map(|entry| entry.execution).collect();
        for id in earlier {
            self.abort(id, format!("replaced by a later one ({})", by.id), Some(by.actor.clone()))?;
        }
        Ok(())
    }

    fn abort(&mut self, id: Uuid, message: String, actor: Option<Actor>) -> Result<(), Need> {
        match self.execution(id)? {
            Some(execution) if execution.end.is_none() => {
                self.finish(execution, TaskResult::Fail, TaskStatus::Aborted, message, actor)
            }
            _ => Ok(()),
        }
    }

    fn task_ended(&mut self, id: Uuid, task: &str, outcome: TaskOutcome, answers: &[Answered]) -> Result<(), Need> {
        let Some(mut execution) = self.execution(id)? else { return Ok(()) };
        let name = execution.tasks.iter().find_map(|run| match &run.state {
            super::TaskRunState::Open { task: open, .. } if open == task => Some(run.definition.name.to_string()),
            _ => None,
        });
        let Some(name) = name.filter(|_| execution.end.is_none()) else { return Ok(()) };
        let outputs = answers.iter().map(|answer| {
            let mut data = Data::new();
            if !answer.labels.is_empty() {
                data.insert("labels".to_owned(), Value::Object(answer.labels.clone()));
            }
            if let Some(output) = &answer.output {
                data.insert(name.clone(), output.clone());
            }
            if let Some(action) = answer.action.as_ref().filter(|_| name == GET_ACTION) {
                data.insert(ACTION.to_owned(), action.clone());
            }
            data
        });
        execution.task_ended(task, outcome, outputs.collect(), self.now);
        self.keep(execution);
        self.touch(id);
        Ok(())
    }

    fn woken(&mut self, id: Uuid) -> Result<(), Need> {
        let Some(mut execution) = self.execution(id)? else { return Ok(()) };
        // The timer is gone; a new one is set if there is still something to wait for.
        execution.wake_at = None;
        if let Some(pause) = &execution.paused
            && pause.at.after(PAUSE_MAX) <= self.now
            && execution.end.is_none()
        {
            let message = format!("it was paused for {} days", PAUSE_MAX.as_secs() / 86_400);
            return self.finish(execution, TaskResult::Fail, TaskStatus::Aborted, message, None);
        }
        self.keep(execution);
        self.touch(id);
        Ok(())
    }

    fn ordered(&mut self, id: Uuid, command: Command, actor: &Actor, reason: &str, event: &str) -> Result<(), Need> {
        let Some(mut execution) = self.execution(id)? else { return Ok(()) };
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        match command {
            Command::Rerun | Command::RerunFromFailed if execution.end.is_some() => {
                return self.rerun(&execution, command, actor, event);
            }
            Command::Abort => {
                return self.abort(id, format!("aborted by {}{reason}", actor.as_str()), Some(actor.clone()));
            }
            Command::Pause if execution.end.is_none() && execution.paused.is_none() => {
                let reason = reason.trim_start_matches(": ").to_owned();
                execution.paused = Some(Pause { actor: actor.clone(), reason, at: self.now });
            }
            Command::Resume if execution.end.is_none() => execution.paused = None,
            // The order came too late, or twice.
            _ => return Ok(()),
        }
        self.keep(execution);
        self.touch(id);
        Ok(())
    }

    fn rerun(&mut self, ended: &Execution, command: Command, actor: &Actor, event: &str) -> Result<(), Need> {
        let id = Uuid::new_v5(&ended.id, event.as_bytes());
        if ended.definition.steps.is_empty() || self.execution(id)?.is_some() {
            return Ok(());
        }
        let mut execution = Execution::new(id, ended.key.clone(), ended.definition.clone(), actor.clone(), self.now);
        execution.run.clone_from(&ended.run);
        execution.run_began = self.now;
        execution.commit.clone_from(&ended.commit);
        execution.trigger = Uuid::new_v5(&id, b"triggered").to_string();
        execution.rerun_of = Some(ended.id);
        execution.depth = ended.depth;
        execution.data.clone_from(&ended.input);
        execution.input.clone_from(&ended.input);
        if command == Command::RerunFromFailed {
            execution.data.clone_from(&ended.data);
            execution.step = ended.step;
            execution.done = ended.done.iter().filter(|record| record.step < ended.step).cloned().collect();
        }
        self.start(execution)
    }

    fn project_deleted(&mut self, keys: &[Key], actor: &Actor) -> Result<(), Need> {
        for key in keys {
            let open: Vec<Uuid> = self.queue(key)?.entries.iter().map(|entry| entry.execution).collect();
            for id in open {
                let message = format!("its project was deleted by {}", actor.as_str());
                self.abort(id, message, Some(actor.clone()))?;
            }
        }
        Ok(())
    }
}

fn empty_sequence(name: SequenceName) -> Sequence {
    Sequence { name, triggered_on: Vec::new(), concurrency: Concurrency::Queue, steps: Vec::new() }
}
