//! Problems that monitoring found: what was done about each, and whether it is over.
//!
//! A problem is its run: what triggered a remediation, the remediations that followed, and the end that monitoring tells of.
//! Nothing else is kept of it.

use pilothouse_core::keptn::{ACTION, GET_ACTION, TRIGGERED_ID_EXTENSION, TaskEventKind, parse_task_event};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{EventFilter, EventRow, StoreError};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Engine;
use super::evaluations::EVALUATION_TASK;
use super::sequencer::{SequenceFilter, SequenceSummary};

/// The sequence that heals.
pub const REMEDIATION: &str = "remediation";
/// Tells that an alert is over.
const ALERT_RESOLVED: &str = "io.prometheus.alert.resolved.v1";
/// Tells of a problem in Keptn's older form, its end included.
const PROBLEM: &str = "sh.keptn.events.problem";
/// Most events of a run that are read: a problem with fifty actions has about a thousand.
const EVENTS_MAX: usize = 2_000;

/// A problem.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProblemView {
    /// Its id: that of its run (`shkeptncontext`).
    pub id: String,
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The service.
    pub service: String,
    /// Its title.
    pub title: String,
    /// What causes it, where that is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root_cause: String,
    /// `remediating` while something is done about it, `resolved` when monitoring says that it is over or the last remediation
    /// passed, `open` when nothing helped or nothing was done.
    pub state: String,
    /// When it was told of (RFC 3339).
    pub opened: String,
    /// When it was over (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// Where monitoring shows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The labels of the run.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub labels: Map<String, Value>,
    /// What was done about it, in order.
    pub actions: Vec<ActionView>,
    /// How the last remediation ended, and why; empty while there is none that has ended.
    pub message: String,
}

/// What was done about a problem.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ActionView {
    /// Its name for people.
    pub name: String,
    /// What executors know it by.
    pub action: String,
    /// What it was done with.
    #[schema(value_type = Object)]
    pub value: Value,
    /// When it was chosen (RFC 3339).
    pub time: String,
    /// How it ended: `pass`, `warning` or `fail`; absent while it is at work, or was not begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What its executors said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it helped: the result of the evaluation after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<String>,
    /// Id of that evaluation; it has a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation_id: Option<String>,
}

/// One page of problems, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemPage {
    /// The problems.
    pub items: Vec<ProblemView>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Engine {
    /// Lists problems, those with the newest remediation first. A page may be short and still have a next one.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn problems(
        &self,
        filter: &SequenceFilter,
        state: Option<&str>,
        after: Option<&str>,
        limit: usize,
        sees: impl Fn(Option<&str>) -> bool,
    ) -> Result<ProblemPage, StoreError> {
        let filter = SequenceFilter { sequence: Some(REMEDIATION.to_owned()), ..filter.clone() };
        let page = self.sequences(&filter, after, limit).await?;
        let mut items: Vec<ProblemView> = Vec::new();
        for found in page.items.iter().filter(|found| sees(Some(&found.project))) {
            if items.iter().any(|known| known.id == found.run) {
                continue;
            }
            let events = self.events_of(&found.run).await?;
            // A remediation after this one stood on a page before, with the same problem.
            if let Some(view) = read(&found.run, &events)
                && is_newest(found, &events)
                && state.is_none_or(|state| state == view.state)
            {
                items.push(view);
            }
        }
        Ok(ProblemPage { items, next: page.next })
    }

    /// Returns one problem; `None` if there is none, or no longer.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn problem(&self, id: &str) -> Result<Option<ProblemView>, StoreError> {
        Ok(read(id, &self.events_of(id).await?))
    }

    /// Returns the events of a run, the oldest first.
    async fn events_of(&self, run: &str) -> Result<Vec<EventRow>, StoreError> {
        let filter = EventFilter { run: Some(run.to_owned()), ..EventFilter::default() };
        let mut events = self.0.store.events(&filter, None, EVENTS_MAX).await?.items;
        events.reverse();
        Ok(events)
    }
}

/// Tells whether a type is that of a remediation's beginning (`triggered`) or end (`finished`).
fn is_remediation(ty: &str, verb: &str) -> bool {
    let rest = ty.strip_prefix("sh.keptn.event.").and_then(|rest| rest.strip_suffix(verb)?.strip_suffix('.'));
    rest.and_then(|rest| rest.split_once('.')).is_some_and(|(_, sequence)| sequence == REMEDIATION)
}

