//! Components and installations: upload, look, grant, replace, remove.
//!
//! Two steps, so that a person can read what a component asks for before anything is granted: `POST /v1/plugins`
//! keeps the component and says what it is; `PUT /v1/installations/{name}` installs it by its digest.

use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use pilothouse_core::grant::Grants;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Right;
use pilothouse_core::scope::Scope;
use pilothouse_runtime::Inspection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::body::{self, Bounds};
use super::problem::Problem;
use super::query::{JsonBody, Parameters};
use crate::auth::Identity;
use crate::engine::view::{InstallRequest, InstallationView, Waiting};

/// What a component is and asks for; nothing of it was run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginView {
    /// Digest of the component (`sha256:…`), under which it can be installed.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// Interfaces that it exports.
    pub exports: Vec<String>,
    /// Its manifest.
    #[schema(value_type = Object)]
    pub manifest: pilothouse_core::manifest::Manifest,
    /// What an operator should know.
    pub problems: Vec<PluginProblem>,
}

/// Something wrong with a component.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginProblem {
    /// Whether the component cannot be installed with it.
    pub fatal: bool,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<Inspection> for PluginView {
    fn from(inspection: Inspection) -> Self {
        let problem =
            |it: pilothouse_runtime::InspectionProblem| PluginProblem { fatal: it.fatal, message: it.message };
        Self {
            digest: inspection.digest,
            size_bytes: inspection.size_bytes,
            imports: inspection.imports,
            exports: inspection.exports,
            manifest: inspection.manifest,
            problems: inspection.problems.into_iter().map(problem).collect(),
        }
    }
}

/// A request to install a plugin under a name, or to change that installation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InstallBody {
    /// Digest of an uploaded component.
    pub digest: String,
    /// Settings, an object that fits the manifest's schema. Secrets never stand here: they are in connections.
    #[serde(default = "no_settings")]
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// What is granted; nothing when absent.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub grants: Grants,
    /// Where it applies; everywhere when absent.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub scope: Scope,
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// What shall become of the deliveries that wait for an installation.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct RemoveParameters {
    /// `drain`: handle them first; `dead-letter`: give them up. Without it a removal is refused while any wait.
    pub waiting: Option<String>,
}

/// All installations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InstallationList {
    /// In the order of their names.
    pub items: Vec<InstallationView>,
}

/// Keeps a component, and says what it is and asks for.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins",
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component."),
    responses((status = 201, body = PluginView), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn upload(
    State(state): State<AppState>,
    identity: Identity,
    request: Request,
) -> Result<(StatusCode, Json<PluginView>), Problem> {
    identity.require(Right::Admin)?;
    let limits = &state.config().limits;
    let bounds =
        Bounds { bytes_max: limits.plugin_size_max.0, idle: limits.header_timeout.0, total: limits.body_timeout.0 };
    let (parts, body) = request.into_parts();
    let wasm = body::read(&parts.headers, body, bounds).await?;
    let inspection = state.engine().upload(wasm.to_vec()).await?;
    Ok((StatusCode::CREATED, Json(inspection.into())))
}

/// Lists the installations.
#[utoipa::path(get, path = "/v1/installations", tag = "plugins", responses((status = 200, body = InstallationList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<InstallationList>, Problem> {
    identity.require(Right::Read)?;
    Ok(Json(InstallationList { items: state.engine().installations() }))
}

/// Returns one installation.
#[utoipa::path(get, path = "/v1/installations/{name}", tag = "plugins", params(("name" = String, Path, description = "The installation's name.")),
    responses((status = 200, body = InstallationView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<Json<InstallationView>, Problem> {
    identity.require(Right::Read)?;
    let installation = state.engine().installations().into_iter().find(|installation| installation.name == name);
    installation.map(Json).ok_or_else(|| Problem::not_found("no plugin is installed under this name"))
}

/// Installs a plugin, or replaces the installation of that name.
#[utoipa::path(put, path = "/v1/installations/{name}", tag = "plugins", params(("name" = String, Path, description = "The installation's name.")),
    request_body = InstallBody, responses((status = 200, body = InstallationView), (status = 422, body = Problem)))]
pub(super) async fn install(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<InstallBody>,
) -> Result<Json<InstallationView>, Problem> {
    identity.require(Right::Admin)?;
    let InstallBody { digest, settings, grants, scope } = body;
    let request = InstallRequest { name: installation_name(&name)?, digest, settings, grants, scope };
    Ok(Json(state.engine().install(request, &identity.actor).await?))
}

/// Removes an installation.
#[utoipa::path(delete, path = "/v1/installations/{name}", tag = "plugins",
    params(("name" = String, Path, description = "The installation's name."), RemoveParameters),
    responses((status = 204, description = "It is gone, or drains and then goes."), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    Parameters(parameters): Parameters<RemoveParameters>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    let waiting = match parameters.waiting.as_deref() {
        None => Waiting::Refuse,
        Some("drain") => Waiting::Drain,
        Some("dead-letter") => Waiting::DeadLetter,
        Some(_) => return Err(Problem::bad_request("parameter-invalid", "`waiting` is drain or dead-letter")),
    };
    state.engine().remove(&installation_name(&name)?, waiting, &identity.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn installation_name(text: &str) -> Result<InstallationName, Problem> {
    InstallationName::new(text).map_err(|error| Problem::bad_request("name-invalid", error.to_string()))
}
