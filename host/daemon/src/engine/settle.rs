//! One call and its end: running the plugin, and committing everything that follows from it at once.

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, FailureKind, Verdict, after_failure};
use pilothouse_core::event::{AttributeValue, EventBuilder};
use pilothouse_core::host_event::{DELIVERY_DEAD, DEPTH_EXTENSION, HOST_SOURCE, is_host_type, plugin_source};
use pilothouse_core::keptn::{self, TaskEventKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::task::{Answer, Input, Parent};
use pilothouse_core::trace_context::TRACEPARENT_EXTENSION;
use pilothouse_runtime::{Call, CallContext, CallFailure, CallReport, Outcome, TaskInfo};
use pilothouse_store::{Batch, DeliveryRow, EventRow, KeyValueWrite, NewEvent, Settled, Settlement, StoreError};

use super::Inner;
use super::dispatch::Finished;
use super::installation::{Installation, Snapshot};
use super::plan::{Origin, plan};
use super::services::{CallServices, scope};
use super::span;
use super::task_flow::{StepError, TaskInHand};
use super::telemetry::DeliveryEnded;

/// How often a settlement that lost against another commit is worked out anew. Losing needs an answer to the same task,
/// or an install, at the same moment each time.
const SETTLE_ATTEMPTS_MAX: u32 = 32;

/// The delivery in hand.
#[derive(Clone)]
pub(super) struct InHand {
    /// The delivery, its attempts counting the one under way.
    pub(super) row: DeliveryRow,
}

/// Why a success cannot be committed as it is.
enum SettleError {
    /// The outcome breaks a rule: the plugin's fault.
    Outcome(String),
    /// Out of date: work it out anew.
    Again,
    /// The delivery is settled already: its task ended meanwhile.
    Gone,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for SettleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) | StoreError::StaleRouting { .. } => Self::Again,
            error => Self::Store(error),
        }
    }
}

impl Inner {
    /// Runs one attempt of a claimed delivery to its end.
    pub(super) async fn deliver(self: Arc<Self>, installation: Arc<Installation>, row: DeliveryRow) -> Finished {
        let in_hand = InHand { row };
        let (begun_at, begun) = (self.clock.now(), Instant::now());
        let mut retried = false;
        match self.attempt(&installation, &in_hand).await {
            Ok((event, report)) => {
                let ended = self.settle(&installation, &in_hand, &event, report).await;
                match ended {
                    Ok(kind) => {
                        retried = matches!(kind, Some((_, true)));
                        let (failure, elapsed) = (kind.map(|(kind, _)| kind), begun.elapsed());
                        let installation = installation.name.as_str();
                        self.telemetry.delivery_ended(&DeliveryEnded { installation, failure, elapsed });
                        if self.telemetry.traces() {
                            let span = span::attempted(&event, &in_hand.row, failure, begun_at, elapsed);
                            self.telemetry.span_ended(span);
                        }
                    }
                    Err(error) => tracing::error!(delivery = %in_hand.row.id, %error, "DeliverySettleError"),
                }
            }
            Err(error) => tracing::error!(delivery = %in_hand.row.id, %error, "DeliveryReadError"),
        }
        Finished { delivery: in_hand.row.id, order_key: in_hand.row.order_key, retried }
    }

    async fn attempt(
        self: &Arc<Self>,
        installation: &Arc<Installation>,
        in_hand: &InHand,
    ) -> Result<(EventRow, CallReport), StoreError> {
        let row = &in_hand.row;
        let event = match self.recent.get(row.event) {
            Some(event) => event,
            None => self
                .store
                .event(row.event)
                .await?
                .ok_or_else(|| StoreError::Read(format!("event {} of delivery {} is gone", row.event, row.id)))?,
        };
        let task = match &row.task {
            Some(id) => self.read_task(id).await?,
            None => None,
        };
        let context = CallContext {
            installation: installation.name.clone(),
            delivery: row.id,
            attempt: row.attempts,
            task: task.as_ref().map(|it| TaskInfo {
                name: it.task.name.clone(),
                triggered_id: it.task.id.clone(),
                run: it.task.run.clone(),
                cause: row.cause,
            }),
            place: task.as_ref().map_or_else(|| event.place.clone(), |it| it.task.place.clone()),
            commit: event.event.extension_str(keptn::COMMIT_EXTENSION).map(str::to_owned),
            run: event.run.clone(),
            traceparent: self.traceparent(&event, in_hand),
        };
        let Some(plugin) = installation.plugin.load_full() else {
            return Err(StoreError::Read(format!("`{}` is not loaded", installation.name)));
        };
        let services =
            CallServices::new(Arc::clone(self), Arc::clone(installation), in_hand.clone(), event.clone(), task);
        let call = Call {
            context,
            event: event.event.clone(),
            settings: Arc::clone(&installation.settings),
            grants: Arc::clone(&installation.effective),
            services: Arc::new(services),
        };
        let report = self.runtime.call(&plugin, call).await;
        self.telemetry.call_ended(installation.name.as_str(), &report);
        Ok((event, report))
    }

