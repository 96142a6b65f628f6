//! The remediation file: which actions are tried, one after the other, for which problem.

use crate::member::{exactly, place, read as read_file, too_many};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Position, Problem};

/// The one version that there is.
pub const API_VERSION: &str = "spec.keptn.sh/0.1.4";
/// The problem type of problems that no other one names.
pub const DEFAULT_TYPE: &str = "default";
/// Most problem types of a file. A file with more is made by a program gone wrong.
pub const REMEDIATIONS_MAX: usize = 500;
/// Most actions of a problem type: each one is tried, and judged some minutes later.
pub const ACTIONS_MAX: usize = 50;

/// What is done about problems.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remediation {
    /// Its name, from `metadata`.
    pub name: String,
    /// The problem types in the order of the file.
    pub problem_types: Vec<ProblemType>,
}

/// What is done about one type of problem.
#[derive(Clone, Debug, PartialEq)]
pub struct ProblemType {
    /// A root cause or a title of a problem, or [`DEFAULT_TYPE`].
    pub name: String,
    /// The actions in the order in which they are tried.
    pub actions: Vec<Action>,
    /// Where the name stands.
    pub at: Position,
}

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What executors know it by, such as `scaling`.
    pub action: String,
    /// Its name for people.
    pub name: Option<String>,
    /// What it does, for people.
    pub description: Option<String>,
    /// What it is done with; `null` if the file gives nothing.
    pub value: serde_json::Value,
    /// Where `action` stands.
    pub at: Position,
}

impl Remediation {
    /// Returns what is done about a problem: by its root cause, else by its title, else by default.
    pub fn find(&self, root_cause: Option<&str>, title: Option<&str>) -> Option<&ProblemType> {
        let wanted = [root_cause, title, Some(DEFAULT_TYPE)];
        wanted.into_iter().flatten().find_map(|name| self.problem_types.iter().find(|it| it.name == name))
    }
}

/// Reads a remediation file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Remediation>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_run, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Remediation> {
    let mut fields = Fields::of(node, "the remediation file", problems)?;
    exactly(&mut fields, "apiVersion", API_VERSION);
    exactly(&mut fields, "kind", "Remediation");
    let metadata = fields.required("metadata");
    let spec = fields.required("spec");
    fields.finish();
    let name = metadata.and_then(|metadata| {
        let mut fields = Fields::of(metadata, "`metadata`", problems)?;
        let name = fields.required_text("name");
        fields.finish();
        name
    });
    let spec = spec?;
    let mut fields = Fields::of(spec, "`spec`", problems)?;
    let items = fields.required("remediations").and_then(|_| fields.list("remediations"));
    let at = place(&mut fields, "remediations", spec.at);
    fields.finish();
    let items = items?;
    if items.is_empty() {
        problems.push(Problem::warning(at, "`remediations` is empty: no problem is ever remedied"));
    }
    if items.len() > REMEDIATIONS_MAX {
        problems.push(too_many(at, "`remediations`", items.len(), REMEDIATIONS_MAX));
        return None;
    }
    let mut problem_types: Vec<ProblemType> = Vec::new();
    for item in items {
        let Some(found) = problem_type(item, problems) else { continue };
        if problem_types.iter().any(|known| known.name == found.name) {
            let message =
                format!("there are two entries for the problem type `{}`; only the first one counts", found.name);
            problems.push(Problem::write_error(found.at, message));
        }
        problem_types.push(found);
    }
    Some(Remediation { name: name?, problem_types })
}

fn problem_type(node: &Node, problems: &mut Vec<Problem>) -> Option<ProblemType> {
    let mut fields = Fields::of(node, "an entry of `remediations`", problems)?;
    let name = fields.required_text("problemType");
    let at = place(&mut fields, "problemType", node.at);
    if let Some(name) = &name {
        fields.rename(format!("the remediation of `{name}`"));
    }
    let items = fields.required("actionsOnOpen").and_then(|_| fields.list("actionsOnOpen"));
    let list_at = place(&mut fields, "actionsOnOpen", node.at);
    fields.finish();
    let (name, items) = (name?, items?);
    if items.is_empty() {
        problems.push(Problem::warning(list_at, format!("nothing is done about `{name}`: it has no actions")));
    }
    if items.len() > ACTIONS_MAX {
        problems.push(too_many(list_at, &format!("`actionsOnOpen` of `{name}`"), items.len(), ACTIONS_MAX));
        return None;
    }
    let actions = items.iter().filter_map(|item| action(item, &name, problems)).collect();
    Some(ProblemType { name, actions, at })
}

fn action(node: &Node, of: &str, problems: &mut Vec<Problem>) -> Option<Action> {
    let mut fields = Fields::of(node, format!("an action of `{of}`"), problems)?;
    let name = fields.text("name");
    let action = fields.required_text("action");
    let at = place(&mut fields, "action", node.at);
    let description = fields.text("description");
    let value = fields.get("value").map(Node::to_json).unwrap_or_default();
    fields.finish();
    Some(Action { action: action?, name, description, value, at })
}
