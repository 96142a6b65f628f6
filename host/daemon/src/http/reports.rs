//! Reports on finished tests and evaluations: as JSON, as a page, and by a link that opens one page without a token.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pilothouse_core::right::Right;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use crate::auth::Identity;
use crate::report::page::{self, CONTENT_SECURITY_POLICY};
use crate::report::{ReportLink, ReportView, build};

/// What a link to a report has to say.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct LinkParameters {
    /// When the link ends, in seconds since 1970.
    #[serde(default)]
    expires: String,
    /// The signature.
    #[serde(default)]
    signature: String,
}

/// Builds the report of a task in a project that the holder may read.
async fn seen(state: &AppState, identity: &Identity, id: &str) -> Result<ReportView, Problem> {
    identity.require(Right::Read)?;
    let found = build(state.engine(), id).await?;
    let found = found.filter(|report| identity.may_in(Right::Read, report.project.as_deref()));
    found.ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        let detail = format!(
            "there is no report `{id}`: no test or evaluation with this id has ended, or it is no longer kept; \
             `pilothouse evaluation list` has ids, and so has `reportUrl` in the events"
        );
        Problem::new(StatusCode::NOT_FOUND, "report-not-found", detail)
    })
}

/// Returns the report on a finished test or evaluation.
#[utoipa::path(get, path = "/v1/reports/{id}", tag = "reports", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, body = ReportView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ReportView>, Problem> {
    seen(&state, &identity, &id).await.map(Json)
}

/// Returns the report as one HTML page that needs nothing else.
#[utoipa::path(get, path = "/v1/reports/{id}/page", tag = "reports", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"), (status = 404, body = Problem)))]
pub(super) async fn as_page(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let report = seen(&state, &identity, &id).await?;
    Ok(html(StatusCode::OK, page::page(&report)))
}

/// Makes a link that opens the report without a token, until it ends.
#[utoipa::path(post, path = "/v1/reports/{id}/link", tag = "reports", params(("id" = String, Path, description = "Id of the task's triggered event.")),
    responses((status = 200, body = ReportLink), (status = 404, body = Problem)))]
pub(super) async fn link(
    State(state): State<AppState>,
    identity: Identity,
    Path(id): Path<String>,
) -> Result<Json<ReportLink>, Problem> {
    let report = seen(&state, &identity, &id).await?;
    Ok(Json(state.engine().report_links().make(&report.id, state.clock().now())))
}

/// Opens a report by its link, which stands for a token for this one page.
#[utoipa::path(get, path = "/reports/{id}", tag = "reports", params(("id" = String, Path, description = "Id of the task's triggered event."), LinkParameters), security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"), (status = 403, description = "The link was changed or has expired.", body = String, content_type = "text/html"),
        (status = 404, description = "The report is no longer kept.", body = String, content_type = "text/html")))]
pub(super) async fn linked(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(given): Query<LinkParameters>,
) -> Response {
    // What is no number is no link of ours.
    let expires = given.expires.parse().unwrap_or_default();
    if let Err(error) = state.engine().report_links().check(&id, expires, &given.signature, state.clock().now()) {
        return html(StatusCode::FORBIDDEN, page::refusal("No report", &error.to_string()));
    }
    match build(state.engine(), &id).await {
        Ok(Some(report)) => html(StatusCode::OK, page::page(&report)),
        Ok(None) => html(StatusCode::NOT_FOUND, page::refusal("No report", "this report is no longer kept")),
        Err(error) => {
            tracing::error!(report = %id, %error, "ReportReadError");
            let text = "the report could not be read; the host's log says why";
            html(StatusCode::INTERNAL_SERVER_ERROR, page::refusal("No report", text))
        }
    }
}

/// Answers with a page that may do nothing, is not kept on the way, and does not give its address away.
fn html(status: StatusCode, page: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, page).into_response()
}
