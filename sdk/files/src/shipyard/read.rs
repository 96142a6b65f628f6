//! From a file to a [`Shipyard`], with all of its problems.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Concurrency, Condition, RETRIES_MAX, SEQUENCES_MAX, STAGES_MAX, Sequence, Shipyard, Stage, TASKS_MAX, TRIGGERS_MAX,
    TaskDefinition, TriggeredOn, WAIT_MAX, check,
};
use crate::name::{NameError, SequenceName, StageName, TaskName};
use crate::quantity::parse_go_duration;
use crate::result::TaskResult;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Position, Problem, parse};

/// Prefix of `apiVersion`.
const VERSION_PREFIX: &str = "spec.keptn.sh/";

/// Where each named thing stands in the file, for what is checked afterwards.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// `(stage, sequence)` and where the sequence's name stands.
    pub(super) sequences: Vec<(String, String, Position)>,
    /// `(stage, sequence, index of the trigger)` and where its event stands.
    pub(super) triggers: Vec<(String, String, usize, Position)>,
    /// Each task.
    pub(super) tasks: Vec<TaskUse>,
}

/// A task of a sequence, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUse {
    /// The stage.
    pub stage: String,
    /// The sequence.
    pub sequence: String,
    /// The task.
    pub task: String,
    /// Where it stands.
    pub at: Position,
}

/// Returns the tasks of a shipyard in the order of the file, for what looks at them together with other files; none if the
/// file has an error.
pub fn task_uses(bytes: &[u8]) -> Vec<TaskUse> {
    let Ok(node) = parse(bytes) else { return Vec::new() };
    let (mut places, mut problems) = (Places::default(), Vec::new());
    let found = file(&node, &mut places, &mut problems);
    if found.is_some() && !problems.iter().any(Problem::stops_a_run) { places.tasks } else { Vec::new() }
}

/// Reads a shipyard. The first part is `None` if there is an error; the second has everything that is wrong, in the order
/// of the file.
pub fn read(bytes: &[u8]) -> (Option<Shipyard>, Vec<Problem>) {
    let node = match parse(bytes) {
        Ok(node) => node,
        Err(problem) => return (None, vec![problem]),
    };
    let mut problems = Vec::new();
    let mut places = Places::default();
    let shipyard = file(&node, &mut places, &mut problems);
    if let Some(shipyard) = &shipyard {
        check::check(shipyard, &places, &mut problems);
    }
    problems.sort_by_key(|problem| problem.at);
    let usable = !problems.iter().any(Problem::stops_a_run);
    (shipyard.filter(|_| usable), problems)
}

fn file(node: &Node, places: &mut Places, problems: &mut Vec<Problem>) -> Option<Shipyard> {
    let mut fields = Fields::of(node, "the shipyard", problems)?;
    if let Some(version) = fields.required_text("apiVersion") {
        version_known(&version, node, fields.problems());
    }
    if let (Some(kind), Some(at)) = (fields.required_text("kind"), fields.get("kind").map(|node| node.at))
        && kind != "Shipyard"
    {
        fields.problems().push(Problem::error(at, format!("`kind` is `{kind}`; a shipyard's is `Shipyard`")));
    }
    let name = match fields.required("metadata") {
        Some(metadata) => {
            let mut metadata = Fields::of(metadata, "`metadata`", fields.problems())?;
            let name = metadata.required_text("name");
            metadata.finish();
            name
        }
        None => None,
    };
    let spec = fields.required("spec");
    fields.finish();
    let mut spec = Fields::of(spec?, "`spec`", problems)?;
    let items = spec.required("stages").and_then(|_| spec.list("stages")).unwrap_or_default();
    if items.is_empty() {
        spec.problems().push(Problem::error(node.at, "a shipyard needs at least one stage under `spec.stages`"));
    }
    let too_many = items.len() > STAGES_MAX;
    spec.finish();
    if too_many {
        let message = format!("there are {} stages, at most {STAGES_MAX} are allowed", items.len());
        problems.push(Problem::error(node.at, message));
        return None;
    }
    let mut stages: Vec<Stage> = Vec::new();
    for item in items {
        let Some(stage) = stage(item, places, problems) else { continue };
        if stages.iter().any(|known| known.name == stage.name) {
            problems.push(Problem::error(item.at, format!("there are two stages called `{}`", stage.name)));
        }
        stages.push(stage);
    }
    Some(Shipyard { name: name?, stages })
}

fn version_known(version: &str, node: &Node, problems: &mut Vec<Problem>) {
    let numbers: Vec<Option<u32>> = version
        .strip_prefix(VERSION_PREFIX)
        .map(|version| version.split('.').map(|part| part.parse().ok()).collect())
        .unwrap_or_default();
    let known = match numbers.as_slice() {
        [Some(0), Some(minor)] | [Some(0), Some(minor), Some(_)] => *minor >= 2,
        [Some(major), Some(_)] | [Some(major), Some(_), Some(_)] => *major > 0,
        _ => false,
    };
    if !known {
        let message = format!("`apiVersion` is `{version}`; write `{VERSION_PREFIX}0.2.3` (0.2 and later are read)");
        problems.push(Problem::error(node.at, message));
    }
}

