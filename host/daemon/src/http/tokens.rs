//! Tokens: make, list, revoke. A token's text is in the answer that makes it and nowhere else.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::right::{Right, RoleGrant};
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::problem::Problem;
use super::query::JsonBody;
use crate::auth::{Identity, NewToken, TokenRecord};

/// A request to make a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenBody {
    /// Its name, which stands with everything that its holder causes.
    pub name: String,
    /// What it may do: `ingest`, `read`, `task`, `approve`, `operate`, `admin`.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rights: BTreeSet<Right>,
    /// Roles, which are sets of rights: `role` is `viewer`, `sender`, `approver`, `operator` or `admin`, `project` the one
    /// project that it counts in.
    #[schema(value_type = Vec<Object>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleGrant>,
    /// Projects that the rights, and the roles that name none, are narrowed to; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// When it stops to be valid (RFC 3339); never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A token that was just made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// Its name.
    pub name: String,
    /// Its text. It is shown this once.
    pub token: String,
}

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// The part of its text that is no secret.
    pub id: String,
    /// What it may do, besides what its roles say.
    pub rights: Vec<String>,
    /// Its roles, as `approver` or `approver@shop`.
    pub roles: Vec<String>,
    /// Projects that it is narrowed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it stops to be valid (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl From<&TokenRecord> for TokenView {
    fn from(record: &TokenRecord) -> Self {
        Self {
            name: record.name.clone(),
            id: record.id.clone(),
            rights: record.rights.iter().map(|right| right.as_str().to_owned()).collect(),
            roles: record.roles.iter().map(ToString::to_string).collect(),
            projects: record.projects.clone(),
            created: record.created.to_string(),
            expires: record.expires.map(|time| time.to_string()),
        }
    }
}

/// All tokens.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// In the order of their names.
    pub items: Vec<TokenView>,
}

/// Lists the tokens.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses((status = 200, body = TokenList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<TokenList>, Problem> {
    identity.require(Right::Admin)?;
    let items = state.tokens().list().iter().map(|record| TokenView::from(record.as_ref())).collect();
    Ok(Json(TokenList { items }))
}

/// Makes a token.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenBody,
    responses((status = 201, body = TokenMade), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    identity.require(Right::Admin)?;
    let expires = match &body.expires {
        None => None,
        Some(text) => Some(Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Problem::bad_request("body-invalid", "`expires` is not a time such as 2026-01-02T15:04:05Z")
        })?),
    };
    let new =
        NewToken { name: body.name.clone(), rights: body.rights, roles: body.roles, projects: body.projects, expires };
    let text = state.tokens().create(new).await?;
    tracing::info!(name = %body.name, actor = identity.actor.as_str(), "TokenCreated");
    Ok((StatusCode::CREATED, Json(TokenMade { name: body.name, token: text.reveal() })))
}

/// Takes a token back at once.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens", params(("name" = String, Path, description = "The token's name.")),
    responses((status = 204, description = "It no longer works."), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn revoke(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    identity.require(Right::Admin)?;
    state.tokens().revoke(&name).await?;
    tracing::info!(%name, actor = identity.actor.as_str(), "TokenRevoked");
    Ok(StatusCode::NO_CONTENT)
}
