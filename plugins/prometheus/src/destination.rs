//! Where generated configuration goes: folders that Prometheus reads, the ruler of Mimir or Cortex, resources of the
//! Prometheus operator in Kubernetes, or the project's own Git.
//!
//! One generator makes the texts of the files; the other places take them apart and put them together again, so that what is
//! there can be compared with what is wanted wherever it is.

use std::collections::BTreeMap;

use pilothouse_sdk::http::{Request, Response};
use pilothouse_sdk::{Failure, reject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::{Group, RulesFile};
use crate::targets::COMMIT_LABEL;
use crate::tools::RULES_DIRECTORY;
use pilothouse_sdk::files::place::Place;

/// The ruler's address, for this plugin.
const RULER: &str = "https://ruler.connection.internal";
/// The Kubernetes API's address, for this plugin.
const KUBERNETES: &str = "https://kubernetes.connection.internal";
/// Who applies resources (Kubernetes, "Server-Side Apply").
const FIELD_MANAGER: &str = "pilothouse";
/// The label that all resources of this plugin have (Kubernetes, "Recommended Labels").
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Names the commit that a resource was generated from.
const COMMIT_ANNOTATION: &str = "pilothouse.dev/commit";
/// Where generated files lie in a project, for [`Destination::Git`]; below it a folder for each kind.
pub const GIT_FOLDER: &str = "prometheus/generated/";
/// Longest text of an answer that a message quotes.
const TEXT_CHARS_MAX: usize = 300;

/// Where generated configuration goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// Folders.
    #[default]
    Files,
    /// The ruler of Mimir or Cortex: rules only, since it scrapes nothing.
    Ruler,
    /// The Prometheus operator.
    Kubernetes,
    /// The project's own Git, for Argo CD, Flux, or whoever else carries files from there to Prometheus.
    Git,
}

/// Sends a request; a trait of one function, so that tests stand in.
pub trait Send {
    /// Sends it.
    ///
    /// # Errors
    /// Not granted, or no answer.
    fn send(&self, request: Request) -> Result<Response, Failure>;
}

/// What the places that are no folders need: a sender, and for Kubernetes the namespace.
pub struct Remote<'a, S> {
    /// How to ask.
    pub send: &'a S,
    /// Where.
    pub destination: Destination,
    /// The namespace of resources.
    pub namespace: &'a str,
}

