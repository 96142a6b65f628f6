//! From what a tool sends to events: a mapping file of JSON pointers and conditions, no code.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{Event, EventBuilder, EventError};
use crate::time::Timestamp;
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem, Value as Yaml, parse};

/// The version that this host reads.
pub const API_VERSION: &str = "pilothouse.dev/v1";
/// Most entries of a mapping.
const ENTRIES_MAX: usize = 100;
/// Most events that one request gives.
pub const EVENTS_MAX: usize = 1_000;
/// Longest text that a template gives, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;
/// Namespace of the ids of events that take theirs from their content (a random UUID, fixed for ever).
const NAMESPACE: Uuid = Uuid::from_u128(0x2d6b_91a4_c37e_4580_b1f2_6e0d_84c9_5a17);

/// What a request becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    for_each: Option<String>,
    when: Vec<Condition>,
    ty: Template,
    source: Template,
    id: Option<Template>,
    subject: Option<Template>,
    run: Option<Template>,
    data: Value,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    at: Place,
    accepted: Vec<Value>,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A JSON pointer into the item of `forEach`, or into the body where there is none.
    Item(String),
    /// A JSON pointer into the body.
    Root(String),
    /// A header.
    Header(String),
}

/// A text with places in braces, such as `/github/{/repository/full_name}`.
#[derive(Clone, Debug, PartialEq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// A request, as a mapping sees it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The body.
    pub body: &'a Value,
    /// Returns a header.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

/// Why a request gives no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An entry fits, and a value that it needs is not there.
    #[error("entry {entry} of the mapping needs `{place}` for `{what}`, and the request has nothing to take there")]
    Missing {
        /// The entry, from 1.
        entry: usize,
        /// For what.
        what: &'static str,
        /// Where.
        place: String,
    },
    /// An entry makes no valid event.
    #[error("entry {entry} of the mapping makes no valid event: {error}")]
    Event {
        /// The entry, from 1.
        entry: usize,
        /// Why.
        error: EventError,
    },
    /// Too many.
    #[error("the request gives more than {EVENTS_MAX} events")]
    TooMany,
}

/// Reads a mapping file. The first part is `None` if there is an error.
pub fn read(bytes: &[u8]) -> (Option<Mapping>, Vec<Problem>) {
    let node = match parse(bytes) {
        Ok(node) => node,
        Err(problem) => return (None, vec![problem]),
    };
    let mut problems = Vec::new();
    let mapping = file(&node, &mut problems);
    problems.sort_by_key(|problem| problem.at);
    let usable = !problems.iter().any(Problem::stops_a_write);
    (mapping.filter(|_| usable), problems)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Mapping> {
    let mut fields = Fields::of(node, "the mapping", problems)?;
    for (name, wanted) in [("apiVersion", API_VERSION), ("kind", "InboundMapping")] {
        let found = fields.required_text(name);
        if let Some(found) = found.filter(|found| found != wanted) {
            let message = format!("`{name}` is `{found}`; write `{wanted}`");
            fields.problems().push(Problem::error(node.at, message));
        }
    }
    let items = fields.required("events").and_then(|_| fields.list("events")).unwrap_or_default();
    fields.finish();
    if items.is_empty() || items.len() > ENTRIES_MAX {
        let message = format!("`events` has {} entries, 1 to {ENTRIES_MAX} are needed", items.len());
        problems.push(Problem::error(node.at, message));
    }
    Some(Mapping { entries: items.iter().filter_map(|item| entry(item, problems)).collect() })
}

fn entry(node: &Node, problems: &mut Vec<Problem>) -> Option<Entry> {
    let mut fields = Fields::of(node, "an entry of `events`", problems)?;
    let for_each = fields.text("forEach");
    let when = fields.get("when");
    let texts = ["type", "source"].map(|name| (name, fields.required_text(name)));
    let [ty, source] = texts.map(|(name, text)| template(name, text, node, fields.problems()));
    let [id, subject, run] =
        [("id", fields.text("id")), ("subject", fields.text("subject")), ("run", fields.text("run"))]
            .map(|(name, text)| text.and_then(|text| template(name, Some(text), node, fields.problems())));
    let data = fields.required("data");
    fields.finish();
    if for_each.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        problems.push(Problem::error(node.at, "`forEach` is a JSON pointer to a list, such as `/alerts`"));
    }
    let when = when.map(|when| conditions(when, problems)).unwrap_or_default();
    let data = data?.to_json();
    if !data.is_object() {
        problems.push(Problem::error(node.at, "`data` must be a mapping"));
    }
    check_data(&data, node, problems);
    Some(Entry { for_each, when, ty: ty?, source: source?, id, subject, run, data })
}

