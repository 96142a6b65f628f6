//! Keptn's event types and the parts of their data that the host itself reads.
//!
//! Keptn spec 0.2.x: `sh.keptn.event.<task>.<status>` has five parts and belongs to a task,
//! `sh.keptn.event.<stage>.<sequence>.<status>` has six and belongs to a sequence, except that
//! `sh.keptn.event.<task>.status.changed` also has six and belongs to a task.

use crate::event::Event;
use crate::name::TaskName;
use crate::scope::Place;

/// The extension attribute that names the version of Keptn's event specification.
pub const SPEC_VERSION_EXTENSION: &str = "shkeptnspecversion";
/// The version that the events follow which the host sends.
pub const SPEC_VERSION: &str = "0.2.4";
/// The extension attribute that names the run an event belongs to.
pub const RUN_EXTENSION: &str = "shkeptncontext";
/// The task that says what is done next about a problem.
pub const GET_ACTION: &str = "get-action";
/// The task that does it; `get-action.finished` has what is to be done in `data.action` (Keptn spec 0.2.x).
pub const ACTION: &str = "action";
/// The extension attribute that names the `.triggered` event which an event answers.
pub const TRIGGERED_ID_EXTENSION: &str = "triggeredid";
/// The extension attribute with the commit that a run is pinned to.
pub const COMMIT_EXTENSION: &str = "gitcommitid";
/// The type with which a client asks for monitoring to be configured; triggers the task `configure-monitoring`.
pub const CONFIGURE_MONITORING_TYPE: &str = "sh.keptn.event.monitoring.configure";
/// The task that [`CONFIGURE_MONITORING_TYPE`] triggers.
pub const CONFIGURE_MONITORING_TASK: &str = "configure-monitoring";

/// What a task event says about its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEventKind {
    /// Asks for the task to be done.
    Triggered,
    /// An executor took it.
    Started,
    /// Progress.
    StatusChanged,
    /// An executor's answer.
    Finished,
    /// An earlier answer no longer counts.
    Invalidated,
}

impl TaskEventKind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Triggered => "triggered",
            Self::Started => "started",
            Self::StatusChanged => "status.changed",
            Self::Finished => "finished",
            Self::Invalidated => "invalidated",
        }
    }
}

/// Reads the task's name and the kind from an event type; `None` if it is not a task event.
pub fn parse_task_event(ty: &str) -> Option<(TaskName, TaskEventKind)> {
    let rest = ty.strip_prefix("sh.keptn.event.")?;
    let (task, kind) = rest.split_once('.')?;
    let kind = [
        TaskEventKind::Triggered,
        TaskEventKind::Started,
        TaskEventKind::StatusChanged,
        TaskEventKind::Finished,
        TaskEventKind::Invalidated,
    ]
    .into_iter()
    .find(|it| it.suffix() == kind)?;
    Some((TaskName::new(task).ok()?, kind))
}

/// Returns the event type of `task` and `kind`.
pub fn task_event_type(task: &TaskName, kind: TaskEventKind) -> String {
    format!("sh.keptn.event.{task}.{}", kind.suffix())
}

/// Tells whether the type is one of Keptn's, whose data carries project, stage and service.
pub fn is_keptn_type(ty: &str) -> bool {
    ty.starts_with("sh.keptn.")
}

/// Reads project, stage and service from the data of an event of one of Keptn's types, or of the host's own.
///
/// Lenient: a member that is missing, empty or not a string is absent. `sh.keptn.events.problem` has them in `data` too.
pub fn place(event: &Event, data: Option<&serde_json::Value>) -> Place {
    if !is_keptn_type(event.ty()) && !crate::host_event::is_host_type(event.ty()) {
        return Place::default();
    }
    data.map(place_in).unwrap_or_default()
}

/// Reads project, stage and service from the data of an event, whatever its type.
pub fn place_in(data: &serde_json::Value) -> Place {
    let text = |name: &str| data.get(name).and_then(serde_json::Value::as_str);
    let read = |name: &str| text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    Place { project: read("project"), stage: read("stage"), service: read("service") }
}

/// Returns the run that an event belongs to; for a Keptn event without one, the run derived from its identity.
pub fn run(event: &Event) -> Option<String> {
    if let Some(run) = event.extension_str(RUN_EXTENSION).filter(|run| !run.is_empty()) {
        return Some(run.to_owned());
    }
    is_keptn_type(event.ty()).then(|| derive_run(event.source(), event.id()))
}

/// Namespace of derived runs (a random UUID, fixed for ever).
const RUN_NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x1b9c_44f2_7a6e_4c1d_b8d5_03a9_5d7e_62c8);

/// Derives a run from the identity of the event that starts it, so that a repeat of the event starts no second run.
pub fn derive_run(source: &str, id: &str) -> String {
    uuid::Uuid::new_v5(&RUN_NAMESPACE, format!("{source}\u{0}{id}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_types_have_five_parts_and_status_changed_six() {
        let parse = |ty: &str| parse_task_event(ty).map(|(task, kind)| (task.to_string(), kind));
        assert_eq!(parse("sh.keptn.event.test.triggered"), Some(("test".into(), TaskEventKind::Triggered)));
        assert_eq!(parse("sh.keptn.event.get-sli.finished"), Some(("get-sli".into(), TaskEventKind::Finished)));
        assert_eq!(parse("sh.keptn.event.test.status.changed"), Some(("test".into(), TaskEventKind::StatusChanged)));
        for other in [
            "sh.keptn.event.dev.delivery.triggered",
            "sh.keptn.event.monitoring.configure",
            "sh.keptn.event.test",
            "sh.keptn.event..triggered",
            "sh.keptn.event.test.",
            "dev.cdevents.test.triggered",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
