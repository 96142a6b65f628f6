//! Conversion to and from the `cloudevents` crate's event, for code that already speaks it.
//!
//! That crate knows fewer attribute types and keeps JSON as values: binary, URI and time attributes become strings, and
//! JSON data may change its spelling. Never here: the host's own path, which loses nothing.

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader as _, Data as CloudData, EventBuilder as _, EventBuilderV10};

use crate::{AttributeValue, Data, Event, Failure, reject};

impl TryFrom<Event> for cloudevents::Event {
    type Error = Failure;

    /// Converts an event that was received.
    ///
    /// # Errors
    /// A reject when the other crate does not take a value (an empty `id`, say, as an event to send has it).
    fn try_from(event: Event) -> Result<Self, Failure> {
        let mut builder = EventBuilderV10::new().id(event.id).source(event.source).ty(event.ty);
        if let Some(subject) = event.subject {
            builder = builder.subject(subject);
        }
        if let Some(time) = event.time {
            builder = builder.time(time);
        }
        for (name, value) in &event.extensions {
            builder = match value {
                AttributeValue::Boolean(value) => builder.extension(name, *value),
                AttributeValue::Integer(value) => builder.extension(name, i64::from(*value)),
                AttributeValue::Binary(bytes) => builder.extension(name, base64(bytes)),
                AttributeValue::Text(text)
                | AttributeValue::Uri(text)
                | AttributeValue::UriReference(text)
                | AttributeValue::Timestamp(text) => builder.extension(name, text.clone()),
            };
        }
        if let Some(data) = event.data {
            let media_type = event.datacontenttype.unwrap_or_else(|| "application/json".to_owned());
            let data = match data {
                Data::Binary(bytes) => CloudData::Binary(bytes),
                Data::Text(text) if is_json(&media_type) => match serde_json::from_str(&text) {
                    Ok(value) => CloudData::Json(value),
                    Err(_) => CloudData::String(text),
                },
                Data::Text(text) => CloudData::String(text),
            };
            builder = match event.dataschema {
                Some(schema) => builder.data_with_schema(media_type, schema, data),
                None => builder.data(media_type, data),
            };
        }
        builder.build().map_err(|error| reject(format!("the event does not fit the crate `cloudevents`: {error}")))
    }
}

impl From<cloudevents::Event> for Event {
    fn from(event: cloudevents::Event) -> Self {
        Self {
            id: event.id().to_owned(),
            source: event.source().clone(),
            ty: event.ty().to_owned(),
            subject: event.subject().map(str::to_owned),
            time: event.time().map(|time| time.to_rfc3339()),
            datacontenttype: event.datacontenttype().map(str::to_owned),
            dataschema: event.dataschema().map(ToString::to_string),
            extensions: event.iter_extensions().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            data: event.data().map(|data| match data {
                CloudData::Binary(bytes) => Data::Binary(bytes.clone()),
                CloudData::String(text) => Data::Text(text.clone()),
                CloudData::Json(value) => Data::Text(value.to_string()),
            }),
        }
    }
}

impl From<&ExtensionValue> for AttributeValue {
    /// An integer of more than 32 bits, which CloudEvents does not have, becomes text.
    fn from(value: &ExtensionValue) -> Self {
        match value {
            ExtensionValue::String(text) => Self::Text(text.clone()),
            ExtensionValue::Boolean(value) => Self::Boolean(*value),
            ExtensionValue::Integer(value) => {
                i32::try_from(*value).map_or_else(|_| Self::Text(value.to_string()), Self::Integer)
            }
        }
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json") || essence == "text/json"
}

/// Writes the Base64 form that CloudEvents gives binary attributes (RFC 4648 §4, with padding).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = ALPHABET.get(group >> (18 - 6 * position) & 63).copied().unwrap_or(b'=');
            text.push(if position <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let mut event = Event::builder("com.example.x.v1")
            .subject("s")
            .dataschema("https://example.com/s")
            .extension("count", AttributeValue::Integer(3))
            .extension("flag", AttributeValue::Boolean(true))
            .extension_str("text", "t")
            .json(&serde_json::json!({ "a": [1, 2.5] }))
            .unwrap()
            .build();
        event.id = "1".to_owned();
        event.source = "/s".to_owned();
        event.time = Some("2026-01-01T00:00:00+00:00".to_owned());
        assert_eq!(Event::from(cloudevents::Event::try_from(event.clone()).unwrap()), event);
    }

    #[test]
    fn a_binary_attribute_becomes_base64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
