//! Binary mode, and telling the three modes of the HTTP binding apart.
//!
//! Choices where the specification leaves one: an event format that is not JSON is refused rather than stored as
//! opaque bytes; a `%` that no two hexadecimal digits follow stays as it is, because widespread senders do not encode
//! at all; an empty body is no data; a body under a JSON content type that is not JSON is kept as bytes.
//!
//! Never here: header and body limits, content encodings, status codes (the daemon's HTTP layer).

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::json::{check_specversion, missing};
use super::{AttributeValue, Data, Event, EventError, Inner, code, rule};

/// How an HTTP request carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, data in the body.
    Binary,
    /// One JSON object in the body.
    Structured,
    /// A JSON array in the body.
    Batch,
}

const STRUCTURED: &str = "application/cloudevents";
const BATCH: &str = "application/cloudevents-batch";

/// Tells how a request carries events; `has_ce_headers` says whether any header's name begins with `ce-`.
///
/// # Errors
/// The request carries no event, or one in a format or charset that is not understood.
pub fn detect(content_type: Option<&str>, has_ce_headers: bool) -> Result<Mode, EventError> {
    let media_type = content_type.unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !essence.starts_with(STRUCTURED) {
        return if has_ce_headers { Ok(Mode::Binary) } else { Err(not_an_event()) };
    }
    // The longer name first: the one is a prefix of the other.
    let (mode, format) = match (essence.strip_prefix(BATCH), essence.strip_prefix(STRUCTURED)) {
        (Some(format), _) => (Mode::Batch, format),
        (None, format) => (Mode::Structured, format.unwrap_or_default()),
    };
    if !matches!(format, "" | "+json") {
        let message = format!(
            "the event format of `{}` is not understood; send `application/cloudevents+json`, a batch of it, or binary mode",
            rule::shown(&essence)
        );
        return Err(EventError::unsupported(code::FORMAT_UNSUPPORTED, message));
    }
    match charset(media_type) {
        Some(charset) if !charset.eq_ignore_ascii_case("utf-8") => {
            let message = format!("the charset `{}` is not understood; send UTF-8", rule::shown(charset));
            Err(EventError::unsupported(code::CHARSET_UNSUPPORTED, message))
        }
        _ => Ok(mode),
    }
}

fn not_an_event() -> EventError {
    EventError::unsupported(
        code::NOT_AN_EVENT,
        "the request carries no CloudEvent: send Content-Type `application/cloudevents+json`, or the headers \
         `ce-specversion`, `ce-id`, `ce-source` and `ce-type`",
    )
}

fn charset(media_type: &str) -> Option<&str> {
    let parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().map(|(_, value)| value.trim().trim_matches('"'))
}

/// Reads an event in binary mode; `headers` are all headers of the request, in any letter case.
///
/// # Errors
/// A header is given twice, is not ASCII, decodes to something that is not UTF-8, or breaks a rule of the
/// specification.
pub fn parse_binary<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>, body: &[u8]) -> Result<Event, EventError> {
    let mut attributes = BTreeMap::new();
    for (header, value) in headers {
        let header = header.to_ascii_lowercase();
        let name = match header.strip_prefix("ce-") {
            Some("datacontenttype") => {
                let message = "the header `ce-datacontenttype` is not allowed; use `Content-Type`";
                return Err(EventError::invalid(code::HEADER_FORBIDDEN, message).at("datacontenttype"));
            }
            Some(name) => name,
            None if header == "content-type" => "datacontenttype",
            None => continue,
        };
        rule::check_name(name)?;
        let text = ascii(name, value)?;
        let text = if header == "content-type" { text.trim().to_owned() } else { decode(name, text)? };
        if attributes.insert(name.to_owned(), text).is_some() {
            return Err(
                EventError::invalid(code::ATTRIBUTE_TWICE, format!("the header `{header}` is given twice")).at(name)
            );
        }
    }
    let mut required = |name: &str| attributes.remove(name).ok_or_else(|| missing(name));
    check_specversion(&required("specversion")?)?;
    let (id, source, ty) = (required("id")?, required("source")?, required("type")?);
    let (subject, time) = (attributes.remove("subject"), attributes.remove("time"));
    let (datacontenttype, dataschema) = (attributes.remove("datacontenttype"), attributes.remove("dataschema"));
    let data = data(datacontenttype.as_deref(), body);
    let extensions = attributes.into_iter().map(|(name, text)| (name, AttributeValue::String(text))).collect();
    let inner = Inner { id, source, ty, subject, time, datacontenttype, dataschema, extensions, data };
    rule::check_knowing(&inner, rule::JsonSyntax::Known)?;
    Ok(Event::from_checked(inner))
}

/// Sorts a body by its content type. Without one it is opaque.
fn data(content_type: Option<&str>, body: &[u8]) -> Option<Data> {
    if body.is_empty() {
        return None;
    }
    let text = content_type
        .and_then(|media_type| Some((rule::is_json_media_type(media_type), std::str::from_utf8(body).ok()?)));
    Some(match text {
        Some((true, json)) if rule::is_json(json) => Data::Json(super::trim_json(json).to_owned()),
        Some((false, text)) => Data::Text(text.to_owned()),
        _ => Data::Binary(body.to_owned()),
    })
}

fn ascii<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, EventError> {
    let plain = value.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    plain.then(|| std::str::from_utf8(value).ok()).flatten().ok_or_else(|| {
        let message = format!("the header of the attribute `{name}` is not printable ASCII; percent-encode it");
        EventError::invalid(code::HEADER_ENCODING, message).at(name)
    })
}

/// Undoes quoting, then percent-encoding, each once.
fn decode(name: &str, value: &str) -> Result<String, EventError> {
    let value = value.trim();
    let unquoted = unquote(value);
    let encoded = unquoted.as_deref().unwrap_or(value);
    percent_decode_str(encoded).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| {
        let message = format!("the percent-encoding of the attribute `{name}` is not UTF-8");
        EventError::invalid(code::HEADER_ENCODING, message).at(name)
    })
}

/// Returns the content of a quoted string (RFC 7230 §3.2.6); `None` if the value is not exactly one.
fn unquote(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(characters.next()?),
            '"' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

/// What the HTTP binding wants encoded, besides everything outside of ASCII: space, `"`, `%` and control characters.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Writes an event in binary mode: headers with lower-case names, and the body.
///
/// JSON data without a content type gets `application/json`, as the specification asks of a translation between modes.
/// Data of zero bytes cannot be told from no data.
pub fn to_binary(event: &Event) -> (Vec<(String, String)>, Vec<u8>) {
    let mut headers = vec![("ce-specversion".to_owned(), "1.0".to_owned())];
    let mut push = |name: &str, value: &str| {
        headers.push((format!("ce-{name}"), utf8_percent_encode(value, ENCODED).to_string()));
    };
    push("id", event.id());
    push("source", event.source());
    push("type", event.ty());
    let optional = [("subject", event.subject()), ("time", event.time()), ("dataschema", event.dataschema())];
    for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        push(name, value);
    }
    for (name, value) in event.extensions() {
        push(name, &value.to_string());
    }
    if let Some(media_type) = event.effective_content_type() {
        headers.push(("content-type".to_owned(), media_type.to_owned()));
    }
    (headers, event.data().map(|data| data.as_bytes().to_owned()).unwrap_or_default())
}
