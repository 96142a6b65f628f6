//! Problems that monitoring found, and what was done about them.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::right::Right;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use super::query::Parameters;
use crate::auth::Identity;
use crate::engine::problems::{ProblemPage, ProblemView};
use crate::engine::sequencer::SequenceFilter;

/// Most problems on one page.
pub const PAGE_PROBLEMS_MAX: usize = 100;
/// Problems on a page unless the client says otherwise.
pub const PAGE_PROBLEMS_DEFAULT: usize = 50;

/// Which problems to list.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProblemParameters {
    /// Only of this project.
    project: Option<String>,
    /// Only of this stage.
    stage: Option<String>,
    /// Only of this service.
    service: Option<String>,
    /// Only those that are `open`, `remediating` or `resolved`.
    state: Option<String>,
    /// Go on after this page.
    after: Option<String>,
    /// Most to list.
    limit: Option<usize>,
}

/// Lists problems, those with the newest remediation first.
#[utoipa::path(get, path = "/v1/problems", tag = "problems", params(ProblemParameters), responses((status = 200, body = ProblemPage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<ProblemParameters>,
) -> Result<Json<ProblemPage>, Problem> {
    identity.require(Right::Read)?;
    let ProblemParameters { project, stage, service, state: wanted, after, limit } = parameters;
    if wanted.as_deref().is_some_and(|state| !["open", "remediating", "resolved"].contains(&state)) {
        return Err(Problem::bad_request("parameter-invalid", "`state` is open, remediating or resolved"));
    }
    let filter = SequenceFilter { project, stage, service, ..SequenceFilter::default() };
    let limit = limit.unwrap_or(PAGE_PROBLEMS_DEFAULT).clamp(1, PAGE_PROBLEMS_MAX);
    let sees = |project: Option<&str>| identity.sees(project);
    let page = state.engine().problems(&filter, wanted.as_deref(), after.as_deref(), limit, sees).await?;
    Ok(Json(page))
}

/// Returns one problem.
#[utoipa::path(get, path = "/v1/problems/{id}", tag = "problems", params(("id" = String, Path, description = "Id of the problem's run.")),
    responses((status = 200, body = ProblemView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ProblemView>, Problem> {
    identity.require(Right::Read)?;
    let found = state.engine().problem(&id).await?;
    let found = found.filter(|problem| identity.may_in(Right::Read, Some(&problem.project)));
    found.map(Json).ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        let detail = format!("there is no problem `{id}`; `pilothouse problem list` lists them");
        Problem::new(StatusCode::NOT_FOUND, "problem-not-found", detail)
    })
}
