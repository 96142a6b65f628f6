//! Structured and batched mode: the JSON format of CloudEvents 1.0.2, and its repair for events of Keptn V1.
//!
//! The envelope is read member by member and `data` is kept as the bytes that it came in, so that no number is rounded
//! and no key moves. Reading never recurses. Choices where the specification leaves one: `"data": null` is data (JSON
//! null) and `"data_base64": null` is absence; both members with values are refused, also when `data` is null; an
//! event without `datacontenttype` does not gain one.
//!
//! Never here: HTTP ([`super::http`]), the rules for attributes ([`super::rule`]).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{AttributeValue, Data, EXTENSION_COUNT_MAX, Event, EventError, Inner, code, rule};

pub use super::repair::repair_v1;

/// Reads one event in the JSON format.
///
/// # Errors
/// The body is not UTF-8, not a JSON object, names a member twice, or breaks a rule of the specification.
pub fn parse(body: &[u8]) -> Result<Event, EventError> {
    parse_object(text(body)?)
}

/// Reads a batch: a JSON array of at most `max_events` events, possibly none.
///
/// # Errors
/// As [`parse`], with the position in the batch; or more events than `max_events`. All or nothing: one bad event
/// refuses the batch.
pub fn parse_batch(body: &[u8], max_events: usize) -> Result<Vec<Event>, EventError> {
    let text = text(body)?;
    if !begins_with(text, '[') {
        return Err(syntax_error(text)
            .unwrap_or_else(|| EventError::invalid(code::BATCH_NOT_ARRAY, "a batch is a JSON array of events")));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let elements = reader
        .deserialize_seq(Elements { max: max_events })
        .and_then(|elements| reader.end().map(|()| elements))
        .map_err(|error| invalid_json(&error))?;
    let Some(elements) = elements else {
        let message = format!("the batch has more than {max_events} events, the most accepted at once");
        return Err(EventError::too_large(code::BATCH_TOO_LARGE, message));
    };
    elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| parse_object(element.get()).map_err(|error| error.in_batch(index)))
        .collect()
}

/// Writes one event in the JSON format, the core attributes first; [`parse`] gives the same event back.
pub fn to_vec(event: &Event) -> Vec<u8> {
    let mut out = String::new();
    write_event(event, &mut out);
    out.into_bytes()
}

/// Writes a batch; [`parse_batch`] gives the same events back.
pub fn batch_to_vec(events: &[Event]) -> Vec<u8> {
    let mut out = String::from("[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_event(event, &mut out);
    }
    out.push(']');
    out.into_bytes()
}

fn text(body: &[u8]) -> Result<&str, EventError> {
    std::str::from_utf8(body).map_err(|error| {
        let message = format!("the body is not UTF-8 from byte {} on", error.valid_up_to());
        EventError::invalid(code::BODY_NOT_UTF8, message)
    })
}

fn begins_with(json: &str, first: char) -> bool {
    json.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(first)
}

fn syntax_error(json: &str) -> Option<EventError> {
    serde_json::from_str::<IgnoredAny>(json).err().map(|error| invalid_json(&error))
}

/// Says where, and not what: serde's message may quote the body.
fn invalid_json(error: &serde_json::Error) -> EventError {
    let what = if error.is_eof() { "ends too early" } else { "is not valid" };
    let message = format!("the JSON {what} at line {} column {}", error.line(), error.column());
    EventError::invalid(code::JSON_INVALID, message)
}

/// The elements of a batch; `None` if there are more than `max`, without keeping them.
struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.max {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Some(elements)),
            }
        }
        let mut over = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            over = true;
        }
        Ok((!over).then_some(elements))
    }
}

/// Most members that a valid event can have: attributes, extensions, `data` and `data_base64`.
const MEMBER_COUNT_MAX: usize = rule::CORE_ATTRIBUTES.len() + EXTENSION_COUNT_MAX + 2;

/// The members of an object with their decoded names, duplicates and all; `None` if there are more than any event has.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Option<Vec<(String, &'de RawValue)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while members.len() < MEMBER_COUNT_MAX {
            match map.next_entry()? {
                Some(member) => members.push(member),
                None => return Ok(Some(members)),
            }
        }
        let mut over = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            over = true;
        }
        Ok((!over).then_some(members))
    }
}

