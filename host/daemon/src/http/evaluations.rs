//! Evaluations: triggered, listed, declared invalid, taken over from elsewhere; and one that is judged on the spot.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::Event;
use pilothouse_core::event::{EventBuilder, json as event_json};
use pilothouse_core::keptn::{COMMIT_EXTENSION, RUN_EXTENSION};
use pilothouse_core::name::{ServiceName, StageName};
use pilothouse_core::right::{Reach, Right};
use pilothouse_files::evaluation::input::{self, Unreadable};
use pilothouse_files::evaluation::window;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::AppState;
use super::problem::Problem;
use super::projects::{MESSAGE_BYTES_MAX, commit_id};
use super::query::{JsonBody, Parameters};
use super::sequences::API_SOURCE;
use crate::auth::Identity;
use crate::engine::evaluations::{EvaluationError, EvaluationFilter, EvaluationView};
use crate::engine::view::Sender;

/// Most evaluations on one page.
pub const PAGE_EVALUATIONS_MAX: usize = 200;
/// Evaluations on a page unless the client says otherwise.
pub const PAGE_EVALUATIONS_DEFAULT: usize = 50;
/// Most results imported by one request.
pub const IMPORT_EVENTS_MAX: usize = 1_000;
/// Most earlier results that one request is judged against.
pub const PREVIOUS_MAX: usize = 100;
/// The task's event.
const TRIGGERED: &str = "sh.keptn.event.evaluation.triggered";

/// What is to be evaluated.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EvaluateBody {
    /// The project. It need not exist where `slo` and `sli` are given.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The service.
    pub service: String,
    /// The window's start (RFC 3339); needs `end` or `timeframe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The window's end (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The window's length, such as `5m`: from `start`, else until now. Default the last five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<String>,
    /// The text of an SLO file, instead of the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<String>,
    /// The text of an SLI file, instead of the project's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sli: Option<String>,
    /// Who measures, instead of whom the project names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sli_provider: Option<String>,
    /// Labels of the run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The commit whose files count; the present one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// An evaluation that was triggered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EvaluationTriggered {
    /// Its id.
    pub id: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// The window's start (RFC 3339).
    pub start: String,
    /// The window's end (RFC 3339).
    pub end: String,
}

/// Which evaluations to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EvaluationParameters {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<u64>,
    /// Most on the page.
    pub limit: Option<usize>,
}

/// One page of evaluations, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EvaluationPage {
    /// The evaluations.
    pub items: Vec<EvaluationView>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Why an evaluation is invalid.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InvalidateBody {
    /// Why.
    pub comment: String,
}

/// Results of another system.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImportBody {
    /// The project that they are of.
    pub project: String,
    /// `sh.keptn.event.evaluation.finished` events in CloudEvents' JSON format, the oldest first.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
}

/// What was imported.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Imported {
    /// How many events, those that were known already included.
    pub imported: usize,
}

/// What is judged on the spot.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JudgeBody {
    /// The text of an SLO file.
    pub slo: String,
    /// The values: an object `{"<sli>": number | null, …}`, or a `get-sli.finished` event.
    #[schema(value_type = Object)]
    pub sli: Value,
    /// Earlier `evaluation.finished` events, or what an evaluation printed, the oldest first.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub previous: Vec<Value>,
}

fn unprocessable(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

impl From<EvaluationError> for Problem {
    fn from(error: EvaluationError) -> Self {
        let text = error.to_string();
        match error {
            EvaluationError::NotFound(_) => Self::not_found(text),
            EvaluationError::Refused(_) => Self::new(StatusCode::CONFLICT, "evaluation-refused", text),
            EvaluationError::Unreadable { .. } => unprocessable("evaluation-invalid", text),
            EvaluationError::Store(error) => error.into(),
        }
    }
}

/// Triggers the task `evaluation` by itself: no shipyard is needed, and where SLO and SLI files are given, no project.
#[utoipa::path(post, path = "/v1/evaluations", tag = "evaluations", request_body = EvaluateBody,
    responses((status = 202, description = "The event is on disk.", body = EvaluationTriggered),
        (status = 422, description = "The window or a name makes no sense.", body = Problem)))]
pub(super) async fn trigger(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<EvaluateBody>,
) -> Result<(StatusCode, Json<EvaluationTriggered>), Problem> {
    let project = identity.project(Right::Task, &body.project)?;
    let (stage, service) = (StageName::new(&body.stage)?, ServiceName::new(&body.service)?);
    let mut commit = commit_id(body.commit.as_deref())?;
    if commit.is_none()
        && let Ok(found) = state.projects().get(&project).await
    {
        // All of it is judged by one commit, which the evaluation names.
        commit = commit_id(found.commit.as_deref())?;
    }
    let now = state.clock().now();
    let instant = now.to_string().parse().unwrap_or_default();
    let found = window::find(body.start.as_deref(), body.end.as_deref(), body.timeframe.as_deref(), instant)
        .map_err(|why| unprocessable("window-invalid", why))?;
    let mut evaluation = json!({ "start": found.start, "end": found.end });
    if let Some(members) = evaluation.as_object_mut() {
        for (name, value) in [("slo", body.slo), ("sli", body.sli), ("sliProvider", body.sli_provider)] {
            members.extend(value.map(|value| (name.to_owned(), value.into())));
        }
    }
    let data = json!({
        "project": project.as_str(), "stage": stage.as_str(), "service": service.as_str(),
        "labels": body.labels, "evaluation": evaluation,
    });
    let (id, run) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let mut event = EventBuilder::new(&id, API_SOURCE, TRIGGERED)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, &run)
        .json(&data);
    if let Some(commit) = &commit {
        event = event.extension_str(COMMIT_EXTENSION, commit.as_str());
    }
    let event = event.build().map_err(|error| unprocessable("event-invalid", error.to_string()))?;
    let sender = Sender {
        may_send: Reach::Projects(BTreeSet::new()),
        may_trigger: identity.reach(Right::Task),
        actor: identity.actor,
    };
    state.engine().ingest(vec![event], &sender).await?;
    Ok((StatusCode::ACCEPTED, Json(EvaluationTriggered { id, run, start: found.start, end: found.end })))
}

