//! YAML with positions: every file format of a project is read through this, so that a problem names its line and column.
//!
//! [`parse()`] makes a tree of [`Node`]s within bounds; [`fields::Fields`] reads the members of a mapping and collects what
//! is wrong with them, so that a person sees all problems of a file at once.

pub mod fields;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

pub use parse::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, parse};

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The beginning of the file, for problems of the file as a whole.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file works, but probably not as it was meant.
    Warning,
    /// A mistake that Keptn did not see, such as a member that the format does not have. A write is refused; a run of a
    /// file that is there already goes on as Keptn did.
    WriteError,
    /// The file cannot be used.
    Error,
}

/// What is wrong with a file, where, and what was meant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Where it is.
    #[serde(flatten)]
    pub at: Position,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl Problem {
    /// Makes an error.
    pub fn error(at: Position, message: impl Into<String>) -> Self {
        Self { at, severity: Severity::Error, message: message.into() }
    }

    /// Makes an error that refuses a write and lets a run go on.
    pub fn write_error(at: Position, message: impl Into<String>) -> Self {
        Self { at, severity: Severity::WriteError, message: message.into() }
    }

    /// Makes a warning.
    pub fn warning(at: Position, message: impl Into<String>) -> Self {
        Self { at, severity: Severity::Warning, message: message.into() }
    }

    /// Tells whether the file cannot be used, not even leniently.
    pub fn stops_a_run(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Tells whether a write of the file is refused.
    pub fn stops_a_write(&self) -> bool {
        self.severity != Severity::Warning
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// A node of a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A scalar.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file. No key stands twice.
    Map(Vec<Member>),
}

/// A member of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its key.
    pub key: String,
    /// Where the key begins.
    pub at: Position,
    /// Its value.
    pub node: Node,
}

/// A scalar as written; what it is follows from the YAML 1.2 core schema when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Its text.
    pub text: String,
    /// Whether it was written without quotes, so that it can be other than a string.
    pub plain: bool,
}

impl Scalar {
    /// Tells whether the scalar is `null`.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Returns the truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    /// Returns the number, if it is one that JSON can hold.
    pub fn as_number(&self) -> Option<serde_json::Number> {
        if !self.plain || !self.text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
            return None;
        }
        let text = self.text.strip_prefix('+').unwrap_or(&self.text);
        if let Ok(integer) = text.parse::<i64>() {
            return Some(integer.into());
        }
        if let Some(digits) = text.strip_prefix("0x") {
            return i64::from_str_radix(digits, 16).ok().map(Into::into);
        }
        text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
    }
}

impl Node {
    /// Returns the node in words, for "expected …, found …".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(scalar) if scalar.as_bool().is_some() => "a truth value",
            Value::Scalar(scalar) if scalar.as_number().is_some() => "a number",
            Value::Scalar(_) => "a text",
        }
    }

    /// Tells whether the node is `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Returns the node as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(members) => {
                Json::Object(members.iter().map(|member| (member.key.clone(), member.node.to_json())).collect())
            }
            Value::Scalar(scalar) => {
                if scalar.is_null() {
                    Json::Null
                } else if let Some(truth) = scalar.as_bool() {
                    Json::Bool(truth)
                } else if let Some(number) = scalar.as_number() {
                    Json::Number(number)
                } else {
                    Json::String(scalar.text.clone())
                }
            }
        }
    }
}