fn conditions(node: &Node, problems: &mut Vec<Problem>) -> Vec<Condition> {
    let Yaml::Map(members) = &node.value else {
        problems.push(Problem::error(
            node.at,
            "`when` is a mapping from a place, such as `/action`, to the values accepted",
        ));
        return Vec::new();
    };
    let condition = |(name, value): (&str, Value)| {
        let at = place(name)?;
        let accepted = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        Some(Condition { at, accepted })
    };
    let mut conditions = Vec::new();
    for member in members {
        match condition((&member.key, member.node.to_json())) {
            Some(condition) => conditions.push(condition),
            None => {
                let message =
                    format!("`{}` is no place; write `/a/pointer`, `root:/a/pointer` or `header:name`", member.key);
                problems.push(Problem::error(node.at, message));
            }
        }
    }
    conditions
}

/// Reads a place: `/pointer`, `root:/pointer`, `header:name`.
fn place(text: &str) -> Option<Place> {
    if let Some(name) = text.strip_prefix("header:") {
        let plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
        return (!name.is_empty() && name.chars().all(plain)).then(|| Place::Header(name.to_ascii_lowercase()));
    }
    if let Some(pointer) = text.strip_prefix("root:") {
        return (pointer.is_empty() || pointer.starts_with('/')).then(|| Place::Root(pointer.to_owned()));
    }
    text.starts_with('/').then(|| Place::Item(text.to_owned()))
}

fn template(name: &str, text: Option<String>, node: &Node, problems: &mut Vec<Problem>) -> Option<Template> {
    let text = text?;
    let read = read_template(&text);
    if read.is_none() {
        let message = format!("`{name}`: `{text}` has a brace that does not enclose a place such as `{{/id}}`");
        problems.push(Problem::error(node.at, message));
    }
    read
}

fn read_template(text: &str) -> Option<Template> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}')?;
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Place(place(inside)?));
        rest = after;
    }
    if rest.contains('}') {
        return None;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(Template(pieces))
}

/// Finds what looks like a place in the data and is none.
fn check_data(data: &Value, node: &Node, problems: &mut Vec<Problem>) {
    match data {
        Value::Object(members) => {
            if let Some(from) = members.get("from") {
                let is_place = from.as_str().is_some_and(|text| place(text).is_some());
                let known = members.keys().all(|name| matches!(name.as_str(), "from" | "default"));
                if !is_place || !known {
                    let message =
                        "in `data`, `from` takes a place such as `/id`, and only `default` may stand beside it";
                    problems.push(Problem::error(node.at, message));
                }
                return;
            }
            members.values().for_each(|value| check_data(value, node, problems));
        }
        Value::Array(items) => items.iter().for_each(|item| check_data(item, node, problems)),
        Value::String(text) if read_template(text).is_none() => {
            let message = format!("in `data`, `{text}` has a brace that does not enclose a place such as `{{/id}}`");
            problems.push(Problem::error(node.at, message));
        }
        _ => {}
    }
}

impl Place {
    fn find(&self, seen: Seen<'_>, item: &Value) -> Option<Value> {
        match self {
            Self::Item(pointer) => item.pointer(pointer).cloned(),
            Self::Root(pointer) => seen.body.pointer(pointer).cloned(),
            Self::Header(name) => (seen.header)(name).map(Value::String),
        }
    }

