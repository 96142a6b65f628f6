//! From an event to what is stored with it: its index columns, its deliveries, its task, and the events that the host
//! adds because of it. A function of the event, its origin and a snapshot of the installations.

use std::time::Duration;

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::{EventBuilder, EventError};
use pilothouse_core::host_event::{DEPTH_MAX, HOST_SOURCE, PROJECT_DELETED, SEQUENCE_ORDERED};
use pilothouse_core::keptn::{self, TaskEventKind};
use pilothouse_core::manifest::Order;
use pilothouse_core::name::{InstallationName, TaskName};
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::sequence::event::parse_triggered;
use pilothouse_core::subscription::{Subscriber, SubscriberKind};
use pilothouse_core::task::{self, Action, FINISH_TIMEOUT_DEFAULT, Parent, Task, Trigger};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{NewDelivery, NewEvent, Seq, StateKey, StateWrite, TimerWrite};
use serde_json::Value;

use super::installation::Snapshot;

/// Kind of the state rows that tasks are kept in.
pub(super) const TASK_KIND: &str = "task";

/// Where an event comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Who caused it.
    pub(super) actor: Actor,
    /// The delivery that returned or emitted it.
    pub(super) caused_by: Option<DeliveryId>,
    /// Its depth.
    pub(super) depth: u32,
    /// The task whose executor sends it, which is told when a task that it triggers has finished.
    pub(super) parent: Option<Parent>,
    /// What the sequencer says about it, if it is the sender.
    pub(super) sequencer: Option<BySequencer>,
    /// Where an event belongs whose type has no place in its data: for a plugin's, that of the event in hand.
    pub(super) place: Place,
}

/// What the sequencer says about an event that it sends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BySequencer {
    /// The execution that waits for the end of the task which the event triggers.
    pub(super) execution: Option<uuid::Uuid>,
    /// Longest time until each executor of the task has begun.
    pub(super) start_timeout: Option<Duration>,
    /// Longest time to the end of the task; what the executors' manifests say when `None`.
    pub(super) finish_timeout: Option<Duration>,
}

impl Origin {
    /// The host itself, because of a delivery or of nothing.
    pub(super) fn host(caused_by: Option<DeliveryId>, depth: u32) -> Self {
        Self { actor: Actor::host(), caused_by, depth, parent: None, sequencer: None, place: Place::default() }
    }
}

/// Returns the name of the timer that ends a task.
pub(super) fn finish_timer(task: &str) -> String {
    format!("finish/{task}")
}

/// Returns the name of the timer that ends the wait for executors that have not begun.
pub(super) fn start_timer(task: &str) -> String {
    format!("start/{task}")
}

/// Returns the name of the timer that wakes an executor of a task.
pub(super) fn wake_timer(installation: &InstallationName, task: &str) -> String {
    format!("wake/{installation}/{task}")
}

