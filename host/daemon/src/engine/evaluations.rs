//! Evaluations: what executors judged, who declared one invalid, and results that come from elsewhere.
//!
//! An evaluation is its `.finished` event; nothing else is kept of it. Never here: judging, which is an executor's.

use pilothouse_core::Event;
use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::HOST_SOURCE;
use pilothouse_core::keptn::{self, COMMIT_EXTENSION, RUN_EXTENSION, TRIGGERED_ID_EXTENSION};
use pilothouse_core::right::Actor;
use pilothouse_files::evaluation::input;
use pilothouse_store::{Batch, EventFilter, EventRow, NewEvent, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::plan::{Origin, plan};
use super::{Engine, Inner};

/// The task that judges.
pub const EVALUATION_TASK: &str = "evaluation";
/// What an evaluation is.
pub const FINISHED: &str = "sh.keptn.event.evaluation.finished";
/// What takes one back (Keptn V1): its `triggeredid` is that of the evaluation.
pub const INVALIDATED: &str = "sh.keptn.event.evaluation.invalidated";
/// Namespace of the ids of such events (a random UUID, fixed for ever).
const NAMESPACE: Uuid = Uuid::from_u128(0x0f5e_8d31_4b7a_4c69_9e02_d1a7_53c8_6b90);
/// Events of one evaluation that are read: started, finished, invalidated, and some progress.
const EVENTS_MAX: usize = 100;
/// How often an event that was routed against subscriptions which changed meanwhile is routed again.
const ATTEMPTS_MAX: u32 = 16;

/// Who declared an evaluation invalid.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvalidatedView {
    /// Who.
    pub actor: String,
    /// When (RFC 3339).
    pub time: String,
    /// Why; may be empty.
    pub comment: String,
}

/// An evaluation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EvaluationView {
    /// Its id: that of the task's triggered event.
    pub id: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `running` or `finished`.
    pub state: String,
    /// `succeeded`, or `errored` for one that could not be done; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `pass`, `warning` or `fail`; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// In percent; absent where nothing was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// How it ended and why.
    pub message: String,
    /// When it ended, else when it was triggered (RFC 3339).
    pub time: String,
    /// The commit of the project's files that it was judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The labels of the run.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub labels: serde_json::Map<String, Value>,
    /// Who declared it invalid: nothing is compared with it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidated: Option<InvalidatedView>,
    /// The whole evaluation, in Keptn's form; only of a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub evaluation: Option<Value>,
}

/// Which evaluations to list.
#[derive(Clone, Debug, Default)]
pub struct EvaluationFilter {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The run.
    pub run: Option<String>,
}