fn is_newest(found: &SequenceSummary, events: &[EventRow]) -> bool {
    let triggered = Timestamp::parse_rfc3339(&found.triggered);
    let last = events.iter().rev().find(|row| is_remediation(row.event.ty(), "triggered"));
    last.is_none_or(|last| triggered.is_none_or(|triggered| last.accepted <= triggered))
}

fn text(data: &Value, pointers: &[&str]) -> String {
    let one = |pointer: &&str| data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    pointers.iter().find_map(one).unwrap_or_default().to_owned()
}

fn time(row: &EventRow) -> String {
    row.event.time().map_or_else(|| row.accepted.to_string(), str::to_owned)
}

/// Reads a problem from the events of its run, the oldest first.
fn read(id: &str, events: &[EventRow]) -> Option<ProblemView> {
    let first = events.iter().find(|row| is_remediation(row.event.ty(), "triggered"))?;
    let mut view = begin(id, first);
    let mut result = None;
    // Whoever sends an event chooses its run: what belongs elsewhere is none of this problem's.
    for row in events.iter().filter(|row| row.place == first.place) {
        let ty = row.event.ty();
        let data = row.event.data_json().unwrap_or_default();
        if is_remediation(ty, "triggered") {
            result = None;
        } else if is_remediation(ty, "finished") {
            result = Some(text(&data, &["/result"]));
            view.message = text(&data, &["/message"]);
        } else if is_end(ty, &data) {
            let ended = Some(text(&data, &["/problem/endsAt"])).filter(|ended| !ended.is_empty());
            view.closed = Some(ended.unwrap_or_else(|| time(row)));
        } else if let Some((task, TaskEventKind::Finished)) = parse_task_event(ty) {
            task_ended(&mut view.actions, task.as_str(), row, &data);
        }
    }
    let helped = matches!(result.as_deref(), Some("pass" | "warning"));
    let state = match (&view.closed, &result) {
        (Some(_), _) => "resolved",
        (None, None) => "remediating",
        (None, Some(_)) if helped => "resolved",
        (None, Some(_)) => "open",
    };
    state.clone_into(&mut view.state);
    Some(view)
}

fn begin(id: &str, row: &EventRow) -> ProblemView {
    let data = row.event.data_json().unwrap_or_default();
    ProblemView {
        id: id.to_owned(),
        project: row.place.project.clone().unwrap_or_default(),
        stage: row.place.stage.clone().unwrap_or_default(),
        service: row.place.service.clone().unwrap_or_default(),
        title: text(&data, &["/problem/problemTitle", "/problem/ProblemTitle"]),
        root_cause: text(&data, &["/problem/rootCause", "/problem/RootCause"]),
        opened: time(row),
        url: text(&data, &["/problem/problemURL", "/problem/ProblemURL"]),
        labels: data.get("labels").and_then(Value::as_object).cloned().unwrap_or_default(),
        ..ProblemView::default()
    }
}

/// Tells whether an event says that the problem is over.
fn is_end(ty: &str, data: &Value) -> bool {
    let state = text(data, &["/State", "/state", "/problem/State", "/problem/state"]);
    ty == ALERT_RESOLVED
        || (ty == PROBLEM && ["RESOLVED", "CLOSED"].iter().any(|word| state.eq_ignore_ascii_case(word)))
}

/// Takes in the end of a task of a remediation.
fn task_ended(actions: &mut Vec<ActionView>, task: &str, row: &EventRow, data: &Value) {
    let result = text(data, &["/result"]);
    match (task, actions.last_mut()) {
        (GET_ACTION, _) if data.get(ACTION).is_some() && result != "fail" => actions.push(ActionView {
            name: text(data, &["/action/name", "/action/action"]),
            action: text(data, &["/action/action"]),
            value: data.pointer("/action/value").cloned().unwrap_or_default(),
            time: time(row),
            ..ActionView::default()
        }),
        (ACTION, Some(last)) => {
            last.result = Some(result);
            last.message = text(data, &["/message"]);
        }
        (EVALUATION_TASK, Some(last)) => {
            last.evaluation = Some(result);
            last.evaluation_id = row.event.extension_str(TRIGGERED_ID_EXTENSION).map(str::to_owned);
        }
        _ => {}
    }
}
