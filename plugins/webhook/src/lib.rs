//! The plugin `webhook`: calls HTTP APIs, to do a task or because of an event, as the project's `webhooks.yaml` says.
//!
//! Only the order of steps is here: `webhooks_file` (which request) → `template` (its values) → the answer.

pub mod template;
pub mod webhooks_file;

use pilothouse_sdk::http::{self, Request as HttpRequest, Response};
use pilothouse_sdk::resources;
use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, log, reject, retry};
use serde_json::{Value, json};

use crate::webhooks_file::{REQUESTS_MAX, Request, WEBHOOKS_FILE, WebhooksFile};

/// Longest answer that is read, in bytes: the output must fit into an event.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest piece of an answer in a message, in characters.
const SHOWN_CHARS_MAX: usize = 200;

struct Webhook;

impl Handler for Webhook {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let data = event.data_json().unwrap_or_default();
        match ctx.task() {
            Some(task) if task.cause == Cause::Triggered => execute(ctx, &task.name, &data),
            Some(_) => Ok(Outcome::pending()),
            None => follow(ctx, &event, &data),
        }
    }
}

/// Why there is no file to go by.
enum NoFile {
    Absent,
    Wrong(String),
}

fn file() -> Result<Result<WebhooksFile, NoFile>, Failure> {
    let text = match resources::read_nearest(WEBHOOKS_FILE) {
        Ok(text) => text,
        Err(resources::Error::NotFound) => return Ok(Err(NoFile::Absent)),
        Err(resources::Error::Unavailable(reason)) => return Err(retry(reason)),
        Err(error) => return Ok(Err(NoFile::Wrong(error.to_string()))),
    };
    let text = String::from_utf8(text).map_err(|_| format!("`{WEBHOOKS_FILE}` is not UTF-8"));
    Ok(text.and_then(|text| webhooks_file::read(&text)).map_err(NoFile::Wrong))
}

fn errored(message: impl Into<String>) -> Result<Outcome, Failure> {
    Ok(Outcome::finished(Finished::errored(message)))
}

/// Does a task by its request.
fn execute(ctx: &Context, task: &str, data: &Value) -> Result<Outcome, Failure> {
    let file = match file()? {
        Ok(file) => file,
        Err(NoFile::Absent) => {
            return errored(format!("the project has no `{WEBHOOKS_FILE}`, which says how the task `{task}` is done"));
        }
        Err(NoFile::Wrong(reason)) => return errored(reason),
    };
    let Some(request) = file.tasks.get(task) else {
        return errored(format!("`{WEBHOOKS_FILE}` says nothing about the task `{task}`"));
    };
    let response = match send(request, data, &ctx.delivery_id()) {
        Ok(response) => response,
        Err(Refused::Wrong(reason)) => return errored(reason),
        Err(Refused::Failure(failure)) => return Err(failure),
    };
    if !is_expected(request, &response) {
        return errored(format!(
            "`{}` answered with status {}: {}",
            request.connection,
            response.status,
            shown(&response)
        ));
    }
    let output = output(request, &response);
    let message = format!("`{}` answered with status {}", request.connection, response.status);
    match output {
        Ok(output) => Ok(Outcome::finished(Finished::pass(message).output(&output))),
        Err(reason) => errored(reason),
    }
}

/// Sends the requests that follow an event. One that is refused is a dead letter, to be seen and sent again.
fn follow(ctx: &Context, event: &Event, data: &Value) -> Result<Outcome, Failure> {
    let file = match file()? {
        Ok(file) => file,
        Err(NoFile::Absent) => return Ok(Outcome::none()),
        Err(NoFile::Wrong(reason)) => return Err(reject(reason)),
    };
    let requests = file.events.iter().filter(|follow| follow.follows(&event.ty, data)).take(REQUESTS_MAX);
    for (index, request) in requests.map(|follow| &follow.request).enumerate() {
        let response = match send(request, data, &format!("{}-{index}", ctx.delivery_id())) {
            Ok(response) => response,
            Err(Refused::Wrong(reason)) => return Err(reject(reason)),
            Err(Refused::Failure(failure)) => return Err(failure),
        };
        if !is_expected(request, &response) {
            return Err(reject(format!("`{}` answered with status {}", request.connection, response.status)));
        }
        log::info!("{} {} answered {}", request.method, request.connection, response.status);
    }
    Ok(Outcome::none())
}

/// Why there is no answer.
enum Refused {
    /// The request cannot be made; another attempt would not help.
    Wrong(String),
    /// To be tried again, or given up by the host.
    Failure(Failure),
}

fn send(request: &Request, data: &Value, key: &str) -> Result<Response, Refused> {
    let made = make(request, data, key).map_err(Refused::Wrong)?;
    let connection = &request.connection;
    let response = made.send().map_err(|error| match error {
        http::Error::Timeout | http::Error::Unavailable(_) => {
            Refused::Failure(retry(format!("`{connection}`: {error}")))
        }
        http::Error::Denied(_) => Refused::Wrong(format!("the connection `{connection}` is not granted: {error}")),
        error => Refused::Wrong(format!("`{connection}`: {error}")),
    })?;
    // Whoever is busy or broken is asked again, unless this very status is what is expected.
    if matches!(response.status, 408 | 425 | 429 | 500..) && !is_expected(request, &response) {
        let reason = format!("`{}` answered with status {}", request.connection, response.status);
        return Err(Refused::Failure(Failure::Retry { reason, after: response.retry_after() }));
    }
    Ok(response)
}

fn make(request: &Request, data: &Value, key: &str) -> Result<HttpRequest, String> {
    let path = template::text(&request.path, data, template::as_segment)?;
    let url = format!("https://{}.connection.internal{path}", request.connection);
    let mut made = HttpRequest::new(&request.method, url).body_bytes_max(ANSWER_BYTES_MAX);
    for (name, value) in &request.query {
        made = made.query(name, &template::text(value, data, template::as_it_is)?);
    }
    for (name, value) in &request.headers {
        made = made.header(name, template::text(value, data, template::as_it_is)?);
    }
    // The same for each attempt, so that the other side can tell a repeat.
    made = made.header("idempotency-key", key);
    if let Some(body) = &request.body {
        made = made.json(&template::json(body, data)?);
    }
    Ok(made)
}

fn is_expected(request: &Request, response: &Response) -> bool {
    if request.expect.is_empty() { response.is_success() } else { request.expect.contains(&response.status) }
}

fn shown(response: &Response) -> String {
    response.text().chars().filter(|it| !it.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// Returns what the answer makes the task's output.
fn output(request: &Request, response: &Response) -> Result<Value, String> {
    let answer = match serde_json::from_slice::<Value>(&response.body) {
        Ok(answer) => answer,
        Err(_) if response.body.is_empty() => json!({}),
        Err(_) if request.output.is_none() => json!({ "text": response.text() }),
        Err(error) => return Err(format!("the answer of `{}` is not JSON: {error}", request.connection)),
    };
    let Some(pointer) = &request.output else { return Ok(answer) };
    answer
        .pointer(pointer)
        .cloned()
        .ok_or_else(|| format!("the answer of `{}` has nothing at `{pointer}`", request.connection))
}

pilothouse_sdk::plugin!(Webhook);
