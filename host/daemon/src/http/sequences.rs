//! Sequences: trigger, list, see, and give orders.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::event::EventBuilder;
use pilothouse_core::keptn::{COMMIT_EXTENSION, RUN_EXTENSION};
use pilothouse_core::name::{SequenceName, ServiceName, StageName};
use pilothouse_core::right::{Reach, Right};
use pilothouse_core::sequence::{self, Command};
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::AppState;
use super::problem::Problem;
use super::projects::commit_id;
use super::query::{JsonBody, Parameters};
use crate::auth::Identity;
use crate::engine::sequencer::{Figures, OrderError, SequenceFilter, SequencePage, SequenceView, state_from_word};
use crate::engine::view::Sender;

/// Most sequences on one page.
pub const PAGE_SEQUENCES_MAX: usize = 500;
/// Sequences on a page unless the client says otherwise.
pub const PAGE_SEQUENCES_DEFAULT: usize = 50;
/// Source of the events with which the API triggers sequences.
pub(super) const API_SOURCE: &str = "/pilothouse/api";
/// Days that figures look back unless the client says otherwise.
const FIGURES_DAYS: u64 = 30;

/// A request to trigger a sequence.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TriggerBody {
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The sequence's name.
    pub sequence: String,
    /// The service.
    pub service: String,
    /// Labels, passed on to all that follows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// More members of the event's data.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// The commit whose files count; the present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The run to belong to; a new one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// A sequence that was triggered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Triggered {
    /// The sequence's id.
    pub id: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// Position of the event that triggered it.
    pub seq: u64,
}

/// Which sequences to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct SequenceParameters {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The sequence's name.
    pub sequence: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// `waiting`, `running`, `delayed`, `paused`, `finished` or `aborted`.
    pub state: Option<String>,
    /// Triggered at or after this time (RFC 3339).
    pub since: Option<String>,
    /// Triggered before this time (RFC 3339).
    pub until: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Most on the page.
    pub limit: Option<usize>,
}

/// A person's order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OrderBody {
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For a run once more: from the step that failed instead of from the start.
    #[serde(default)]
    pub from_failed: bool,
}

/// The time that figures are about.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FiguresParameters {
    /// The first moment (RFC 3339); thirty days ago when absent.
    pub since: Option<String>,
    /// The end (RFC 3339); now when absent.
    pub until: Option<String>,
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let text = error.to_string();
        match error {
            OrderError::NotFound(_) => Self::not_found(text),
            OrderError::Refused(_) => Self::new(StatusCode::CONFLICT, "order-refused", text),
            OrderError::Store(error) => error.into(),
        }
    }
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: &str| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Problem::bad_request("parameter-invalid", format!("`{name}` is not a time such as 2026-01-02T15:04:05Z"))
        })
    };
    text.map(read).transpose()
}

/// Triggers a sequence. It begins when its turn comes.
#[utoipa::path(post, path = "/v1/sequences", tag = "sequences", request_body = TriggerBody,
    responses((status = 202, description = "The event is on disk.", body = Triggered), (status = 404, body = Problem),
        (status = 422, description = "There is no such stage or sequence, or the shipyard cannot be used.", body = Problem)))]
pub(super) async fn trigger(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<TriggerBody>,
) -> Result<(StatusCode, Json<Triggered>), Problem> {
    let project = identity.project(Right::Ingest, &body.project)?;
    let (stage, name) = (StageName::new(&body.stage)?, SequenceName::new(&body.sequence)?);
    let service = ServiceName::new(&body.service)?;
    let commit = commit_id(body.commit.as_deref())?;
    let (_, shipyard) = state.projects().shipyard(&project, commit.as_ref()).await?;
    sequence::find_sequence(&shipyard, stage.as_str(), name.as_str())
        .map_err(|reason| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "sequence-unknown", reason))?;
    let mut data = body.data;
    for (member, value) in [("project", project.as_str()), ("stage", stage.as_str()), ("service", service.as_str())] {
        data.insert(member.to_owned(), value.into());
    }
    if !body.labels.is_empty() {
        data.insert("labels".to_owned(), serde_json::json!(body.labels));
    }
    let id = Uuid::new_v4().to_string();
    let run = body.run.filter(|run| !run.is_empty()).unwrap_or_else(|| Uuid::new_v4().to_string());
    let ty = sequence::event::event_type(stage.as_str(), name.as_str(), "triggered");
    let mut event = EventBuilder::new(&id, API_SOURCE, ty)
        .time(Some(state.clock().now().to_string()))
        .extension_str(RUN_EXTENSION, &run)
        .json(&Value::Object(data));
    if let Some(commit) = &commit {
        event = event.extension_str(COMMIT_EXTENSION, commit.as_str());
    }
    let event = event
        .build()
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event-invalid", error.to_string()))?;
    let sender = Sender {
        may_send: identity.reach(Right::Ingest),
        may_trigger: Reach::Projects(BTreeSet::new()),
        actor: identity.actor,
    };
    let accepted = state.engine().ingest(vec![event], &sender).await?;
    let seq = accepted.first().map_or(0, |accepted| accepted.seq);
    let id = sequence::execution_id(API_SOURCE, &id).to_string();
    Ok((StatusCode::ACCEPTED, Json(Triggered { id, run, seq })))
}

