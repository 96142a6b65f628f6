//! Whether the host lives and whether it takes events; the only answers that need no token.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;

/// How the host is. Says nothing about what it holds, because everyone may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    /// `ok`, or `refusing`.
    pub status: String,
    /// Why events are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The host's version.
    pub version: String,
}

impl Health {
    fn new(reason: Option<String>) -> Self {
        let status = if reason.is_some() { "refusing" } else { "ok" };
        Self { status: status.to_owned(), reason, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// Answers as long as the process lives.
#[utoipa::path(get, path = "/healthz", tag = "host", security(()), responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health::new(None))
}

/// Tells whether the host takes events, and if not, why.
#[utoipa::path(get, path = "/readyz", tag = "host", security(()), responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let reason = if *state.stopping().borrow() {
        Some("the host is stopping".to_owned())
    } else {
        state.store().status().await.refusing
    };
    let status = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(Health::new(reason)))
}