    /// Returns what the events of this attempt name as the span they come from: its own where the host traces, else the
    /// one that the event in hand names.
    pub(super) fn traceparent(&self, event: &EventRow, in_hand: &InHand) -> Option<String> {
        if self.telemetry.traces() {
            return Some(span::attempt_context(event, &in_hand.row).to_string());
        }
        event.event.extension_str(TRACEPARENT_EXTENSION).map(str::to_owned)
    }

    /// Commits what the call came to. Returns the failure, and whether it will be tried again.
    async fn settle(
        &self,
        installation: &Installation,
        in_hand: &InHand,
        event: &EventRow,
        mut report: CallReport,
    ) -> Result<Option<(FailureKind, bool)>, StoreError> {
        let log = super::log::to_json_lines(&report);
        let used = |settlement| settled(in_hand, settlement, &report, log.clone());
        let failure = match &report.outcome {
            Err(failure) => failure.clone(),
            Ok(outcome) => {
                match self.settle_success(installation, in_hand, event, outcome, &report, used(Settlement::Done)).await
                {
                    Ok(()) | Err(SettleError::Gone) => return Ok(None),
                    Err(SettleError::Outcome(reason)) => {
                        CallFailure { kind: FailureKind::Outcome, reason, retry_after: None }
                    }
                    Err(SettleError::Store(error)) => return Err(error),
                    Err(SettleError::Again) => {
                        return Err(StoreError::Conflict("too many concurrent answers".to_owned()));
                    }
                }
            }
        };
        report.effects = pilothouse_runtime::Effects::default();
        let (policy, attempt, now) = (installation.retry_policy(), in_hand.row.attempts, self.clock.now());
        let verdict = after_failure(&policy, failure.kind, attempt, failure.retry_after, self.jitter(), now);
        match verdict {
            Verdict::RetryAt(due) => {
                let mut batch = Batch::new(now);
                let (kind, reason) = (failure.kind, failure.reason.clone());
                batch.settled.push(settled(in_hand, Settlement::Retry { due, kind, reason }, &report, log));
                match self.commit_and_wake(batch).await {
                    Ok(()) => self.wake_lane(&installation.name),
                    Err(StoreError::Conflict(_)) => return Ok(None),
                    Err(error) => return Err(error),
                }
                Ok(Some((failure.kind, true)))
            }
            Verdict::Dead => {
                let (kind, reason) = (failure.kind, failure.reason.clone());
                let dead = settled(in_hand, Settlement::Dead { kind, reason: reason.clone() }, &report, log);
                self.settle_dead(in_hand, dead, &reason).await?;
                Ok(Some((failure.kind, false)))
            }
        }
    }

