//! Sequences as the API shows them: a line for each, and one as a whole with the reason for each wait.

use pilothouse_core::sequence::{Execution, Key, Queue, State, TaskRunState, describe};
use pilothouse_core::task::{ExecutorState, Task};
use pilothouse_store::{StateKey, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Inner;
use super::super::approval::APPROVAL_TASK;
use super::super::plan::TASK_KIND;
use super::SequenceFilter;
use super::index::Index;
use super::rows::QUEUE_KIND;

/// A line of a listing.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SequenceSummary {
    /// Its id.
    pub id: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The sequence's name.
    pub sequence: String,
    /// The service.
    pub service: String,
    /// `waiting`, `running`, `delayed`, `paused`, `finished` or `aborted`.
    pub state: String,
    /// `pass`, `warning` or `fail`, of one that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// When it was triggered (RFC 3339).
    pub triggered: String,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// One page of sequences, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SequencePage {
    /// The sequences.
    pub items: Vec<SequenceSummary>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A sequence as a whole.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SequenceView {
    /// What a listing says.
    #[serde(flatten)]
    pub summary: SequenceSummary,
    /// `succeeded`, `errored` or `aborted`, of one that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether it ended because a task was out of time.
    pub timed_out: bool,
    /// Where it stands and what it waits for, a sentence each.
    pub reasons: Vec<String>,
    /// Who triggered it.
    pub actor: String,
    /// The commit that it is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The id of the event that triggered it.
    pub trigger: String,
    /// The sequence whose end fired it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired_by: Option<String>,
    /// The sequence that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// When its first task was triggered (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    /// Its steps, those to come too.
    pub steps: Vec<StepView>,
}

/// A step: one task, or a group that runs in parallel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StepView {
    /// Each attempt of each task; those to come without a time.
    pub tasks: Vec<TaskRunView>,
}

/// An attempt of a task in a sequence.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TaskRunView {
    /// The task.
    pub name: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// `to-come`, `delayed`, `ready`, `open`, `ended` or `skipped`.
    pub state: String,
    /// The id of its `.triggered` event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Whether the executors could do their work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was triggered, or will be (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggered: Option<String>,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl From<&Index> for SequenceSummary {
    fn from(index: &Index) -> Self {
        Self {
            id: index.id.to_string(),
            run: index.run.clone(),
            project: index.project.clone(),
            stage: index.stage.clone(),
            sequence: index.sequence.clone(),
            service: index.service.clone(),
            state: index.state.as_str().to_owned(),
            result: index.result.map(|result| result.as_str().to_owned()),
            triggered: index.triggered.to_string(),
            ended: index.ended.map(|ended| ended.to_string()),
        }
    }
}

