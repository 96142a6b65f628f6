//! Style as a test: the rules of `CONTRIBUTING.md` that no compiler checks.
//!
//! Each submodule is one group of rules: a pure function from the files to the problems. All problems are reported
//! at once, each with its file, its line and what to do. An exception stands in a list beside its rule, with a reason.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell::{self, command};
use crate::workspace::Workspace;

mod arrows;
mod examples;
mod layout;
mod links;
mod text;

/// A file of the repository: one that git tracks, or would if it were added.
#[derive(Clone, Debug)]
struct SourceFile {
    /// Path from the repository's root, with `/`.
    path: String,
    /// Its text; empty for a binary file.
    text: String,
}

impl SourceFile {
    /// Tells whether the file's name ends with `.extension`.
    fn has_extension(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }

    /// Returns the lines, each with its number, counted from 1.
    fn numbered_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// A rule broken somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    path: String,
    /// Line, counted from 1; 0 when it is about the whole file.
    line: usize,
    message: String,
}

impl Problem {
    fn at(path: impl Into<String>, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), line, message: message.into() }
    }

    fn in_file(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::at(path, 0, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A group of rules.
type Rules = fn(&[SourceFile]) -> Vec<Problem>;

const RULES: [Rules; 5] = [text::check, arrows::check, layout::check, links::check, examples::check];

/// Checks all rules.
///
/// # Errors
/// A rule is broken; every problem has been printed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = files(workspace)?;
    let problems: Vec<Problem> = RULES.iter().flat_map(|rules| rules(&files)).collect();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy: {} problems in {} files read", problems.len(), files.len());
    }
    println!("tidy: {} files, no problem", files.len());
    Ok(())
}

/// Reads the files of the repository as git sees them, so that nothing ignored is judged.
fn files(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    let mut git = command(workspace, "git");
    let listing = shell::output(git.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut files = Vec::new();
    for path in listing.lines() {
        let full = workspace.root().join(path);
        if !full.is_file() {
            // Removed from the folder and not yet from the index.
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("failed to read `{path}`"))?;
        files.push(SourceFile { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

/// Makes files for the tests of rules.
#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files.iter().map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}
