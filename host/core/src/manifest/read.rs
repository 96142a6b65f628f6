//! Reads a manifest, and says where in the text each problem is.

use std::fmt;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::{MANIFEST_SIZE_BYTES_MAX, Manifest};
use crate::suggest::nearest;

/// Most problems reported at once; who has more begins with these.
const PROBLEM_COUNT_MAX: usize = 50;

/// One thing that is wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestProblem {
    /// Line, from 1; `None` if the problem is of the whole.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The key at fault, such as `task[0].match`; empty if the text is not TOML.
    pub at: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.at.is_empty() {
            write!(f, "`{}`: ", self.at)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong in a manifest; the plugin author's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The problems in the order of the text; never empty.
    pub problems: Vec<ManifestProblem>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the manifest is invalid: {only}"),
            many => {
                write!(f, "the manifest has {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// A step from a table to one of its parts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Collects problems, and finds their place in the text.
pub(super) struct Report<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    /// Byte offset, kept to put the problems into the order of the text.
    problems: Vec<(usize, ManifestProblem)>,
}

impl Report<'_> {
    /// Adds a problem of the part that `path` leads to.
    pub(super) fn add(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let offset = locate(self.table, path).unwrap_or(0);
        self.add_at(offset, written(path), message.into());
    }

    fn add_at(&mut self, offset: usize, at: String, message: String) {
        let (line, column) = line_column(self.text, offset);
        self.problems.push((offset, ManifestProblem { line: Some(line), column: Some(column), at, message }));
    }

    fn into_error(mut self) -> ManifestError {
        self.problems.sort_by_key(|(offset, _)| *offset);
        self.problems.truncate(PROBLEM_COUNT_MAX);
        ManifestError { problems: self.problems.into_iter().map(|(_, problem)| problem).collect() }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Every problem that can be told at once: syntax first; then unknown keys, one wrong type, and broken rules.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_SIZE_BYTES_MAX {
            let message = format!("it has {} bytes; at most {MANIFEST_SIZE_BYTES_MAX} are accepted", text.len());
            let problem = ManifestProblem { line: None, column: None, at: String::new(), message };
            return Err(ManifestError { problems: vec![problem] });
        }
        let (table, syntax) = DeTable::parse_recoverable(text);
        let mut report = Report { text, table: table.get_ref(), problems: Vec::new() };
        for error in &syntax {
            report.add_at(error.span().map_or(0, |span| span.start), String::new(), error.message().to_owned());
        }
        if !syntax.is_empty() {
            return Err(report.into_error());
        }
        // Unknown keys are reported and taken out, so that the rest is still read and checked.
        let mut known = table.clone();
        take_unknown(known.get_mut(), &TOP, "", &mut report);
        let read = Self::deserialize(toml::de::Deserializer::from(known));
        match &read {
            Ok(manifest) => manifest.check(&mut report),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                report.add_at(offset, String::new(), error.message().trim_end().to_owned());
            }
        }
        match read {
            Ok(manifest) if report.problems.is_empty() => Ok(manifest),
            _ => Err(report.into_error()),
        }
    }
}

/// The keys of a table, and the tables below it whose keys are known.
struct Keys {
    names: &'static [&'static str],
    below: &'static [(&'static str, Keys)],
}

const fn leaf(names: &'static [&'static str]) -> Keys {
    Keys { names, below: &[] }
}

const NAMED: Keys = leaf(&["name", "reason", "optional"]);

/// Every key of the manifest; a test compares it with the types.
const TOP: Keys = Keys {
    names: &[
        "name",
        "version",
        "description",
        "licence",
        "emits",
        "task",
        "any-task",
        "subscribe",
        "order",
        "settings",
        "http",
        "connection",
        "any-connection",
        "job",
        "any-job",
        "outputs",
        "keyvalue",
        "resources",
        "event-log",
        "inbound",
        "limits",
    ],
    below: &[
        ("task", leaf(&["name", "match", "finish-timeout"])),
        ("subscribe", leaf(&["filter", "match", "own-events"])),
        ("settings", leaf(&["schema"])),
        ("http", leaf(&["hosts", "reason"])),
        ("connection", NAMED),
        ("job", NAMED),
        ("outputs", NAMED),
        ("any-connection", leaf(&["reason"])),
        ("any-task", leaf(&["reason"])),
        ("any-job", leaf(&["reason"])),
        ("keyvalue", leaf(&["reason"])),
        ("resources", leaf(&["reason", "write"])),
        ("event-log", leaf(&["reason"])),
        ("inbound", leaf(&["reason"])),
        ("limits", leaf(&["memory", "cpu", "timeout", "concurrency", "attempts", "log"])),
    ],
};

fn take_unknown(table: &mut DeTable<'_>, keys: &Keys, at: &str, report: &mut Report<'_>) {
    let mut unknown = Vec::new();
    for (key, value) in table.iter_mut() {
        let name: &str = key.get_ref();
        if !keys.names.contains(&name) {
            unknown.push(name.to_owned());
            report.add_at(key.span().start, at.to_owned(), unknown_key(name, keys.names));
            continue;
        }
        let Some((_, below)) = keys.below.iter().find(|(it, _)| *it == name) else { continue };
        let at = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        match value.get_mut() {
            DeValue::Table(inner) => take_unknown(inner, below, &at, report),
            DeValue::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let DeValue::Table(inner) = item.get_mut() {
                        take_unknown(inner, below, &format!("{at}[{index}]"), report);
                    }
                }
            }
            _ => {}
        }
    }
    for name in unknown {
        table.remove(name.as_str());
    }
}

