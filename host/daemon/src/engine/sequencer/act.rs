//! From a decision to the parts of a batch.

use pilothouse_core::event::{EventBuilder, EventError};
use pilothouse_core::host_event::{HOST_SOURCE, TASK_CANCELLED};
use pilothouse_core::keptn::{RUN_EXTENSION, TRIGGERED_ID_EXTENSION};
use pilothouse_core::sequence::{Action, Input, decide};
use pilothouse_core::task::{self, Task};
use pilothouse_store::{StoreError, TimerWrite};
use uuid::Uuid;

use super::super::Inner;
use super::super::plan::{BySequencer, Origin, plan};
use super::super::task_flow::StepError;
use super::{Draft, InputError, SEQUENCE_TIMER};

impl Inner {
    /// Decides about one input and adds what follows to the draft. `false`: it cancels tasks, and something was decided
    /// before it that is not committed yet; nothing of it is in the draft then.
    pub(super) async fn decide_input(&self, draft: &mut Draft, input: &Input, first: bool) -> Result<bool, InputError> {
        let decision = loop {
            match decide(&draft.loaded.rows, input, draft.batch.now) {
                Ok(decision) => break decision,
                Err(need) => draft.loaded.load(need, self.store.as_ref(), self.sequencer.projects.as_ref()).await?,
            }
        };
        let cancels = decision.actions.iter().any(|action| matches!(action, Action::CancelTask { .. }));
        if cancels && !first {
            return Ok(false);
        }
        draft.loaded.decided(&decision);
        for action in decision.actions {
            self.act(draft, action).await?;
        }
        Ok(true)
    }

    async fn act(&self, draft: &mut Draft, action: Action) -> Result<(), InputError> {
        let unsendable = |error: EventError| InputError::Unreadable(format!("an event cannot be sent: {error}"));
        let snapshot = self.snapshot.load_full();
        let now = draft.batch.now;
        match action {
            Action::Send(sending) => {
                let by = BySequencer::default();
                let origin = Origin { sequencer: Some(by), ..Origin::host(None, sending.depth) };
                draft.batch.events.extend(plan(&snapshot, sending.event, &origin, now).map_err(unsendable)?);
                draft.batch.routing = Some(snapshot.generation());
            }
            Action::TriggerTask(trigger) => {
                let by = BySequencer {
                    execution: Some(trigger.execution),
                    start_timeout: Some(trigger.start_timeout),
                    finish_timeout: trigger.finish_timeout,
                };
                let origin = Origin { sequencer: Some(by), ..Origin::host(None, trigger.depth) };
                draft.batch.events.extend(plan(&snapshot, trigger.event, &origin, now).map_err(unsendable)?);
                draft.batch.routing = Some(snapshot.generation());
            }
            Action::CancelTask { task, reason } => self.cancel_task(draft, &task, reason).await?,
            Action::WakeAt(execution, due) => {
                draft.batch.timers.push(TimerWrite::Set { name: timer(execution), due, payload: Vec::new() });
            }
            Action::ClearWake(execution) => draft.batch.timers.push(TimerWrite::Clear { name: timer(execution) }),
        }
        Ok(())
    }

    /// Ends a task that nobody waits for: its deliveries and jobs are cancelled, and whoever observes it is told.
    async fn cancel_task(&self, draft: &mut Draft, id: &str, reason: String) -> Result<(), StoreError> {
        let Some(mut in_hand) = self.read_task(id).await? else { return Ok(()) };
        let snapshot = self.snapshot.load_full();
        let input = task::Input::Cancelled { reason: reason.clone() };
        match self.step_task(&mut draft.batch, &snapshot, &mut in_hand, input, None).await {
            Ok(()) => {}
            // It ended by itself at the same moment.
            Err(StepError::Refused(_)) => return Ok(()),
            Err(StepError::Store(error)) => return Err(error),
            Err(StepError::Event(error)) => {
                tracing::error!(task = id, %error, "TaskCancelError");
                return Ok(());
            }
        }
        draft.jobs.extend(self.cancel_jobs_of_task(&mut draft.batch, id).await?);
        let planned = cancelled(&in_hand.task, &reason, draft.batch.now)
            .and_then(|event| plan(&snapshot, event, &Origin::host(None, in_hand.task.depth), draft.batch.now));
        match planned {
            Ok(planned) => draft.batch.events.extend(planned),
            Err(error) => tracing::error!(task = id, %error, "TaskCancelledEventError"),
        }
        Ok(())
    }
}

fn timer(execution: Uuid) -> String {
    format!("{SEQUENCE_TIMER}{execution}")
}

/// Makes `dev.pilothouse.task.cancelled.v1`.
fn cancelled(
    task: &Task,
    reason: &str,
    now: pilothouse_core::time::Timestamp,
) -> Result<pilothouse_core::Event, EventError> {
    let mut data = serde_json::json!({
        "task": task.id,
        "name": task.name,
        "executors": task.executors.iter().map(|executor| executor.installation.as_str()).collect::<Vec<_>>(),
        "reason": reason,
    });
    if let Some(members) = data.as_object_mut() {
        let place = &task.place;
        let given = [("project", &place.project), ("stage", &place.stage), ("service", &place.service)];
        members.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))));
        if let Some(execution) = task.sequence {
            members.insert("execution".to_owned(), execution.to_string().into());
        }
    }
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{} cancelled", task.id).as_bytes()).to_string();
    EventBuilder::new(id, HOST_SOURCE, TASK_CANCELLED)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, &task.run)
        .extension_str(TRIGGERED_ID_EXTENSION, &task.id)
        .json(&data)
        .build()
}
