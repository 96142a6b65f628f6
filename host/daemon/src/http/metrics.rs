//! `GET /metrics`: what the host did, in Prometheus's text format.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use pilothouse_core::right::Right;

use super::AppState;
use super::problem::Problem;
use crate::auth::Identity;

/// Returns all metrics.
#[utoipa::path(get, path = "/metrics", tag = "host", responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn scrape(State(state): State<AppState>, identity: Identity) -> Result<Response, Problem> {
    identity.require(Right::Read)?;
    let status = state.store().status().await;
    let counts = state.store().delivery_counts().await?;
    let text = state.metrics().write(&status, &counts).map_err(|error| Problem::internal(&error))?;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, media_type)], text).into_response())
}
