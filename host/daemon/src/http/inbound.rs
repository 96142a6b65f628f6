//! Inbound routes: requests of tools that speak no CloudEvents. The caller's signature is the way in, and no token.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use pilothouse_core::inbound::{self, Verification};
use pilothouse_core::name::{InstallationName, SecretName};
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::query::{JsonBody, Parameters};
use super::{AppState, body};
use crate::auth::Identity;
use crate::inbound::{Answer, Came, InboundError, LOG_LINES_MAX, LogLine, Maker};

/// Largest body, in bytes.
pub const INBOUND_BYTES_MAX: u64 = 1024 * 1024;

/// A route to set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RouteBody {
    /// How the caller proves who it is: `{"scheme": "github"}`, `gitlab`, `bitbucket`, `slack`, `bearer`, `secret-path`,
    /// `{"scheme": "basic", "user": "…"}`, or `{"scheme": "hmac", "header": "…", …}`.
    #[schema(value_type = Object)]
    pub verification: Verification,
    /// Name of the stored secret that it proves it with.
    pub secret: String,
    /// The text of the mapping file; this or `plugin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The installation whose plugin makes events of the requests; this or `mapping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Which token a person of the tool stands for when they decide an approval there, by their id in the tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actors: BTreeMap<String, String>,
}

/// A route, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Where tools send to.
    pub path: String,
    /// How the caller proves who it is.
    #[schema(value_type = Object)]
    pub verification: Verification,
    /// Name of the stored secret.
    pub secret: String,
    /// The text of the mapping file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// The installation whose plugin makes the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Which token a person of the tool stands for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub actors: BTreeMap<String, String>,
    /// Who set it.
    pub actor: String,
    /// When (RFC 3339).
    pub updated: String,
}

/// All routes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RouteList {
    /// In the order of their names.
    pub items: Vec<RouteView>,
}

/// What became of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Received {
    /// How many events it became.
    pub events: usize,
    /// Their positions in the log.
    pub seq: Vec<u64>,
}

/// Which lines of the log.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LogParameters {
    /// Only of this route.
    pub route: Option<String>,
    /// Most lines.
    pub limit: Option<usize>,
}

/// Lines of the log, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogPage {
    /// The lines; those from before the host's start are gone.
    pub items: Vec<LogLine>,
}

impl From<InboundError> for Problem {
    fn from(error: InboundError) -> Self {
        let text = error.to_string();
        match error {
            InboundError::NotFound(_) => Self::not_found(text),
            InboundError::NotBelieved(code) => Self::new(StatusCode::UNAUTHORIZED, code, text),
            InboundError::Unmappable(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "inbound-unmappable", text),
            InboundError::Mapping(problems) => {
                let errors = problems.iter().map(ToString::to_string).collect();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "mapping-invalid", text).with_errors(errors)
            }
            InboundError::PluginFailed(_) => Self::new(StatusCode::BAD_GATEWAY, "inbound-plugin-failed", text),
            InboundError::PluginAway(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "inbound-plugin-away", text),
            InboundError::NotAllowed(_) => Self::new(StatusCode::FORBIDDEN, "inbound-user-refused", text),
            InboundError::Decide(error) => error.into(),
            InboundError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "inbound-invalid", text),
            InboundError::Ingest(error) => error.into(),
            InboundError::Store(error) => error.into(),
        }
    }
}

/// Lists the inbound routes.
#[utoipa::path(get, path = "/v1/inbound", tag = "inbound", responses((status = 200, body = RouteList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<RouteList>, Problem> {
    identity.require(Right::Admin)?;
    let view = |(name, route): (String, crate::inbound::Route)| RouteView {
        path: format!("/v1/inbound/{name}"),
        name,
        verification: route.verification,
        secret: route.secret.to_string(),
        mapping: (!route.mapping.is_empty()).then_some(route.mapping),
        plugin: route.plugin.map(|plugin| plugin.to_string()),
        actors: route.actors,
        actor: route.actor.as_str().to_owned(),
        updated: route.updated.to_string(),
    };
    let items = state.inbound().list().await?.into_iter().map(view).collect();
    Ok(Json(RouteList { items }))
}