/// Plans one event, followed by the events that the host adds because of it.
///
/// # Errors
/// An event that the host adds cannot be made; this does not happen for an accepted event.
pub(super) fn plan(
    snapshot: &Snapshot,
    event: Event,
    origin: &Origin,
    now: Timestamp,
) -> Result<Vec<NewEvent>, EventError> {
    let data = event.data_json();
    let place = Some(keptn::place(&event, data.as_ref())).filter(|place| *place != Place::default());
    let place = place.unwrap_or_else(|| origin.place.clone());
    let run = keptn::run(&event);
    let routing = snapshot.subscriptions.route(&event, data.as_ref(), &place);
    let too_deep = (origin.depth > DEPTH_MAX).then(|| {
        format!(
            "the chain of events that led here is over {DEPTH_MAX} long: plugins seem to trigger each other for ever"
        )
    });
    let mut deliveries: Vec<NewDelivery> = sequencer_delivery(&event, origin, now).into_iter().collect();
    let observed =
        routing.observers.iter().map(|subscriber| delivery(&event, subscriber, &place, Cause::Observed, None, now));
    deliveries.extend(observed);
    for delivery in &mut deliveries {
        delivery.dead.clone_from(&too_deep);
    }
    let mut new = NewEvent {
        place,
        run,
        triggered_id: event.extension_str(keptn::TRIGGERED_ID_EXTENSION).map(str::to_owned),
        actor: origin.actor.clone(),
        caused_by: origin.caused_by,
        depth: origin.depth,
        deliveries,
        states: Vec::new(),
        timers: Vec::new(),
        event,
    };
    let mut added = Vec::new();
    if let Some((name, TaskEventKind::Triggered)) = keptn::parse_task_event(new.event.ty()) {
        let executors = if too_deep.is_some() { Vec::new() } else { routing.executors };
        added.extend(trigger(&mut new, name, &executors, origin, now)?);
    }
    if new.event.ty() == keptn::CONFIGURE_MONITORING_TYPE {
        added.push(configure_monitoring(&new, data.as_ref(), now)?);
    }
    let mut planned = vec![new];
    for event in added {
        // The host's own follow-up is not a new level: it belongs to the event that it follows from.
        let mut follow_up = plan(snapshot, event, &Origin { parent: None, sequencer: None, ..origin.clone() }, now)?;
        if let (Some(finished), Some(parent)) = (follow_up.first_mut(), &origin.parent) {
            let told = task_finished_delivery(&finished.event, parent, now);
            finished.deliveries.push(told);
        }
        planned.extend(follow_up);
    }
    Ok(planned)
}

/// Binds the executors of a task; returns the `.finished` event of one that ends at once.
fn trigger(
    new: &mut NewEvent,
    name: TaskName,
    executors: &[&Subscriber],
    origin: &Origin,
    now: Timestamp,
) -> Result<Vec<Event>, EventError> {
    let id = new.event.id().to_owned();
    let timeouts = executors.iter().filter_map(|subscriber| match &subscriber.kind {
        SubscriberKind::Executor { finish_timeout, .. } => Some(*finish_timeout),
        SubscriberKind::Observer { .. } => None,
    });
    let sequencer = origin.sequencer.unwrap_or_default();
    let (task, actions) = Task::trigger(
        Trigger {
            id: id.clone(),
            name,
            run: new.run.clone().unwrap_or_default(),
            place: new.place.clone(),
            executors: executors.iter().map(|subscriber| subscriber.installation.clone()).collect(),
            parent: origin.parent.clone(),
            sequence: sequencer.execution,
            depth: origin.depth,
            start_timeout: sequencer.start_timeout,
            finish_timeout: sequencer.finish_timeout.or(timeouts.max()).unwrap_or(FINISH_TIMEOUT_DEFAULT),
        },
        now,
    );
    new.states.push(StateWrite {
        key: StateKey::new(TASK_KIND, &id),
        revision: 0,
        value: Some(task.to_json()),
        holds: None,
        holds_own_event: task.is_open(),
    });
    if task.is_open() {
        new.timers.push(TimerWrite::Set { name: finish_timer(&id), due: task.finish_by, payload: Vec::new() });
        if let Some(due) = task.start_by {
            new.timers.push(TimerWrite::Set { name: start_timer(&id), due, payload: Vec::new() });
        }
    } else if task.sequence.is_some() {
        new.deliveries.push(task_ended_delivery(&new.event, Seq(0), now));
    }
    for subscriber in executors {
        let delivery = delivery(&new.event, subscriber, &new.place, Cause::Triggered, Some(&id), now);
        new.deliveries.push(delivery);
    }
    let mut finished = Vec::new();
    for action in actions {
        if let Action::SendFinished(installation, answer) = action {
            finished.push(task::event::finished(&task, &new.event, installation.as_ref(), &answer, now)?);
        }
    }
    Ok(finished)
}

