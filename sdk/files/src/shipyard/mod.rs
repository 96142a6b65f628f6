//! The shipyard: which sequences a project's stages have, what their tasks are, and which sequence follows which.
//!
//! Keptn's shipyard 0.2.x, with additions that an older reader ignores: a task's `timeout`, `retries` and `retryAfter`, a
//! group of tasks in `parallel`, a sequence's `concurrency`. [`read()`] tells all problems of a file; a file without errors
//! gives a [`Shipyard`].

mod check;
mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::name::{SequenceName, StageName, TaskName};
use crate::result::TaskResult;

pub use read::{TaskUse, read, task_uses};

/// Deepest chain of observers' outputs and of sequences that fire each other; beyond it the output becomes a dead letter. A
/// real chain of tools is under ten long; two plugins that trigger each other for ever pass any number.
pub const DEPTH_MAX: u32 = 64;

/// Where the shipyard lies in a project.
pub const SHIPYARD_FILE: &str = "shipyard.yaml";
/// Most stages of a project. A file with thousands is made by a program gone wrong.
pub const STAGES_MAX: usize = 100;
/// Most sequences of a stage.
pub const SEQUENCES_MAX: usize = 100;
/// Most tasks of a sequence, those of groups included.
pub const TASKS_MAX: usize = 100;
/// Most triggers of a sequence.
pub const TRIGGERS_MAX: usize = 50;
/// Most retries of a task.
pub const RETRIES_MAX: u32 = 20;
/// Longest delay or timeout that a shipyard can ask for: 30 days, so that every wait has an end that somebody sees.
pub const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A project's stages and sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipyard {
    /// Its name, from `metadata`.
    pub name: String,
    /// The stages in the order of the file.
    pub stages: Vec<Stage>,
}

/// A stage of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// Its sequences in the order of the file.
    pub sequences: Vec<Sequence>,
}

/// A sequence of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: SequenceName,
    /// What fires it; nothing but an event of its own when empty.
    pub triggered_on: Vec<TriggeredOn>,
    /// What happens when another one runs for the same project, stage and service.
    pub concurrency: Concurrency,
    /// Its steps, one after the other; each is one task or a group that runs in parallel.
    pub steps: Vec<Vec<TaskDefinition>>,
}

/// The end of another sequence that fires a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggeredOn {
    /// The stage of the other sequence.
    pub stage: String,
    /// Its name.
    pub sequence: String,
    /// What its end must be. Without conditions: `pass` or `warning`.
    pub selector: Vec<Condition>,
}

/// One entry of a selector's `match`; all of them must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Whose result; the sequence's own when `None`.
    pub task: Option<String>,
    /// The result that it must have.
    pub result: TaskResult,
}

/// What happens when a sequence is triggered while another one runs for the same project, stage and service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concurrency {
    /// It waits for its turn.
    #[default]
    Queue,
    /// Earlier ones of the same name are aborted, running or not; it waits for its turn among the others.
    Replace,
    /// It runs at once, and nobody waits for it.
    Parallel,
}

/// A task of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// Its name.
    pub name: TaskName,
    /// How long after its turn it is triggered.
    pub triggered_after: Duration,
    /// What is added to `data.<task>` of its trigger.
    pub properties: Map<String, Value>,
    /// Longest time until each executor starts; the host's default when `None`.
    pub start_timeout: Option<Duration>,
    /// Longest time until it has finished; what the executors' manifests say when `None`.
    pub finish_timeout: Option<Duration>,
    /// How often it is triggered again when an executor could not do its work.
    pub retries: u32,
    /// How long after a failure it is triggered again.
    pub retry_after: Duration,
}

impl TaskDefinition {
    /// Makes a task of this name without any setting.
    pub fn named(name: TaskName) -> Self {
        Self {
            name,
            triggered_after: Duration::ZERO,
            properties: Map::new(),
            start_timeout: None,
            finish_timeout: None,
            retries: 0,
            retry_after: Duration::ZERO,
        }
    }
}

impl Shipyard {
    /// Returns a stage by its name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name.as_str() == name)
    }

    /// Returns the sequences that the end of `sequence` in `stage` fires, each with its stage and the conditions.
    pub fn followers<'a>(
        &'a self,
        stage: &'a str,
        sequence: &'a str,
    ) -> impl Iterator<Item = (&'a Stage, &'a Sequence, &'a TriggeredOn)> {
        self.stages.iter().flat_map(move |it| {
            it.sequences.iter().filter_map(move |follower| {
                let on = follower.triggered_on.iter().find(|on| on.stage == stage && on.sequence == sequence)?;
                Some((it, follower, on))
            })
        })
    }
}

impl Stage {
    /// Returns a sequence by its name. `evaluation` is there in every stage, as in Keptn: one task of the same name.
    pub fn sequence(&self, name: &str) -> Option<Sequence> {
        let found = self.sequences.iter().find(|sequence| sequence.name.as_str() == name).cloned();
        found.or_else(|| built_in(name))
    }
}

/// Makes the sequence that every stage has.
fn built_in(name: &str) -> Option<Sequence> {
    if name != "evaluation" {
        return None;
    }
    Some(Sequence {
        name: SequenceName::new(name).ok()?,
        triggered_on: Vec::new(),
        concurrency: Concurrency::default(),
        steps: vec![vec![TaskDefinition::named(TaskName::new(name).ok()?)]],
    })
}
