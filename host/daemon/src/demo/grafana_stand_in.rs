//! A stand-in for Grafana's HTTP API, which is in no registry: it keeps dashboards and annotations, refuses what has no token
//! and what is no dashboard, so that the demo can show them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::error::DemoError;

/// The token that it takes.
pub(super) const TOKEN: &str = "glsa_demo";
/// Most annotations that are kept; `--keep` may go on for days.
const ANNOTATIONS_MAX: usize = 1_000;

#[derive(Default)]
struct Held {
    dashboards: BTreeMap<String, Value>,
    annotations: Vec<Value>,
}

/// The stand-in; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct GrafanaStandIn(Arc<Mutex<Held>>);

type Answer = (StatusCode, Json<Value>);

impl GrafanaStandIn {
    /// Starts it on a free port, and returns its address.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn start(&self) -> Result<SocketAddr, DemoError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("no free port"))?;
        let address = listener.local_addr().map_err(DemoError::io("no address"))?;
        let app = Router::new()
            .route("/api/dashboards/uid/{uid}", get(read))
            .route("/api/dashboards/db", post(save))
            .route("/api/annotations", get(annotations).post(annotate))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the limits that the panels of this title show, in all dashboards.
    pub(super) fn limits(&self, title: &str) -> Vec<f64> {
        let held = self.held();
        let panels = held.dashboards.values().filter_map(|it| it.get("panels")?.as_array()).flatten();
        let of = panels.filter(|panel| panel.get("title").and_then(Value::as_str) == Some(title));
        let steps = of.filter_map(|panel| panel.pointer("/fieldConfig/defaults/thresholds/steps")?.as_array());
        steps.filter_map(|steps| steps.last()?.get("value")?.as_f64()).collect()
    }

    /// Returns how many runs are marked.
    pub(super) fn marks(&self) -> usize {
        self.held().annotations.len()
    }
}

fn refused(headers: &HeaderMap) -> Option<Answer> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = given.strip_prefix("Bearer ") == Some(TOKEN);
    (!is_known).then(|| (StatusCode::UNAUTHORIZED, Json(json!({ "message": "Invalid API key" }))))
}

async fn read(State(grafana): State<GrafanaStandIn>, headers: HeaderMap, Path(uid): Path<String>) -> Answer {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    match grafana.held().dashboards.get(&uid) {
        Some(dashboard) => (StatusCode::OK, Json(json!({ "dashboard": dashboard, "meta": {} }))),
        None => (StatusCode::NOT_FOUND, Json(json!({ "message": "Dashboard not found" }))),
    }
}

async fn save(State(grafana): State<GrafanaStandIn>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let dashboard = body.get("dashboard").cloned().unwrap_or_default();
    let text = |name: &str| dashboard.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(uid), Some(_), true) = (text("uid"), text("title"), dashboard.get("panels").is_some_and(Value::is_array))
    else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "message": "this is no dashboard" })));
    };
    let uid = uid.to_owned();
    grafana.held().dashboards.insert(uid.clone(), dashboard);
    (StatusCode::OK, Json(json!({ "status": "success", "uid": uid })))
}

async fn annotations(headers: HeaderMap) -> Answer {
    refused(&headers).unwrap_or((StatusCode::OK, Json(json!([]))))
}

async fn annotate(State(grafana): State<GrafanaStandIn>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    if body.get("time").and_then(Value::as_i64).is_none() {
        return (StatusCode::BAD_REQUEST, Json(json!({ "message": "Failed to save annotation" })));
    }
    let mut held = grafana.held();
    if held.annotations.len() < ANNOTATIONS_MAX {
        held.annotations.push(body);
    }
    (StatusCode::OK, Json(json!({ "message": "Annotation added" })))
}