/// Lists finished evaluations, newest first.
#[utoipa::path(get, path = "/v1/evaluations", tag = "evaluations", params(EvaluationParameters), responses((status = 200, body = EvaluationPage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<EvaluationParameters>,
) -> Result<Json<EvaluationPage>, Problem> {
    identity.require(Right::Read)?;
    let EvaluationParameters { project, stage, service, run, cursor, limit } = parameters;
    let filter = EvaluationFilter { project, stage, service, run };
    let limit = limit.unwrap_or(PAGE_EVALUATIONS_DEFAULT).clamp(1, PAGE_EVALUATIONS_MAX);
    let (items, next) = state.engine().evaluations(&filter, cursor, limit, |project| identity.sees(project)).await?;
    Ok(Json(EvaluationPage { items, next }))
}

/// Reads an evaluation of a project that the holder has the right for.
async fn seen(state: &AppState, identity: &Identity, right: Right, id: &str) -> Result<EvaluationView, Problem> {
    let found = state.engine().evaluation(id).await?;
    let found = found.filter(|found| identity.may_in(right, found.project.as_deref()));
    found.ok_or_else(|| EvaluationError::NotFound(id.chars().take(80).collect()).into())
}

/// Returns one evaluation with all that it judged; one that still runs, too.
#[utoipa::path(get, path = "/v1/evaluations/{id}", tag = "evaluations", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, body = EvaluationView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<EvaluationView>, Problem> {
    identity.require(Right::Read)?;
    seen(&state, &identity, Right::Read, &id).await.map(Json)
}

/// Declares an evaluation invalid: nothing is compared with it any more.
#[utoipa::path(post, path = "/v1/evaluations/{id}/invalidate", tag = "evaluations", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    request_body = InvalidateBody,
    responses((status = 200, body = EvaluationView), (status = 404, body = Problem), (status = 409, description = "It has not ended yet.", body = Problem)))]
pub(super) async fn invalidate(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<InvalidateBody>,
) -> Result<Json<EvaluationView>, Problem> {
    identity.require(Right::Operate)?;
    if body.comment.len() > MESSAGE_BYTES_MAX || body.comment.contains('\0') {
        let detail = format!("the comment is over {MESSAGE_BYTES_MAX} bytes long, or has a zero byte");
        return Err(unprocessable("message-invalid", detail));
    }
    seen(&state, &identity, Right::Operate, &id).await?;
    state.engine().invalidate(&id, body.comment.trim(), &identity.actor).await?;
    seen(&state, &identity, Right::Read, &id).await.map(Json)
}

/// Takes over results of another system, such as Keptn's, to compare with. They are delivered to nobody.
#[utoipa::path(post, path = "/v1/evaluations/import", tag = "evaluations", request_body = ImportBody,
    responses((status = 200, body = Imported), (status = 422, description = "One is no evaluation of the project; none is taken.", body = Problem)))]
pub(super) async fn import(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<ImportBody>,
) -> Result<Json<Imported>, Problem> {
    let project = identity.project(Right::Admin, &body.project)?;
    if body.events.len() > IMPORT_EVENTS_MAX {
        let detail = format!("there are {} events, at most {IMPORT_EVENTS_MAX} at once", body.events.len());
        return Err(unprocessable("evaluation-invalid", detail));
    }
    let read = |(index, event): (usize, &Value)| -> Result<Event, Problem> {
        let bytes = event.to_string().into_bytes();
        event_json::parse(&bytes)
            .map_err(|error| unprocessable("evaluation-invalid", format!("event {index}: {error}")))
    };
    let events: Vec<Event> = body.events.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let imported = state.engine().import_evaluations(project.as_str(), events, &identity.actor).await?;
    Ok(Json(Imported { imported }))
}

/// Judges values by an SLO file, on the spot: nothing is stored and nobody is asked.
#[utoipa::path(post, path = "/v1/evaluate", tag = "evaluations", request_body = JudgeBody,
    responses((status = 200, description = "The evaluation, in Keptn's form.", body = Object), (status = 422, description = "What cannot be read.", body = Problem)))]
pub(super) async fn judge(identity: Identity, JsonBody(body): JsonBody<JudgeBody>) -> Result<Json<Value>, Problem> {
    // It costs the host work, as an evaluation does.
    identity.require(Right::Task)?;
    if body.previous.len() > PREVIOUS_MAX {
        let detail = format!("there are {} earlier results, at most {PREVIOUS_MAX}", body.previous.len());
        return Err(unprocessable("evaluation-invalid", detail));
    }
    match input::evaluate(body.slo.as_bytes(), &body.sli, &body.previous) {
        Ok((evaluation, _)) => Ok(Json(json!(evaluation))),
        Err(Unreadable::Slo(problems)) => {
            let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
            Err(unprocessable("slo-invalid", format!("the SLO file has errors: {}", errors.join("; "))))
        }
        Err(Unreadable::Values(why)) => Err(unprocessable("sli-invalid", why)),
        Err(Unreadable::Earlier(index, why)) => {
            Err(unprocessable("evaluation-invalid", format!("earlier result {index}: {why}")))
        }
    }
}