/// Lists sequences, newest first.
#[utoipa::path(get, path = "/v1/sequences", tag = "sequences", params(SequenceParameters), responses((status = 200, body = SequencePage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<SequenceParameters>,
) -> Result<Json<SequencePage>, Problem> {
    identity.require(Right::Read)?;
    let word = |text: &str| {
        state_from_word(text).ok_or_else(|| {
            let text = "`state` is one of waiting, running, delayed, paused, finished, aborted";
            Problem::bad_request("parameter-invalid", text)
        })
    };
    let filter = SequenceFilter {
        project: parameters.project,
        stage: parameters.stage,
        service: parameters.service,
        sequence: parameters.sequence,
        run: parameters.run,
        state: parameters.state.as_deref().map(word).transpose()?,
        since: time("since", parameters.since.as_deref())?,
        until: time("until", parameters.until.as_deref())?,
    };
    let limit = parameters.limit.unwrap_or(PAGE_SEQUENCES_DEFAULT).clamp(1, PAGE_SEQUENCES_MAX);
    let mut page = state.engine().sequences(&filter, parameters.after.as_deref(), limit).await?;
    page.items.retain(|sequence| identity.sees(Some(&sequence.project)));
    Ok(Json(page))
}

/// Reads a sequence of a project that the holder has the right for.
async fn seen(state: &AppState, identity: &Identity, right: Right, id: &str) -> Result<(Uuid, SequenceView), Problem> {
    let missing = || Problem::not_found("there is no such sequence; `GET /v1/sequences` lists them");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let found = state.engine().sequence(id).await?.filter(|found| identity.may_in(right, Some(&found.summary.project)));
    Ok((id, found.ok_or_else(missing)?))
}

/// Returns one sequence: each step, and what it waits for.
#[utoipa::path(get, path = "/v1/sequences/{id}", tag = "sequences", params(("id" = String, Path, description = "The sequence's id.")),
    responses((status = 200, body = SequenceView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<SequenceView>, Problem> {
    identity.require(Right::Read)?;
    Ok(Json(seen(&state, &identity, Right::Read, &id).await?.1))
}

async fn order(
    state: &AppState,
    identity: &Identity,
    id: &str,
    command: Command,
    reason: &str,
) -> Result<Json<SequenceView>, Problem> {
    identity.require(Right::Operate)?;
    if reason.len() > super::projects::MESSAGE_BYTES_MAX {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "message-invalid", "the reason is too long"));
    }
    let (id, _) = seen(state, identity, Right::Operate, id).await?;
    let about = state.engine().order(id, command, &identity.actor, reason).await?;
    let now = state.engine().sequence(about).await?;
    now.map(Json).ok_or_else(|| {
        let detail = "the order is on disk and is carried out; look again in a moment";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "order-pending", detail)
    })
}

/// Pauses a sequence: nothing more is triggered, what is at work goes on.
#[utoipa::path(post, path = "/v1/sequences/{id}/pause", tag = "sequences", params(("id" = String, Path, description = "The sequence's id.")),
    request_body = OrderBody, responses((status = 200, body = SequenceView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn pause(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Json<SequenceView>, Problem> {
    order(&state, &identity, &id, Command::Pause, &body.reason).await
}

/// Lets a paused sequence go on.
#[utoipa::path(post, path = "/v1/sequences/{id}/resume", tag = "sequences", params(("id" = String, Path, description = "The sequence's id.")),
    request_body = OrderBody, responses((status = 200, body = SequenceView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn resume(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Json<SequenceView>, Problem> {
    order(&state, &identity, &id, Command::Resume, &body.reason).await
}

/// Ends a sequence at once: its open tasks are cancelled, and nothing follows from it.
#[utoipa::path(post, path = "/v1/sequences/{id}/abort", tag = "sequences", params(("id" = String, Path, description = "The sequence's id.")),
    request_body = OrderBody, responses((status = 200, body = SequenceView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn abort(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Json<SequenceView>, Problem> {
    order(&state, &identity, &id, Command::Abort, &body.reason).await
}

/// Runs an ended sequence once more, with the same input and commit; returns the new one.
#[utoipa::path(post, path = "/v1/sequences/{id}/rerun", tag = "sequences", params(("id" = String, Path, description = "The sequence's id.")),
    request_body = OrderBody, responses((status = 200, body = SequenceView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn rerun(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Json<SequenceView>, Problem> {
    let command = if body.from_failed { Command::RerunFromFailed } else { Command::Rerun };
    order(&state, &identity, &id, command, &body.reason).await
}

/// Returns counts, durations and the DORA figures of a project's sequences.
#[utoipa::path(get, path = "/v1/projects/{project}/figures", tag = "sequences",
    params(("project" = String, Path, description = "The project's name."), FiguresParameters), responses((status = 200, body = Figures), (status = 404, body = Problem)))]
pub(super) async fn figures(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    Parameters(parameters): Parameters<FiguresParameters>,
) -> Result<Json<Figures>, Problem> {
    let project = identity.project(Right::Read, &project)?;
    let until = time("until", parameters.until.as_deref())?.unwrap_or_else(|| state.clock().now());
    let day = i64::try_from(FIGURES_DAYS * 86_400_000).unwrap_or(i64::MAX);
    let month_ago = Timestamp::from_millis(until.as_millis().saturating_sub(day));
    let since = time("since", parameters.since.as_deref())?.unwrap_or(month_ago);
    state.projects().get(&project).await?;
    Ok(Json(state.engine().figures(project.as_str(), since, until).await?))
}
