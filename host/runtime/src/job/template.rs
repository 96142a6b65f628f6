//! A job template: what an operator lets plugins run, and how a plugin's request becomes a command line.
//!
//! Checked twice: [`JobTemplate::check`] when the configuration is read, [`JobTemplate::prepare`] for each request.
//! Never starts anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilothouse_core::quantity::{ByteSize, Span};
use pilothouse_core::suggest::nearest;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::pattern::{Pattern, Segment, is_parameter_name};
use crate::outputs::PlainPath;
use crate::services::{JobError, JobFile, JobRequest};

/// Longest value of a parameter, in bytes. Longer input belongs in a file; the kernel's limit is 128 KiB per argument.
pub const PARAMETER_BYTES_MAX: usize = 4096;
/// Largest compiled pattern, in bytes, so that a counted repetition in the configuration cannot eat the host's memory.
const REGEX_SIZE_BYTES_MAX: usize = 1 << 20;
/// Names of artifacts that every job has.
pub(super) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// What plugins may have run, as the operator writes it in `[jobs.<name>]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JobTemplate {
    /// The program: an absolute path, or a name that is looked up in the job's `PATH` when a job starts.
    pub program: String,
    /// Argument patterns. Each becomes one argument, or none if it names an optional parameter that is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Environment patterns, by name. A job has these, `PATH`, `HOME`, `TMPDIR`, `LANG` and `PILOTHOUSE_JOB`; nothing
    /// of the host's own environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Parameters that a plugin gives, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, ParameterRule>,
    /// Files that a plugin gives. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FileRules>,
    /// Files of the job's directory that a plugin may read besides `stdout` and `stderr`: relative paths of plain names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Limits of each job.
    #[serde(default)]
    pub limits: JobLimits,
}

/// What a parameter may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ParameterRule {
    /// Regular expression that the whole value must match.
    pub pattern: String,
    /// Whether a request without it is refused. Default no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Its value where the request has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether an argument may begin with a `-` that comes from this parameter. Default no, whatever the pattern says:
    /// such a value would be read as an option.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_dash: bool,
}

/// What files a plugin may give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FileRules {
    /// Regular expression that the whole name must match, besides being a relative path of plain names.
    pub pattern: String,
    /// Most files. Default 16: a JMeter plan with its data files.
    pub count_max: usize,
    /// Most bytes of all files together. Default 8 MiB: they are held in memory and stored with the delivery.
    pub size_max: ByteSize,
}

impl Default for FileRules {
    fn default() -> Self {
        Self { pattern: ".*".to_owned(), count_max: 16, size_max: ByteSize(8 << 20) }
    }
}

/// Limits of one job. The defaults fit a JMeter run of some minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct JobLimits {
    /// Wall-clock time. Default 10 minutes.
    pub timeout: Span,
    /// Time between the request to stop and the kill. Default 5 s: JMeter closes its result file in that time.
    pub grace: Span,
    /// Memory of all processes together. Default 1 GiB, for a JVM with half of that as heap.
    pub memory: ByteSize,
    /// Processes and threads together, as the kernel counts them. Default 1,024: a JMeter thread per simulated user.
    pub processes: u32,
    /// Bytes in the job's directory, and largest file. Default 1 GiB.
    pub disk: ByteSize,
    /// Bytes kept of standard output, and as many of standard error. Default 4 MiB each.
    pub output: ByteSize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            timeout: Span(Duration::from_secs(600)),
            grace: Span(Duration::from_secs(5)),
            memory: ByteSize(1 << 30),
            processes: 1024,
            disk: ByteSize(1 << 30),
            output: ByteSize(4 << 20),
        }
    }
}

/// A mistake in a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct TemplateProblem {
    /// The key, such as `arguments[2]`.
    pub at: String,
    /// What is wrong, and what to write.
    pub problem: String,
}

/// A request that fits its template, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedJob {
    /// The program as in the template, and its arguments.
    pub argv: Vec<String>,
    /// The environment from the template.
    pub environment: BTreeMap<String, String>,
    /// Where each file goes, in the order of the request.
    pub files: Vec<PlainPath>,
    /// The time limit: the template's, or the request's if that is shorter.
    pub timeout: Duration,
}

