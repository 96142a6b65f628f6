//! Reading the log: listing, one event, and the story of one event.

use axum::Json;
use axum::extract::{Path, State};
use pilothouse_core::delivery::DeliveryId;
use pilothouse_core::event::json;
use pilothouse_core::right::{Reach, Right};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{EventFilter, EventRow, Seq};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use super::query::Parameters;
use crate::auth::Identity;
use crate::engine::view::Trace;

/// Most events on one page, without their data.
pub const PAGE_EVENTS_MAX: usize = 500;
/// Most events on one page with their data: at 1 MiB each that is what one answer may hold in memory.
pub const PAGE_EVENTS_WITH_DATA_MAX: usize = 32;
/// Events on a page unless the client says otherwise.
pub const PAGE_EVENTS_DEFAULT: usize = 50;

/// Which events to list; every filter given must match.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventParameters {
    /// Exact type, or the beginning of it followed by `*`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub ty: Option<String>,
    /// Exact source.
    pub source: Option<String>,
    /// Exact id.
    pub id: Option<String>,
    /// Exact subject.
    pub subject: Option<String>,
    /// The run (`shkeptncontext`).
    pub context: Option<String>,
    /// Id of the triggered event that is answered.
    pub triggered_id: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// Id of the delivery that the event came out of.
    pub caused_by: Option<String>,
    /// Accepted at or after this time (RFC 3339).
    pub since: Option<String>,
    /// Accepted before this time (RFC 3339).
    pub until: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<u64>,
    /// Most events on the page.
    pub limit: Option<usize>,
    /// Whether to show the data too.
    pub data: Option<bool>,
}

impl EventParameters {
    /// Makes the store's filter, narrowed to what the holder of the token may see.
    pub(super) fn filter(&self, identity: &Identity) -> Result<EventFilter, Problem> {
        let instant = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
                Problem::bad_request(
                    "parameter-invalid",
                    format!("`{name}` is not a time such as 2026-01-02T15:04:05Z"),
                )
            }),
        };
        Ok(EventFilter {
            ty: self.ty.clone(),
            source: self.source.clone(),
            id: self.id.clone(),
            subject: self.subject.clone(),
            run: self.context.clone(),
            triggered_id: self.triggered_id.clone(),
            project: narrowed(identity, self.project.as_deref())?,
            stage: self.stage.clone(),
            service: self.service.clone(),
            caused_by: self.caused_by.as_deref().map(delivery_id).transpose()?,
            since: instant("since", &self.since)?,
            until: instant("until", &self.until)?,
        })
    }
}

/// Returns the project to filter by. A token that is narrowed to one project needs not name it.
pub(super) fn narrowed(identity: &Identity, asked: Option<&str>) -> Result<Option<String>, Problem> {
    let reach = identity.reach(Right::Read);
    match (asked, &reach) {
        (asked, Reach::All) => Ok(asked.map(str::to_owned)),
        (Some(asked), reach) if reach.contains(Some(asked)) => Ok(Some(asked.to_owned())),
        (Some(_), reach) => Err(Problem::forbidden(format!("the token sees {reach} only"))),
        (None, Reach::Projects(projects)) => match projects.first().filter(|_| projects.len() == 1) {
            Some(only) => Ok(Some(only.clone())),
            None => Err(Problem::forbidden(format!("the token sees {reach}; name one with `project`"))),
        },
    }
}

pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, Problem> {
    text.parse().map_err(|_| Problem::bad_request("parameter-invalid", "a delivery's id is a UUID"))
}

/// An event as the log has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EventView {
    /// Its position in the log.
    pub seq: u64,
    /// When it was accepted (RFC 3339).
    pub accepted: String,
    /// Who caused it.
    pub actor: String,
    /// The project that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The run that it belongs to, given or derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The delivery that it came out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<String>,
    /// How far it is from the event that came in from outside.
    pub depth: u32,
    /// The event in the JSON format, exactly as accepted; in a listing without its data unless asked for.
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
}

impl EventView {
    /// Shows a row, with the event's data or without.
    pub(super) fn new(row: &EventRow, with_data: bool) -> Result<Self, Problem> {
        let text = if with_data || row.event.data().is_none() {
            json::to_vec(&row.event)
        } else {
            // Without data the content type says nothing, but it stays: the event's attributes are shown as they are.
            let bare = row.event.to_builder().data(None).build().map_err(|error| Problem::internal(&error))?;
            json::to_vec(&bare)
        };
        let text = String::from_utf8(text).map_err(|error| Problem::internal(&error))?;
        Ok(Self {
            seq: row.seq.0,
            accepted: row.accepted.to_string(),
            actor: row.actor.as_str().to_owned(),
            project: row.place.project.clone(),
            stage: row.place.stage.clone(),
            service: row.place.service.clone(),
            context: row.run.clone(),
            caused_by: row.caused_by.map(|id| id.to_string()),
            depth: row.depth,
            event: RawValue::from_string(text).map_err(|error| Problem::internal(&error))?,
        })
    }
}

/// One page of events, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events. A page may be short, even empty, and still have a `next`.
    pub items: Vec<EventView>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Lists events, newest first.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventParameters),
    responses((status = 200, body = EventPage), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<EventParameters>,
) -> Result<Json<EventPage>, Problem> {
    identity.require(Right::Read)?;
    let filter = parameters.filter(&identity)?;
    let with_data = parameters.data.unwrap_or(false);
    let most = if with_data { PAGE_EVENTS_WITH_DATA_MAX } else { PAGE_EVENTS_MAX };
    let limit = parameters.limit.unwrap_or(PAGE_EVENTS_DEFAULT).clamp(1, most);
    let page = state.store().events(&filter, parameters.cursor, limit).await?;
    let items = page.items.iter().map(|row| EventView::new(row, with_data)).collect::<Result<_, _>>()?;
    Ok(Json(EventPage { items, next: page.next }))
}

/// Returns one event with its data.
#[utoipa::path(get, path = "/v1/events/{seq}", tag = "events", params(("seq" = u64, Path, description = "Position in the log.")),
    responses((status = 200, body = EventView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(seq): Path<String>,
) -> Result<Json<EventView>, Problem> {
    identity.require(Right::Read)?;
    let row = visible_row(&state, &identity, &seq).await?;
    Ok(Json(EventView::new(&row, true)?))
}

/// Tells why each subscription did or did not get an event, and what caused what.
#[utoipa::path(get, path = "/v1/events/{seq}/trace", tag = "events", params(("seq" = u64, Path, description = "Position in the log.")),
    responses((status = 200, body = Trace), (status = 404, body = Problem)))]
pub(super) async fn trace(
    State(state): State<AppState>,
    identity: Identity,
    Path(seq): Path<String>,
) -> Result<Json<Trace>, Problem> {
    identity.require(Right::Read)?;
    let row = visible_row(&state, &identity, &seq).await?;
    let trace = state.engine().trace(row.seq).await?;
    trace.map(Json).ok_or_else(|| no_event(&seq))
}

async fn visible_row(state: &AppState, identity: &Identity, seq: &str) -> Result<EventRow, Problem> {
    let position = seq
        .parse()
        .map_err(|_| Problem::bad_request("parameter-invalid", "a position in the log is a whole number"))?;
    let row = state.store().event(Seq(position)).await?;
    row.filter(|row| identity.sees(row.place.project.as_deref())).ok_or_else(|| no_event(seq))
}

fn no_event(seq: &str) -> Problem {
    Problem::not_found(format!(
        "there is no event {}, or it is no longer kept",
        seq.chars().take(20).collect::<String>()
    ))
}
