//! The rules of CloudEvents 1.0.2 for attributes and data, the same for every mode and for events made in code.
//!
//! Where the specification leaves a choice: `time` accepts a leap second in any minute, `dataschema` may carry a
//! fragment (JSON Schema addresses its parts so), and names longer than 20 characters are accepted (a SHOULD only).
//!
//! Never here: decoding. A message quotes at most the start of an attribute, and never the data.

use iri_string::types::{UriReferenceStr, UriStr};

use super::{AttributeValue, Data, EVENT_SIZE_BYTES_MAX, EXTENSION_COUNT_MAX, EventError, Inner, JSON_DEPTH_MAX, code};

/// The attributes that the specification defines; no extension may take such a name.
pub(super) const CORE_ATTRIBUTES: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// Whether JSON data has already been parsed by whoever asks for a check, and so need not be parsed again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonSyntax {
    Known,
    Unknown,
}

/// Checks every rule for an event made in code.
pub(super) fn check(inner: &Inner) -> Result<(), EventError> {
    check_knowing(inner, JsonSyntax::Unknown)
}

/// Checks every rule, except the syntax of JSON data when that is known to be right.
pub(super) fn check_knowing(inner: &Inner, syntax: JsonSyntax) -> Result<(), EventError> {
    if inner.extensions.len() > EXTENSION_COUNT_MAX {
        return Err(EventError::too_large(
            code::EXTENSION_COUNT,
            format!(
                "the event has {} extension attributes; at most {EXTENSION_COUNT_MAX} are accepted",
                inner.extensions.len()
            ),
        ));
    }
    let size = size_bytes(inner);
    if size > EVENT_SIZE_BYTES_MAX {
        return Err(EventError::too_large(
            code::EVENT_TOO_LARGE,
            format!("the event has {size} bytes of attributes and data; at most {EVENT_SIZE_BYTES_MAX} are accepted"),
        ));
    }
    check_text("id", &inner.id)?;
    check_text("source", &inner.source)?;
    check_text("type", &inner.ty)?;
    if UriReferenceStr::new(&inner.source).is_err() {
        return Err(bad_value(
            "source",
            &inner.source,
            "a URI-reference (RFC 3986), such as `/ci/build` or `https://ci.example`",
        ));
    }
    if let Some(subject) = &inner.subject {
        check_text("subject", subject)?;
    }
    if let Some(time) = &inner.time {
        check_text("time", time)?;
        if !is_rfc3339(time) {
            return Err(bad_value("time", time, "an RFC 3339 time with an offset, such as `2026-01-02T15:04:05Z`"));
        }
    }
    if let Some(uri) = &inner.dataschema {
        check_text("dataschema", uri)?;
        if UriStr::new(uri).is_err() {
            return Err(bad_value("dataschema", uri, "an absolute URI, such as `https://example.com/schema.json`"));
        }
    }
    if let Some(media_type) = &inner.datacontenttype {
        check_text("datacontenttype", media_type)?;
        if !is_media_type(media_type) {
            return Err(bad_value(
                "datacontenttype",
                media_type,
                "a media type (RFC 2046), such as `application/json`",
            ));
        }
    }
    for (name, value) in &inner.extensions {
        check_extension(name, value)?;
    }
    check_data(inner, syntax)
}

/// Returns the bytes of all attribute names and values and of the data, whatever the mode adds to them.
pub(super) fn size_bytes(inner: &Inner) -> usize {
    let optional = |name: &str, value: &Option<String>| value.as_ref().map_or(0, |value| name.len() + value.len());
    let extensions: usize = inner
        .extensions
        .iter()
        .map(|(name, value)| {
            name.len()
                + match value {
                    AttributeValue::String(text) => text.len(),
                    other => other.to_string().len(),
                }
        })
        .sum();
    "specversion1.0idsourcetype".len()
        + inner.id.len()
        + inner.source.len()
        + inner.ty.len()
        + optional("subject", &inner.subject)
        + optional("time", &inner.time)
        + optional("datacontenttype", &inner.datacontenttype)
        + optional("dataschema", &inner.dataschema)
        + extensions
        + inner.data.as_ref().map_or(0, |data| data.as_bytes().len())
}

fn check_data(inner: &Inner, syntax: JsonSyntax) -> Result<(), EventError> {
    let json_type = inner.datacontenttype.as_deref().map(is_json_media_type);
    match &inner.data {
        None | Some(Data::Binary(_)) => Ok(()),
        Some(Data::Text(_)) if json_type == Some(false) => Ok(()),
        Some(Data::Text(_)) => Err(EventError::invalid(
            code::DATA_MISMATCH,
            "text data needs a `datacontenttype` that is not JSON, such as `text/plain`",
        )
        .at("datacontenttype")),
        Some(Data::Json(_)) if json_type == Some(false) => Err(EventError::invalid(
            code::DATA_MISMATCH,
            "JSON data needs a `datacontenttype` that is JSON, such as `application/json`, or none",
        )
        .at("datacontenttype")),
        Some(Data::Json(text)) => {
            if syntax == JsonSyntax::Unknown && !is_json(text) {
                return Err(EventError::invalid(code::DATA_NOT_JSON, "the data is not valid JSON").at("data"));
            }
            check_depth(text)
        }
    }
}

