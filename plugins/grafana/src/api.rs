//! Speaks Grafana's HTTP API: dashboards and annotations. Tells what is worth another attempt from what is not.

use std::time::Duration;

use pilothouse_sdk::http::{Request, Response};
use pilothouse_sdk::{Failure, reject};
use serde_json::{Value, json};

/// Where Grafana is, for this plugin.
const BASE: &str = "https://grafana.connection.internal";
/// Longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest text of an answer that a message quotes.
const TEXT_CHARS_MAX: usize = 200;

fn send(request: Request) -> Result<Response, Failure> {
    Ok(request.header("accept", "application/json").timeout(CALL_TIMEOUT).send()?)
}

/// Says why an answer is none that helps.
fn refused(response: &Response, what: &str) -> Failure {
    let text: String =
        response.text().chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect();
    match response.status {
        408 | 425 | 429 | 500.. => Failure::Retry {
            reason: format!("Grafana answered with status {} when {what}", response.status),
            after: response.retry_after(),
        },
        401 | 403 => reject(format!(
            "Grafana refused the token of the connection `grafana` when {what} (status {}); the service account needs the role \
             Editor: {text}",
            response.status
        )),
        status => reject(format!("Grafana refused {what} (status {status}): {text}")),
    }
}

/// Returns a dashboard as Grafana has it, without what Grafana adds; `None` if there is none.
///
/// # Errors
/// Grafana could not be asked, or refused.
pub fn dashboard(uid: &str) -> Result<Option<Value>, Failure> {
    let response = send(Request::get(format!("{BASE}/api/dashboards/uid/{uid}")))?;
    match response.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(refused(&response, "reading a dashboard")),
    }
    let answer: Value = serde_json::from_slice(&response.body)
        .map_err(|_| reject("what answers at the connection `grafana` is not Grafana's API; check its base URL"))?;
    let mut dashboard = answer.get("dashboard").cloned().unwrap_or_default();
    if let Some(members) = dashboard.as_object_mut() {
        members.remove("id");
        members.remove("version");
    }
    Ok(Some(dashboard))
}

/// Writes a dashboard over what is there.
///
/// # Errors
/// As for [`dashboard`].
pub fn save(dashboard: &Value, folder: Option<&str>, message: &str) -> Result<(), Failure> {
    let mut body = json!({ "dashboard": dashboard, "overwrite": true, "message": message });
    if let (Some(folder), Some(members)) = (folder, body.as_object_mut()) {
        members.insert("folderUid".to_owned(), folder.into());
    }
    let response = send(Request::post(format!("{BASE}/api/dashboards/db")).json(&body))?;
    match response.status {
        200 => Ok(()),
        _ => Err(refused(&response, "writing a dashboard")),
    }
}

/// Removes a dashboard; one that is gone is no error.
///
/// # Errors
/// As for [`dashboard`].
pub fn delete(uid: &str) -> Result<(), Failure> {
    let response = send(Request::delete(format!("{BASE}/api/dashboards/uid/{uid}")))?;
    match response.status {
        200 | 404 => Ok(()),
        _ => Err(refused(&response, "removing a dashboard")),
    }
}

/// Makes an annotation, unless there is one with all of these tags.
///
/// # Errors
/// As for [`dashboard`].
pub fn annotate(text: &str, tags: &[String], unique: &[String], start: i64, end: i64) -> Result<(), Failure> {
    let look = Request::get(format!("{BASE}/api/annotations")).query("type", "annotation").query("limit", "1");
    let response = send(unique.iter().fold(look, |look, tag| look.query("tags", tag)))?;
    if response.status != 200 {
        return Err(refused(&response, "looking for an annotation"));
    }
    let found: Vec<Value> = serde_json::from_slice(&response.body).unwrap_or_default();
    if !found.is_empty() {
        return Ok(());
    }
    let body = json!({ "time": start, "timeEnd": end, "tags": tags, "text": text });
    let response = send(Request::post(format!("{BASE}/api/annotations")).json(&body))?;
    match response.status {
        200 => Ok(()),
        _ => Err(refused(&response, "making an annotation")),
    }
}
