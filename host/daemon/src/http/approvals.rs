//! Approvals: what waits for people, and what they decide.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use super::projects::MESSAGE_BYTES_MAX;
use super::query::{JsonBody, Parameters};
use crate::auth::Identity;
use crate::engine::approval::{ApprovalFilter, ApprovalView, DecideError, Verdict};

/// Most approvals on one page.
pub const PAGE_APPROVALS_MAX: usize = 200;
/// Approvals on a page unless the client says otherwise.
pub const PAGE_APPROVALS_DEFAULT: usize = 50;

/// Which approvals to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ApprovalParameters {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// `open` (when absent), `ended` or `all`.
    pub state: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<u64>,
    /// Most on the page.
    pub limit: Option<usize>,
}

/// One page of approvals, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApprovalPage {
    /// The approvals.
    pub items: Vec<ApprovalView>,
    /// Give it as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What the holder of the token decides.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DecisionBody {
    /// Yes or no.
    pub decision: Verdict,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Self {
        let text = error.to_string();
        match error {
            DecideError::NotFound(_) => Self::not_found(text),
            DecideError::Refused(_) => Self::new(StatusCode::CONFLICT, "decision-refused", text),
            DecideError::Store(error) => error.into(),
        }
    }
}

/// Lists what waits for people to decide, newest first.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", params(ApprovalParameters), responses((status = 200, body = ApprovalPage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<ApprovalParameters>,
) -> Result<Json<ApprovalPage>, Problem> {
    identity.require(Right::Read)?;
    let open = match parameters.state.as_deref() {
        None | Some("open") => Some(true),
        Some("ended") => Some(false),
        Some("all") => None,
        Some(_) => return Err(Problem::bad_request("parameter-invalid", "`state` is `open`, `ended` or `all`")),
    };
    let ApprovalParameters { project, stage, service, cursor, limit, .. } = parameters;
    let filter = ApprovalFilter { project, stage, service, open };
    let limit = limit.unwrap_or(PAGE_APPROVALS_DEFAULT).clamp(1, PAGE_APPROVALS_MAX);
    let (items, next) = state.engine().approvals(&filter, cursor, limit, |project| identity.sees(project)).await?;
    Ok(Json(ApprovalPage { items, next }))
}

/// Reads an approval of a project that the holder has the right for.
async fn seen(state: &AppState, identity: &Identity, right: Right, id: &str) -> Result<ApprovalView, Problem> {
    let found = state.engine().approval(id).await?;
    let found = found.filter(|found| identity.may_in(right, found.project.as_deref()));
    found.ok_or_else(|| DecideError::NotFound(id.chars().take(80).collect()).into())
}

/// Returns one approval.
#[utoipa::path(get, path = "/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, body = ApprovalView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    identity.require(Right::Read)?;
    seen(&state, &identity, Right::Read, &id).await.map(Json)
}

/// Approves or declines, in the name of the token's holder. What comes of it, the plugin that executes the approval says:
/// look again.
#[utoipa::path(post, path = "/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    request_body = DecisionBody,
    responses((status = 202, description = "The decision is on disk.", body = ApprovalView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn decide(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<DecisionBody>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    identity.require(Right::Approve)?;
    if body.comment.len() > MESSAGE_BYTES_MAX || body.comment.contains('\0') {
        let detail = format!("the comment is over {MESSAGE_BYTES_MAX} bytes long, or has a zero byte");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "message-invalid", detail));
    }
    seen(&state, &identity, Right::Approve, &id).await?;
    state.engine().decide(&id, body.decision, body.comment.trim(), &identity.actor).await?;
    let now = seen(&state, &identity, Right::Approve, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(now)))
}