fn stage(node: &Node, places: &mut Places, problems: &mut Vec<Problem>) -> Option<Stage> {
    let mut fields = Fields::of(node, "a stage", problems)?;
    let name = name(&mut fields, StageName::new)?;
    fields.rename(format!("stage `{name}`"));
    let items = fields.list("sequences").unwrap_or_default();
    fields.finish();
    if items.len() > SEQUENCES_MAX {
        let message = format!("stage `{name}` has {} sequences, at most {SEQUENCES_MAX} are allowed", items.len());
        problems.push(Problem::error(node.at, message));
        return None;
    }
    let mut sequences: Vec<Sequence> = Vec::new();
    for item in items {
        let Some(sequence) = sequence(item, &name, places, problems) else { continue };
        if sequences.iter().any(|known| known.name == sequence.name) {
            let message = format!("stage `{name}` has two sequences called `{}`", sequence.name);
            problems.push(Problem::error(item.at, message));
        }
        sequences.push(sequence);
    }
    Some(Stage { name, sequences })
}

/// Reads the `name` of a stage, a sequence or a task.
fn name<N>(fields: &mut Fields<'_, '_>, new: impl Fn(&str) -> Result<N, NameError>) -> Option<N> {
    let text = fields.required_text("name")?;
    let at = fields.get("name").map_or(Position::START, |node| node.at);
    new(&text).map_err(|error| fields.problems().push(Problem::error(at, error.to_string()))).ok()
}

fn sequence(node: &Node, stage: &StageName, places: &mut Places, problems: &mut Vec<Problem>) -> Option<Sequence> {
    let mut fields = Fields::of(node, "a sequence", problems)?;
    let name = name(&mut fields, SequenceName::new)?;
    let what = format!("sequence `{name}` of stage `{stage}`");
    fields.rename(&what);
    places.sequences.push((stage.to_string(), name.to_string(), node.at));
    let concurrency = match (fields.text("concurrency").as_deref(), fields.get("concurrency")) {
        (None, _) | (Some("queue"), _) => Concurrency::Queue,
        (Some("replace"), _) => Concurrency::Replace,
        (Some("parallel"), _) => Concurrency::Parallel,
        (Some(_), node) => {
            if let Some(node) = node {
                fields.expected("concurrency", "`queue`, `replace` or `parallel`", node);
            }
            Concurrency::Queue
        }
    };
    let triggers = fields.list("triggeredOn").unwrap_or_default();
    let tasks = fields.list("tasks").unwrap_or_default();
    fields.finish();
    if triggers.len() > TRIGGERS_MAX {
        problems.push(Problem::error(node.at, format!("{what} has more than {TRIGGERS_MAX} triggers")));
        return None;
    }
    let mut triggered_on = Vec::new();
    for item in triggers {
        if let Some((trigger, at)) = trigger(item, &what, problems) {
            places.triggers.push((stage.to_string(), name.to_string(), triggered_on.len(), at));
            triggered_on.push(trigger);
        }
    }
    if tasks.is_empty() {
        problems.push(Problem::write_error(
            node.at,
            format!("{what} has no tasks: it would fail whenever it is triggered"),
        ));
    }
    let mut found = Vec::new();
    let steps: Vec<Vec<TaskDefinition>> =
        tasks.iter().filter_map(|item| step(item, &what, &mut found, problems)).collect();
    let count: usize = steps.iter().map(Vec::len).sum();
    if count > TASKS_MAX {
        problems.push(Problem::error(node.at, format!("{what} has {count} tasks, at most {TASKS_MAX} are allowed")));
    }
    places.tasks.extend(found.into_iter().map(|(task, at)| TaskUse {
        stage: stage.to_string(),
        sequence: name.to_string(),
        task,
        at,
    }));
    Some(Sequence { name, triggered_on, concurrency, steps })
}

fn trigger(node: &Node, of: &str, problems: &mut Vec<Problem>) -> Option<(TriggeredOn, Position)> {
    let mut fields = Fields::of(node, format!("a trigger of {of}"), problems)?;
    let event = fields.required_text("event");
    let at = fields.get("event").map_or(node.at, |node| node.at);
    let selector = fields.get("selector");
    fields.finish();
    let event = event?;
    let bare = event.strip_prefix("sh.keptn.event.").unwrap_or(&event);
    let parts: Vec<&str> = bare.split('.').collect();
    let [stage, sequence, "finished"] = parts.as_slice() else {
        let message = format!("`{event}` fires nothing; write `<stage>.<sequence>.finished`");
        problems.push(Problem::error(at, message));
        return None;
    };
    let mut conditions = Vec::new();
    if let Some(selector) = selector {
        let mut fields = Fields::of(selector, "the selector", problems)?;
        let matches = fields.get("match");
        fields.finish();
        if let Some(matches) = matches {
            conditions = self::conditions(matches, problems)?;
        }
    }
    Some((TriggeredOn { stage: (*stage).to_owned(), sequence: (*sequence).to_owned(), selector: conditions }, at))
}