/// Sets an inbound route, or changes it.
#[utoipa::path(put, path = "/v1/inbound/{name}", tag = "inbound", params(("name" = String, Path, description = "The route's name.")),
    request_body = RouteBody, responses((status = 204, description = "Tools can send there."), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<RouteBody>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    let (name, secret) = (InstallationName::new(&name)?, SecretName::new(&body.secret)?);
    let maker = match (body.mapping, body.plugin) {
        (Some(mapping), None) => Maker::Mapping(mapping),
        (None, Some(plugin)) => Maker::Plugin(InstallationName::new(&plugin)?),
        _ => return Err(InboundError::Invalid("give a mapping file or a plugin, one of both".to_owned()).into()),
    };
    state.inbound().set(&name, body.verification, secret, maker, body.actors, &identity.actor).await?;
    tracing::info!(route = %name, actor = identity.actor.as_str(), "InboundRouteSet");
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an inbound route.
#[utoipa::path(delete, path = "/v1/inbound/{name}", tag = "inbound", params(("name" = String, Path, description = "The route's name.")),
    responses((status = 204, description = "It is gone."), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    let name = InstallationName::new(&name)?;
    state.inbound().remove(&name).await?;
    tracing::info!(route = %name, actor = identity.actor.as_str(), "InboundRouteRemoved");
    Ok(StatusCode::NO_CONTENT)
}

/// Returns what became of the last requests, and why one was refused.
#[utoipa::path(get, path = "/v1/inbound-log", tag = "inbound", params(LogParameters), responses((status = 200, body = LogPage)))]
pub(super) async fn log(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<LogParameters>,
) -> Result<Json<LogPage>, Problem> {
    identity.require(Right::Admin)?;
    let limit = parameters.limit.unwrap_or(50).min(LOG_LINES_MAX);
    Ok(Json(LogPage { items: state.inbound().log(parameters.route.as_deref(), limit) }))
}

/// Takes a request of a tool: checks its signature, makes events of it, and accepts them.
#[utoipa::path(post, path = "/v1/inbound/{name}", tag = "inbound", params(("name" = String, Path, description = "The route's name.")),
    security(()), responses((status = 202, description = "What it became is on disk.", body = Received),
        (status = 401, description = "The signature is missing or wrong.", body = Problem), (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 502, description = "The route's plugin failed.", body = Problem), (status = 503, description = "The route's plugin is not there, or not loaded yet.", body = Problem)))]
pub(super) async fn receive(
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    take(&state, &name, "", &headers, request).await
}

/// As [`receive`], for callers whose secret is the last part of the path.
pub(super) async fn receive_below(
    State(state): State<AppState>,
    Path((name, rest)): Path<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    take(&state, &name, &rest, &headers, request).await
}

async fn take(
    state: &AppState,
    name: &str,
    rest: &str,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let limits = &state.config().limits;
    let bounds =
        body::Bounds { bytes_max: INBOUND_BYTES_MAX, idle: limits.header_timeout.0, total: limits.body_timeout.0 };
    let body = body::read(headers, request.into_body(), bounds).await?;
    let shown: String = name.chars().take(80).collect();
    let name =
        InstallationName::new(name).map_err(|_| Problem::not_found(format!("there is no inbound route `{shown}`")))?;
    let header = |name: &str| body::single_header(headers, name);
    let presented = inbound::Request { header: &header, path: rest, body: &body };
    let came = Came { presented, query: &query, headers };
    let Answer { accepted, response, .. } = state.inbound().receive(&name, &came).await?;
    if let Some(response) = response {
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
        return Ok((status, [(CONTENT_TYPE, response.content_type)], response.body).into_response());
    }
    let seq: Vec<u64> = accepted.iter().map(|one| one.seq).collect();
    Ok((StatusCode::ACCEPTED, Json(Received { events: seq.len(), seq })).into_response())
}