    async fn settle_success(
        &self,
        installation: &Installation,
        in_hand: &InHand,
        event: &EventRow,
        outcome: &Outcome,
        report: &CallReport,
        done: Settled,
    ) -> Result<(), SettleError> {
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(self.clock.now());
            batch.settled.push(done.clone());
            let mut task = match &in_hand.row.task {
                Some(id) => self.read_task(id).await?,
                None => None,
            };
            self.add_events(&mut batch, &snapshot, installation, in_hand, event, task.as_ref(), &outcome.events)?;
            let scope = scope(event, task.as_ref());
            batch.key_values.extend(report.effects.key_values.iter().map(|(key, value)| KeyValueWrite {
                owner: installation.name.clone(),
                scope: scope.clone(),
                key: key.clone(),
                value: value.clone(),
            }));
            let started =
                self.add_job_starts(&mut batch, installation, in_hand, event, &report.effects.jobs_started).await?;
            let mut cancelled = report.effects.jobs_cancelled.clone();
            if let Some(task) = &mut task {
                let answer = outcome.answer.clone().unwrap_or(Answer::Pending { wake_after_ms: None });
                let input = Input::Answered { installation: installation.name.clone(), answer };
                match self.step_task(&mut batch, &snapshot, task, input, Some(in_hand.row.id)).await {
                    Ok(()) => {}
                    // The task ended meanwhile; what the plugin returned beside its answer still counts.
                    Err(StepError::Refused(_)) => {}
                    Err(StepError::Event(error)) => return Err(SettleError::Outcome(error.to_string())),
                    Err(StepError::Store(error)) => return Err(error.into()),
                }
                if !task.task.is_open() {
                    cancelled.extend(self.cancel_jobs_of_task(&mut batch, &task.task.id).await?);
                }
            }
            match self.commit_and_wake(batch).await.map_err(SettleError::from) {
                Ok(()) => {
                    self.start_jobs(started).await;
                    self.cancel_jobs(&cancelled).await;
                    return Ok(());
                }
                Err(SettleError::Again) if self.is_settled(in_hand).await? => return Err(SettleError::Gone),
                Err(SettleError::Again) => {}
                Err(error) => return Err(error),
            }
        }
        Err(SettleError::Again)
    }

    async fn is_settled(&self, in_hand: &InHand) -> Result<bool, StoreError> {
        let row = self.store.delivery(in_hand.row.id).await?;
        Ok(row.is_none_or(|row| !row.state.is_open() || row.attempts != in_hand.row.attempts))
    }

    /// Adds the returned events, each with the attributes that only the host may set.
    #[expect(clippy::too_many_arguments, reason = "all of the delivery's circumstances shape its events")]
    fn add_events(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        installation: &Installation,
        in_hand: &InHand,
        cause: &EventRow,
        task: Option<&TaskInHand>,
        events: &[EventBuilder],
    ) -> Result<(), SettleError> {
        let traceparent = self.traceparent(cause, in_hand);
        let maker = EventMaker { installation: &installation.name, in_hand, cause, task, traceparent, now: batch.now };
        batch.routing = Some(snapshot.generation());
        for (index, builder) in events.iter().enumerate() {
            let id = in_hand.row.id.returned_event_id(index);
            let (event, origin) = maker
                .make(builder.clone(), id)
                .map_err(|reason| SettleError::Outcome(format!("returned event {index}: {reason}")))?;
            let planned: Vec<NewEvent> = plan(snapshot, event, &origin, batch.now)
                .map_err(|error| SettleError::Outcome(format!("returned event {index}: {error}")))?;
            batch.events.extend(planned);
        }
        Ok(())
    }

    /// Makes a dead letter of a delivery, says so by an event, and answers its task.
    pub(super) async fn settle_dead(&self, in_hand: &InHand, dead: Settled, reason: &str) -> Result<(), StoreError> {
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(self.clock.now());
            batch.routing = Some(snapshot.generation());
            batch.settled.push(dead.clone());
            let row = &in_hand.row;
            if let Some(event) = self.store.event(row.event).await?
                && !is_host_type(event.event.ty())
                && let Some(told) = dead_letter_event(in_hand, &event, &dead, reason, batch.now)
            {
                let origin = Origin::host(Some(row.id), event.depth.saturating_add(1));
                match plan(&snapshot, told, &origin, batch.now) {
                    Ok(mut planned) => {
                        if let Some(first) = planned.first_mut() {
                            first.place = event.place.clone();
                        }
                        batch.events.extend(planned);
                    }
                    Err(error) => tracing::error!(delivery = %row.id, %error, "DeadLetterEventError"),
                }
            }
            let mut jobs = Vec::new();
            if let Some(id) = &row.task
                && let Some(mut task) = self.read_task(id).await?
            {
                let input = Input::GaveUp { installation: row.consumer.clone(), reason: reason.to_owned() };
                match self.step_task(&mut batch, &snapshot, &mut task, input, Some(row.id)).await {
                    Ok(()) | Err(StepError::Refused(_)) => {}
                    Err(StepError::Event(error)) => {
                        tracing::error!(delivery = %row.id, %error, "DeadLetterAnswerError")
                    }
                    Err(StepError::Store(error)) => return Err(error),
                }
                if !task.task.is_open() {
                    jobs = self.cancel_jobs_of_task(&mut batch, id).await?;
                }
            }
            match self.commit_and_wake(batch).await {
                Ok(()) => {
                    self.cancel_jobs(&jobs).await;
                    return Ok(());
                }
                Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) if self.is_settled(in_hand).await? => {
                    return Ok(());
                }
                Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict("too many concurrent answers".to_owned()))
    }
}

/// Gives a plugin's event what only the host may set.
pub(super) struct EventMaker<'a> {
    pub(super) installation: &'a InstallationName,
    pub(super) in_hand: &'a InHand,
    /// The event that was delivered.
    pub(super) cause: &'a EventRow,
    pub(super) task: Option<&'a TaskInHand>,
    /// The span that its events come from.
    pub(super) traceparent: Option<String>,
    pub(super) now: pilothouse_core::time::Timestamp,
}

