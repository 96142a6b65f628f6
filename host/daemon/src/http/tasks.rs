//! Tasks: who was asked, who answered, and what an open one waits for.

use axum::Json;
use axum::extract::{Path, State};
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use super::query::Parameters;
use crate::auth::Identity;
use crate::engine::view::TaskView;

/// Most tasks on one page.
pub const PAGE_TASKS_MAX: usize = 500;
/// Tasks on a page unless the client says otherwise.
pub const PAGE_TASKS_DEFAULT: usize = 50;

/// Which tasks to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct TaskParameters {
    /// Whether to leave out the ended ones.
    pub open: Option<bool>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Most tasks on the page.
    pub limit: Option<usize>,
}

/// One page of tasks, in the order of their ids.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskPage {
    /// The tasks.
    pub items: Vec<TaskView>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lists tasks in the order of their ids.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(TaskParameters), responses((status = 200, body = TaskPage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<TaskParameters>,
) -> Result<Json<TaskPage>, Problem> {
    identity.require(Right::Read)?;
    let limit = parameters.limit.unwrap_or(PAGE_TASKS_DEFAULT).clamp(1, PAGE_TASKS_MAX);
    let open = parameters.open.unwrap_or(false);
    let mut items = state.engine().tasks(parameters.after.as_deref(), limit, open).await?;
    let next = if items.len() < limit { None } else { items.last().map(|task| task.id.clone()) };
    items.retain(|task| identity.sees(task.project.as_deref()));
    Ok(Json(TaskPage { items, next }))
}

/// Returns one task.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, body = TaskView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<TaskView>, Problem> {
    identity.require(Right::Read)?;
    let task = state.engine().task(&id).await?.filter(|task| identity.sees(task.project.as_deref()));
    task.map(Json).ok_or_else(|| Problem::not_found("there is no such task; its id is that of its triggered event"))
}
