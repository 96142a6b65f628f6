//! Tasks and the store: reading a task, stepping it, and turning what follows into parts of a batch.

use std::sync::Arc;

use pilothouse_core::Event;
use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::event::EventError;
use pilothouse_core::name::InstallationName;
use pilothouse_core::task::{self, Action, Input, Refusal, Task, TaskStatus};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{
    Batch, DeliveryFilter, EventRow, NewEvent, Settled, Settlement, StateKey, StateWrite, StoreError, TimerWrite,
};

use super::Inner;
use super::installation::Snapshot;
use super::plan::{
    Origin, TASK_KIND, finish_timer, plan, start_timer, task_ended_delivery, task_finished_delivery, wake_timer,
};
use super::view::TaskView;

/// Most open deliveries of one task that are cancelled when it ends. A task has one per executor, and wake-ups.
const TASK_DELIVERIES_MAX: usize = 1_000;

/// A task as read, with what is needed to write it back.
pub(super) struct TaskInHand {
    /// The task.
    pub(super) task: Task,
    /// Revision of its row.
    pub(super) revision: u64,
    /// Its `.triggered` event.
    pub(super) trigger: EventRow,
}

/// Why a task could not be stepped.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The input does not count.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The plugin's answer makes no valid event.
    #[error("the answer makes no valid event: {0}")]
    Event(#[from] EventError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Inner {
    /// Reads a task; `None` if there is none (any more).
    pub(super) async fn read_task(&self, id: &str) -> Result<Option<TaskInHand>, StoreError> {
        let Some(row) = self.store.state(&StateKey::new(TASK_KIND, id)).await? else { return Ok(None) };
        let task = Task::from_json(&row.value).map_err(|error| StoreError::Read(format!("task {id}: {error}")))?;
        // The trigger is kept as long as the task is open; its seq is not in the row, its identity is.
        let filter = pilothouse_store::EventFilter { id: Some(id.to_owned()), ..Default::default() };
        let page = self.store.events(&filter, None, 16).await?;
        let ty = format!("sh.keptn.event.{}.triggered", task.name);
        let trigger = page.items.into_iter().find(|row| row.event.ty() == ty);
        Ok(trigger.map(|trigger| TaskInHand { task, revision: row.revision, trigger }))
    }

    /// Steps a task and adds to `batch` everything that follows. `by` is the delivery that brings the input about; it is
    /// settled by the caller.
    pub(super) async fn step_task(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        in_hand: &mut TaskInHand,
        input: Input,
        by: Option<DeliveryId>,
    ) -> Result<(), StepError> {
        let now = batch.now;
        let actions = in_hand.task.step(input, now)?;
        for action in actions {
            match action {
                Action::SendStarted(installation) => {
                    let event = task::event::started(&in_hand.task, &in_hand.trigger.event, &installation, now)?;
                    batch.events.extend(self.plan_task_event(
                        snapshot,
                        in_hand,
                        event,
                        Some(&installation),
                        by,
                        now,
                    )?);
                }
                Action::SendFinished(installation, mut answer) => {
                    self.link_report(&in_hand.task, &mut answer, now);
                    let trigger = &in_hand.trigger.event;
                    let event = task::event::finished(&in_hand.task, trigger, installation.as_ref(), &answer, now)?;
                    let mut planned = self.plan_task_event(snapshot, in_hand, event, installation.as_ref(), by, now)?;
                    if let (Some(first), Some(parent), false) =
                        (planned.first_mut(), &in_hand.task.parent, in_hand.task.is_open())
                    {
                        let told = task_finished_delivery(&first.event, parent, now);
                        first.deliveries.push(told);
                    }
                    batch.events.extend(planned);
                }
                Action::WakeAt(installation, due) => batch.timers.push(TimerWrite::Set {
                    name: wake_timer(&installation, &in_hand.task.id),
                    due,
                    payload: Vec::new(),
                }),
                Action::End => self.end_task(batch, in_hand, by).await?,
            }
        }
        batch.routing = Some(snapshot.generation());
        batch.states.push(StateWrite {
            key: StateKey::new(TASK_KIND, &in_hand.task.id),
            revision: in_hand.revision,
            value: Some(in_hand.task.to_json()),
            holds: in_hand.task.is_open().then_some(in_hand.trigger.seq),
            holds_own_event: false,
        });
        Ok(())
    }

    fn plan_task_event(
        &self,
        snapshot: &Snapshot,
        in_hand: &TaskInHand,
        event: Event,
        installation: Option<&InstallationName>,
        by: Option<DeliveryId>,
        now: Timestamp,
    ) -> Result<Vec<NewEvent>, EventError> {
        let actor =
            installation.map_or_else(pilothouse_core::right::Actor::host, pilothouse_core::right::Actor::plugin);
        let origin = Origin { actor, ..Origin::host(by, in_hand.task.depth) };
        plan(snapshot, event, &origin, now)
    }

    /// Clears an ended task's timers and cancels what is still owed for it.
    async fn end_task(
        &self,
        batch: &mut Batch,
        in_hand: &TaskInHand,
        by: Option<DeliveryId>,
    ) -> Result<(), StoreError> {
        batch.timers.push(TimerWrite::Clear { name: finish_timer(&in_hand.task.id) });
        if in_hand.task.start_by.is_some() {
            batch.timers.push(TimerWrite::Clear { name: start_timer(&in_hand.task.id) });
        }
        // Who cancels a task does not wait for it any more.
        let cancelled = in_hand.task.end.as_ref().is_some_and(|end| end.status == TaskStatus::Aborted);
        if in_hand.task.sequence.is_some() && !cancelled {
            batch.deliveries.push(task_ended_delivery(&in_hand.trigger.event, in_hand.trigger.seq, batch.now));
        }
        for executor in &in_hand.task.executors {
            batch.timers.push(TimerWrite::Clear { name: wake_timer(&executor.installation, &in_hand.task.id) });
        }
        let reason = in_hand.task.end.as_ref().map_or("its task ended", |end| end.reason.as_str());
        for state in [DeliveryState::Ready, DeliveryState::Running] {
            let task = Some(in_hand.task.id.clone());
            let filter = DeliveryFilter { task, state: Some(state), ..DeliveryFilter::default() };
            let open = self.store.deliveries(&filter, None, TASK_DELIVERIES_MAX).await?;
            for row in open.items.into_iter().filter(|row| Some(row.id) != by) {
                batch.settled.push(Settled {
                    delivery: row.id,
                    attempt: row.attempts,
                    settlement: Settlement::Cancelled { reason: format!("its task ended: {reason}") },
                    log: Vec::new(),
                    cpu_us: 0,
                    wall_us: 0,
                    memory_bytes_max: 0,
                });
            }
        }
        Ok(())
    }

    /// Answers for executors whose time is over: to begin, or to finish.
    pub(super) async fn time_out_task(&self, id: &str, timer: &str, input: Input) -> Result<(), StoreError> {
        let snapshot = self.snapshot.load_full();
        let mut batch = Batch::new(self.clock.now());
        batch.timers.push(TimerWrite::Clear { name: timer.to_owned() });
        if let Some(mut in_hand) = self.read_task(id).await? {
            match self.step_task(&mut batch, &snapshot, &mut in_hand, input, None).await {
                Ok(()) | Err(StepError::Refused(_)) => {}
                Err(StepError::Store(error)) => return Err(error),
                Err(StepError::Event(error)) => tracing::error!(task = id, %error, "TaskTimeoutError"),
            }
            let jobs =
                if in_hand.task.is_open() { Vec::new() } else { self.cancel_jobs_of_task(&mut batch, id).await? };
            self.commit_and_wake(batch).await?;
            self.cancel_jobs(&jobs).await;
            return Ok(());
        }
        self.commit_and_wake(batch).await
    }

    /// See [`super::Engine::task`].
    pub(super) async fn task_view(&self, id: &str) -> Result<Option<TaskView>, StoreError> {
        let Some(row) = self.store.state(&StateKey::new(TASK_KIND, id)).await? else { return Ok(None) };
        self.view_of(&row.value).await.map(Some)
    }

    /// See [`super::Engine::tasks`].
    pub(super) async fn task_views(
        &self,
        after: Option<&str>,
        limit: usize,
        open_only: bool,
    ) -> Result<Vec<TaskView>, StoreError> {
        let mut views = Vec::new();
        let mut after = after.map(str::to_owned);
        loop {
            let rows = self.store.states(TASK_KIND, after.as_deref(), 256).await?;
            let Some(last) = rows.last() else { return Ok(views) };
            after = Some(last.key.clone());
            for row in &rows {
                let open = Task::from_json(&row.value).is_ok_and(|task| task.is_open());
                if open || !open_only {
                    views.push(self.view_of(&row.value).await?);
                }
                if views.len() >= limit {
                    return Ok(views);
                }
            }
        }
    }

    async fn view_of(&self, value: &[u8]) -> Result<TaskView, StoreError> {
        let task = Task::from_json(value).map_err(|error| StoreError::Read(format!("task row: {error}")))?;
        let filter = pilothouse_store::EventFilter { id: Some(task.id.clone()), ..Default::default() };
        let triggered = self.store.events(&filter, None, 1).await?.items.first().map_or(0, |row| row.seq.0);
        let waiting = task
            .executors
            .iter()
            .map(|executor| format!("`{}` {}", executor.installation, executor.state.describe()))
            .collect::<Vec<_>>()
            .join("; ");
        let executors = task.executors.iter();
        Ok(TaskView {
            name: task.name.to_string(),
            run: task.run.clone(),
            project: task.place.project.clone(),
            stage: task.place.stage.clone(),
            service: task.place.service.clone(),
            state: if task.is_open() { "open" } else { "ended" }.to_owned(),
            result: task.end.as_ref().map(|end| end.result.as_str().to_owned()),
            reason: task.end.as_ref().map_or(waiting, |end| end.reason.clone()),
            triggered,
            finish_by: task.finish_by.to_string(),
            executors: executors.map(|it| (it.installation.to_string(), it.state.describe())).collect(),
            id: task.id,
        })
    }

    /// Returns the installation called `name`, as it is now.
    pub(super) fn installation(&self, name: &InstallationName) -> Option<Arc<super::installation::Installation>> {
        self.snapshot.load().installations.get(name).cloned()
    }
}
