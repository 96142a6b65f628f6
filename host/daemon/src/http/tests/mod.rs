//! The API without a socket: a real host in a temporary folder, called through its router.

mod access;
mod bad_input;
mod inbound;
mod modes;
mod projects;
mod reading;
mod reference;
mod reports;
mod secrets;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use pilothouse_core::right::Right;
use pilothouse_runtime::job::SupervisorCommand;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::{AppState, router};
use crate::auth::NewToken;
use crate::config::Config;
use crate::engine::clock::SystemClock;
use crate::serve::{Host, StartOptions};

/// A host in a folder of its own.
pub(crate) struct Harness {
    pub(crate) app: AppState,
    pub(crate) token: String,
    _host: Host,
    _folder: TempDir,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        config.runtime.instances = 16;
        config.runtime.guest_threads = 1;
        change(&mut config);
        let supervisor = SupervisorCommand { program: "/bin/false".into(), arguments: Vec::new() };
        let options = StartOptions { config: Arc::new(config), supervisor, clock: Arc::new(SystemClock) };
        let started = Host::start(options).await.unwrap();
        let token = started.first_token.unwrap().reveal();
        Self { app: started.host.app(), token, _host: started.host, _folder: folder }
    }

    /// Makes a token with these rights, for these projects.
    pub(crate) async fn token(&self, name: &str, rights: &[Right], projects: Option<&[&str]>) -> String {
        let projects = projects.map(|projects| projects.iter().map(|&project| project.to_owned()).collect());
        let new = NewToken {
            name: name.to_owned(),
            rights: rights.iter().copied().collect(),
            roles: Vec::new(),
            projects,
            expires: None,
        };
        self.app.tokens().create(new).await.unwrap().reveal()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = router(self.app.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request with the admin token.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.call(request_as(&self.token, method, path, headers, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Body::empty()).await
    }

    /// Sends a JSON body.
    pub(crate) async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.request(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Sends one event in structured mode.
    pub(crate) async fn send(&self, event: &Value) -> Answer {
        let headers = [("content-type", "application/cloudevents+json")];
        self.request(Method::POST, "/v1/events", &headers, event.to_string()).await
    }
}

pub(crate) fn request_as(
    token: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A small valid event.
pub(crate) fn event(id: &str) -> Value {
    serde_json::json!({"specversion": "1.0", "id": id, "source": "/test", "type": "com.example.test.v1"})
}
