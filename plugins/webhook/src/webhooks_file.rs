//! Reads `webhooks.yaml`: which request does a task, and which follows an event.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The file in the project, looked for in the service, the stage and the project.
pub const WEBHOOKS_FILE: &str = "webhooks.yaml";
/// The version that this plugin reads.
pub const API_VERSION: &str = "pilothouse.dev/v1";
/// Most requests that one event causes.
pub const REQUESTS_MAX: usize = 16;

/// The file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhooksFile {
    api_version: String,
    kind: String,
    /// Requests that do a task, by the task's name.
    #[serde(default)]
    pub tasks: BTreeMap<String, Request>,
    /// Requests that follow an event.
    #[serde(default)]
    pub events: Vec<Follow>,
}

/// A request that follows an event.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Follow {
    /// The event's type; one that ends in `*` stands for any rest.
    #[serde(rename = "type")]
    pub ty: String,
    /// JSON pointers into the event's data, each with the values accepted.
    #[serde(default)]
    pub when: BTreeMap<String, Vec<Value>>,
    /// The request.
    pub request: Request,
}

/// A request. Texts have places in braces, such as `{/service}`: JSON pointers into the event's data.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The connection, by the plugin's name for it in the grants.
    pub connection: String,
    /// The method.
    #[serde(default = "post")]
    pub method: String,
    /// The path below the connection's address; values are percent-encoded.
    #[serde(default)]
    pub path: String,
    /// Parameters of the query.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, sent as JSON. A mapping with `pointer` becomes the value that is there.
    #[serde(default)]
    pub body: Option<Value>,
    /// Status codes that mean that it was done; any 2xx when empty.
    #[serde(default)]
    pub expect: Vec<u16>,
    /// A JSON pointer into the answer: what becomes the task's output; the whole answer when absent.
    #[serde(default)]
    pub output: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, for people.
pub fn read(text: &str) -> Result<WebhooksFile, String> {
    let file: WebhooksFile =
        serde_saphyr::from_str(text).map_err(|error| format!("`{WEBHOOKS_FILE}` cannot be read: {error}"))?;
    if file.api_version != API_VERSION || file.kind != "Webhooks" {
        return Err(format!(
            "`{WEBHOOKS_FILE}` is `{} {}`; write `apiVersion: {API_VERSION}` and `kind: Webhooks`",
            file.api_version, file.kind
        ));
    }
    let requests = file.tasks.values().chain(file.events.iter().map(|follow| &follow.request));
    for request in requests {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        if !methods.contains(&request.method.as_str()) {
            return Err(format!(
                "`{WEBHOOKS_FILE}`: `{}` is no method; write one of {}",
                request.method,
                methods.join(", ")
            ));
        }
        if !request.path.is_empty() && !request.path.starts_with('/') {
            return Err(format!("`{WEBHOOKS_FILE}`: the path `{}` does not begin with `/`", request.path));
        }
        if request.output.as_ref().is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            return Err(format!("`{WEBHOOKS_FILE}`: `output` is a JSON pointer such as `/data`"));
        }
    }
    Ok(file)
}

impl Follow {
    /// Tells whether an event causes the request.
    pub fn follows(&self, ty: &str, data: &Value) -> bool {
        let of_type = match self.ty.strip_suffix('*') {
            Some(prefix) => ty.starts_with(prefix),
            None => ty == self.ty,
        };
        of_type
            && self
                .when
                .iter()
                .all(|(pointer, accepted)| accepted.contains(data.pointer(pointer).unwrap_or(&Value::Null)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "
apiVersion: pilothouse.dev/v1
kind: Webhooks
tasks:
  release: { connection: deployer, path: '/releases/{/service}', body: { version: { pointer: /release/version } }, output: /data }
events:
  - type: sh.keptn.event.production.*
    when: { /result: [fail, warning] }
    request: { connection: tickets, method: PUT, body: { title: '{/service} failed' } }
";

    #[test]
    fn a_file_names_a_request_for_a_task_and_for_events() {
        let file = read(FILE).unwrap();
        assert_eq!((file.tasks["release"].method.as_str(), file.events[0].request.method.as_str()), ("POST", "PUT"));
        let follows = |ty: &str, result: &str| file.events[0].follows(ty, &json!({ "result": result }));
        assert!(follows("sh.keptn.event.production.delivery.finished", "fail"));
        assert!(!follows("sh.keptn.event.production.delivery.finished", "pass"));
        assert!(!follows("sh.keptn.event.dev.delivery.finished", "fail"));
    }

    #[test]
    fn a_mistake_is_named() {
        let with = |task: &str| format!("apiVersion: pilothouse.dev/v1\nkind: Webhooks\ntasks:\n  t: {task}\n");
        for (text, says) in [
            ("apiVersion: v1\nkind: Webhooks\n".to_owned(), "write `apiVersion: pilothouse.dev/v1`"),
            (with("{connection: c, metod: GET}"), "metod"),
            (with("{connection: c, method: FETCH}"), "`FETCH` is no method"),
            (with("{connection: c, path: x}"), "does not begin with `/`"),
            (with("{connection: c, output: x}"), "`output` is a JSON pointer"),
            (with("{path: /x}"), "connection"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(says), "{text}\n{error}");
        }
    }
}
