//! Answers of outside executors: events of the task's types, which count if they come from the token of a bound executor.

use std::collections::BTreeMap;

use pilothouse_core::Event;
use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::keptn::{self, TRIGGERED_ID_EXTENSION, TaskEventKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::task::{Answer, Finished, Input, TaskResult, TaskStatus};
use pilothouse_store::{Batch, DeliveryFilter, DeliveryRow, Settlement, StoreError};
use serde_json::Value;

use super::super::Inner;
use super::super::dispatch::unused;
use super::super::plan::{Origin, plan};
use super::super::task_flow::{StepError, TaskInHand};
use super::super::view::{Accepted, IngestError, Sender};

/// How often an answer that lost against another commit is worked out anew.
const ATTEMPTS_MAX: u32 = 32;
/// Deliveries of one task to one executor that are looked at.
const DELIVERIES_MAX: usize = 16;

impl Inner {
    /// Takes an event as an answer, if its sender is an outside executor that is bound to the task; `None` if it is none.
    ///
    /// # Errors
    /// It is one, and the answer is not as an answer must be, or comes too late.
    pub(in super::super) async fn outside_answer(
        &self,
        event: &Event,
        sender: &Sender,
    ) -> Result<Option<Accepted>, IngestError> {
        let Some((name, kind)) = keptn::parse_task_event(event.ty()) else { return Ok(None) };
        if !matches!(kind, TaskEventKind::Started | TaskEventKind::StatusChanged | TaskEventKind::Finished) {
            return Ok(None);
        }
        let Some(id) = event.extension_str(TRIGGERED_ID_EXTENSION) else { return Ok(None) };
        for _ in 0..ATTEMPTS_MAX {
            let Some(in_hand) = self.read_task(id).await? else { return Ok(None) };
            let Some(executor) = self.bound_outside(&in_hand, sender) else { return Ok(None) };
            if in_hand.task.name != name {
                let text = format!("task {id} is `{}`, not `{name}`", in_hand.task.name);
                return Err(refused("answer-of-other-task", text));
            }
            self.seen.note(&executor, self.clock.now());
            match self.take_answer(event, kind, in_hand, &executor, sender).await {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(IngestError::Store(StoreError::Conflict(_) | StoreError::StaleRouting { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(IngestError::Store(StoreError::Conflict("the task changes all the time".to_owned())))
    }

    /// Returns the bound outside executor whose token the sender has; one that has not answered before one that has.
    fn bound_outside(&self, in_hand: &TaskInHand, sender: &Sender) -> Option<InstallationName> {
        use pilothouse_core::task::ExecutorState::{Answered, Declined};
        let snapshot = self.snapshot.load();
        let owned = |name: &InstallationName| {
            snapshot.executors.get(name).is_some_and(|executor| executor.row.owner == sender.actor)
        };
        let bound = in_hand.task.executors.iter().filter(|executor| owned(&executor.installation));
        let done =
            |executor: &&pilothouse_core::task::Executor| matches!(executor.state, Answered { .. } | Declined { .. });
        bound.min_by_key(done).map(|executor| executor.installation.clone())
    }

    async fn take_answer(
        &self,
        event: &Event,
        kind: TaskEventKind,
        mut in_hand: TaskInHand,
        executor: &InstallationName,
        sender: &Sender,
    ) -> Result<Accepted, IngestError> {
        let snapshot = self.snapshot.load_full();
        let mut batch = Batch::new(self.clock.now());
        batch.routing = Some(snapshot.generation());
        let rows = self.deliveries_of(&in_hand.task.id, executor).await?;
        let installation = executor.clone();
        let mut jobs = Vec::new();
        match kind {
            TaskEventKind::Finished => {
                let finished = read_finished(event, in_hand.task.name.as_str())?;
                let input = Input::Answered { installation, answer: Answer::Finished(finished) };
                let by = rows.first().map(|row| row.id);
                self.step(&mut batch, &snapshot, &mut in_hand, input, by).await?;
                if let Some(row) = rows.first() {
                    let settlement =
                        if row.state == DeliveryState::Running { Settlement::Done } else { Settlement::Handled };
                    batch.settled.push(unused(row, settlement));
                }
                if !in_hand.task.is_open() {
                    jobs = self.cancel_jobs_of_task(&mut batch, &in_hand.task.id).await?;
                }
            }
            TaskEventKind::StatusChanged => {
                if !in_hand.task.is_open() {
                    return Err(late(&in_hand));
                }
                let origin = Origin {
                    actor: sender.actor.clone(),
                    ..Origin::host(rows.first().map(|row| row.id), in_hand.task.depth)
                };
                let planned = plan(&snapshot, event.clone(), &origin, batch.now);
                batch.events = planned.map_err(|error| refused("follow-up-invalid", error.to_string()))?;
                batch.timers = self.renewals(&rows, batch.now);
            }
            // The host says itself that an executor has begun, once.
            _ => self.step(&mut batch, &snapshot, &mut in_hand, Input::Started { installation }, None).await?,
        }
        let made = batch.events.first().map(|new| (new.event.source().to_owned(), new.event.id().to_owned()));
        self.commit_and_wake(batch).await?;
        self.cancel_jobs(&jobs).await;
        if kind == TaskEventKind::Finished {
            rows.iter().for_each(|row| self.seen.lease_over(row.id));
        }
        let stored = match &made {
            Some((source, id)) => self.store.event_by_identity(source, id).await?,
            None => None,
        };
        Ok(Accepted {
            id: event.id().to_owned(),
            seq: stored.map_or(in_hand.trigger.seq.0, |row| row.seq.0),
            run: Some(in_hand.task.run.clone()),
            duplicate: made.is_none(),
            mismatch: false,
            deliveries: 0,
            hint: None,
        })
    }

    async fn step(
        &self,
        batch: &mut Batch,
        snapshot: &super::super::installation::Snapshot,
        in_hand: &mut TaskInHand,
        input: Input,
        by: Option<pilothouse_core::delivery::DeliveryId>,
    ) -> Result<(), IngestError> {
        match self.step_task(batch, snapshot, in_hand, input, by).await {
            Ok(()) => Ok(()),
            Err(StepError::Refused(refusal)) => {
                Err(IngestError::Forbidden { code: "answer-not-asked", message: refusal.to_string(), index: 0 })
            }
            Err(StepError::Event(error)) => Err(refused("answer-invalid", error.to_string())),
            Err(StepError::Store(error)) => Err(IngestError::Store(error)),
        }
    }

    /// Returns the deliveries of a task to an executor that have not ended.
    async fn deliveries_of(&self, task: &str, executor: &InstallationName) -> Result<Vec<DeliveryRow>, StoreError> {
        let filter = DeliveryFilter {
            task: Some(task.to_owned()),
            consumer: Some(executor.clone()),
            ..DeliveryFilter::default()
        };
        let found = self.store.deliveries(&filter, None, DELIVERIES_MAX).await?.items;
        Ok(found.into_iter().filter(|row| row.state.is_open()).collect())
    }
}

fn refused(code: &'static str, message: String) -> IngestError {
    IngestError::Refused { code, message, index: 0 }
}

fn late(in_hand: &TaskInHand) -> IngestError {
    let (name, id) = (&in_hand.task.name, &in_hand.task.id);
    let message = format!("task `{name}` ({id}) has ended; an answer now comes too late");
    IngestError::Forbidden { code: "answer-not-asked", message, index: 0 }
}

/// Reads an answer from a `.finished` event (Keptn spec 0.2.x). Left out, `result` is `pass` and `status` is `succeeded`.
fn read_finished(event: &Event, task: &str) -> Result<Finished, IngestError> {
    let invalid = |text: String| refused("answer-invalid", text);
    let mut data = match event.data_json() {
        Some(Value::Object(data)) => data,
        _ => return Err(invalid("the data of an answer is a JSON object".to_owned())),
    };
    let word = |name: &str, value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(format!("`data.{name}` is no text"))),
    };
    let result = match word("result", data.get("result"))?.as_deref() {
        None | Some("pass") => TaskResult::Pass,
        Some("warning") => TaskResult::Warning,
        Some("fail" | "failed") => TaskResult::Fail,
        Some(other) => return Err(invalid(format!("`data.result` is `{other}`; write pass, warning or fail"))),
    };
    let status = match word("status", data.get("status"))?.as_deref() {
        None | Some("succeeded") => TaskStatus::Succeeded,
        Some("errored") => TaskStatus::Errored,
        Some("unknown") => TaskStatus::Unknown,
        Some(other) => return Err(invalid(format!("`data.status` is `{other}`; write succeeded, errored or unknown"))),
    };
    let message = word("message", data.get("message"))?.unwrap_or_default();
    let labels: BTreeMap<String, String> = match data.remove("labels") {
        Some(Value::Object(labels)) => labels
            .into_iter()
            .filter_map(|(name, value)| match value {
                Value::String(text) => Some((name, text)),
                Value::Number(_) | Value::Bool(_) => Some((name, value.to_string())),
                _ => None,
            })
            .collect(),
        _ => BTreeMap::new(),
    };
    let output = data.remove(task).map(|output| output.to_string());
    Ok(Finished { result, status, message, labels, output })
}
