//! Reads `jobs.yaml`: which task runs which job template, with what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The file in the project, looked for in the service, the stage and the project.
pub const JOBS_FILE: &str = "jobs.yaml";
/// The version that this plugin reads.
pub const API_VERSION: &str = "pilothouse.dev/v1";
/// Most files that a job is given.
pub const FILES_MAX: usize = 256;
/// Most artifacts that an answer holds.
pub const ARTIFACTS_MAX: usize = 16;

/// Says what is wrong with the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsFileError {
    /// It is not YAML of this form.
    #[error("`{JOBS_FILE}` cannot be read: {0}")]
    Unreadable(String),
    /// It is of another version or kind.
    #[error("`{JOBS_FILE}` is `{found}`; write `apiVersion: {API_VERSION}` and `kind: Jobs`")]
    Version {
        /// What it says.
        found: String,
    },
    /// A value makes no sense.
    #[error("`{JOBS_FILE}`, task `{task}`: {problem}")]
    Invalid {
        /// The task.
        task: String,
        /// What is wrong, and what to write.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    tasks: BTreeMap<String, JobSpec>,
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// The job template, by the plugin's name for it in the grants.
    pub job: String,
    /// Values for the template's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// Files of the project, by their paths; a path that ends in `/` is a folder with all below it.
    #[serde(default)]
    pub files: Vec<String>,
    /// The file that the data of the task's event is written to, for tools that read JSON.
    #[serde(default)]
    pub event: Option<String>,
    /// The longest time, in seconds, if shorter than the template's.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// The artifact that holds the result, as JSON.
    #[serde(default)]
    pub result: Option<String>,
    /// Artifacts that are returned in the answer, as text.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// What a job that fails says of its task.
    #[serde(default)]
    pub failure: FailureMeans,
}

/// A value, as it is or from the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// From the data of the task's event.
    FromEvent(FromEvent),
    /// As it is: a text, a number, a boolean.
    Value(serde_json::Value),
}

/// Where in the data of an event a value is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromEvent {
    /// A JSON pointer, such as `/configurationChange/values/image`.
    pub pointer: String,
    /// What to take where there is nothing.
    #[serde(default)]
    pub default: Option<serde_json::Value>,
}

/// What a job that fails says of its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureMeans {
    /// The work could not be done: `errored`, which a sequence may try again.
    #[default]
    Errored,
    /// The work was done and the outcome is bad: `fail`. For tests.
    Fail,
}

/// Reads the file; returns what `task` runs, `None` if the file does not name the task.
///
/// # Errors
/// [`JobsFileError`] names what is wrong.
pub fn read(text: &str, task: &str) -> Result<Option<JobSpec>, JobsFileError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| JobsFileError::Unreadable(error.to_string()))?;
    if file.api_version != API_VERSION || file.kind != "Jobs" {
        return Err(JobsFileError::Version { found: format!("{} {}", file.api_version, file.kind) });
    }
    let Some(spec) = file.tasks.get(task) else { return Ok(None) };
    let invalid = |problem: String| Err(JobsFileError::Invalid { task: task.to_owned(), problem });
    if spec.job.is_empty() {
        return invalid("`job` is empty; name a job template".to_owned());
    }
    if spec.artifacts.len() > ARTIFACTS_MAX {
        return invalid(format!("{} artifacts, at most {ARTIFACTS_MAX} are returned", spec.artifacts.len()));
    }
    for (name, parameter) in &spec.parameters {
        let pointer = match parameter {
            Parameter::FromEvent(from) => Some(&from.pointer),
            Parameter::Value(value) if value.is_array() || value.is_object() => {
                return invalid(format!("parameter `{name}` is a list or a map; write one value, or `pointer`"));
            }
            Parameter::Value(_) => None,
        };
        if pointer.is_some_and(|pointer| !pointer.starts_with('/')) {
            return invalid(format!("parameter `{name}`: a pointer begins with `/`, such as `/service`"));
        }
    }
    Ok(Some(spec.clone()))
}

impl JobSpec {
    /// Works out the parameters for an event. One that is nowhere and has no default is left out: the template says whether
    /// it can be.
    ///
    /// # Errors
    /// A value in the event is a list or a map; the error names the parameter.
    pub fn parameters_for(&self, data: &serde_json::Value) -> Result<Vec<(String, String)>, String> {
        let mut parameters = Vec::new();
        for (name, parameter) in &self.parameters {
            let value = match parameter {
                Parameter::Value(value) => Some(value),
                Parameter::FromEvent(from) => {
                    data.pointer(&from.pointer).filter(|value| !value.is_null()).or(from.default.as_ref())
                }
            };
            match value {
                None => {}
                Some(serde_json::Value::String(text)) => parameters.push((name.clone(), text.clone())),
                Some(value) if value.is_number() || value.is_boolean() => {
                    parameters.push((name.clone(), value.to_string()));
                }
                Some(_) => {
                    return Err(format!("the event's value for parameter `{name}` is no text, number or boolean"));
                }
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "
apiVersion: pilothouse.dev/v1
kind: Jobs
tasks:
  deployment:
    job: ansible
    parameters:
      version: { pointer: /configurationChange/values/image, default: latest }
      service: { pointer: /service }
      forks: 5
      verbose: true
    files: [playbook.yaml, roles/]
    event: event.json
    timeoutSeconds: 600
    result: result.json
  test: { job: k6, failure: fail }
";

    #[test]
    fn a_task_runs_what_the_file_says_with_values_of_the_event() {
        let spec = read(FILE, "deployment").unwrap().unwrap();
        assert_eq!(
            (spec.job.as_str(), spec.timeout_seconds, spec.failure),
            ("ansible", Some(600), FailureMeans::Errored)
        );
        let parameters = |data: serde_json::Value| spec.parameters_for(&data).unwrap();
        let given = parameters(json!({"service": "hello", "configurationChange": {"values": {"image": "a:2"}}}));
        let pairs: Vec<(&str, &str)> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("forks", "5"), ("service", "hello"), ("verbose", "true"), ("version", "a:2")]);
        let without = parameters(json!({}));
        assert!(without.contains(&("version".to_owned(), "latest".to_owned())));
        assert!(without.iter().all(|(name, _)| name != "service"));
        assert!(spec.parameters_for(&json!({"service": ["a"]})).unwrap_err().contains("`service`"));
        assert_eq!(read(FILE, "test").unwrap().unwrap().failure, FailureMeans::Fail);
        assert_eq!(read(FILE, "release").unwrap(), None);
    }

    #[test]
    fn a_mistake_is_named() {
        let file = |rest: &str| format!("apiVersion: pilothouse.dev/v1\nkind: Jobs\ntasks:\n  t: {rest}\n");
        for (text, says) in [
            (
                "apiVersion: v2\nkind: Jobs\n".to_owned(),
                "`jobs.yaml` is `v2 Jobs`; write `apiVersion: pilothouse.dev/v1`",
            ),
            ("a: [".to_owned(), "cannot be read"),
            (file("{job: a, paramters: {}}"), "paramters"),
            (file("{job: ''}"), "`job` is empty"),
            (file("{job: a, parameters: {x: [1]}}"), "`x` is a list or a map"),
            (file("{job: a, parameters: {x: {pointer: service}}}"), "a pointer begins with `/`"),
        ] {
            let error = read(&text, "t").unwrap_err().to_string();
            assert!(error.contains(says), "{text}\n{error}");
        }
    }
}