impl Inner {
    /// See [`crate::engine::Engine::sequences`].
    pub(in super::super) async fn sequence_page(
        &self,
        filter: &SequenceFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SequencePage, StoreError> {
        let (found, next) = self.index_listing(filter, after, limit).await?;
        Ok(SequencePage { items: found.iter().map(SequenceSummary::from).collect(), next })
    }

    /// See [`crate::engine::Engine::sequence`].
    pub(in super::super) async fn sequence_view(&self, id: Uuid) -> Result<Option<SequenceView>, StoreError> {
        let Some(execution) = self.read_execution(id).await? else { return Ok(None) };
        let queue = self.read_queue(&execution.key).await?;
        let mut reasons = describe(&execution, &queue);
        let mut steps = steps(&execution);
        for run in steps.iter_mut().flat_map(|step| &mut step.tasks).filter(|run| run.state == "open") {
            let Some(task) = &run.task else { continue };
            let Some(row) = self.store.state(&StateKey::new(TASK_KIND, task)).await? else { continue };
            let Ok(task) = Task::from_json(&row.value) else { continue };
            let waits_for_people = run.name == APPROVAL_TASK
                && task.executors.iter().any(|executor| matches!(executor.state, ExecutorState::Pending { .. }));
            let standing = if waits_for_people {
                format!("people decide, by `pilothouse approval approve {0}` or `decline {0}`", task.id)
            } else {
                self.executors(&task)
            };
            reasons.push(format!("task `{}`: {standing}; it ends at {} at the latest", run.name, task.finish_by));
            run.message = Some(standing);
        }
        Ok(Some(SequenceView {
            summary: SequenceSummary::from(&Index::of(&execution)),
            status: execution.end.as_ref().map(|end| end.status.as_str().to_owned()),
            timed_out: execution.end.as_ref().is_some_and(|end| end.timed_out),
            reasons,
            actor: execution.actor.as_str().to_owned(),
            commit: execution.commit.clone(),
            trigger: execution.trigger.clone(),
            fired_by: execution.fired_by.map(|id| id.to_string()),
            rerun_of: execution.rerun_of.map(|id| id.to_string()),
            began: execution.began.map(|began| began.to_string()),
            steps,
        }))
    }

    /// Says where each executor of a task stands, and which one has vanished.
    fn executors(&self, task: &Task) -> String {
        let standing = task.executors.iter().map(|executor| {
            let name = &executor.installation;
            if self.snapshot.load().executors.contains_key(name) {
                let seen = self.seen.get(name).at;
                let seen = seen
                    .map_or("not heard of since the host started".to_owned(), |at| format!("last heard of at {at}"));
                return format!("the outside executor `{name}` {}, {seen}", executor.state.describe());
            }
            match self.installation(name) {
                None => format!("`{name}` is not installed any more"),
                Some(found) => match found.failure.load_full() {
                    Some(failure) => format!("`{name}` could not be loaded: {failure}"),
                    None => format!("`{name}` {}", executor.state.describe()),
                },
            }
        });
        standing.collect::<Vec<_>>().join("; ")
    }

    async fn read_queue(&self, key: &Key) -> Result<Queue, StoreError> {
        let row = self.store.state(&StateKey::new(QUEUE_KIND, key.to_string())).await?;
        let read = row.as_ref().map(|row| Queue::from_json(&row.value)).transpose();
        Ok(read.map_err(|error| StoreError::Read(format!("queue {key}: {error}")))?.unwrap_or_default())
    }
}

fn steps(execution: &Execution) -> Vec<StepView> {
    let ended = execution.end.is_some();
    let of_step = |(index, definitions): (usize, &Vec<pilothouse_core::shipyard::TaskDefinition>)| {
        let done = execution.done.iter().filter(|record| record.step == index);
        let mut tasks: Vec<TaskRunView> = done.map(ended_view).collect();
        if index == execution.step && !ended {
            tasks.extend(execution.tasks.iter().filter_map(open_view));
        } else if tasks.is_empty() {
            let state = if ended { "skipped" } else { "to-come" };
            tasks.extend(definitions.iter().map(|definition| TaskRunView {
                name: definition.name.to_string(),
                attempt: 1,
                state: state.to_owned(),
                ..TaskRunView::default()
            }));
        }
        StepView { tasks }
    };
    execution.definition.steps.iter().enumerate().map(of_step).collect()
}

fn ended_view(record: &pilothouse_core::sequence::TaskRecord) -> TaskRunView {
    TaskRunView {
        name: record.name.clone(),
        attempt: record.attempt,
        state: "ended".to_owned(),
        task: Some(record.task.clone()),
        result: Some(record.result.as_str().to_owned()),
        status: Some(record.status.as_str().to_owned()),
        message: Some(record.message.clone()),
        triggered: Some(record.triggered_at.to_string()),
        ended: Some(record.ended_at.to_string()),
    }
}

fn open_view(run: &pilothouse_core::sequence::TaskRun) -> Option<TaskRunView> {
    let (state, task, at) = match &run.state {
        TaskRunState::Delayed { due } => ("delayed", None, Some(due.to_string())),
        TaskRunState::Ready => ("ready", None, None),
        TaskRunState::Open { task, since } => ("open", Some(task.clone()), Some(since.to_string())),
        // It stands among the ended ones.
        TaskRunState::Ended { .. } => return None,
    };
    Some(TaskRunView {
        name: run.definition.name.to_string(),
        attempt: run.attempt,
        state: state.to_owned(),
        task,
        triggered: at,
        ..TaskRunView::default()
    })
}

/// Reads the word of a state.
pub(crate) fn state_from_word(word: &str) -> Option<State> {
    [State::Waiting, State::Running, State::Delayed, State::Paused, State::Finished, State::Aborted]
        .into_iter()
        .find(|state| state.as_str() == word)
}