fn conditions(node: &Node, problems: &mut Vec<Problem>) -> Option<Vec<Condition>> {
    let crate::yaml::Value::Map(members) = &node.value else {
        problems.push(Problem::error(node.at, format!("`match` must be a mapping, this is {}", node.kind())));
        return None;
    };
    if members.is_empty() {
        problems.push(Problem::warning(node.at, "an empty `match` is as none: `pass` or `warning`"));
    }
    let mut conditions = Vec::new();
    for member in members {
        let task = match member.key.as_str() {
            "result" => None,
            key => match key.strip_suffix(".result") {
                Some(task) => Some(task.to_owned()),
                None => {
                    let message = format!("a selector cannot match `{key}`; write `result` or `<task>.result`");
                    problems.push(Problem::write_error(member.at, message));
                    continue;
                }
            },
        };
        let word = match &member.node.value {
            crate::yaml::Value::Scalar(scalar) => scalar.text.as_str(),
            _ => "",
        };
        let result = match word {
            "pass" => TaskResult::Pass,
            "warning" => TaskResult::Warning,
            "fail" => TaskResult::Fail,
            "failed" => {
                problems.push(Problem::warning(
                    member.node.at,
                    "`failed` is read as `fail`, the word of the specification",
                ));
                TaskResult::Fail
            }
            _ => {
                let message = format!("`{}` must be `pass`, `warning` or `fail`", member.key);
                problems.push(Problem::error(member.node.at, message));
                continue;
            }
        };
        conditions.push(Condition { task, result });
    }
    Some(conditions)
}

/// Reads one entry of `tasks`: a task, or `parallel` with a list of them; adds to `found` where each stands.
fn step(
    node: &Node,
    of: &str,
    found: &mut Vec<(String, Position)>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<TaskDefinition>> {
    let mut fields = Fields::of(node, format!("a task of {of}"), problems)?;
    if fields.get("parallel").is_none() {
        let task = task(fields)?;
        found.push((task.name.to_string(), node.at));
        return Some(vec![task]);
    }
    let items = fields.list("parallel").unwrap_or_default();
    fields.finish();
    if items.is_empty() {
        problems.push(Problem::error(node.at, format!("a parallel group of {of} needs a list of tasks")));
        return None;
    }
    let mut group: Vec<TaskDefinition> = Vec::new();
    for item in items {
        let Some(task) = Fields::of(item, format!("a task of {of}"), problems).and_then(task) else { continue };
        if group.iter().any(|known| known.name == task.name) {
            let message =
                format!("`{}` stands twice in a parallel group: their outputs would overwrite each other", task.name);
            problems.push(Problem::error(item.at, message));
        }
        found.push((task.name.to_string(), item.at));
        group.push(task);
    }
    (!group.is_empty()).then_some(group)
}

fn task(mut fields: Fields<'_, '_>) -> Option<TaskDefinition> {
    let name = name(&mut fields, TaskName::new)?;
    fields.rename(format!("task `{name}`"));
    let triggered_after = duration(&mut fields, "triggeredAfter").unwrap_or_default();
    let retries = fields.whole("retries", RETRIES_MAX).unwrap_or_default();
    let retry_after = duration(&mut fields, "retryAfter").unwrap_or_default();
    let properties = match fields.get("properties").map(|node| (node, node.to_json())) {
        None => Map::new(),
        Some((_, Value::Object(properties))) => properties,
        Some((node, _)) => {
            fields.expected("properties", "a mapping", node);
            Map::new()
        }
    };
    let (mut start_timeout, mut finish_timeout) = (None, None);
    if let Some(node) = fields.get("timeout") {
        let mut timeout = Fields::of(node, format!("`timeout` of task `{name}`"), fields.problems())?;
        start_timeout = duration(&mut timeout, "start");
        finish_timeout = duration(&mut timeout, "finish");
        timeout.finish();
    }
    // Listed only so that "it may have …" says all that a task may have.
    fields.finish();
    Some(TaskDefinition { name, triggered_after, properties, start_timeout, finish_timeout, retries, retry_after })
}

fn duration(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<Duration> {
    let text = fields.text(name)?;
    let at = fields.get(name).map_or(Position::START, |node| node.at);
    match parse_go_duration(&text) {
        Ok(duration) if duration <= WAIT_MAX => Some(duration),
        Ok(_) => {
            fields.problems().push(Problem::error(at, format!("`{name}` is over 30 days")));
            None
        }
        Err(error) => {
            fields.problems().push(Problem::error(at, format!("`{name}`: {error}")));
            None
        }
    }
}
