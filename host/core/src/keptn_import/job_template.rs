//! The job template that an operator could write for a container of Keptn's job-executor-service: a suggestion, as text for
//! the host's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::jobs_file::ActionTask;
use crate::quantity::Span;

/// Where the job-executor-service put a task's files.
const KEPTN_FOLDER: &str = "/keptn/";
/// What a suggested parameter may be: nothing that a shell or an option parser could take for more than a value.
const PATTERN: &str = r"[A-Za-z0-9._:/@+=,\-]{0,1024}";
/// What a suggested template lets the names of files be.
const FILES_PATTERN: &str = r"[A-Za-z0-9._/\-]{1,200}";
/// Most files that the plugin `job` gives, and a suggested template takes.
pub(super) const FILES_COUNT_MAX: usize = 256;

/// What a template is made of.
pub(super) struct Suggestion<'a> {
    /// The task of Keptn.
    pub(super) task: &'a ActionTask,
    /// The parameters that `jobs.yaml` gives, each with its value if that is fixed.
    pub(super) parameters: BTreeMap<String, Option<String>>,
    /// The single files that the job is given.
    pub(super) files: BTreeSet<String>,
    /// Whether the job is given any file.
    pub(super) has_files: bool,
}

impl Suggestion<'_> {
    /// Writes everything of the template but its name.
    pub(super) fn write(&self, name: &str) -> String {
        let words: Vec<&String> = self.task.cmd.iter().chain(&self.task.args).collect();
        let mut text = format!("[jobs.{name}]\n");
        let arguments = match words.split_first() {
            Some((program, arguments)) if !self.task.cmd.is_empty() => {
                text.push_str(&format!("program = {}\n", quoted(program)));
                arguments
            }
            _ => {
                // Only the image knows its entry point; its name is the best guess.
                let last = self.task.image.rsplit('/').next().unwrap_or_default();
                let program = last.split([':', '@']).next().filter(|it| !it.is_empty()).unwrap_or("true");
                text.push_str(&format!("program = {} # what the image starts by itself\n", quoted(program)));
                words.as_slice()
            }
        };
        let arguments: Vec<String> = arguments.iter().map(|word| quoted(&self.pattern(word))).collect();
        text.push_str(&format!("arguments = [{}]\n", arguments.join(", ")));
        self.environment(name, &mut text);
        self.rest(name, &mut text);
        text
    }

    fn environment(&self, name: &str, text: &mut String) {
        if self.parameters.is_empty() {
            return;
        }
        text.push_str(&format!("\n[jobs.{name}.environment]\n"));
        for parameter in self.parameters.keys() {
            text.push_str(&format!("{parameter} = \"{{{parameter}}}\"\n"));
        }
        text.push_str(&format!("\n[jobs.{name}.parameters]\n"));
        for (parameter, value) in &self.parameters {
            let pattern = value.as_deref().filter(|value| !is_plain(value)).map(regex::escape);
            let dash =
                if value.as_deref().is_some_and(|value| value.starts_with('-')) { ", allow-dash = true" } else { "" };
            let rest = if value.is_some() { ", required = true" } else { ", default = \"\"" };
            let pattern = quoted(pattern.as_deref().unwrap_or(PATTERN));
            text.push_str(&format!("{parameter} = {{ pattern = {pattern}{rest}{dash} }}\n"));
        }
    }

    fn rest(&self, name: &str, text: &mut String) {
        if self.has_files {
            let pattern = quoted(FILES_PATTERN);
            text.push_str(&format!("\n[jobs.{name}.files]\npattern = {pattern}\ncount-max = {FILES_COUNT_MAX}\n"));
        }
        let timeout = self.task.max_poll_seconds.filter(|seconds| *seconds > 0);
        let memory = self.task.memory.as_deref().and_then(memory);
        if timeout.is_some() || memory.is_some() {
            text.push_str(&format!("\n[jobs.{name}.limits]\n"));
        }
        if let Some(seconds) = timeout {
            text.push_str(&format!("timeout = \"{}\"\n", Span(Duration::from_secs(seconds.into()))));
        }
        if let Some(memory) = memory {
            text.push_str(&format!("memory = \"{memory}\"\n"));
        }
    }

    /// Makes an argument a pattern: `$(NAME)` becomes a parameter, the path of a file a file, a brace a double brace.
    fn pattern(&self, word: &str) -> String {
        let mut rest = word.replace('{', "{{").replace('}', "}}");
        for name in self.parameters.keys() {
            rest = rest.replace(&format!("$({name})"), &format!("{{{name}}}"));
        }
        // The longest first, so that `a.txt` does not take a part of `a.txt.gz`.
        let mut files: Vec<&String> = self.files.iter().filter(|file| !file.contains(['{', '}'])).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.len()));
        for file in files {
            rest = rest.replace(&format!("{KEPTN_FOLDER}{file}"), &format!("{{file:{file}}}"));
        }
        rest
    }

    /// Says what of the arguments still has to be looked at.
    pub(super) fn left_over(&self) -> Vec<String> {
        let words = self.task.cmd.iter().chain(&self.task.args).map(|word| self.pattern(word));
        let mut left = Vec::new();
        for word in words {
            if word.contains(KEPTN_FOLDER) {
                left.push(format!(
                    "`{word}` has a path below `{KEPTN_FOLDER}`; write `{{file:PATH}}` or `{{scratch}}`"
                ));
            }
            if word.contains("$(") {
                left.push(format!("`{word}` has a variable that is no parameter"));
            }
        }
        left
    }
}

/// Tells whether [`PATTERN`] lets a value pass.
fn is_plain(value: &str) -> bool {
    value.len() <= 1024 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/@+=,-".contains(&byte))
}

/// Writes a text as TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Makes Kubernetes' `512Mi` the host's `512MiB`; `None` for other forms.
fn memory(text: &str) -> Option<String> {
    let number = ["Ki", "Mi", "Gi"].into_iter().find_map(|unit| Some((text.strip_suffix(unit)?, unit)));
    let (digits, unit) = number.filter(|(digits, _)| digits.parse::<u32>().is_ok_and(|number| number > 0))?;
    Some(format!("{digits}{unit}B"))
}