/// Makes the task `configure-monitoring` from the event that asks for it (DESIGN: Keptn's own answer was the same).
fn configure_monitoring(new: &NewEvent, data: Option<&Value>, now: Timestamp) -> Result<Event, EventError> {
    let mut data = data.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if let Value::Object(members) = &mut data {
        let ty = members.get("type").cloned().unwrap_or(Value::Null);
        for name in ["configure-monitoring", "configureMonitoring"] {
            members.entry(name).or_insert_with(|| serde_json::json!({ "type": ty }));
        }
    }
    let ty = format!("sh.keptn.event.{}.triggered", keptn::CONFIGURE_MONITORING_TASK);
    let id = keptn::derive_run(new.event.source(), &format!("{}\u{0}{ty}", new.event.id()));
    let mut builder = EventBuilder::new(id, HOST_SOURCE, ty).time(Some(now.to_string())).json(&data);
    if let Some(run) = &new.run {
        builder = builder.extension_str(keptn::RUN_EXTENSION, run);
    }
    for name in [keptn::COMMIT_EXTENSION, "traceparent", "tracestate"] {
        if let Some(value) = new.event.extension(name) {
            builder = builder.extension(name, value.clone());
        }
    }
    builder.build()
}

/// Makes the delivery of `event` to a subscriber.
fn delivery(
    event: &Event,
    subscriber: &Subscriber,
    place: &Place,
    cause: Cause,
    task: Option<&str>,
    now: Timestamp,
) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::derive(event.source(), event.id(), &subscriber.installation, cause.as_str()),
        event: Seq(0),
        consumer: subscriber.installation.clone(),
        cause,
        task: task.map(str::to_owned),
        order_key: order_key(event, place, subscriber.order),
        due: now,
        dead: None,
    }
}

/// Makes the delivery to the sequencer of what it decides about: a sequence that somebody else triggers, a person's order,
/// the end of a project.
fn sequencer_delivery(event: &Event, origin: &Origin, now: Timestamp) -> Option<NewDelivery> {
    let triggers = parse_triggered(event.ty()).is_some() && origin.sequencer.is_none();
    if !triggers && ![SEQUENCE_ORDERED, PROJECT_DELETED].contains(&event.ty()) {
        return None;
    }
    Some(to_sequencer(event, Seq(0), Cause::Triggered, None, now))
}

/// Makes the delivery that tells the sequencer that a task has ended: of the event that triggered the task.
pub(super) fn task_ended_delivery(trigger: &Event, seq: Seq, now: Timestamp) -> NewDelivery {
    to_sequencer(trigger, seq, Cause::TaskFinished, Some(trigger.id().to_owned()), now)
}

fn to_sequencer(event: &Event, seq: Seq, cause: Cause, task: Option<String>, now: Timestamp) -> NewDelivery {
    let consumer = InstallationName::sequencer();
    let id = DeliveryId::derive(event.source(), event.id(), &consumer, cause.as_str());
    NewDelivery { id, event: seq, consumer, cause, task, order_key: None, due: now, dead: None }
}

/// Makes the delivery that tells a task's executor that a task which it triggered has finished.
pub(super) fn task_finished_delivery(finished: &Event, parent: &Parent, now: Timestamp) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::derive(finished.source(), finished.id(), &parent.installation, Cause::TaskFinished.as_str()),
        event: Seq(0),
        consumer: parent.installation.clone(),
        cause: Cause::TaskFinished,
        task: Some(parent.task.clone()),
        order_key: None,
        due: now,
        dead: None,
    }
}

/// Returns the key of ordered delivery: project/stage/service, else `partitionkey`, else `subject`.
pub(super) fn order_key(event: &Event, place: &Place, order: Order) -> Option<String> {
    if order == Order::None {
        return None;
    }
    let parts = [&place.project, &place.stage, &place.service];
    if place.project.is_some() {
        return Some(parts.map(|part| part.as_deref().unwrap_or("")).join("/"));
    }
    event.extension_str("partitionkey").or(event.subject()).map(str::to_owned)
}
