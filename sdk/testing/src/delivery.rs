//! One delivery to make, and what the plugin is told about it.

use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::name::TaskName;
use pilothouse_core::scope::Place;
use pilothouse_core::{Event, keptn};
use pilothouse_runtime::{CallContext, TaskInfo};
use uuid::Uuid;

use crate::host::TestHost;
use crate::{Delivered, TestError};

/// One delivery: starts as what a host would make of the event, and can be changed.
#[derive(Debug)]
pub struct Delivery<'host> {
    host: &'host TestHost,
    event: Event,
    attempt: u32,
    task: Option<(String, Cause, String)>,
    place: Place,
    commit: Option<String>,
    traceparent: Option<String>,
}

impl<'host> Delivery<'host> {
    pub(crate) fn new(host: &'host TestHost, event: Event) -> Self {
        let place = keptn::place(&event, event.data_json().as_ref());
        let triggered = keptn::parse_task_event(event.ty())
            .filter(|(task, kind)| {
                *kind == keptn::TaskEventKind::Triggered
                    && (host.manifest().any_task.is_some() || host.manifest().tasks.iter().any(|it| it.name == *task))
            })
            .map(|(task, _)| (task.to_string(), Cause::Triggered, event.id().to_owned()));
        Self { host, event, attempt: 1, task: triggered, place, commit: None, traceparent: None }
    }

    /// Sets the number of the attempt; 1 without.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Says that the delivery belongs to a task, and why it is made. A `.triggered` event of a task of the manifest says so
    /// by itself. `triggered_id` is the id of the task's `.triggered` event.
    #[must_use]
    pub fn task(mut self, name: &str, cause: Cause, triggered_id: &str) -> Self {
        self.task = Some((name.to_owned(), cause, triggered_id.to_owned()));
        self
    }

    /// Sets project, stage and service; those in the event's data without.
    #[must_use]
    pub fn place(mut self, project: &str, stage: &str, service: &str) -> Self {
        let text = |it: &str| Some(it.to_owned());
        self.place = Place { project: text(project), stage: text(stage), service: text(service) };
        self
    }

    /// Sets the commit that the run is pinned to.
    #[must_use]
    pub fn commit(mut self, commit: &str) -> Self {
        self.commit = Some(commit.to_owned());
        self
    }

    /// Sets the `traceparent` of the host's span.
    #[must_use]
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.traceparent = Some(traceparent.to_owned());
        self
    }

    /// Makes the delivery.
    ///
    /// # Errors
    /// The test is wrong (a task's name that is none); what the plugin does wrong is in [`Delivered::failure`].
    pub fn deliver(self) -> Result<Delivered, TestError> {
        let installation = self.host.installation().clone();
        let run = keptn::run(&self.event);
        let task = match &self.task {
            None => None,
            Some((name, cause, triggered_id)) => Some(TaskInfo {
                name: TaskName::new(name)?,
                triggered_id: triggered_id.clone(),
                run: run.clone().unwrap_or_else(|| keptn::derive_run(self.event.source(), triggered_id)),
                cause: *cause,
            }),
        };
        let cause = task.as_ref().map_or(Cause::Observed, |task| task.cause);
        let context = CallContext {
            delivery: DeliveryId::derive(self.event.source(), self.event.id(), &installation, cause.as_str()),
            installation,
            attempt: self.attempt,
            task,
            place: self.place,
            commit: self.commit,
            run,
            traceparent: self.traceparent,
        };
        self.host.call(context, self.event)
    }
}

/// Makes the id of an event of the test's own.
pub(crate) fn event_id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}