/// Why an evaluation cannot be had, or taken in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvaluationError {
    /// There is no such evaluation.
    #[error("there is no evaluation `{0}`; `pilothouse evaluation list` lists them")]
    NotFound(String),
    /// It cannot be declared invalid.
    #[error("{0}")]
    Refused(String),
    /// An event that is to be imported is none of an evaluation; the index counts from 0.
    #[error("event {index}: {why}")]
    Unreadable {
        /// Which.
        index: usize,
        /// Why.
        why: String,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Lists finished evaluations, newest first; `cursor` is what the page before returned.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn evaluations(
        &self,
        filter: &EvaluationFilter,
        cursor: Option<u64>,
        limit: usize,
        sees: impl Fn(Option<&str>) -> bool,
    ) -> Result<(Vec<EvaluationView>, Option<u64>), StoreError> {
        let events = EventFilter {
            ty: Some(FINISHED.to_owned()),
            project: filter.project.clone(),
            stage: filter.stage.clone(),
            service: filter.service.clone(),
            run: filter.run.clone(),
            ..EventFilter::default()
        };
        let page = self.0.store.events(&events, cursor, limit).await?;
        let mut items = Vec::new();
        for row in page.items.iter().filter(|row| sees(row.place.project.as_deref())) {
            let id = row.event.extension_str(TRIGGERED_ID_EXTENSION).unwrap_or_else(|| row.event.id());
            items.push(view(id, row, self.0.invalidated(id).await?, false));
        }
        Ok((items, page.next))
    }

    /// Returns one evaluation, finished or running; `None` if there is none, or no longer.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn evaluation(&self, id: &str) -> Result<Option<EvaluationView>, StoreError> {
        let filter = EventFilter { triggered_id: Some(id.to_owned()), ..EventFilter::default() };
        let events = self.0.store.events(&filter, None, EVENTS_MAX).await?.items;
        if let Some(row) = events.iter().find(|row| row.event.ty() == FINISHED) {
            let invalidated = events.iter().find(|row| row.event.ty() == INVALIDATED).map(invalidated);
            return Ok(Some(view(id, row, invalidated, true)));
        }
        match self.0.read_task(id).await? {
            Some(task) if task.task.name.as_str() == EVALUATION_TASK => Ok(Some(running(&task.trigger))),
            _ => Ok(None),
        }
    }

    /// Declares an evaluation invalid, so that nothing is compared with it any more. Again, it has no effect.
    ///
    /// # Errors
    /// There is none, or it has not ended.
    pub async fn invalidate(&self, id: &str, comment: &str, actor: &Actor) -> Result<(), EvaluationError> {
        let found = self.evaluation(id).await?.ok_or_else(|| EvaluationError::NotFound(id.to_owned()))?;
        if found.state != "finished" {
            return Err(EvaluationError::Refused(
                "the evaluation has not ended yet; wait for it, or abort it".to_owned(),
            ));
        }
        let now = self.0.clock.now();
        let data = json!({
            "project": found.project, "stage": found.stage, "service": found.service,
            "message": comment, "actor": actor.as_str(),
        });
        let event_id = Uuid::new_v5(&NAMESPACE, id.as_bytes()).to_string();
        let event = EventBuilder::new(event_id, HOST_SOURCE, INVALIDATED)
            .time(Some(now.to_string()))
            .extension_str(RUN_EXTENSION, &found.run)
            .extension_str(TRIGGERED_ID_EXTENSION, id)
            .json(&data)
            .build()
            .map_err(|error| EvaluationError::Refused(format!("it cannot be recorded: {error}")))?;
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.0.snapshot.load_full();
            let mut batch = Batch::new(now);
            batch.routing = Some(snapshot.generation());
            let origin = Origin { actor: actor.clone(), ..Origin::host(None, 0) };
            batch.events = plan(&snapshot, event.clone(), &origin, now)
                .map_err(|error| EvaluationError::Refused(format!("it cannot be recorded: {error}")))?;
            match self.0.commit_and_wake(batch).await {
                Err(StoreError::StaleRouting { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(EvaluationError::Refused("the subscriptions change all the time; try again".to_owned()))
    }

    /// Takes in results of another system, the oldest first, to compare with. They are delivered to nobody. One that is
    /// known already has no effect. Returns how many there are.
    ///
    /// # Errors
    /// One is no `evaluation.finished` event of the project; then none is taken.
    pub async fn import_evaluations(
        &self,
        project: &str,
        events: Vec<Event>,
        actor: &Actor,
    ) -> Result<usize, EvaluationError> {
        let mut batch = Batch::new(self.0.clock.now());
        for (index, event) in events.into_iter().enumerate() {
            batch
                .events
                .push(imported(project, event, actor).map_err(|why| EvaluationError::Unreadable { index, why })?);
        }
        let count = batch.events.len();
        self.0.store.commit(batch).await?;
        Ok(count)
    }
}

/// Checks an event that is to be imported.
fn imported(project: &str, event: Event, actor: &Actor) -> Result<NewEvent, String> {
    if event.ty() != FINISHED {
        return Err(format!("its type is `{}`; only `{FINISHED}` is imported", event.ty()));
    }
    let data = event.data_json();
    let place = keptn::place(&event, data.as_ref());
    let [Some(of), Some(_), Some(_)] = [&place.project, &place.stage, &place.service] else {
        return Err("its data does not name project, stage and service".to_owned());
    };
    if of != project {
        return Err(format!("it is of the project `{of}`, and not of `{project}`"));
    }
    input::earlier(&json!({ "data": data, "specversion": "1.0", "type": FINISHED }))?;
    Ok(NewEvent {
        place,
        run: keptn::run(&event),
        triggered_id: event.extension_str(TRIGGERED_ID_EXTENSION).map(str::to_owned),
        actor: actor.clone(),
        caused_by: None,
        depth: 0,
        deliveries: Vec::new(),
        states: Vec::new(),
        timers: Vec::new(),
        event,
    })
}

impl Inner {
    async fn invalidated(&self, id: &str) -> Result<Option<InvalidatedView>, StoreError> {
        let filter = EventFilter {
            ty: Some(INVALIDATED.to_owned()),
            triggered_id: Some(id.to_owned()),
            ..EventFilter::default()
        };
        let found = self.store.events(&filter, None, 1).await?.items.into_iter().next();
        Ok(found.as_ref().map(invalidated))
    }
}

fn invalidated(row: &EventRow) -> InvalidatedView {
    let data = row.event.data_json().unwrap_or_default();
    let comment = data.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    InvalidatedView { actor: row.actor.as_str().to_owned(), time: row.accepted.to_string(), comment }
}

fn running(trigger: &EventRow) -> EvaluationView {
    let mut view = view(trigger.event.id(), trigger, None, false);
    "running".clone_into(&mut view.state);
    (view.status, view.result, view.score, view.message) = (None, None, None, String::new());
    view
}

fn view(id: &str, row: &EventRow, invalidated: Option<InvalidatedView>, whole: bool) -> EvaluationView {
    let data = row.event.data_json().unwrap_or_default();
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let evaluation = data.get("evaluation").filter(|it| it.get("result").is_some());
    EvaluationView {
        id: id.to_owned(),
        run: row.run.clone().unwrap_or_default(),
        project: row.place.project.clone(),
        stage: row.place.stage.clone(),
        service: row.place.service.clone(),
        state: "finished".to_owned(),
        status: text("/status"),
        result: text("/result").or_else(|| text("/evaluation/result")),
        score: evaluation.and_then(|it| it.get("score")).and_then(Value::as_f64),
        message: text("/message").unwrap_or_default(),
        time: row.event.time().map_or_else(|| row.accepted.to_string(), str::to_owned),
        commit: row.event.extension_str(COMMIT_EXTENSION).map(str::to_owned),
        labels: data.get("labels").and_then(Value::as_object).cloned().unwrap_or_default(),
        invalidated,
        evaluation: evaluation.filter(|_| whole).cloned(),
    }
}
