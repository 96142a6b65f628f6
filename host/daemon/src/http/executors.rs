//! Executors: who does which task; and outside executors, which fetch their tasks here.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::grant::TaskGrant;
use pilothouse_core::name::{ConnectionName, InstallationName, TaskName};
use pilothouse_core::quantity::Span;
use pilothouse_core::right::{Actor, Right};
use pilothouse_core::scope::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::problem::Problem;
use super::query::JsonBody;
use crate::auth::Identity;
use crate::engine::outside::{ExecutorError, ExecutorView, LeaseView, Registration};

/// Lease unless the client says otherwise.
const LEASE_DEFAULT: Duration = Duration::from_secs(60);

/// An outside executor to register.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExecutorBody {
    /// What it executes: by the task's name, `match` (JSON pointers into the trigger's data, each with the values accepted)
    /// and `finish-timeout`, both optional.
    #[schema(value_type = Object)]
    pub tasks: BTreeMap<TaskName, TaskGrant>,
    /// Where: projects, stages, services; everywhere when absent.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub scope: Scope,
    /// Name of the token that it signs in with; the one that registers it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The connection that its tasks are sent to, as CloudEvents; it fetches them itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
}

/// All executors.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExecutorList {
    /// Plugins first, then outside executors.
    pub items: Vec<ExecutorView>,
}

/// How many tasks to fetch, and for how long.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LeaseBody {
    /// Most tasks; 1 when absent, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// For how long they are this client's, from `1s` to `1h`; `60s` when absent. Telling of progress begins it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// How long to wait for something to do, at most `30s`; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<String>,
}

/// Tasks that were handed out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LeaseList {
    /// In the order of the log; empty if there is nothing to do.
    pub items: Vec<LeaseView>,
}

impl From<ExecutorError> for Problem {
    fn from(error: ExecutorError) -> Self {
        let text = error.to_string();
        match error {
            ExecutorError::NotFound(_) => Self::not_found(text),
            ExecutorError::Taken(_) => Self::new(StatusCode::CONFLICT, "executor-name-taken", text),
            ExecutorError::NotYours { .. } => Self::forbidden(text),
            ExecutorError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "executor-invalid", text),
            ExecutorError::Store(error) => error.into(),
        }
    }
}

fn span(name: &str, text: Option<&str>, default: Duration) -> Result<Duration, Problem> {
    text.map_or(Ok(default), |text| {
        let read: Result<Span, _> = text.parse();
        read.map(|span| span.0).map_err(|error| Problem::bad_request("body-invalid", format!("`{name}`: {error}")))
    })
}

/// Lists the executors: what each is bound to, what is owed to it, and how it is.
#[utoipa::path(get, path = "/v1/executors", tag = "executors", responses((status = 200, body = ExecutorList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<ExecutorList>, Problem> {
    identity.require(Right::Read)?;
    Ok(Json(ExecutorList { items: state.engine().executors().await? }))
}

/// Registers an outside executor, or changes one.
#[utoipa::path(put, path = "/v1/executors/{name}", tag = "executors", params(("name" = String, Path, description = "The executor's name.")),
    request_body = ExecutorBody, responses((status = 204, description = "It is handed its tasks from now on."), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<ExecutorBody>,
) -> Result<StatusCode, Problem> {
    identity.require_everywhere(Right::Operate)?;
    let name = InstallationName::new(&name)?;
    let owner = match &body.token {
        None => identity.actor.clone(),
        Some(token) => {
            if !state.tokens().list().iter().any(|record| record.name == *token) {
                let detail = format!("there is no token `{token}`; make one with `pilothouse token create`");
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "executor-invalid", detail));
            }
            Actor::token(token)
        }
    };
    let push = body.push.as_deref().map(ConnectionName::new).transpose()?;
    if let Some(connection) = push.as_ref().filter(|connection| !state.connections().names().contains(connection)) {
        let detail =
            format!("there is no connection `{connection}`: add `[connections.{connection}]` to the configuration");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "executor-invalid", detail));
    }
    let registration = Registration { name, tasks: body.tasks, scope: body.scope, owner, push };
    state.engine().register_executor(registration, &identity.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an outside executor. What it has not answered is errored.
#[utoipa::path(delete, path = "/v1/executors/{name}", tag = "executors", params(("name" = String, Path, description = "The executor's name.")),
    responses((status = 204, description = "It is gone."), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    identity.require_everywhere(Right::Operate)?;
    let name = InstallationName::new(&name)?;
    state.engine().remove_executor(&name, &identity.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands tasks to an outside executor, for the time of a lease. It answers by sending `.status.changed` and `.finished`
/// events to `/v1/events`, with the task as `triggeredid`.
#[utoipa::path(post, path = "/v1/executors/{name}/lease", tag = "executors", params(("name" = String, Path, description = "The executor's name.")),
    request_body = LeaseBody, responses((status = 200, body = LeaseList), (status = 403, description = "It is another token's.", body = Problem), (status = 404, body = Problem)))]
pub(super) async fn lease(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<LeaseBody>,
) -> Result<Json<LeaseList>, Problem> {
    identity.require(Right::Ingest)?;
    let name = InstallationName::new(&name)?;
    let lease = span("lease", body.lease.as_deref(), LEASE_DEFAULT)?;
    let wait = span("wait", body.wait.as_deref(), Duration::ZERO)?;
    let items = state.engine().lease(&name, body.count.unwrap_or(1), lease, wait, &identity.actor).await?;
    Ok(Json(LeaseList { items }))
}
