//! Merges file, environment and flags, checks everything, and reports all problems at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pilothouse_core::event::EVENT_SIZE_BYTES_MAX;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::lines::{Lines, line_of_offset};
use super::schema::Node;
use super::{Config, overlay};

/// Smallest limit on an event that CloudEvents allows an intermediary ("Size Limits").
const EVENT_SIZE_BYTES_MIN: u64 = 64 * 1024;
/// Most events in a batch: what one commit of the store takes, with room for what follows from them.
const BATCH_EVENTS_MAX: u32 = 1_000;
/// Shortest retention, because for so long a repeated event must be recognized (`ARCHITECTURE.md`, invariant 4).
const RETENTION_MIN: Duration = Duration::from_secs(7 * 86_400);

/// Where the settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file and its text, if there is one.
    pub file: Option<(PathBuf, String)>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The flags.
    pub flags: super::Overrides,
}

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd but harmless, one sentence each.
    pub warnings: Vec<String>,
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, at this line.
    File(PathBuf, usize),
    /// In an environment variable.
    Variable(String),
    /// In a flag.
    Flag(String),
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What is wrong, and what would be right. Never contains a secret.
    pub message: String,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem")?,
            count => write!(f, "the configuration has {count} problems")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {}: {}", problem.origin, problem.message))
    }
}

/// Reads and checks the configuration.
///
/// # Errors
/// All problems of all sources, each with its place.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut loader = Loader {
        root: Node::root(),
        lines: Lines::default(),
        file: PathBuf::new(),
        leaves: BTreeMap::new(),
        problems: Vec::new(),
    };
    if let Some((path, text)) = &sources.file {
        loader.file.clone_from(path);
        loader.read_file(text);
    }
    let (variables, warnings) = overlay::from_environment(&loader.root, &sources.environment);
    for setting in variables {
        loader.overlay(setting.path, &setting.value, Origin::Variable(setting.variable));
    }
    for (path, value) in &sources.flags.0 {
        loader.overlay(path.clone(), value, Origin::Flag(path.join("-")));
    }
    let config = loader.config();
    loader.check(&config);
    if loader.problems.is_empty() { Ok(Loaded { config, warnings }) } else { Err(ConfigErrors(loader.problems)) }
}

/// Shortest time that a link to a report opens it: a shorter one ends before anybody has read the message that it is in.
const LINK_AGE_MIN: Duration = Duration::from_secs(60);

/// Whether a text is an address that links can begin with.
fn is_base_url(text: &str) -> bool {
    let parsed = text.parse::<http::Uri>();
    parsed.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() && uri.query().is_none()
    })
}