impl EventMaker<'_> {
    /// Sets id, source, time, run, triggered id, trace and depth. The error is a sentence for the plugin's author.
    pub(super) fn make(&self, builder: EventBuilder, id: String) -> Result<(Event, Origin), String> {
        // Built once with the host's identity, so that the attributes can be looked at; the guest's own are not trusted.
        let draft =
            builder.id(id).source(plugin_source(self.installation)).build().map_err(|error| error.to_string())?;
        let kind = keptn::parse_task_event(draft.ty());
        let mut depth = self.cause.depth;
        if self.in_hand.row.cause == Cause::Observed || matches!(kind, Some((_, TaskEventKind::Triggered))) {
            depth = depth.saturating_add(1);
        }
        let mut builder = draft.to_builder().without_extension(DEPTH_EXTENSION);
        // A plugin that copies the extensions of the event in hand means no other span by it.
        let copied = self.cause.event.extension_str(TRACEPARENT_EXTENSION);
        if let Some(traceparent) = self.traceparent.as_deref()
            && draft.extension_str(TRACEPARENT_EXTENSION) == copied
        {
            builder = builder.extension_str(TRACEPARENT_EXTENSION, traceparent);
        }
        if draft.time().is_none() {
            builder = builder.time(Some(self.now.to_string()));
        }
        if depth > 0 {
            builder =
                builder.extension(DEPTH_EXTENSION, AttributeValue::Integer(i32::try_from(depth).unwrap_or(i32::MAX)));
        }
        let cause = &self.cause.event;
        let inherited = [
            (keptn::RUN_EXTENSION, self.cause.run.as_deref()),
            (keptn::COMMIT_EXTENSION, cause.extension_str(keptn::COMMIT_EXTENSION)),
            ("tracestate", cause.extension_str("tracestate")),
        ];
        for (name, value) in inherited {
            if let (None, Some(value)) = (draft.extension(name), value) {
                builder = builder.extension_str(name, value);
            }
        }
        if kind.is_some() && draft.extension(keptn::SPEC_VERSION_EXTENSION).is_none() {
            builder = builder.extension_str(keptn::SPEC_VERSION_EXTENSION, keptn::SPEC_VERSION);
        }
        if let Some((name, TaskEventKind::StatusChanged)) = &kind {
            match self.task {
                Some(task) if task.task.name == *name => {
                    builder = builder.extension_str(keptn::TRIGGERED_ID_EXTENSION, &task.task.id);
                }
                _ => {
                    return Err(format!(
                        "`{}` is progress of a task that this delivery does not belong to",
                        draft.ty()
                    ));
                }
            }
        }
        let triggers = matches!(kind, Some((_, TaskEventKind::Triggered)));
        let parent = self
            .task
            .filter(|_| triggers)
            .map(|task| Parent { task: task.task.id.clone(), installation: self.installation.clone() });
        let own_type = !keptn::is_keptn_type(draft.ty()) && !is_host_type(draft.ty());
        let place = || self.task.map_or_else(|| self.cause.place.clone(), |task| task.task.place.clone());
        let origin = Origin {
            actor: Actor::plugin(self.installation),
            parent,
            place: if own_type { place() } else { Place::default() },
            ..Origin::host(Some(self.in_hand.row.id), depth)
        };
        Ok((builder.build().map_err(|error| error.to_string())?, origin))
    }
}

fn settled(in_hand: &InHand, settlement: Settlement, report: &CallReport, log: Vec<u8>) -> Settled {
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Settled {
        delivery: in_hand.row.id,
        attempt: in_hand.row.attempts,
        settlement,
        log,
        cpu_us: micros(report.cpu),
        wall_us: micros(report.wall),
        memory_bytes_max: report.memory_bytes_max,
    }
}

/// Makes `dev.pilothouse.delivery.dead-lettered.v1`.
fn dead_letter_event(
    in_hand: &InHand,
    event: &EventRow,
    dead: &Settled,
    reason: &str,
    now: pilothouse_core::time::Timestamp,
) -> Option<Event> {
    let row = &in_hand.row;
    let Settlement::Dead { kind, .. } = &dead.settlement else { return None };
    let mut data = serde_json::json!({
        "delivery": row.id.to_string(),
        "installation": row.consumer.as_str(),
        "attempts": row.attempts,
        "kind": kind.as_str(),
        "reason": reason,
        "event": { "seq": event.seq.0, "id": event.event.id(), "source": event.event.source(), "type": event.event.ty() },
    });
    if let Some(members) = data.as_object_mut() {
        let place =
            [("project", &event.place.project), ("stage", &event.place.stage), ("service", &event.place.service)];
        for (name, value) in place.into_iter().chain([("task", &row.task)]) {
            if let Some(value) = value {
                members.insert(name.to_owned(), value.clone().into());
            }
        }
    }
    // A delivery that dies again after a redrive is another dead letter.
    let id = uuid::Uuid::new_v5(&row.id.0, format!("dead {}", now.as_millis()).as_bytes()).to_string();
    let mut builder = EventBuilder::new(id, HOST_SOURCE, DELIVERY_DEAD).time(Some(now.to_string())).json(&data);
    if let Some(run) = &event.run {
        builder = builder.extension_str(keptn::RUN_EXTENSION, run);
    }
    builder.build().ok()
}
