//! Reads `job/config.yaml` of Keptn's job-executor-service.

use super::items;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem, Value, parse};

/// Longest `maxPollDuration`, in seconds: a year, as a bound.
const POLL_SECONDS_MAX: u32 = 366 * 24 * 3_600;
/// What a task says about Kubernetes, which has no meaning elsewhere.
const KUBERNETES: [&str; 6] =
    ["imagePullPolicy", "namespace", "ttlSecondsAfterFinished", "securityContext", "serviceAccount", "annotations"];

/// What one action does, and after which events.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Action {
    pub(super) name: String,
    pub(super) events: Vec<ActionEvent>,
    pub(super) silent: bool,
    pub(super) tasks: Vec<ActionTask>,
}

/// An event that an action follows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ActionEvent {
    /// A regular expression for its type.
    pub(super) name: String,
    /// A JSONPath and the text that must be there.
    pub(super) filter: Option<(String, String)>,
}

/// A container that an action runs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ActionTask {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) cmd: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) env: Vec<Variable>,
    pub(super) max_poll_seconds: Option<u32>,
    pub(super) working_dir: Option<String>,
    pub(super) memory: Option<String>,
    /// Fields that are not translated.
    pub(super) ignored: Vec<&'static str>,
}

/// A variable of a container's environment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) value_from: String,
    pub(super) format: Option<String>,
}

/// Reads the file; also returns what is odd about it.
///
/// # Errors
/// Everything that makes it unreadable.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Action>, Vec<Problem>), Vec<Problem>> {
    let node = parse(bytes).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let actions = file(&node, &mut problems);
    if problems.iter().any(Problem::stops_a_run) { Err(problems) } else { Ok((actions.unwrap_or_default(), problems)) }
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Action>> {
    let mut fields = Fields::of(node, "the file", problems)?;
    // Files from before version 2 have no `apiVersion`.
    if let Some(version) = fields.text("apiVersion").filter(|version| version != "v2") {
        let message = format!("`apiVersion` is `{version}`, only `v2` is known");
        fields.problems().push(Problem::error(node.at, message));
    }
    fields.required("actions");
    let items = items(&mut fields, "actions");
    fields.finish();
    Some(items.iter().filter_map(|item| action(item, problems)).collect())
}

fn action(node: &Node, problems: &mut Vec<Problem>) -> Option<Action> {
    let mut fields = Fields::of(node, "an action", problems)?;
    let name = fields.text("name").unwrap_or_default();
    fields.rename(format!("action `{name}`"));
    let silent = fields.bool("silent").unwrap_or_default();
    let events = items(&mut fields, "events");
    let tasks = items(&mut fields, "tasks");
    fields.finish();
    Some(Action {
        name,
        events: events.iter().filter_map(|item| event(item, problems)).collect(),
        silent,
        tasks: tasks.iter().filter_map(|item| task(item, problems)).collect(),
    })
}

fn event(node: &Node, problems: &mut Vec<Problem>) -> Option<ActionEvent> {
    let mut fields = Fields::of(node, "an event", problems)?;
    let name = fields.required_text("name").unwrap_or_default();
    let json_path = fields.get("jsonpath");
    fields.finish();
    let filter = json_path.and_then(|node| {
        let mut fields = Fields::of(node, "`jsonpath`", problems)?;
        let filter = (fields.text("property").unwrap_or_default(), fields.text("match").unwrap_or_default());
        fields.finish();
        Some(filter).filter(|(property, _)| !property.is_empty())
    });
    Some(ActionEvent { name, filter })
}

fn task(node: &Node, problems: &mut Vec<Problem>) -> Option<ActionTask> {
    let mut fields = Fields::of(node, "a task", problems)?;
    let name = fields.text("name").unwrap_or_default();
    fields.rename(format!("task `{name}`"));
    let ignored = KUBERNETES.into_iter().filter(|field| fields.get(field).is_some()).collect();
    let task = ActionTask {
        image: fields.text("image").unwrap_or_default(),
        cmd: words(&mut fields, "cmd"),
        args: words(&mut fields, "args"),
        files: words(&mut fields, "files"),
        max_poll_seconds: fields.whole("maxPollDuration", POLL_SECONDS_MAX),
        working_dir: fields.text("workingDir"),
        ignored,
        name,
        ..ActionTask::default()
    };
    let env = items(&mut fields, "env");
    let resources = fields.get("resources");
    fields.finish();
    let env = env.iter().filter_map(|item| variable(item, problems)).collect();
    Some(ActionTask { env, memory: resources.and_then(memory), ..task })
}

/// Reads a list of texts; one text, as in older files, is split into words.
fn words(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<String> {
    let Some(node) = fields.get(name) else { return Vec::new() };
    match &node.value {
        Value::Scalar(scalar) => shlex::split(&scalar.text).unwrap_or_else(|| vec![scalar.text.clone()]),
        Value::List(_) => {
            let items = items(fields, name);
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                match &item.value {
                    Value::Scalar(scalar) => texts.push(scalar.text.clone()),
                    _ => fields.expected(name, "a list of texts", item),
                }
            }
            texts
        }
        Value::Map(_) => {
            fields.expected(name, "a list of texts", node);
            Vec::new()
        }
    }
}

fn variable(node: &Node, problems: &mut Vec<Problem>) -> Option<Variable> {
    let mut fields = Fields::of(node, "a variable", problems)?;
    let variable = Variable {
        name: fields.required_text("name").unwrap_or_default(),
        value: fields.text("value").unwrap_or_default(),
        value_from: fields.text("valueFrom").unwrap_or_default(),
        format: fields.text("as"),
    };
    fields.finish();
    Some(variable)
}

/// Returns the limit of memory that Kubernetes was told.
fn memory(resources: &Node) -> Option<String> {
    let member = |node: &Node, name: &str| match &node.value {
        Value::Map(members) => members.iter().find(|member| member.key == name).map(|member| member.node.clone()),
        _ => None,
    };
    match member(&member(resources, "limits")?, "memory")?.value {
        Value::Scalar(scalar) => Some(scalar.text),
        _ => None,
    }
}