struct Loader {
    root: Node,
    lines: Lines,
    file: PathBuf,
    /// The values given: single ones, and whole entries of the maps.
    leaves: BTreeMap<Vec<String>, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Loader {
    fn read_file(&mut self, text: &str) {
        match toml::from_str::<toml::Table>(text).map_err(|error| (error.span(), error.message().to_owned())) {
            Ok(table) => {
                self.lines = Lines::read(text);
                let value = serde_json::to_value(table).unwrap_or_default();
                let root = self.root.clone();
                self.collect(&root, &mut Vec::new(), value);
            }
            Err((span, message)) => {
                let line = span.map_or(1, |span| line_of_offset(text, span.start));
                self.problems.push(Problem { origin: Origin::File(self.file.clone(), line), message });
            }
        }
    }

    fn in_file(&self, path: &[String]) -> Origin {
        self.lines.of(path).map_or(Origin::Default, |line| Origin::File(self.file.clone(), line))
    }

    /// Where the value at `path` was given.
    fn origin(&self, path: &[&str]) -> Origin {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        match self.leaves.get(&path) {
            Some((_, origin)) => origin.clone(),
            None => self.in_file(&path),
        }
    }

    fn collect(&mut self, node: &Node, path: &mut Vec<String>, value: Value) {
        match (node, value) {
            (Node::Section(_) | Node::Map, Value::Object(members)) => {
                for (key, value) in members {
                    path.push(key);
                    self.collect_member(node, path, value);
                    path.pop();
                }
            }
            (Node::Section(_) | Node::Map, _) => {
                let message = format!("`{}` is a section: write `[{}]`", path.join("."), path.join("."));
                self.problems.push(Problem { origin: self.in_file(path), message });
            }
            (Node::Scalar(_), value) => {
                let origin = self.in_file(path);
                self.leaves.insert(path.clone(), (value, origin));
            }
        }
    }

    fn collect_member(&mut self, node: &Node, path: &mut Vec<String>, value: Value) {
        let key = path.last().cloned().unwrap_or_default();
        match (node, node.child(&key)) {
            (Node::Map, _) => {
                let origin = self.in_file(path);
                self.leaves.insert(path.clone(), (value, origin));
            }
            (_, Some(child)) => self.collect(child, path, value),
            (_, None) => {
                let message = unknown_key(&path.join("."), &key, node.keys());
                self.problems.push(Problem { origin: self.in_file(path), message });
            }
        }
    }

    fn overlay(&mut self, path: Vec<String>, text: &str, origin: Origin) {
        let ty = path.iter().try_fold(&self.root, |node, key| node.child(key));
        let value = match ty {
            Some(Node::Scalar(scalar)) if scalar.ty == "integer" => text.parse::<u64>().map(Value::from).ok(),
            Some(Node::Scalar(scalar)) if scalar.ty == "boolean" => text.parse::<bool>().map(Value::from).ok(),
            _ => None,
        };
        self.leaves.insert(path, (value.unwrap_or_else(|| Value::from(text)), origin));
    }

    /// Reads each value on its own, so that every wrong one is reported, and returns the configuration of the right
    /// ones.
    fn config(&mut self) -> Config {
        let mut tree = Map::new();
        for (path, (value, origin)) in &self.leaves {
            let mut alone = Map::new();
            insert(&mut alone, path, value.clone());
            match Config::deserialize(Value::Object(alone)) {
                Ok(_) => insert(&mut tree, path, value.clone()),
                Err(error) => {
                    let (message, key) = explain(&path.join("."), &error.to_string());
                    let inner: Vec<String> = path.iter().cloned().chain(key).collect();
                    let origin = match origin {
                        Origin::File(..) => self.in_file(&inner),
                        other => other.clone(),
                    };
                    self.problems.push(Problem { origin, message });
                }
            }
        }
        // Each value was read alone before, so together they can be read too.
        Config::deserialize(Value::Object(tree)).unwrap_or_default()
    }

    fn check(&mut self, config: &Config) {
        self.check_ranges(config);
        for (name, connection) in &config.connections {
            for (key, message) in connection.problems() {
                self.problem(&["connections", name.as_str(), key], &message);
            }
        }
        let telemetry = &config.telemetry;
        if let Some(name) = telemetry.traces_connection.as_ref().filter(|name| !config.connections.contains_key(*name))
        {
            let message = format!("there is no connection `{name}`: add a table [connections.{name}]");
            self.problem(&["telemetry", "traces-connection"], &message);
        }
        if config.public_url.as_deref().is_some_and(|url| !is_base_url(url)) {
            self.problem(&["public-url"], "write an address such as https://pilothouse.example.org, without a query");
        }
        if config.report_link_age.0 < LINK_AGE_MIN {
            self.problem(&["report-link-age"], "it must be at least 1m");
        }
        if telemetry.sample_percent > 100 {
            self.problem(&["telemetry", "sample-percent"], "it must be from 0 to 100");
        }
        for (name, output) in &config.outputs {
            if !output.path.is_absolute() {
                self.problem(&["outputs", name.as_str(), "path"], "an output folder is an absolute path");
            }
        }
        for (name, template) in &config.jobs {
            for problem in template.check() {
                self.problem(&["jobs", name.as_str(), key_of(&problem.at)], &problem.to_string());
            }
        }
    }

    fn check_ranges(&mut self, config: &Config) {
        let limits = &config.limits;
        let most = u64::try_from(EVENT_SIZE_BYTES_MAX).unwrap_or(u64::MAX);
        if !(EVENT_SIZE_BYTES_MIN..=most).contains(&limits.event_size_max.0) {
            self.problem(&["limits", "event-size-max"], "it must be from 64KiB to 1MiB");
        }
        if limits.batch_size_max < limits.event_size_max {
            self.problem(
                &["limits", "batch-size-max"],
                "a batch must have room for the largest event (`event-size-max`)",
            );
        }
        if !(1..=BATCH_EVENTS_MAX).contains(&limits.batch_events_max) {
            self.problem(&["limits", "batch-events-max"], "it must be from 1 to 1000");
        }
        if config.retention.age.0 < RETENTION_MIN {
            self.problem(&["retention", "age"], "it must be at least 7d: for so long a repeated event is recognized");
        }
        for (prefix, _) in config.retention.types.iter().filter(|(_, age)| age.0 < RETENTION_MIN) {
            self.problem(
                &["retention", "types", prefix],
                "it must be at least 7d: for so long a repeated event is recognized",
            );
        }
        let positive = [
            (limits.connections_max, ["limits", "connections-max"]),
            (config.runtime.instances, ["runtime", "instances"]),
            (config.ceiling.concurrency, ["ceiling", "concurrency"]),
            (config.ceiling.attempts, ["ceiling", "attempts"]),
        ];
        for (_, path) in positive.into_iter().filter(|(value, _)| *value == 0) {
            self.problem(&path, "it must be at least 1");
        }
        // A wildcard address by default would be an open door; written down it is the operator's decision.
        let is_default = self.origin(&["listen"]) == Origin::Default;
        if is_default && !is_loopback(config.listen.ip()) {
            self.problem(&["listen"], "the default must be loopback");
        }
    }

    fn problem(&mut self, path: &[&str], message: &str) {
        let message = format!("`{}`: {message}", path.join("."));
        self.problems.push(Problem { origin: self.origin(path), message });
    }
}

/// Returns the first key of a place such as `arguments[2]` or `parameters.port`.
fn key_of(place: &str) -> &str {
    place.split(['.', '[']).next().unwrap_or(place)
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

fn insert(tree: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            tree.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = tree.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn unknown_key<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match pilothouse_core::suggest::nearest(key, known.clone()) {
        Some(nearest) => format!("`{path}` is not a setting; did you mean `{nearest}`?"),
        None => format!("`{path}` is not a setting; known here are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Turns serde's text into ours; also returns the key inside of the entry that it is about.
fn explain(path: &str, text: &str) -> (String, Option<String>) {
    let mut quoted = text.split('`').skip(1).step_by(2);
    if text.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        let message = unknown_key(&format!("{path}.{key}"), key, quoted);
        return (message, Some(key.to_owned()));
    }
    (format!("`{path}`: {text}"), None)
}
