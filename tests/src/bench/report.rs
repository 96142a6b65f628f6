//! Rows of the table: what was measured, against which goal, beside which disk.
//!
//! Never here: measuring.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::disk;

/// Raw fdatasync p50, in milliseconds, at and above which absolute goals are not judged: they are about the host, and a
/// slow disk is not the host.
const JUDGED_BELOW_MS: f64 = 2.0;

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What a value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Reported and not judged.
    None,
    /// A share of, or a difference to, something measured beside it: judged on every machine.
    Relative(f64),
    /// A number for itself: judged only where the disk is quick.
    Absolute(f64),
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
    better: Better,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match (self.goal, self.better) {
            (None, _) => "",
            (Some(goal), Better::Higher) if self.value >= goal => "met",
            (Some(goal), Better::Lower) if self.value <= goal => "met",
            _ => "NOT MET",
        }
    }
}

/// All figures so far.
pub(crate) struct Report {
    rows: Vec<Row>,
    folder: std::path::PathBuf,
    fdatasync_ms: f64,
    begun: Instant,
}

impl Report {
    /// Makes an empty report of measurements whose files lie in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { rows: Vec::new(), folder: folder.to_owned(), fdatasync_ms: f64::INFINITY, begun: Instant::now() }
    }

    /// Begins a group of figures: says so, and measures the disk that they stand beside.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) fn section(&mut self, name: &str) -> Result<()> {
        self.fdatasync_ms = disk::fdatasync_p50_ms(&self.folder)?;
        let seconds = self.begun.elapsed().as_secs();
        println!("\n== {name} ({seconds} s so far; fdatasync p50 {:.3} ms)", self.fdatasync_ms);
        self.push(&format!("{name}: raw fdatasync p50"), self.fdatasync_ms, "ms", Better::Lower, Goal::None);
        Ok(())
    }

    /// Adds a figure and prints it.
    pub(crate) fn push(&mut self, name: &str, value: f64, unit: &'static str, better: Better, goal: Goal) {
        let goal = match goal {
            Goal::Absolute(goal) if self.fdatasync_ms < JUDGED_BELOW_MS => Some(goal),
            Goal::Relative(goal) => Some(goal),
            Goal::None | Goal::Absolute(_) => None,
        };
        let row = Row { name: name.to_owned(), value: rounded(value), unit, goal: goal.map(rounded), better };
        let against = row.goal.map_or_else(String::new, |goal| {
            let sign = if better == Better::Higher { ">=" } else { "<=" };
            format!("  (goal {sign} {goal} {unit}: {})", row.verdict())
        });
        println!("  {:<88} {:>12} {unit}{against}", row.name, row.value);
        self.rows.push(row);
    }

    /// Says what is being done.
    pub(crate) fn note(&self, text: &str) {
        println!("  .. {text}");
    }

    /// Writes the rows as a JSON array, and says how many goals are met.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let json = serde_json::to_string_pretty(&self.rows)?;
        std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        let judged = self.rows.iter().filter(|row| row.goal.is_some()).count();
        let missed: Vec<&Row> = self.rows.iter().filter(|row| row.verdict() == "NOT MET").collect();
        println!("\n{} rows in {}; {} of {judged} goals met", self.rows.len(), file.display(), judged - missed.len());
        for row in missed {
            println!("  not met: {} = {} {} (goal {:?})", row.name, row.value, row.unit, row.goal);
        }
        Ok(())
    }
}

/// Four significant digits are more than the noise allows.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", usize::try_from(digits.max(0)).unwrap_or(0));
    text.parse().unwrap_or(value)
}
