//! What the demo did, for programs: `--report FILE`. Only writes down what others found out.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::error::DemoError;

/// All of one demo.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Whether every act happened.
    pub(super) done: bool,
    /// Seconds that it took.
    pub(super) seconds: f64,
    /// The folder in which it played.
    pub(super) folder: String,
    /// The acts, in their order; one that was not reached is missing.
    pub(super) acts: Vec<Act>,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// One act.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Act {
    /// Its name, one word.
    pub(super) name: &'static str,
    /// Seconds that it took.
    pub(super) seconds: f64,
    /// What it showed, in a sentence.
    pub(super) summary: String,
    /// The same as values.
    pub(super) facts: Value,
}

/// What an act showed.
#[derive(Debug)]
pub(super) struct Shown {
    /// In a sentence.
    pub(super) summary: String,
    /// As values.
    pub(super) facts: Value,
}

impl Report {
    /// Writes the report to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), DemoError> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        std::fs::write(path, text).map_err(DemoError::io(format!("cannot write `{}`", path.display())))
    }
}

/// Returns seconds with one decimal.
pub(super) fn seconds(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 10.0).round() / 10.0
}