    fn text(&self, seen: Seen<'_>, item: &Value) -> Option<String> {
        match self.find(seen, item)? {
            Value::String(text) => Some(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Item(pointer) => f.write_str(pointer),
            Self::Root(pointer) => write!(f, "root:{pointer}"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl Template {
    fn fill(&self, seen: Seen<'_>, item: &Value) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place(place) => text.push_str(&place.text(seen, item).ok_or_else(|| place.to_string())?),
            }
        }
        let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        Ok(text)
    }
}

impl Mapping {
    /// Makes the events of a request; none if no entry's conditions hold. An event without an id in its entry gets one from
    /// the route and its content, so that the same request again is absorbed.
    ///
    /// # Errors
    /// An entry fits, and what it needs is not there, or it makes no valid event. Then there is no event at all.
    pub fn apply(&self, route: &str, seen: Seen<'_>, now: Timestamp) -> Result<Vec<Event>, MapError> {
        let mut events = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let items = match &entry.for_each {
                None => vec![seen.body.clone()],
                Some(pointer) => seen.body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default(),
            };
            for item in items {
                if !entry.when.iter().all(|condition| condition.holds(seen, &item)) {
                    continue;
                }
                if events.len() >= EVENTS_MAX {
                    return Err(MapError::TooMany);
                }
                events.push(entry.make(index + 1, route, seen, &item, now)?);
            }
        }
        Ok(events)
    }
}

impl Condition {
    fn holds(&self, seen: Seen<'_>, item: &Value) -> bool {
        let found = self.at.find(seen, item).unwrap_or(Value::Null);
        self.accepted.contains(&found)
    }
}

impl Entry {
    fn make(&self, entry: usize, route: &str, seen: Seen<'_>, item: &Value, now: Timestamp) -> Result<Event, MapError> {
        let fill = |template: &Template, what| {
            template.fill(seen, item).map_err(|place| MapError::Missing { entry, what, place })
        };
        let (ty, source) = (fill(&self.ty, "type")?, fill(&self.source, "source")?);
        let data =
            fill_data(&self.data, seen, item).map_err(|place| MapError::Missing { entry, what: "data", place })?;
        let id = match &self.id {
            Some(template) => fill(template, "id")?,
            None => Uuid::new_v5(&NAMESPACE, format!("{route}\u{0}{ty}\u{0}{item}").as_bytes()).to_string(),
        };
        let mut builder = EventBuilder::new(id, source, ty).time(Some(now.to_string())).json(&data);
        if let Some(template) = &self.subject {
            builder = builder.subject(Some(fill(template, "subject")?));
        }
        if let Some(template) = &self.run {
            // Whatever the tool calls it, the same text is the same run.
            let run = Uuid::new_v5(&NAMESPACE, fill(template, "run")?.as_bytes()).to_string();
            builder = builder.extension_str(crate::keptn::RUN_EXTENSION, &run);
        }
        builder.build().map_err(|error| MapError::Event { entry, error })
    }
}

/// Fills in the data: a mapping with `from` becomes the value that is there, a text its places.
fn fill_data(data: &Value, seen: Seen<'_>, item: &Value) -> Result<Value, String> {
    match data {
        Value::Object(members) if members.contains_key("from") => {
            let from = members.get("from").and_then(Value::as_str).and_then(place);
            let Some(from) = from else { return Ok(Value::Null) };
            let found = from.find(seen, item).filter(|value| !value.is_null());
            found.or_else(|| members.get("default").cloned()).ok_or_else(|| from.to_string())
        }
        Value::Object(members) => {
            let mut filled = Map::new();
            for (name, value) in members {
                filled.insert(name.clone(), fill_data(value, seen, item)?);
            }
            Ok(Value::Object(filled))
        }
        Value::Array(items) => {
            Ok(Value::Array(items.iter().map(|it| fill_data(it, seen, item)).collect::<Result<_, _>>()?))
        }
        Value::String(text) => match read_template(text) {
            Some(template) => Ok(Value::String(template.fill(seen, item)?)),
            None => Ok(data.clone()),
        },
        _ => Ok(data.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const FILE: &str = "
apiVersion: pilothouse.dev/v1
kind: InboundMapping
events:
  - when: { /action: [opened, reopened], header:X-Kind: issue }
    type: com.example.issue.{/action}
    source: /tracker/{/project/key}
    id: '{/issue/id}'
    subject: '{/issue/title}'
    run: '{/issue/id}'
    data:
      title: 'Issue {/issue/title}'
      labels: { from: /issue/labels, default: [] }
      number: { from: /issue/id }
      fixed: [1, yes]
  - forEach: /alerts
    when: { /status: firing }
    type: com.example.alert
    source: /alerts
    data: { name: { from: /name }, group: { from: 'root:/group' } }
";

    fn apply(body: &Value) -> Result<Vec<Event>, MapError> {
        let (mapping, problems) = read(FILE.as_bytes());
        assert!(problems.is_empty(), "{problems:?}");
        let header = |name: &str| (name == "x-kind").then(|| "issue".to_owned());
        mapping.unwrap().apply("tracker", Seen { body, header: &header }, NOW)
    }

    #[test]
    fn a_request_becomes_what_the_first_fitting_conditions_say() {
        let body = json!({"action": "opened", "project": {"key": "SHOP"}, "issue": {"id": 7, "title": "Slow"}});
        let events = apply(&body).unwrap();
        assert_eq!(events.len(), 1);
        let event = &events[0];
        assert_eq!((event.ty(), event.source(), event.id()), ("com.example.issue.opened", "/tracker/SHOP", "7"));
        assert_eq!(event.subject(), Some("Slow"));
        let data = json!({"title": "Issue Slow", "labels": [], "number": 7, "fixed": [1, "yes"]});
        assert_eq!(event.data_json().unwrap(), data);
        assert_eq!(apply(&body).unwrap()[0].extension_str("shkeptncontext"), event.extension_str("shkeptncontext"));
        assert!(apply(&json!({"action": "closed"})).unwrap().is_empty());
    }

    #[test]
    fn each_item_of_a_list_is_an_event_with_an_id_of_its_content() {
        let body = json!({"group": "g", "alerts": [
            {"status": "firing", "name": "a"}, {"status": "resolved", "name": "b"}, {"status": "firing", "name": "c"},
        ]});
        let events = apply(&body).unwrap();
        let named: Vec<Value> = events.iter().map(|event| event.data_json().unwrap()).collect();
        assert_eq!(named, [json!({"name": "a", "group": "g"}), json!({"name": "c", "group": "g"})]);
        assert_ne!(events[0].id(), events[1].id());
        assert_eq!(apply(&body).unwrap()[1].id(), events[1].id(), "the same again is the same event");
    }

    #[test]
    fn what_is_missing_is_named_and_there_is_no_event() {
        let error = apply(&json!({"action": "opened", "project": {"key": "SHOP"}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "entry 1 of the mapping needs `/issue/id` for `data`, and the request has nothing to take there"
        );
        let many: Vec<Value> = (0..1_001).map(|index| json!({"status": "firing", "name": index})).collect();
        assert_eq!(apply(&json!({"group": "g", "alerts": many})).unwrap_err(), MapError::TooMany);
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        let with = |entry: &str| format!("apiVersion: pilothouse.dev/v1\nkind: InboundMapping\nevents:\n  - {entry}\n");
        for (text, says) in [
            ("kind: InboundMapping\nevents: []".to_owned(), "`apiVersion`"),
            (with("{type: t, source: s}"), "`data`"),
            (with("{type: t, source: s, dta: {}}"), "did you mean `data`?"),
            (with("{type: 'a{b', source: s, data: {}}"), "`type`: `a{b` has a brace"),
            (with("{type: t, source: s, data: {a: {from: b}}}"), "`from` takes a place"),
            (with("{type: t, source: s, data: {a: {from: /b, x: 1}}}"), "only `default` may stand beside it"),
            (with("{type: t, source: s, when: {action: x}, data: {}}"), "`action` is no place"),
            (with("{type: t, source: s, forEach: alerts, data: {}}"), "`forEach` is a JSON pointer"),
        ] {
            let (mapping, problems) = read(text.as_bytes());
            assert!(mapping.is_none());
            assert!(problems.iter().any(|problem| problem.message.contains(says)), "{text}\n{says}\n{problems:#?}");
        }
    }

    proptest! {
        #[test]
        fn no_file_and_no_body_makes_it_panic(text in "[a-z:{}/ \\n-]{0,80}", body in "[a-z0-9\"{}\\[\\]:,]{0,60}") {
            let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
            let header = |_: &str| None;
            if let (Some(mapping), _) = read(text.as_bytes()) {
                let _ = mapping.apply("r", Seen { body: &body, header: &header }, NOW);
            }
            let _ = read_template(&text);
        }
    }
}
