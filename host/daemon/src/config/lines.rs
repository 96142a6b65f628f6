//! Finds the line of each key of a TOML document, so that a problem can point at it.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line of each key and table, by its path.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<Vec<String>, usize>);

impl Lines {
    /// Reads the lines of `text`; empty if it is not TOML.
    pub(super) fn read(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            lines.walk(text, &mut Vec::new(), table.get_ref());
        }
        lines
    }

    fn walk(&mut self, text: &str, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.0.entry(path.clone()).or_insert_with(|| line_at(text, key));
            if let DeValue::Table(inner) = value.get_ref() {
                self.walk(text, path, inner);
            }
            path.pop();
        }
    }

    /// Returns the line of the key at `path`, or of the nearest table around it.
    pub(super) fn of(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|length| self.0.get(path.get(..length)?)).copied()
    }
}

fn line_at<T>(text: &str, item: &Spanned<T>) -> usize {
    line_of_offset(text, item.span().start)
}

/// Returns the line, from 1, of the byte at `offset`.
pub(super) fn line_of_offset(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