fn unknown_key(name: &str, known: &[&'static str]) -> String {
    let shown: String = name.chars().take(60).collect();
    // Two spellings that word distance does not reach: the plural of a table and the American licence.
    let meant = match name {
        "tasks" => Some("task"),
        "subscription" | "subscriptions" => Some("subscribe"),
        "license" => Some("licence"),
        _ => None,
    };
    match meant.filter(|it| known.contains(it)).or_else(|| nearest(name, known.iter().copied())) {
        Some(meant) => format!("unknown key `{shown}`; did you mean `{meant}`?"),
        None => format!("unknown key `{shown}`; the keys here are {}", known.join(", ")),
    }
}

/// Returns the byte offset of the deepest part of `path` that exists.
fn locate(table: &DeTable<'_>, path: &[Step<'_>]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let Step::Key(name) = first else { return None };
    let (key, value) = table.get_key_value(*name)?;
    Some(below(value, rest).unwrap_or_else(|| key.span().start))
}

fn below(value: &toml::Spanned<DeValue<'_>>, path: &[Step<'_>]) -> Option<usize> {
    match (value.get_ref(), path.split_first()?) {
        (DeValue::Table(table), _) => locate(table, path),
        (DeValue::Array(items), (Step::Index(index), rest)) => {
            let item = items.get(*index)?;
            Some(below(item, rest).unwrap_or_else(|| item.span().start))
        }
        _ => None,
    }
}

fn written(path: &[Step<'_>]) -> String {
    path.iter().enumerate().fold(String::new(), |text, (position, step)| match step {
        Step::Key(key) if position == 0 => (*key).to_owned(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before.get(start..).unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Manifest::parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
    }

    const HEAD: &str = "name = \"a\"\nversion = \"1.0.0\"\ndescription = \"Does.\"\n";

    #[test]
    fn unknown_keys_are_all_reported_with_their_place_and_what_was_meant() {
        let text =
            format!("{HEAD}emit = []\nlicense = \"MIT\"\n[[task]]\nname = \"x\"\nfinish-timout = \"1s\"\n[nothing]\n");
        assert_eq!(
            problems(&text),
            [
                "line 4, column 1: unknown key `emit`; did you mean `emits`?",
                "line 5, column 1: unknown key `license`; did you mean `licence`?",
                "line 8, column 1: `task[0]`: unknown key `finish-timout`; did you mean `finish-timeout`?",
                "line 9, column 2: unknown key `nothing`; the keys here are name, version, description, licence, emits, \
                 task, any-task, subscribe, order, settings, http, connection, any-connection, job, any-job, outputs, keyvalue, resources, event-log, inbound, limits",
            ]
        );
    }

    #[test]
    fn a_wrong_type_and_a_missing_key_have_their_place() {
        assert_eq!(problems(&format!("{HEAD}\n[limits]\nmemory = 5"))[0].split(": ").next(), Some("line 6, column 10"));
        assert!(problems("name = \"a\"\nversion = \"1.0.0\"")[0].contains("description"));
        let text = format!("{HEAD}[[subscribe]]\nfilter = {{ exakt = {{ type = \"a\" }} }}");
        assert!(problems(&text)[0].contains("did you mean `exact`?"), "{:?}", problems(&text));
        assert!(problems(&text)[0].starts_with("line 5, "), "{:?}", problems(&text));
    }

    #[test]
    fn text_that_is_not_toml_has_its_place_and_an_endless_one_is_not_read() {
        assert!(problems("name = \"a\"\nversion = ")[0].starts_with("line 2, column"));
        assert!(problems(&" ".repeat(MANIFEST_SIZE_BYTES_MAX + 1))[0].contains("bytes"));
        assert!(!problems(&format!("a = {}", "[".repeat(100_000))).is_empty());
    }

    #[test]
    fn the_list_of_keys_is_that_of_the_types() {
        // serde tells the keys of a type when it meets one that it does not know.
        fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
            let Err(error) = toml::from_str::<T>("zzzz = 1") else { panic!("zzzz is a key") };
            let (_, list) = error.message().split_once("expected").unwrap();
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        }
        let below = |name: &str| TOP.below.iter().find(|(it, _)| *it == name).unwrap().1.names.to_vec();
        assert_eq!(keys::<Manifest>(), TOP.names);
        assert_eq!(keys::<super::super::TaskRequest>(), below("task"));
        assert_eq!(keys::<super::super::SubscriptionRequest>(), below("subscribe"));
        assert_eq!(keys::<super::super::SettingsRequest>(), below("settings"));
        assert_eq!(keys::<super::super::HttpRequest>(), below("http"));
        assert_eq!(keys::<super::super::NamedRequest<String>>(), below("job"));
        for table in ["any-task", "any-connection", "any-job", "keyvalue", "event-log", "inbound"] {
            assert_eq!(keys::<super::super::ReasonRequest>(), below(table));
        }
        assert_eq!(keys::<super::super::ResourcesRequest>(), below("resources"));
        assert_eq!(keys::<super::super::LimitsRequest>(), below("limits"));
    }
}