impl<S: Send> Remote<'_, S> {
    /// Returns what is there, as the text of the file that it would be; `None` for nothing.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn look(&self, directory: &str, name: &str) -> Result<Option<String>, Failure> {
        match (self.destination, directory) {
            (Destination::Ruler, RULES_DIRECTORY) => self.ruler_groups(name),
            (Destination::Kubernetes, _) => {
                let response = self.send.send(Request::get(self.resource(directory, name)?))?;
                if response.status == 404 {
                    return Ok(None);
                }
                let found: Value = taken(response)?.json()?;
                text_of(directory, name, &found)
            }
            _ => Ok(None),
        }
    }

    /// Lists the names of what this plugin has there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn names(&self, directory: &str, project: &str) -> Result<Vec<String>, Failure> {
        match (self.destination, directory) {
            (Destination::Ruler, RULES_DIRECTORY) => {
                let response = self.send.send(Request::get(format!("{RULER}/config/v1/rules")))?;
                if response.status == 404 {
                    return Ok(Vec::new());
                }
                let all: BTreeMap<String, Value> = yaml(&taken(response)?)?;
                let mine = all.into_keys().filter(|name| name.starts_with(&format!("{project}.")));
                Ok(mine.map(|name| format!("{name}.rules.yml")).collect())
            }
            (Destination::Kubernetes, _) => {
                let url = format!("{}?labelSelector={MANAGED_BY}%3D{FIELD_MANAGER}", self.collection(directory));
                let list: Value = taken(self.send.send(Request::get(url))?)?.json()?;
                let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                let suffix = if directory == RULES_DIRECTORY { "rules.yml" } else { "json" };
                let names = items.iter().filter_map(|item| item.pointer("/metadata/name").and_then(Value::as_str));
                Ok(names.map(|name| format!("{name}.{suffix}")).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Puts the content of a file there, or removes it.
    ///
    /// # Errors
    /// It cannot be asked, or it refuses.
    pub fn write(&self, directory: &str, name: &str, content: Option<&str>) -> Result<(), Failure> {
        match (self.destination, directory) {
            (Destination::Ruler, RULES_DIRECTORY) => self.write_ruler(name, content),
            (Destination::Kubernetes, _) => self.write_kubernetes(directory, name, content),
            _ => Ok(()),
        }
    }

    fn ruler_groups(&self, name: &str) -> Result<Option<String>, Failure> {
        let namespace = stem(name);
        let response = self.send.send(Request::get(format!("{RULER}/config/v1/rules/{namespace}")))?;
        if response.status == 404 {
            return Ok(None);
        }
        let mut all: BTreeMap<String, Vec<Group>> = yaml(&taken(response)?)?;
        let groups = all.remove(namespace).unwrap_or_default();
        Ok((!groups.is_empty()).then(|| RulesFile { groups }.to_yaml(&place_of(name), None)))
    }

    /// Sets each group, and then removes those that are not wanted any more, so that no wanted rule is gone in between.
    fn write_ruler(&self, name: &str, content: Option<&str>) -> Result<(), Failure> {
        let namespace = stem(name);
        let Some(content) = content else {
            let response = self.send.send(Request::delete(format!("{RULER}/config/v1/rules/{namespace}")))?;
            return if response.status == 404 { Ok(()) } else { taken(response).map(|_| ()) };
        };
        let wanted = RulesFile::parse(content).map_err(reject)?;
        let had = match self.ruler_groups(name)? {
            Some(text) => RulesFile::parse(&text).map_err(reject)?.groups,
            None => Vec::new(),
        };
        for group in wanted.groups.iter().filter(|group| !had.contains(group)) {
            // The ruler reads YAML, which JSON is.
            let body = group.raw().to_string();
            let request = Request::post(format!("{RULER}/config/v1/rules/{namespace}"));
            taken(self.send.send(request.header("content-type", "application/yaml").body(body))?)?;
        }
        for group in had.iter().filter(|group| !wanted.groups.iter().any(|it| it.name == group.name)) {
            let name = group.name.replace('%', "%25").replace(' ', "%20").replace('/', "%2F");
            taken(self.send.send(Request::delete(format!("{RULER}/config/v1/rules/{namespace}/{name}")))?)?;
        }
        Ok(())
    }

    fn write_kubernetes(&self, directory: &str, name: &str, content: Option<&str>) -> Result<(), Failure> {
        let url = self.resource(directory, name)?;
        let Some(content) = content else {
            let response = self.send.send(Request::delete(url))?;
            return if response.status == 404 { Ok(()) } else { taken(response).map(|_| ()) };
        };
        let (kind, version, spec, commit) = match directory {
            RULES_DIRECTORY => {
                let rules = RulesFile::parse(content).map_err(reject)?;
                (
                    "PrometheusRule",
                    "monitoring.coreos.com/v1",
                    json!({ "groups": rules.groups.iter().map(Group::raw).collect::<Vec<_>>() }),
                    commit_of(content),
                )
            }
            _ => {
                let mut groups: Vec<Target> =
                    serde_json::from_str(content).map_err(|error| reject(error.to_string()))?;
                let commit = groups.iter_mut().filter_map(|group| group.labels.remove(COMMIT_LABEL)).next();
                ("ScrapeConfig", "monitoring.coreos.com/v1alpha1", json!({ "staticConfigs": groups }), commit)
            }
        };
        let resource = json!({
            "apiVersion": version, "kind": kind, "spec": spec,
            "metadata": {
                "name": stem(name), "namespace": self.namespace, "labels": { MANAGED_BY: FIELD_MANAGER },
                "annotations": commit.map(|commit| json!({ COMMIT_ANNOTATION: commit })).unwrap_or(json!({})),
            },
        });
        let request = Request::new("PATCH", format!("{url}?fieldManager={FIELD_MANAGER}&force=true"));
        let body = resource.to_string().into_bytes();
        taken(self.send.send(request.header("content-type", "application/apply-patch+yaml").body(body))?)?;
        Ok(())
    }

    fn collection(&self, directory: &str) -> String {
        let (version, kind) = match directory {
            RULES_DIRECTORY => ("v1", "prometheusrules"),
            _ => ("v1alpha1", "scrapeconfigs"),
        };
        format!("{KUBERNETES}/apis/monitoring.coreos.com/{version}/namespaces/{}/{kind}", self.namespace)
    }

    fn resource(&self, directory: &str, name: &str) -> Result<String, Failure> {
        let name = stem(name);
        let plain = name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b".-".contains(&it));
        if !plain {
            return Err(reject(format!(
                "`{name}` cannot be the name of a resource: Kubernetes takes a to z, 0 to 9, `-`, `.`"
            )));
        }
        Ok(format!("{}/{name}", self.collection(directory)))
    }
}

#[derive(Serialize, Deserialize)]
struct Target {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Returns a file's name without what says its format.
fn stem(name: &str) -> &str {
    name.strip_suffix(".rules.yml").or_else(|| name.strip_suffix(".json")).unwrap_or(name)
}

fn place_of(name: &str) -> Place {
    let mut parts = stem(name).split('.');
    let project = parts.next().unwrap_or_default().to_owned();
    let service = parts.next_back().unwrap_or_default().to_owned();
    Place { project, stage: String::new(), service }
}

fn commit_of(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("# Commit "))?;
    Some(line.trim_end_matches('.').to_owned())
}

/// Puts a resource together to the text of the file that it would be.
fn text_of(directory: &str, name: &str, resource: &Value) -> Result<Option<String>, Failure> {
    let unreadable =
        |error: serde_json::Error| reject(format!("the resource `{}` cannot be read: {error}", stem(name)));
    let part = |pointer: &str| resource.pointer(pointer).cloned().unwrap_or(Value::Array(Vec::new()));
    if directory == RULES_DIRECTORY {
        let groups: Vec<Group> = serde_json::from_value(part("/spec/groups")).map_err(unreadable)?;
        return Ok(Some(RulesFile { groups }.to_yaml(&place_of(name), None)));
    }
    let groups: Vec<Target> = serde_json::from_value(part("/spec/staticConfigs")).map_err(unreadable)?;
    Ok(Some(format!("{:#}\n", json!(groups))))
}

fn yaml<T: for<'de> Deserialize<'de>>(response: &Response) -> Result<T, Failure> {
    serde_saphyr::from_str(&response.text())
        .map_err(|error| reject(format!("what the ruler answered cannot be read: {}", error.without_snippet())))
}

/// Reads an answer.
fn taken(response: Response) -> Result<Response, Failure> {
    let text: String =
        response.text().chars().map(|it| if it.is_control() { ' ' } else { it }).take(TEXT_CHARS_MAX).collect();
    match response.status {
        200..=299 => Ok(response),
        408 | 409 | 425 | 429 | 500.. => Err(Failure::Retry {
            reason: format!("where the configuration goes answered with status {}: {text}", response.status),
            after: response.retry_after(),
        }),
        401 | 403 => Err(reject(format!("the credentials for where the configuration goes do not allow it: {text}"))),
        status => Err(reject(format!("the configuration was refused (status {status}): {text}"))),
    }
}
