//! The demo's client of the documented API: what anybody with a token can do, and nothing else.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::error::DemoError;

/// Longest time of a request: installing compiles the component, which takes some seconds.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// A client of one host; cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// Makes a client of the host at `base`, with a token for what needs one.
    ///
    /// # Errors
    /// TLS could not be set up.
    pub(super) fn new(base: impl Into<String>, token: impl Into<String>) -> Result<Self, DemoError> {
        let client = crate::client::http_client().map_err(DemoError::request("setting up HTTP"))?;
        Ok(Self { client, base: base.into(), token: token.into() })
    }

    /// Returns a client of the same host with another token.
    pub(super) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Returns the host's address.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(REQUEST_TIMEOUT);
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn get(&self, path: &str) -> Result<Value, DemoError> {
        answer(&format!("GET {path}"), self.request(Method::GET, path)).await
    }

    /// Sends a JSON document.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, DemoError> {
        answer(&format!("POST {path}"), self.request(Method::POST, path).json(body)).await
    }

    /// Tells a host of a push, as GitLab does: with the secret that both know.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn pushed(&self, path: &str, secret: &str) -> Result<(), DemoError> {
        let what = format!("POST {path}");
        let request = self.client.post(format!("{}{path}", self.base)).timeout(REQUEST_TIMEOUT);
        let request = request.header("x-gitlab-token", secret).body(r#"{"ref":"refs/heads/main"}"#);
        let answer = request.send().await.map_err(DemoError::request(&what))?;
        answer.error_for_status().map(drop).map_err(DemoError::request(&what))
    }

    /// Tells whether a path answers with success.
    pub(super) async fn is_well(&self, path: &str) -> bool {
        let answer = self.request(Method::GET, path).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends an event in structured mode, and returns what the host says of it.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn send(&self, event: &Value) -> Result<Value, DemoError> {
        let request = self.request(Method::POST, "/v1/events");
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        let answer = answer("POST /v1/events", request).await?;
        let first = answer.pointer("/events/0").cloned();
        first.ok_or_else(|| DemoError::Wrong("the host took an event without saying what it made of it".to_owned()))
    }

    /// Uploads a component, and returns what it is and asks for.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn upload(&self, component: &'static [u8]) -> Result<Value, DemoError> {
        let request = self.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
        answer("POST /v1/plugins", request.body(component)).await
    }

    /// Installs an uploaded component, or changes that installation.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn install(&self, name: &str, body: &Value) -> Result<Value, DemoError> {
        let path = format!("/v1/installations/{name}");
        answer(&format!("PUT {path}"), self.request(Method::PUT, &path).json(body)).await
    }

    /// Opens the stream of events after position `after`.
    ///
    /// # Errors
    /// The host does not answer, or refuses.
    pub(super) async fn tail(&self, after: u64) -> Result<Response, DemoError> {
        let what = "GET /v1/events/tail";
        // No time limit: the stream lasts as long as the host.
        let request = self.client.get(format!("{}/v1/events/tail", self.base)).bearer_auth(&self.token);
        let response = request.header("last-event-id", after).send().await.map_err(DemoError::request(what))?;
        response.error_for_status().map_err(DemoError::request(what))
    }
}

/// Sends a request, and reads its answer; a refusal becomes the host's own words.
async fn answer(what: &str, request: RequestBuilder) -> Result<Value, DemoError> {
    let response = request.send().await.map_err(DemoError::request(what))?;
    let status = response.status();
    let text = response.text().await.map_err(DemoError::request(what))?;
    if status.is_success() {
        return serde_json::from_str(&text).map_err(|_| DemoError::Http {
            request: what.to_owned(),
            reason: "the answer is no JSON".to_owned(),
            unreachable: false,
        });
    }
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
    Err(DemoError::Http { request: what.to_owned(), reason: format!("{status}: {detail}"), unreachable: false })
}