impl JobTemplate {
    /// Returns every mistake in the template; none for one that can be used.
    pub fn check(&self) -> Vec<TemplateProblem> {
        let mut problems = Vec::new();
        let mut add = |at: String, problem: String| problems.push(TemplateProblem { at, problem });
        let absolute = Path::new(&self.program).is_absolute();
        if self.program.is_empty() || self.program.contains('\0') || (!absolute && self.program.contains('/')) {
            add("program".to_owned(), "write an absolute path, or a name to look up in PATH".to_owned());
        }
        for (name, rule) in &self.parameters {
            if let Err(problem) = rule.check(name) {
                add(format!("parameters.{name}"), problem);
            }
        }
        for (index, text) in self.arguments.iter().enumerate() {
            if let Err(problem) = self.check_pattern(text) {
                add(format!("arguments[{index}]"), problem);
            }
        }
        for (name, text) in &self.environment {
            let at = format!("environment.{name}");
            if name.is_empty() || name.contains(['=', '\0']) || name == super::JOB_VARIABLE {
                add(at.clone(), "this name cannot be set".to_owned());
            }
            if let Err(problem) = self.check_pattern(text) {
                add(at, problem);
            }
        }
        if let Some(Err(problem)) = self.files.as_ref().map(|rules| compile(&rules.pattern)) {
            add("files.pattern".to_owned(), problem);
        }
        for (index, artifact) in self.artifacts.iter().enumerate() {
            if STREAMS.contains(&artifact.as_str()) {
                add(format!("artifacts[{index}]"), format!("`{artifact}` is always there; leave it out"));
            } else if let Err(problem) = PlainPath::parse(artifact) {
                add(format!("artifacts[{index}]"), problem.to_string());
            }
        }
        for (name, zero) in self.limits.zeros() {
            if zero {
                add(format!("limits.{name}"), "must be more than 0".to_owned());
            }
        }
        problems
    }

    /// Checks a request and makes the command line of a job whose directory is `scratch`.
    ///
    /// # Errors
    /// [`JobError::Invalid`] names the parameter or file that the template does not declare, that is missing, or that
    /// is not as declared. [`JobError::Unavailable`] if the template itself is wrong.
    pub fn prepare(&self, request: &JobRequest, scratch: &Path) -> Result<PreparedJob, JobError> {
        let files = self.check_files(&request.files)?;
        let values = self.values(&request.parameters)?;
        let rendering = Rendering { template: self, values: &values, files: &files, scratch };
        let mut argv = vec![self.program.clone()];
        for text in &self.arguments {
            argv.extend(rendering.argument(text)?);
        }
        let mut environment = BTreeMap::new();
        for (name, text) in &self.environment {
            let pattern = Pattern::parse(text).map_err(broken)?;
            if let Some(value) = rendering.render(&pattern)? {
                environment.insert(name.clone(), value);
            }
        }
        let limit = self.limits.timeout.0;
        let timeout = request.timeout.map_or(limit, |asked| asked.min(limit));
        Ok(PreparedJob { argv, environment, files, timeout })
    }

