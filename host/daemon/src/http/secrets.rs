//! Stored secrets: written and never read back; connections and upstreams use them.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::name::SecretName;
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::problem::Problem;
use super::query::JsonBody;
use crate::auth::Identity;
use crate::secrets::{SecretError, SecretView};

/// A secret's text.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// The text: a token, a password, a private key. At most 64 KiB.
    pub text: String,
}

/// All secrets, without their texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SecretList {
    /// In the order of their names.
    pub items: Vec<SecretView>,
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        let text = error.to_string();
        match error {
            SecretError::NotFound(_) => Self::not_found(text),
            SecretError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "secret-invalid", text),
            SecretError::Key(_) => Self::new(StatusCode::CONFLICT, "secrets-key", text),
            SecretError::Store(error) => error.into(),
        }
    }
}

/// Lists the secrets: their names, when they were stored last, and by whom.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets", responses((status = 200, body = SecretList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<SecretList>, Problem> {
    identity.require(Right::Admin)?;
    Ok(Json(SecretList { items: state.secrets().list().await? }))
}

/// Stores a secret, or replaces it. Connections that use it have the new text at once.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "secrets", params(("name" = String, Path, description = "The secret's name.")),
    request_body = SecretBody, responses((status = 204, description = "It is stored."), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<SecretBody>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    let name = SecretName::new(&name)?;
    state.secrets().set(&name, &body.text, &identity.actor).await?;
    state.reload_connections().await;
    tracing::info!(%name, actor = identity.actor.as_str(), "SecretStored");
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret. What uses it fails from now on.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "secrets", params(("name" = String, Path, description = "The secret's name.")),
    responses((status = 204, description = "It is gone."), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    let name = SecretName::new(&name)?;
    state.secrets().remove(&name).await?;
    state.reload_connections().await;
    tracing::info!(%name, actor = identity.actor.as_str(), "SecretRemoved");
    Ok(StatusCode::NO_CONTENT)
}
