//! A client of the documented API.

use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde::Serialize;
use serde_json::Value;

use super::{CliError, Exit, Global};

/// Longest time for one request. Uploading and compiling a large component takes most of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A client of one host.
pub(super) struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

/// A request's query, written into the URL.
pub(super) type Query<'a> = &'a [(&'a str, Option<String>)];

impl Api {
    /// Makes a client.
    pub(super) fn new(global: &Global) -> Result<Self, CliError> {
        let base = global.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(CliError::new(
                Exit::Usage,
                format!("`{base}` is not the address of a host; write --url http://127.0.0.1:7425"),
            ));
        }
        let client = crate::client::http_client().map_err(|error| CliError::of(Exit::Failed, &error))?;
        Ok(Self { base, token: global.token.clone(), client })
    }

    /// Returns a request with the token on it.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and returns the answer, if it is a success.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, CliError> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }

    /// Sends a request and reads the answer as JSON; `null` for an empty one.
    pub(super) async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let answer = self.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let bytes = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::new(Exit::Host, "the answer is not JSON; is this a Pilothouse host?").caused_by(&error)
        })
    }

    /// Gets a text.
    pub(super) async fn text(&self, path: &str) -> Result<String, CliError> {
        let answer = self.send(self.request(Method::GET, path).timeout(REQUEST_TIMEOUT)).await?;
        answer.text().await.map_err(|error| self.unreachable(&error))
    }

    /// Gets a resource.
    pub(super) async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, CliError> {
        self.json(self.request(Method::GET, &with_query(path, query))).await
    }

    /// Posts a JSON body.
    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// Changes what a JSON body names.
    pub(super) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.json(self.request(Method::PATCH, path).json(body)).await
    }

    /// Puts a JSON body.
    pub(super) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        self.json(self.request(Method::PUT, path).json(body)).await
    }

    /// Deletes a resource.
    pub(super) async fn delete(&self, path: &str, query: Query<'_>) -> Result<(), CliError> {
        self.json(self.request(Method::DELETE, &with_query(path, query))).await.map(drop)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let failure =
            CliError::new(Exit::Unreachable, format!("cannot reach the host at {}", self.base)).caused_by(error);
        if error.is_connect() {
            failure.hint("is the host running? start it with `pilothouse serve`, or name another one with --url")
        } else {
            failure
        }
    }
}

/// Appends a query to a path.
pub(super) fn with_query(path: &str, query: Query<'_>) -> String {
    let given =
        query.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", encode(value))));
    let given: Vec<_> = given.collect();
    if given.is_empty() { path.to_owned() } else { format!("{path}?{}", given.join("&")) }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3), for a path segment or a query value.
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// Turns a refusal into words.
async fn refused(answer: reqwest::Response) -> CliError {
    let status = answer.status();
    let exit = if status.is_server_error() { Exit::Host } else { Exit::Refused };
    let problem: Value = answer.json().await.unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str);
    let message = detail.map_or_else(|| format!("the host answered {status}"), str::to_owned);
    let mut error = CliError::new(exit, message.clone());
    let errors = problem.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // A single one is in the message already.
    for one in errors.filter(|one| !message.contains(one)) {
        error = error.because(one);
    }
    if let Some(attribute) = problem.get("attribute").and_then(Value::as_str) {
        error = error.because(format!("attribute `{attribute}`"));
    }
    if let Some(index) = problem.get("index").and_then(Value::as_u64) {
        error = error.because(format!("event number {} of the batch", index + 1));
    }
    if let Some(instance) = problem.get("instance").and_then(Value::as_str) {
        error = error.because(format!("reference {instance}"));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            error.hint("set PILOTHOUSE_TOKEN; `pilothouse token reset --local` makes a new admin token")
        }
        StatusCode::FORBIDDEN => error.hint("`pilothouse token create` makes a token with other rights"),
        _ => error,
    }
}