    fn check_pattern(&self, text: &str) -> Result<(), String> {
        for segment in Pattern::parse(text)?.segments() {
            match segment {
                Segment::Parameter(name) if !self.parameters.contains_key(name) => {
                    let near = nearest(name, self.parameters.keys().map(String::as_str));
                    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    return Err(format!("`{{{name}}}` is not one of the template's parameters{hint}"));
                }
                Segment::File(_) if self.files.is_none() => {
                    return Err("it names a file, but the template has no `files` table".to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks what was given, and adds the defaults.
    fn values<'a>(&'a self, given: &'a BTreeMap<String, String>) -> Result<BTreeMap<&'a str, &'a str>, JobError> {
        if let Some(unknown) = given.keys().find(|name| !self.parameters.contains_key(*name)) {
            let unknown: String = unknown.chars().take(80).flat_map(char::escape_debug).collect();
            let near = nearest(&unknown, self.parameters.keys().map(String::as_str));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(invalid(format!("the template declares no parameter `{unknown}`{hint}")));
        }
        let mut values = BTreeMap::new();
        for (name, rule) in &self.parameters {
            let Some(value) = given.get(name).or(rule.default.as_ref()) else {
                if rule.required {
                    return Err(invalid(format!("parameter `{name}` is missing")));
                }
                continue;
            };
            if value.len() > PARAMETER_BYTES_MAX {
                return Err(invalid(format!("parameter `{name}` is longer than {PARAMETER_BYTES_MAX} bytes")));
            }
            let pattern = compile(&rule.pattern).map_err(broken)?;
            if value.contains('\0') || !pattern.is_match(value) {
                return Err(invalid(format!("parameter `{name}` does not match its pattern `{}`", rule.pattern)));
            }
            values.insert(name.as_str(), value.as_str());
        }
        Ok(values)
    }

    fn check_files(&self, given: &[JobFile]) -> Result<Vec<PlainPath>, JobError> {
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let Some(rules) = &self.files else { return Err(invalid("the template takes no files".to_owned())) };
        if given.len() > rules.count_max {
            return Err(invalid(format!(
                "{} files are given; the template takes at most {}",
                given.len(),
                rules.count_max
            )));
        }
        let total: u64 = given.iter().map(|file| file.content.len() as u64).sum();
        if total > rules.size_max.0 {
            return Err(invalid(format!(
                "the files have {total} bytes; the template takes at most {}",
                rules.size_max
            )));
        }
        let pattern = compile(&rules.pattern).map_err(broken)?;
        let mut seen = BTreeSet::new();
        let mut paths = Vec::new();
        for file in given {
            let path = PlainPath::parse(&file.name).map_err(|problem| invalid(format!("file {problem}")))?;
            if !pattern.is_match(path.as_str()) {
                return Err(invalid(format!(
                    "file `{path}` does not match the template's pattern `{}`",
                    rules.pattern
                )));
            }
            if self.artifacts.iter().any(|artifact| artifact == path.as_str()) {
                return Err(invalid(format!("file `{path}` has the name of a result of the job")));
            }
            if !seen.insert(path.clone()) {
                return Err(invalid(format!("file `{path}` is given twice")));
            }
            paths.push(path);
        }
        for path in &paths {
            let below = |other: &&PlainPath| {
                other.as_str().strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            if seen.iter().any(|other| below(&other)) {
                return Err(invalid(format!("file `{path}` is also the folder of another file")));
            }
        }
        Ok(paths)
    }
}

impl ParameterRule {
    fn check(&self, name: &str) -> Result<(), String> {
        if !is_parameter_name(name) || name == "scratch" {
            return Err(
                "name it with letters, digits, `-` and `_`, starting with a letter, and not `scratch`".to_owned()
            );
        }
        let pattern = compile(&self.pattern)?;
        match &self.default {
            Some(_) if self.required => Err("a required parameter has no default".to_owned()),
            Some(default) if !pattern.is_match(default) => Err("the default does not match the pattern".to_owned()),
            _ => Ok(()),
        }
    }
}

impl JobLimits {
    fn zeros(&self) -> [(&'static str, bool); 5] {
        [
            ("timeout", self.timeout.0.is_zero()),
            ("memory", self.memory.0 == 0),
            ("processes", self.processes == 0),
            ("disk", self.disk.0 == 0),
            ("output", self.output.0 == 0),
        ]
    }
}

/// What a pattern is filled with.
struct Rendering<'a> {
    template: &'a JobTemplate,
    values: &'a BTreeMap<&'a str, &'a str>,
    files: &'a [PlainPath],
    scratch: &'a Path,
}

impl Rendering<'_> {
    /// Makes one argument, and refuses one that a parameter turned into an option.
    fn argument(&self, text: &str) -> Result<Option<String>, JobError> {
        let pattern = Pattern::parse(text).map_err(broken)?;
        let Some(argument) = self.render(&pattern)? else { return Ok(None) };
        if argument.starts_with('-') {
            // The piece that the dash came from: the first that is not empty.
            for segment in pattern.segments() {
                match segment {
                    Segment::Parameter(name) => {
                        let allowed = self.template.parameters.get(name).is_some_and(|rule| rule.allow_dash);
                        match self.values.get(name.as_str()) {
                            Some(&"") => {}
                            _ if allowed => break,
                            _ => return Err(invalid(format!("parameter `{name}` must not begin with `-`"))),
                        }
                    }
                    _ => break,
                }
            }
        }
        Ok(Some(argument))
    }

    /// Fills the pattern; `None` if it names an optional parameter that is absent.
    fn render(&self, pattern: &Pattern) -> Result<Option<String>, JobError> {
        let mut text = String::new();
        for segment in pattern.segments() {
            match segment {
                Segment::Text(literal) => text.push_str(literal),
                Segment::Parameter(name) => match self.values.get(name.as_str()) {
                    Some(value) => text.push_str(value),
                    None => return Ok(None),
                },
                Segment::File(name) => {
                    if !self.files.iter().any(|path| path.as_str() == name) {
                        return Err(invalid(format!("file `{name}` is missing")));
                    }
                    text.push_str(&display(&self.scratch.join(name))?);
                }
                Segment::Scratch => text.push_str(&display(self.scratch)?),
            }
        }
        Ok(Some(text))
    }
}

/// Looks a program up in `path`, a list as in the variable `PATH`. An absolute program is itself.
pub(super) fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if Path::new(program).is_absolute() {
        return Some(PathBuf::from(program)).filter(runs);
    }
    path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(program)).find(runs)
}

fn display(path: &Path) -> Result<String, JobError> {
    path.to_str().map(str::to_owned).ok_or_else(|| broken("the data directory's path is not UTF-8".to_owned()))
}

/// Compiles a pattern so that it matches whole values only.
fn compile(pattern: &str) -> Result<Regex, String> {
    // By itself first: `a)|(b` would otherwise close the group that is put around it.
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_SIZE_BYTES_MAX).build();
    build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))).map_err(|error| error.to_string())
}

fn invalid(text: String) -> JobError {
    JobError::Invalid(text)
}

/// The error for a template that [`JobTemplate::check`] would have refused.
fn broken(problem: String) -> JobError {
    JobError::Unavailable(format!("the operator's template is wrong: {problem}"))
}
