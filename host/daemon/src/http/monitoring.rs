//! Whether the tools have what a project's files say.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::right::{Reach, Right};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::problem::Problem;
use super::query::JsonBody;
use super::sequences::API_SOURCE;
use crate::auth::Identity;
use crate::engine::monitoring::{MonitoringView, sync_event};
use crate::engine::view::Sender;

/// Whether differences are written or only told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncMode {
    /// Bring the tools in step.
    #[default]
    Sync,
    /// Say where they are not.
    Check,
}

/// Which project is looked at.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SyncBody {
    /// The project.
    pub project: String,
    /// What is to be done; `sync` when absent.
    #[serde(default)]
    pub mode: SyncMode,
}

/// Asks the plugins that keep tools in step how these stand to a project, or to bring them in step. The answer has an id:
/// look there for what it came to.
#[utoipa::path(post, path = "/v1/monitoring", tag = "monitoring", request_body = SyncBody,
    responses((status = 202, description = "They are asked.", body = MonitoringView), (status = 404, body = Problem)))]
pub(super) async fn sync(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<SyncBody>,
) -> Result<(StatusCode, Json<MonitoringView>), Problem> {
    let project = identity.project(Right::Task, &body.project)?;
    let found = state.projects().get(&project).await?;
    let id = Uuid::new_v4().to_string();
    let (mode, now) = (json!(body.mode), state.clock().now());
    let mode = mode.as_str().unwrap_or("sync");
    let event = sync_event(&id, API_SOURCE, &found.name, mode, found.commit.as_deref(), now)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event-invalid", error.to_string()))?;
    let sender = Sender {
        may_send: Reach::Projects(BTreeSet::new()),
        may_trigger: identity.reach(Right::Task),
        actor: identity.actor,
    };
    state.engine().ingest(vec![event], &sender).await?;
    let view = state.engine().monitoring(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(view.ok_or_else(|| unknown(&id))?)))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no look at the monitoring `{}`", id.chars().take(80).collect::<String>()))
}

/// Returns what a look at a project's tools, or their synchronization, has come to so far.
#[utoipa::path(get, path = "/v1/monitoring/{id}", tag = "monitoring", params(("id" = String, Path, description = "What the request that asked for it answered.")),
    responses((status = 200, body = MonitoringView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<MonitoringView>, Problem> {
    identity.require(Right::Read)?;
    let found = state.engine().monitoring(&id).await?;
    let found = found.filter(|found| identity.may_in(Right::Read, Some(&found.project)));
    found.map(Json).ok_or_else(|| unknown(&id))
}
