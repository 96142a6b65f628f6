//! Reading the members of a mapping by name, and collecting what is wrong.

use super::{Member, Node, Problem, Value};
use crate::suggest::nearest;

/// Reads one mapping. Each member is asked for by name; what nobody asked for is an unknown field.
pub struct Fields<'n, 'p> {
    node: &'n Node,
    members: &'n [Member],
    what: String,
    asked: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// Begins to read `node`, which the messages call `what` ("task `test`"). `None`, with a problem, if it is no mapping.
    pub fn of(node: &'n Node, what: impl Into<String>, problems: &'p mut Vec<Problem>) -> Option<Self> {
        let what = what.into();
        match &node.value {
            Value::Map(members) => Some(Self { node, members, what, asked: Vec::new(), problems }),
            _ => {
                problems.push(Problem::error(node.at, format!("{what} must be a mapping, this is {}", node.kind())));
                None
            }
        }
    }

    /// Changes what the messages call the mapping.
    pub fn rename(&mut self, what: impl Into<String>) {
        self.what = what.into();
    }

    /// Returns the list of problems, to add one.
    pub fn problems(&mut self) -> &mut Vec<Problem> {
        self.problems
    }

    /// Returns a member that is there and not `null`.
    pub fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let member = self.members.iter().find(|member| member.key == name)?;
        (!member.node.is_null()).then_some(&member.node)
    }

    /// Returns a member that must be there.
    pub fn required(&mut self, name: &'static str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            let message = format!("{} needs `{name}`", self.what);
            self.problems.push(Problem::error(self.node.at, message));
        }
        found
    }

    /// Returns a text. Numbers and truth values are read as their text, as Keptn did.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let node = self.get(name)?;
        self.as_text(name, node)
    }

    /// Returns a text that must be there and not be empty.
    pub fn required_text(&mut self, name: &'static str) -> Option<String> {
        let node = self.required(name)?;
        let text = self.as_text(name, node)?;
        if text.is_empty() {
            self.problems.push(Problem::error(node.at, format!("`{name}` of {} is empty", self.what)));
            return None;
        }
        Some(text)
    }

    fn as_text(&mut self, name: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => {
                self.expected(name, "a text", node);
                None
            }
        }
    }

    /// Returns a truth value.
    pub fn bool(&mut self, name: &'static str) -> Option<bool> {
        let node = self.get(name)?;
        let found = match &node.value {
            Value::Scalar(scalar) => scalar.as_bool(),
            _ => None,
        };
        if found.is_none() {
            self.expected(name, "`true` or `false`", node);
        }
        found
    }

    /// Returns a whole number from 0 to `max`.
    pub fn whole(&mut self, name: &'static str, max: u32) -> Option<u32> {
        let node = self.get(name)?;
        let found = match &node.value {
            Value::Scalar(scalar) => {
                scalar.as_number().and_then(|it| it.as_u64()).and_then(|it| u32::try_from(it).ok())
            }
            _ => None,
        };
        match found {
            Some(number) if number <= max => Some(number),
            _ => {
                self.expected(name, &format!("a whole number from 0 to {max}"), node);
                None
            }
        }
    }

    /// Returns the items of a list; `None` if it is not there.
    pub fn list(&mut self, name: &'static str) -> Option<&'n [Node]> {
        let node = self.get(name)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.expected(name, "a list", node);
                None
            }
        }
    }

    /// Says that a member is not what it should be.
    pub fn expected(&mut self, name: &str, wanted: &str, found: &Node) {
        let message = format!("`{name}` of {} must be {wanted}, this is {}", self.what, found.kind());
        self.problems.push(Problem::error(found.at, message));
    }

    /// Ends the reading: members that nobody asked for are unknown.
    pub fn finish(self) {
        for member in self.members.iter().filter(|member| !self.asked.contains(&member.key.as_str())) {
            let hint = match nearest(&member.key, self.asked.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; it may have {}", listed(&self.asked)),
            };
            let key: String = member.key.chars().take(80).collect();
            let message = format!("{} has no field `{key}`{hint}", self.what);
            self.problems.push(Problem::write_error(member.at, message));
        }
    }
}

/// Writes names as people read them.
fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