fn parse_object(json: &str) -> Result<Event, EventError> {
    if !begins_with(json, '{') {
        return Err(syntax_error(json)
            .unwrap_or_else(|| EventError::invalid(code::EVENT_NOT_OBJECT, "an event is a JSON object")));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = reader
        .deserialize_map(Members)
        .and_then(|members| reader.end().map(|()| members))
        .map_err(|error| invalid_json(&error))?;
    let Some(members) = members else {
        let message =
            format!("the event has too many members; at most {EXTENSION_COUNT_MAX} extension attributes are accepted");
        return Err(EventError::too_large(code::EXTENSION_COUNT, message));
    };
    let mut envelope = Envelope::default();
    for (name, value) in &members {
        envelope.take(name, value.get())?;
    }
    let inner = envelope.into_inner()?;
    rule::check_knowing(&inner, rule::JsonSyntax::Known)?;
    Ok(Event::from_checked(inner))
}

/// What the members of an object have said so far.
#[derive(Default)]
struct Envelope<'a> {
    seen: std::collections::BTreeSet<&'a str>,
    attributes: BTreeMap<&'a str, AttributeValue>,
    data: Option<&'a str>,
    data_base64: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    fn take(&mut self, name: &'a str, value: &'a str) -> Result<(), EventError> {
        if !self.seen.insert(name) {
            let name = rule::shown(name);
            return Err(EventError::invalid(code::ATTRIBUTE_TWICE, format!("`{name}` is given twice")).at(&name));
        }
        match name {
            "data" => self.data = Some(value),
            "data_base64" if value == "null" => {}
            "data_base64" => self.data_base64 = Some(value),
            _ => {
                rule::check_name(name)?;
                if let Some(value) = attribute_value(name, value)? {
                    self.attributes.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn into_inner(mut self) -> Result<Inner, EventError> {
        let specversion = self.required("specversion")?;
        check_specversion(&specversion)?;
        let (id, source, ty) = (self.required("id")?, self.required("source")?, self.required("type")?);
        let (subject, time) = (self.optional("subject")?, self.optional("time")?);
        let (datacontenttype, dataschema) = (self.optional("datacontenttype")?, self.optional("dataschema")?);
        let data = self.data(datacontenttype.as_deref())?;
        let extensions = self.attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Inner { id, source, ty, subject, time, datacontenttype, dataschema, extensions, data })
    }

    fn optional(&mut self, name: &str) -> Result<Option<String>, EventError> {
        match self.attributes.remove(name) {
            None => Ok(None),
            Some(AttributeValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    fn required(&mut self, name: &str) -> Result<String, EventError> {
        self.optional(name)?.ok_or_else(|| missing(name))
    }

    fn data(&self, content_type: Option<&str>) -> Result<Option<Data>, EventError> {
        match (self.data, self.data_base64) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(EventError::invalid(code::DATA_BOTH, "an event has `data` or `data_base64`, not both")
                    .at("data_base64"))
            }
            (None, Some(encoded)) => decode_base64(encoded).map(Data::Binary).map(Some),
            (Some(json), None) if content_type.is_none_or(rule::is_json_media_type) => {
                Ok(Some(Data::Json(json.to_owned())))
            }
            (Some(json), None) => match serde_json::from_str::<String>(json) {
                Ok(text) => Ok(Some(Data::Text(text))),
                Err(_) => Err(EventError::invalid(
                    code::DATA_NOT_STRING,
                    "`data` must be a JSON string of Unicode text, because `datacontenttype` is not JSON",
                )
                .at("data")),
            },
        }
    }
}

/// Refuses every version of the specification but 1.0.
pub(super) fn check_specversion(version: &str) -> Result<(), EventError> {
    if version == "1.0" {
        return Ok(());
    }
    if version.is_empty() {
        return Err(
            EventError::invalid(code::ATTRIBUTE_EMPTY, "the attribute `specversion` is empty").at("specversion")
        );
    }
    let message = format!("the attribute `specversion` is `{}`; only `1.0` is understood", rule::shown(version));
    Err(EventError::invalid(code::SPECVERSION, message).at("specversion"))
}

/// Makes the refusal of an event without a required attribute.
pub(super) fn missing(name: &str) -> EventError {
    EventError::invalid(code::ATTRIBUTE_MISSING, format!("the required attribute `{name}` is missing")).at(name)
}

fn wrong_type(name: &str, expected: &str) -> EventError {
    EventError::invalid(code::ATTRIBUTE_TYPE, format!("the attribute `{name}` must be {expected}")).at(name)
}

/// Reads an attribute's value; `null` means that the attribute is absent.
fn attribute_value(name: &str, json: &str) -> Result<Option<AttributeValue>, EventError> {
    match json.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b't') => Ok(Some(AttributeValue::Boolean(true))),
        Some(b'f') => Ok(Some(AttributeValue::Boolean(false))),
        Some(b'"') => serde_json::from_str(json).map(AttributeValue::String).map(Some).map_err(|_| {
            let message = format!("the attribute `{name}` is not Unicode text: it has half of a surrogate pair");
            EventError::invalid(code::ATTRIBUTE_VALUE, message).at(name)
        }),
        Some(b'-' | b'0'..=b'9') => json.parse().map(AttributeValue::Integer).map(Some).map_err(|_| {
            wrong_type(
                name,
                "a string, a boolean or a whole number from -2147483648 to 2147483647, without point or exponent",
            )
        }),
        _ => Err(wrong_type(name, "a string, a boolean or a whole number, not an object or array")),
    }
}

fn decode_base64(json: &str) -> Result<Vec<u8>, EventError> {
    let refused = || {
        EventError::invalid(code::DATA_BASE64, "`data_base64` must be a string of padded standard base64 (RFC 4648 §4)")
            .at("data_base64")
    };
    let text: String = serde_json::from_str(json).map_err(|_| refused())?;
    STANDARD.decode(text).map_err(|_| refused())
}

fn write_event(event: &Event, out: &mut String) {
    out.push_str("{\"specversion\":\"1.0\"");
    for (name, value) in [("id", event.id()), ("source", event.source()), ("type", event.ty())] {
        write_member(name, out);
        write_string(value, out);
    }
    let optional = [
        ("subject", event.subject()),
        ("time", event.time()),
        ("datacontenttype", event.datacontenttype()),
        ("dataschema", event.dataschema()),
    ];
    for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        write_member(name, out);
        write_string(value, out);
    }
    for (name, value) in event.extensions() {
        write_member(name, out);
        match value {
            AttributeValue::String(text) => write_string(text, out),
            other => out.push_str(&other.to_string()),
        }
    }
    match event.data() {
        None => {}
        Some(Data::Json(json)) => {
            write_member("data", out);
            out.push_str(json);
        }
        Some(Data::Text(text)) => {
            write_member("data", out);
            write_string(text, out);
        }
        Some(Data::Binary(bytes)) => {
            write_member("data_base64", out);
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
    }
    out.push('}');
}

fn write_member(name: &str, out: &mut String) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}