/// Refuses JSON that is nested too deep.
pub(super) fn check_depth(json: &str) -> Result<(), EventError> {
    if json_depth(json) > JSON_DEPTH_MAX {
        let message = format!("the JSON data is nested more than {JSON_DEPTH_MAX} arrays and objects deep");
        return Err(EventError::invalid(code::DATA_TOO_DEEP, message).at("data"));
    }
    Ok(())
}

/// Tells whether `text` is one JSON value. Iterative: no input can exhaust the stack.
pub(super) fn is_json(text: &str) -> bool {
    // `IgnoredAny` reads without recursion, and without judging the size of numbers.
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Returns the deepest nesting of arrays and objects in valid JSON.
fn json_depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Tells whether a name may be that of an attribute: one or more of `a` to `z` and `0` to `9`.
pub fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Tells whether data of this media type is JSON: `*/json` or `*/*+json`, whatever the letter case and parameters.
pub fn is_json_media_type(media_type: &str) -> bool {
    let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence).trim();
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

fn is_media_type(text: &str) -> bool {
    // The header it becomes in binary mode is ASCII, and a receiver trims blanks around it.
    let sendable = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) && text.trim() == text;
    sendable && mediatype::MediaType::parse(text).is_ok()
}

fn check_extension(name: &str, value: &AttributeValue) -> Result<(), EventError> {
    check_name(name)?;
    if CORE_ATTRIBUTES.contains(&name) {
        let message = format!("`{name}` is not an extension: the specification defines it");
        return Err(EventError::invalid(code::ATTRIBUTE_NAME, message).at(name));
    }
    match value {
        // An empty extension is allowed: the rule against empty values is each core attribute's own.
        AttributeValue::String(text) => check_characters(name, text),
        AttributeValue::Boolean(_) | AttributeValue::Integer(_) => Ok(()),
    }
}

/// Refuses a name that no attribute can have.
pub(super) fn check_name(name: &str) -> Result<(), EventError> {
    if is_attribute_name(name) && name != "data" {
        return Ok(());
    }
    let shown = shown(name);
    let message = format!("`{shown}` is not an attribute name: use only `a` to `z` and `0` to `9`, and not `data`");
    Err(EventError::invalid(code::ATTRIBUTE_NAME, message).at(&shown))
}

fn check_text(name: &str, text: &str) -> Result<(), EventError> {
    if text.is_empty() {
        return Err(EventError::invalid(code::ATTRIBUTE_EMPTY, format!("the attribute `{name}` is empty")).at(name));
    }
    check_characters(name, text)
}

fn check_characters(name: &str, text: &str) -> Result<(), EventError> {
    match text.chars().find(|it| is_forbidden(*it)) {
        None => Ok(()),
        Some(character) => {
            let message = format!(
                "the attribute `{name}` contains U+{:04X}; control characters and noncharacters are not allowed",
                u32::from(character)
            );
            Err(EventError::invalid(code::ATTRIBUTE_VALUE, message).at(name))
        }
    }
}

fn is_forbidden(character: char) -> bool {
    let point = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&point) || point & 0xfffe == 0xfffe
}

fn bad_value(name: &str, value: &str, expected: &str) -> EventError {
    let message = format!("the attribute `{name}` is `{}`, which is not {expected}", shown(value));
    EventError::invalid(code::ATTRIBUTE_VALUE, message).at(name)
}

/// Returns the start of a stranger's text, fit for one line of a log.
pub(super) fn shown(text: &str) -> String {
    /// Enough to recognize a value by, short enough for one line.
    const SHOWN_LENGTH_MAX: usize = 60;
    let cut = text.chars().count() > SHOWN_LENGTH_MAX;
    let start = text.chars().take(SHOWN_LENGTH_MAX).map(|it| if is_forbidden(it) { '\u{fffd}' } else { it });
    start.chain(cut.then_some('…')).collect()
}

/// Tells whether `text` is a `date-time` of RFC 3339: jiff is more lenient about separators and offsets.
fn is_rfc3339(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else { return false };
    let Some((clock, rest)) = rest.split_at_checked(8) else { return false };
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let after = fraction.trim_start_matches(|it: char| it.is_ascii_digit());
            if after.len() == fraction.len() {
                return false;
            }
            after
        }
    };
    is_date(date) && is_clock(clock) && is_offset(rest)
}

fn number(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_clock(text: &str) -> bool {
    let mut parts = text.split(':');
    let (Some(hour), Some(minute), Some(second), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    number(hour, 2).is_some_and(|it| it < 24)
        && number(minute, 2).is_some_and(|it| it < 60)
        && number(second, 2).is_some_and(|it| it <= 60)
}

fn is_offset(text: &str) -> bool {
    if matches!(text, "Z" | "z") {
        return true;
    }
    let Some((hour, minute)) = text.strip_prefix(['+', '-']).and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    number(hour, 2).is_some_and(|it| it < 24) && number(minute, 2).is_some_and(|it| it < 60)
}
