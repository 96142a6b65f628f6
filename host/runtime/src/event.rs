//! Events across the border: the record of `wit/event.wit` and the core's type.

use std::collections::BTreeSet;

use base64::Engine as _;
use pilothouse_core::Event;
use pilothouse_core::event::{AttributeValue, Data, EventBuilder, rule};

use crate::bindings::pilothouse::plugin::event as wit;

/// Makes the record that a guest gets. Strings stay strings: see [`AttributeValue`].
pub(crate) fn to_guest(event: &Event) -> wit::Event {
    let extensions = event
        .extensions()
        .iter()
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::Boolean(value) => wit::AttributeValue::Boolean(*value),
                AttributeValue::Integer(value) => wit::AttributeValue::Integer(*value),
                AttributeValue::String(value) => wit::AttributeValue::Text(value.clone()),
            };
            (name.clone(), value)
        })
        .collect();
    wit::Event {
        id: event.id().to_owned(),
        source: event.source().to_owned(),
        type_: event.ty().to_owned(),
        subject: event.subject().map(str::to_owned),
        time: event.time().map(str::to_owned),
        datacontenttype: event.datacontenttype().map(str::to_owned),
        dataschema: event.dataschema().map(str::to_owned),
        extensions,
        data: event.data().map(|data| match data {
            Data::Json(text) | Data::Text(text) => wit::Payload::Text(text.clone()),
            Data::Binary(bytes) => wit::Payload::Binary(bytes.clone()),
        }),
    }
}

/// Reads a record that a guest made. The rules of CloudEvents are checked when the builder is built.
///
/// # Errors
/// An extension attribute stands there twice: a builder could not tell.
pub(crate) fn from_guest(event: wit::Event) -> Result<EventBuilder, String> {
    let mut names = BTreeSet::new();
    let mut builder = EventBuilder::new(event.id, event.source, event.type_)
        .subject(event.subject)
        .time(event.time)
        .dataschema(event.dataschema)
        .data(event.data.map(|data| data_from_guest(data, event.datacontenttype.as_deref())))
        .datacontenttype(event.datacontenttype);
    for (name, value) in event.extensions {
        if !names.insert(name.clone()) {
            let name = crate::log::escape(&name, 80);
            return Err(format!("the extension attribute `{name}` stands there twice"));
        }
        let value = match value {
            wit::AttributeValue::Boolean(value) => AttributeValue::Boolean(value),
            wit::AttributeValue::Integer(value) => AttributeValue::Integer(value),
            wit::AttributeValue::Binary(value) => {
                AttributeValue::String(base64::engine::general_purpose::STANDARD.encode(value))
            }
            wit::AttributeValue::Text(value)
            | wit::AttributeValue::Uri(value)
            | wit::AttributeValue::UriReference(value)
            | wit::AttributeValue::Timestamp(value) => AttributeValue::String(value),
        };
        builder = builder.extension(name, value);
    }
    Ok(builder)
}

fn data_from_guest(data: wit::Payload, content_type: Option<&str>) -> Data {
    match data {
        // Text without a content type that is not JSON stays text; the builder's rule names what is missing.
        wit::Payload::Text(text) => {
            let json = match content_type {
                Some(media_type) => rule::is_json_media_type(media_type),
                None => is_json(&text),
            };
            if json { Data::Json(text) } else { Data::Text(text) }
        }
        // Bytes that are JSON by content type and by form: some languages have no other way to hold them.
        wit::Payload::Binary(bytes) => match String::from_utf8(bytes) {
            Ok(text) if content_type.is_some_and(rule::is_json_media_type) && is_json(&text) => Data::Json(text),
            Ok(text) => Data::Binary(text.into_bytes()),
            Err(error) => Data::Binary(error.into_bytes()),
        },
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_from_a_guest_as_it_went() {
        let event = EventBuilder::new("1", "/ci", "dev.example.built")
            .subject(Some("app".into()))
            .time(Some("2026-01-02T15:04:05Z".into()))
            .dataschema(Some("https://example.com/s".into()))
            .extension("flag", AttributeValue::Boolean(true))
            .extension("number", AttributeValue::Integer(-7))
            .extension_str("text", "x")
            .datacontenttype(Some("application/json".into()))
            .data(Some(Data::Json("{ \"n\": 1.0, \"n2\": 1e2 }".into())))
            .build()
            .unwrap();
        assert_eq!(from_guest(to_guest(&event)).unwrap().build().unwrap(), event);
        let binary =
            event.to_builder().datacontenttype(Some("image/png".into())).data(Some(Data::Binary(vec![0, 255])));
        let binary = binary.build().unwrap();
        assert_eq!(from_guest(to_guest(&binary)).unwrap().build().unwrap(), binary);
    }

    #[test]
    fn an_extension_that_stands_there_twice_is_refused() {
        let event = EventBuilder::new("1", "/ci", "t").build().unwrap();
        let mut record = to_guest(&event);
        for value in ["a", "b"] {
            record.extensions.push(("x".into(), wit::AttributeValue::Text(value.into())));
        }
        assert!(from_guest(record).unwrap_err().contains("`x`"));
    }

    #[test]
    fn json_that_comes_as_bytes_is_json() {
        let data = |payload, content_type| data_from_guest(payload, content_type);
        assert_eq!(data(wit::Payload::Binary(b"{}".to_vec()), Some("application/json")), Data::Json("{}".into()));
        assert_eq!(data(wit::Payload::Binary(b"{".to_vec()), Some("application/json")), Data::Binary(b"{".to_vec()));
        assert_eq!(data(wit::Payload::Text("{}".into()), None), Data::Json("{}".into()));
        assert_eq!(data(wit::Payload::Text("{}".into()), Some("text/plain")), Data::Text("{}".into()));
    }
}
