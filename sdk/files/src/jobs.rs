//! The file of the plugin `job`: which task runs which job template. What is accepted is what the plugin accepts.

use crate::Named;
use crate::member::{
    exactly, finite, is_not, members, no_empty, place, read as read_file, scalar, shown, too_many, whole_of,
};
use crate::yaml::fields::Fields;
use crate::yaml::{Member, Node, Problem, Value};

/// The version that the plugin reads.
pub const API_VERSION: &str = "pilothouse.dev/v1";
/// Most artifacts of an answer, as the plugin has it: each is a text in an event.
pub const ARTIFACTS_MAX: usize = 16;

/// What a file of jobs says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// The tasks in the order of the file.
    pub tasks: Vec<Job>,
}

/// The job of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The task.
    pub task: Named,
    /// The job template.
    pub template: Named,
    /// The files that it is given; one that ends in `/` is a folder.
    pub files: Vec<Named>,
}

/// Reads a file of jobs. The first part is `None` if there is an error: the plugin takes no unknown fields either.
pub fn read(bytes: &[u8]) -> (Option<Jobs>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_write, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Jobs> {
    no_empty(node, "the jobs file", &["tasks"], problems);
    let mut fields = Fields::of(node, "the jobs file", problems)?;
    exactly(&mut fields, "apiVersion", API_VERSION);
    exactly(&mut fields, "kind", "Jobs");
    let tasks = fields.get("tasks");
    fields.finish();
    let members = tasks.map(|tasks| members(tasks, "`tasks`", problems)).unwrap_or_default();
    if members.is_empty() && tasks.is_none_or(|tasks| matches!(tasks.value, Value::Map(_))) {
        problems.push(Problem::warning(
            tasks.map_or(node.at, |tasks| tasks.at),
            "the file names no `tasks`: it runs nothing",
        ));
    }
    Some(Jobs { tasks: members.iter().filter_map(|member| job(member, problems)).collect() })
}

fn job(member: &Member, problems: &mut Vec<Problem>) -> Option<Job> {
    let (node, task) = (&member.node, Named { name: member.key.clone(), at: member.at });
    let what = format!("task `{}`", shown(&task.name));
    no_empty(node, &what, &["parameters", "files", "artifacts", "failure"], problems);
    let mut fields = Fields::of(node, &what, problems)?;
    let name = fields.required_text("job");
    let template_at = place(&mut fields, "job", node.at);
    let parameters = fields.get("parameters");
    let files = texts(&mut fields, "files", &what);
    fields.text("event");
    if let Some(seconds) = fields.get("timeoutSeconds")
        && scalar(seconds).and_then(whole_of).is_none()
    {
        fields.problems().push(is_not("timeoutSeconds", &what, seconds, "a whole number of seconds"));
    }
    fields.text("result");
    let artifacts = texts(&mut fields, "artifacts", &what).len();
    if artifacts > ARTIFACTS_MAX {
        let at = place(&mut fields, "artifacts", node.at);
        fields.problems().push(too_many(at, &format!("`artifacts` of {what}"), artifacts, ARTIFACTS_MAX));
    }
    if let Some(failure) = fields.get("failure")
        && !matches!(scalar(failure), Some("errored" | "fail"))
    {
        fields.problems().push(is_not("failure", &what, failure, "`errored` or `fail`"));
    }
    fields.finish();
    let of = format!("`parameters` of {what}");
    let parameters = parameters.map(|node| members(node, &of, problems)).unwrap_or_default();
    parameters.iter().for_each(|member| parameter(member, &what, problems));
    Some(Job { task, template: Named { name: name?, at: template_at }, files })
}

/// Reads a list of texts.
fn texts(fields: &mut Fields<'_, '_>, name: &'static str, of: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for item in fields.list(name).unwrap_or_default() {
        match scalar(item) {
            Some(text) => found.push(Named { name: text.to_owned(), at: item.at }),
            None => {
                let message = format!("an entry of `{name}` of {of} must be a text, this is {}", item.kind());
                fields.problems().push(Problem::error(item.at, message));
            }
        }
    }
    found
}

/// Checks a parameter: a text, a number, a truth value, or where in the event it stands.
fn parameter(member: &Member, of: &str, problems: &mut Vec<Problem>) {
    let what = format!("parameter `{}` of {of}", shown(&member.key));
    let node = &member.node;
    finite(node, problems);
    if !matches!(node.value, Value::Map(_)) {
        if scalar(node).is_none() {
            let message = format!(
                "{what} is {}; write a text, a number, `true`, `false`, or `pointer` with a place in the event",
                node.kind()
            );
            problems.push(Problem::error(node.at, message));
        }
        return;
    }
    let Some(mut fields) = Fields::of(node, &what, problems) else { return };
    if let Some(pointer) = fields.required("pointer")
        && !scalar(pointer).is_some_and(|text| text.starts_with('/'))
    {
        fields.problems().push(is_not("pointer", &what, pointer, "a JSON pointer such as `/service`"));
    }
    if let Some(default) = fields.get("default")
        && !matches!(default.value, Value::Scalar(_))
    {
        let message =
            format!("`default` of {what} is {}; it can only be one value, and fails when it is needed", default.kind());
        fields.problems().push(Problem::warning(default.at, message));
    }
    fields.finish();
}
