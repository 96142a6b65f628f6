//! Deliveries: who was owed an event, how often it was tried, and what to do with dead letters.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::{Reach, Right};
use pilothouse_store::{AttemptRecord, DeliveryFilter, DeliveryRow, Seq};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::events::delivery_id;
use super::problem::Problem;
use super::query::Parameters;
use crate::auth::Identity;

/// Most deliveries on one page.
pub const PAGE_DELIVERIES_MAX: usize = 500;
/// Deliveries on a page unless the client says otherwise.
pub const PAGE_DELIVERIES_DEFAULT: usize = 50;

/// Which deliveries to list; every filter given must match.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeliveryParameters {
    /// Position of the event.
    pub event: Option<u64>,
    /// The installation.
    pub installation: Option<String>,
    /// `ready`, `running`, `done`, `dead` or `cancelled`.
    pub state: Option<String>,
    /// Id of the task's triggered event.
    pub task: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<u64>,
    /// Most deliveries on the page.
    pub limit: Option<usize>,
}

impl DeliveryParameters {
    fn filter(&self) -> Result<DeliveryFilter, Problem> {
        let invalid = |detail: String| Problem::bad_request("parameter-invalid", detail);
        let state = |word: &String| {
            DeliveryState::from_word(word)
                .ok_or_else(|| invalid("`state` is ready, running, done, dead or cancelled".to_owned()))
        };
        Ok(DeliveryFilter {
            event: self.event.map(Seq),
            consumer: self
                .installation
                .as_deref()
                .map(InstallationName::new)
                .transpose()
                .map_err(|error| invalid(error.to_string()))?,
            state: self.state.as_ref().map(state).transpose()?,
            task: self.task.clone(),
        })
    }
}

/// A delivery as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveryView {
    /// Its id.
    pub id: String,
    /// Position of the event.
    pub event: u64,
    /// Who gets it.
    pub installation: String,
    /// Why it was made.
    pub cause: String,
    /// Id of the triggered event of its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// `ready`, `running`, `done`, `dead` or `cancelled`.
    pub state: String,
    /// Attempts since it was made or redriven, the one under way included.
    pub attempts: u32,
    /// When it is tried next (RFC 3339), while it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it last changed (RFC 3339).
    pub updated: String,
    /// The kind of its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The reason of its last failure, or of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DeliveryView {
    fn new(row: &DeliveryRow) -> Self {
        Self {
            id: row.id.to_string(),
            event: row.event.0,
            installation: row.consumer.to_string(),
            cause: row.cause.as_str().to_owned(),
            task: row.task.clone(),
            state: row.state.as_str().to_owned(),
            attempts: row.attempts,
            due: (row.state == DeliveryState::Ready).then(|| row.due.to_string()),
            created: row.created.to_string(),
            updated: row.updated.to_string(),
            failure: row.failure.map(|kind| kind.as_str().to_owned()),
            reason: row.reason.clone(),
        }
    }
}

/// One attempt at a delivery.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AttemptView {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began (RFC 3339).
    pub started: String,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// `done`, or the kind of failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The reason of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The plugin's log, one entry per line.
    #[schema(value_type = Vec<Object>)]
    pub log: Vec<serde_json::Value>,
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Wall-clock time, in microseconds.
    pub wall_us: u64,
    /// Peak of linear memory, in bytes.
    pub memory_bytes_max: u64,
}

impl AttemptView {
    fn new(record: &AttemptRecord) -> Self {
        // A line that is no JSON is shown as it is: the log is for people.
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| serde_json::Value::from(line));
        Self {
            attempt: record.attempt,
            started: record.started.to_string(),
            ended: record.ended.map(|time| time.to_string()),
            outcome: record.outcome.clone(),
            reason: record.reason.clone(),
            log: String::from_utf8_lossy(&record.log).lines().map(line).collect(),
            cpu_us: record.cpu_us,
            wall_us: record.wall_us,
            memory_bytes_max: record.memory_bytes_max,
        }
    }
}

/// One page of deliveries, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The deliveries. A page may be short, even empty, and still have a `next`.
    pub items: Vec<DeliveryView>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A delivery with its attempts, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// Its attempts.
    pub tried: Vec<AttemptView>,
}

/// Lists deliveries, newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", params(DeliveryParameters),
    responses((status = 200, body = DeliveryPage), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<DeliveryParameters>,
) -> Result<Json<DeliveryPage>, Problem> {
    identity.require(Right::Read)?;
    let filter = parameters.filter()?;
    let limit = parameters.limit.unwrap_or(PAGE_DELIVERIES_DEFAULT).clamp(1, PAGE_DELIVERIES_MAX);
    let page = state.store().deliveries(&filter, parameters.cursor, limit).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for row in &page.items {
        if reaches(&state, &identity, Right::Read, row).await? {
            items.push(DeliveryView::new(row));
        }
    }
    Ok(Json(DeliveryPage { items, next: page.next }))
}

/// A right narrowed to projects reaches the deliveries of their events only.
async fn reaches(state: &AppState, identity: &Identity, right: Right, row: &DeliveryRow) -> Result<bool, Problem> {
    let reach = identity.reach(right);
    if reach == Reach::All {
        return Ok(true);
    }
    let event = state.store().event(row.event).await?;
    Ok(event.is_some_and(|event| reach.contains(event.place.project.as_deref())))
}

/// Returns one delivery with its attempts and their logs.
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "deliveries", params(("id" = String, Path, description = "The delivery's id.")),
    responses((status = 200, body = DeliveryDetail), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<DeliveryDetail>, Problem> {
    identity.require(Right::Read)?;
    let row = visible_row(&state, &identity, Right::Read, &id).await?;
    let attempts = state.store().attempts(row.id).await?;
    let tried = attempts.iter().map(AttemptView::new).collect();
    Ok(Json(DeliveryDetail { delivery: DeliveryView::new(&row), tried }))
}

/// Puts a dead letter back, to be tried again from the first attempt.
#[utoipa::path(post, path = "/v1/deliveries/{id}/redrive", tag = "deliveries", params(("id" = String, Path, description = "The delivery's id.")),
    responses((status = 202, body = DeliveryView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn redrive(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    identity.require(Right::Operate)?;
    let row = visible_row(&state, &identity, Right::Operate, &id).await?;
    state.engine().redrive(row.id, &identity.actor).await?;
    let row = visible_row(&state, &identity, Right::Operate, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::new(&row))))
}

async fn visible_row(state: &AppState, identity: &Identity, right: Right, id: &str) -> Result<DeliveryRow, Problem> {
    let missing = || Problem::not_found("there is no such delivery, or its event is no longer kept");
    let row = state.store().delivery(delivery_id(id)?).await?.ok_or_else(missing)?;
    if reaches(state, identity, right, &row).await? { Ok(row) } else { Err(missing()) }
}
