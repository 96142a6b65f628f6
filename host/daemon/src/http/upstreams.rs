//! Upstreams of projects: where their files are kept too, and what to do when both sides changed.

use axum::Json;
use axum::extract::{Path, Request, State};
use http::{HeaderMap, StatusCode};
use pilothouse_core::inbound;
use pilothouse_core::name::SecretName;
use pilothouse_core::quantity::Span;
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::query::JsonBody;
use super::{AppState, body};
use crate::auth::Identity;
use crate::git::merge::Side;
use crate::project::upstream::{ConflictView, INTERVAL_DEFAULT, UpstreamConfig, UpstreamView};

/// Largest body of a push webhook, in bytes.
pub const WEBHOOK_BYTES_MAX: u64 = 1024 * 1024;

/// Where a project's files are kept too.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UpstreamBody {
    /// Its address: `https://…`, `ssh://…` or `git@host:path`.
    pub url: String,
    /// Its branch.
    #[serde(default = "branch_default")]
    pub branch: String,
    /// User name that goes with the token; what GitHub, GitLab and Bitbucket want is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the stored secret: a token for `https`, a private key for `ssh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The SSH server's keys, as `ssh-keyscan` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
    /// Name of the stored secret that signs the server's push webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// Time between two looks, such as `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

fn branch_default() -> String {
    "main".to_owned()
}

/// A decision about a conflict.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConflictBody {
    /// `ours` for what the host has, `theirs` for what the upstream has.
    pub take: Side,
    /// The files that it is about; all that are in conflict when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

fn secret_name(name: Option<&str>) -> Result<Option<SecretName>, Problem> {
    Ok(name.map(SecretName::new).transpose()?)
}

/// Shows how a project and its upstream stand to each other.
#[utoipa::path(get, path = "/v1/projects/{project}/upstream", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = UpstreamView), (status = 404, body = Problem)))]
pub(super) async fn get(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<UpstreamView>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    Ok(Json(state.projects().upstream_view(&name).await?))
}

/// Gives a project an upstream, or changes it. The first look follows at once, in the background. To name a secret takes the
/// right `admin`: it is sent to the address.
#[utoipa::path(put, path = "/v1/projects/{project}/upstream", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    request_body = UpstreamBody, responses((status = 200, body = UpstreamView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    JsonBody(body): JsonBody<UpstreamBody>,
) -> Result<Json<UpstreamView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    if body.secret.is_some() || body.webhook_secret.is_some() {
        // Whoever names both a secret and an address gets the secret sent there.
        identity.require(Right::Admin)?;
    }
    let interval = match &body.interval {
        None => INTERVAL_DEFAULT,
        Some(text) => text.parse::<Span>().map_err(|error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "change-invalid", format!("`interval`: {error}"))
        })?,
    };
    let config = UpstreamConfig {
        url: body.url,
        branch: body.branch,
        user: body.user,
        secret: secret_name(body.secret.as_deref())?,
        known_hosts: body.known_hosts,
        webhook_secret: secret_name(body.webhook_secret.as_deref())?,
        interval,
    };
    state.projects().set_upstream(&name, config, &identity.actor).await?;
    Ok(Json(state.projects().upstream_view(&name).await?))
}

/// Takes a project's upstream away. Both sides keep what they have.
#[utoipa::path(delete, path = "/v1/projects/{project}/upstream", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 204, description = "The project has no upstream any more."), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    state.projects().remove_upstream(&name, &identity.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for a look at the upstream now.
#[utoipa::path(post, path = "/v1/projects/{project}/upstream/sync", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 202, description = "The look is under way."), (status = 404, body = Problem)))]
pub(super) async fn sync(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    state.projects().wake_upstream(&name).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Shows what both sides changed.
#[utoipa::path(get, path = "/v1/projects/{project}/conflict", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = ConflictView), (status = 404, body = Problem), (status = 409, description = "There is no conflict.", body = Problem)))]
pub(super) async fn conflict(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<ConflictView>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    Ok(Json(state.projects().conflict(&name).await?))
}

/// Decides a conflict, for some files or for all. With the last decision both sides are brought together.
#[utoipa::path(post, path = "/v1/projects/{project}/conflict", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    request_body = ConflictBody, responses((status = 200, body = UpstreamView), (status = 404, body = Problem), (status = 409, description = "There is no conflict.", body = Problem)))]
pub(super) async fn decide(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    JsonBody(body): JsonBody<ConflictBody>,
) -> Result<Json<UpstreamView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    state.projects().take_side(&name, body.take, &body.paths, &identity.actor).await?;
    Ok(Json(state.projects().upstream_view(&name).await?))
}

/// Takes a push webhook of GitHub, GitLab or Bitbucket: its signature is the only way in, and no token is needed.
#[utoipa::path(post, path = "/v1/projects/{project}/upstream/webhook", tag = "upstreams", params(("project" = String, Path, description = "The project's name.")),
    security(()), responses((status = 202, description = "The upstream is looked at now."), (status = 404, description = "There is no such route, or the signature is wrong.", body = Problem)))]
pub(super) async fn webhook(
    State(state): State<AppState>,
    Path(project): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Problem> {
    let config = state.config();
    let bounds = body::Bounds {
        bytes_max: WEBHOOK_BYTES_MAX,
        idle: config.limits.header_timeout.0,
        total: config.limits.body_timeout.0,
    };
    let body = body::read(&headers, request.into_body(), bounds).await?;
    let header = |name: &str| body::single_header(&headers, name);
    let presented = inbound::Request { header: &header, path: "", body: &body };
    let name = pilothouse_core::name::ProjectName::new(&project)
        .map_err(|_| Problem::not_found("there is no push webhook at this path, or its signature is wrong"))?;
    state.projects().upstream_webhook(&name, &presented).await.map_err(Problem::not_found)?;
    Ok(StatusCode::ACCEPTED)
}
