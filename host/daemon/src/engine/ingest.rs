//! Accepting events from outside: who may send what, and one commit for all of them.

use std::time::Instant;

use pilothouse_core::Event;
use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{ANSWER_REFUSED, HOST_SOURCE, is_host_type};
use pilothouse_core::keptn::{self, TaskEventKind};
use pilothouse_core::right::Reach;
use pilothouse_core::sequence::SEQUENCER;
use pilothouse_core::sequence::event::parse_triggered;
use pilothouse_store::{Batch, NewEvent, Precondition, StateKey, StoreError};

use super::Inner;
use super::installation::Snapshot;
use super::plan::{Origin, TASK_KIND, plan};
use super::span;
use super::view::{Accepted, IngestError, Match, Sender};

/// How often a batch that was routed against subscriptions which changed meanwhile is routed again. Each round loses
/// only against an install or removal that committed in between.
const ROUTING_ATTEMPTS_MAX: u32 = 16;

impl Inner {
    /// See [`super::Engine::ingest`].
    pub(super) async fn ingest(&self, events: Vec<Event>, sender: &Sender) -> Result<Vec<Accepted>, IngestError> {
        let (begun_at, begun) = (self.clock.now(), Instant::now());
        if let [event] = events.as_slice()
            && let Some(accepted) = self.answered(event, sender).await?
        {
            return Ok(vec![accepted]);
        }
        for (index, event) in events.iter().enumerate() {
            if let Err(error) = check(event, sender, index) {
                self.record_refused_answer(event, sender, &error).await;
                return Err(error);
            }
        }
        let mut rounds = 0;
        loop {
            let snapshot = self.snapshot.load_full();
            let (batch, firsts) = self.plan_batch(&snapshot, &events, sender)?;
            let (planned, now): (Vec<NewEvent>, _) = (batch.events.clone(), batch.now);
            match self.commit(batch).await {
                Ok(committed) => {
                    self.keep_owed(&planned, &committed, now);
                    self.wake_for(&planned);
                    let ends = firsts.iter().skip(1).copied().chain([planned.len()]);
                    let accepted = firsts.iter().zip(ends).zip(&events).filter_map(|((first, end), event)| {
                        let outcome = committed.events.get(*first)?;
                        // What the host adds because of the event counts with it.
                        let of_event = planned.get(*first..end)?;
                        let made = of_event.iter().map(|new| new.deliveries.len()).sum();
                        let deliveries = if outcome.duplicate { 0 } else { made };
                        Some(Accepted {
                            id: event.id().to_owned(),
                            seq: outcome.seq.0,
                            run: of_event.first()?.run.clone(),
                            duplicate: outcome.duplicate,
                            mismatch: outcome.mismatch,
                            deliveries,
                            hint: (deliveries == 0 && !outcome.duplicate).then(|| hint(&snapshot, event)).flatten(),
                        })
                    });
                    let accepted: Vec<Accepted> = accepted.collect();
                    if self.telemetry.traces() {
                        for (event, accepted) in events.iter().zip(&accepted).filter(|(_, it)| !it.duplicate) {
                            let (run, elapsed) = (accepted.run.as_deref(), begun.elapsed());
                            self.telemetry.span_ended(span::ingested(event, run, accepted.seq, begun_at, elapsed));
                        }
                    }
                    return Ok(accepted);
                }
                Err(StoreError::StaleRouting { .. }) if rounds < ROUTING_ATTEMPTS_MAX => rounds += 1,
                Err(StoreError::Conflict(reason)) => return Err(self.explain_conflict(&events, reason).await),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes an event that is an outside executor's answer; one that is refused is recorded.
    async fn answered(&self, event: &Event, sender: &Sender) -> Result<Option<Accepted>, IngestError> {
        let answered = self.outside_answer(event, sender).await;
        if let Err(error) = &answered {
            self.record_refused_answer(event, sender, error).await;
        }
        answered
    }

    /// Routes all events; returns the batch, and the position in it of each event that was sent.
    fn plan_batch(
        &self,
        snapshot: &Snapshot,
        events: &[Event],
        sender: &Sender,
    ) -> Result<(Batch, Vec<usize>), IngestError> {
        let now = self.clock.now();
        let mut batch = Batch::new(now);
        batch.routing = Some(snapshot.generation());
        let origin = Origin { actor: sender.actor.clone(), ..Origin::host(None, 0) };
        let by_route = sender.actor.as_str().starts_with(crate::inbound::ACTOR_PREFIX);
        let mut firsts = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            firsts.push(batch.events.len());
            // Events of an inbound route may be of a tool's own type, and still belong to a project.
            let place = event.data_json().filter(|_| by_route).map(|data| keptn::place_in(&data)).unwrap_or_default();
            let origin = Origin { place, ..origin.clone() };
            let planned = plan(snapshot, event.clone(), &origin, now).map_err(|error| IngestError::Refused {
                code: "follow-up-invalid",
                message: format!("the event that the host would add because of it is invalid: {error}"),
                index,
            })?;
            batch.events.extend(planned);
        }
        Ok((batch, firsts))
    }

    /// Finds out which event could not be stored because its id is a task's already.
    async fn explain_conflict(&self, events: &[Event], reason: String) -> IngestError {
        for (index, event) in events.iter().enumerate() {
            if keptn::parse_task_event(event.ty()).is_none() {
                continue;
            }
            if let Ok(Some(_)) = self.store.state(&StateKey::new(TASK_KIND, event.id())).await {
                return IngestError::Refused {
                    code: "task-id-taken",
                    message: format!(
                        "another source has triggered a task with the id `{}`; answers name a task by this id alone, so send \
                         the event with another id",
                        event.id()
                    ),
                    index,
                };
            }
        }
        IngestError::Store(StoreError::Conflict(reason))
    }

    /// Records that somebody who was not asked tried to answer a task (invariant 16). Best effort: the refusal itself
    /// does not depend on it.
    async fn record_refused_answer(&self, event: &Event, sender: &Sender, error: &IngestError) {
        let IngestError::Forbidden { code: "answer-not-asked", .. } = error else { return };
        let now = self.clock.now();
        let data = serde_json::json!({
            "type": event.ty(), "id": event.id(), "source": event.source(),
            "triggeredid": event.extension_str(keptn::TRIGGERED_ID_EXTENSION),
            "actor": sender.actor.as_str(),
            "reason": error.to_string(),
        });
        let id = uuid::Uuid::new_v4().to_string();
        let made = EventBuilder::new(id, HOST_SOURCE, ANSWER_REFUSED).time(Some(now.to_string())).json(&data).build();
        if let Ok(made) = made
            && let Err(error) = self.commit_host_event(made, None, Vec::<Precondition>::new()).await
        {
            tracing::warn!(%error, "AnswerRefusedRecordError");
        }
    }

    /// See [`super::Engine::dry_run`].
    pub(super) fn dry_run(&self, event: &Event, sender: &Sender) -> Result<Vec<Match>, IngestError> {
        check(event, sender, 0)?;
        Ok(self.explain(event))
    }

    /// Says for each subscription why it does or does not get the event.
    pub(super) fn explain(&self, event: &Event) -> Vec<Match> {
        let snapshot = self.snapshot.load();
        let data = event.data_json();
        let place = keptn::place(event, data.as_ref());
        let explained = snapshot.subscriptions.explain(event, data.as_ref(), &place);
        let sequence = parse_triggered(event.ty()).map(|asked| Match {
            installation: SEQUENCER.to_owned(),
            matched: true,
            reason: format!("it triggers the sequence `{}` of the stage `{}`", asked.sequence, asked.stage),
        });
        let plugins = explained.into_iter().map(|it| Match {
            installation: it.installation.to_string(),
            matched: it.matched,
            reason: it.reason,
        });
        sequence.into_iter().chain(plugins).collect()
    }
}

/// Applies the rules of who may send what to an event from outside.
fn check(event: &Event, sender: &Sender, index: usize) -> Result<(), IngestError> {
    let forbidden = |code, message: String| Err(IngestError::Forbidden { code, message, index });
    if is_host_type(event.ty()) {
        return forbidden("host-type", format!("events of type `{}` come from the host alone", event.ty()));
    }
    check_reach(event, sender).map_err(|(code, message)| IngestError::Forbidden { code, message, index })?;
    match keptn::parse_task_event(event.ty()) {
        Some((task, TaskEventKind::Started | TaskEventKind::StatusChanged | TaskEventKind::Finished)) => forbidden(
            "answer-not-asked",
            format!(
                "`{}` is an answer to a task `{task}` that the sender was not asked to do; only its bound executors answer, one event at a time",
                event.ty()
            ),
        ),
        _ => Ok(()),
    }
}

/// Refuses an event that the sender has no right to send, or not about this project.
fn check_reach(event: &Event, sender: &Sender) -> Result<(), (&'static str, String)> {
    let place = keptn::place(event, event.data_json().as_ref());
    let project = place.project.as_deref();
    let triggers = matches!(keptn::parse_task_event(event.ty()), Some((_, TaskEventKind::Triggered)));
    let configures = event.ty() == keptn::CONFIGURE_MONITORING_TYPE;
    let reaches: &[&Reach] = match (triggers, configures) {
        (true, _) => &[&sender.may_trigger],
        (false, true) => &[&sender.may_send, &sender.may_trigger],
        (false, false) => &[&sender.may_send],
    };
    if reaches.iter().any(|reach| reach.contains(project)) {
        return Ok(());
    }
    match reaches.iter().find(|reach| !reach.is_nothing()) {
        Some(reach) => {
            let named = project.unwrap_or("none");
            Err(("project-not-allowed", format!("the token is for {reach}; the event's project is {named}")))
        }
        None if triggers => Err(("task-right-missing", format!("sending `{}` needs the right `task`", event.ty()))),
        None => Err(("forbidden", "the token may trigger tasks only; other events need the right `ingest`".to_owned())),
    }
}

/// Says what may have been meant, when nobody gets the event.
fn hint(snapshot: &Snapshot, event: &Event) -> Option<String> {
    match snapshot.subscriptions.near_types(event.ty()) {
        Some(near) => Some(format!("nobody gets events of type `{}`; did you mean `{near}`?", event.ty())),
        None if snapshot.installations.is_empty() => Some("no plugin is installed yet".to_owned()),
        None => Some("no subscription matches; `pilothouse event why` says why".to_owned()),
    }
}
