//! A CloudEvent 1.0 as a plugin sees it, and the way to make one.
//!
//! Never here: the rules of a valid event. The host checks what a plugin sends and says which rule it breaks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::failure::describe_json_error;
use crate::shim::bindings::pilothouse::plugin::event as wit;

/// The value of an extension attribute: the seven types of CloudEvents.
///
/// The host stores events in the JSON format, which writes the last four as strings; so one of those reaches the next
/// plugin as `Text` (binary in its Base64 form).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An absolute URI.
    Uri(String),
    /// A URI-reference.
    UriReference(String),
    /// An RFC 3339 time.
    Timestamp(String),
}

/// The event's data, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Valid UTF-8; `datacontenttype` says whether it is JSON.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Data {
    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// A CloudEvent 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Unique together with `source`. Left empty on output: the host derives it from the delivery and the position.
    pub id: String,
    /// URI-reference. The host replaces it on output by `/plugins/<installation>`.
    pub source: String,
    /// The attribute `type`; on output one of those under `emits` in the manifest.
    pub ty: String,
    /// What in the source's realm it is about.
    pub subject: Option<String>,
    /// RFC 3339. The host fills it in on output when absent.
    pub time: Option<String>,
    /// Media type of the data.
    pub datacontenttype: Option<String>,
    /// URI of a schema for the data.
    pub dataschema: Option<String>,
    /// Extension attributes; names in lower-case ASCII letters and digits.
    pub extensions: BTreeMap<String, AttributeValue>,
    /// The data, if any.
    pub data: Option<Data>,
}

impl Event {
    /// Starts an event to send, of a type that the manifest lists under `emits`.
    pub fn builder(ty: impl Into<String>) -> EventBuilder {
        EventBuilder(Self { ty: ty.into(), ..Self::default() })
    }

    /// Parses the data as JSON into `T`.
    ///
    /// # Errors
    /// A [`Failure::Reject`], for the same event will not parse next time either, when there is no data or it is not what
    /// `T` expects. It names the field and the position and never quotes the data.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let Some(data) = &self.data else {
            return Err(Failure::Reject(format!("an event of type `{}` needs data, and this one has none", self.ty)));
        };
        serde_json::from_slice(data.as_bytes()).map_err(|error| {
            let what = describe_json_error(&error);
            Failure::Reject(format!("the data of an event of type `{}` is not as expected: {what}", self.ty))
        })
    }

    /// Parses the data as JSON of any shape; `None` when there is none or it is not JSON. Costs a parse at each call.
    pub fn data_json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.data.as_ref()?.as_bytes()).ok()
    }

    /// Returns an extension attribute in its text form, unless it is absent, a boolean, an integer or bytes.
    pub fn extension_str(&self, name: &str) -> Option<&str> {
        match self.extensions.get(name)? {
            AttributeValue::Text(text)
            | AttributeValue::Uri(text)
            | AttributeValue::UriReference(text)
            | AttributeValue::Timestamp(text) => Some(text),
            AttributeValue::Boolean(_) | AttributeValue::Integer(_) | AttributeValue::Binary(_) => None,
        }
    }
}

/// Collects the attributes and the data of an event to send.
#[derive(Clone, Debug)]
pub struct EventBuilder(Event);

impl EventBuilder {
    /// Sets the id. Only in [`crate::Handler::receive`]: give the one that the tool repeats when it sends again. Elsewhere the
    /// host derives it from the delivery.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.id = id.into();
        self
    }

    /// Sets `subject`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// Sets `time` (RFC 3339).
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.0.time = Some(time.into());
        self
    }

    /// Sets `dataschema`.
    #[must_use]
    pub fn dataschema(mut self, uri: impl Into<String>) -> Self {
        self.0.dataschema = Some(uri.into());
        self
    }

    /// Sets a text extension attribute.
    #[must_use]
    pub fn extension_str(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extension(name, AttributeValue::Text(value.into()))
    }

    /// Sets an extension attribute of any type.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        self.0.extensions.insert(name.into(), value);
        self
    }

    /// Sets the data as JSON, and the content type `application/json`.
    ///
    /// # Errors
    /// A [`Failure::Reject`] when `value` cannot be written as JSON (a map with keys that are not strings, for one).
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::Reject(format!("the data of `{}` cannot be written as JSON: {error}", self.0.ty))
        })?;
        self.0.datacontenttype = Some("application/json".to_owned());
        self.0.data = Some(Data::Text(text));
        Ok(self)
    }

    /// Sets the data as text of the given media type.
    #[must_use]
    pub fn text(mut self, media_type: impl Into<String>, text: impl Into<String>) -> Self {
        self.0.datacontenttype = Some(media_type.into());
        self.0.data = Some(Data::Text(text.into()));
        self
    }

    /// Sets the data as bytes of the given media type.
    #[must_use]
    pub fn binary(mut self, media_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.datacontenttype = Some(media_type.into());
        self.0.data = Some(Data::Binary(bytes.into()));
        self
    }

    /// Returns the event.
    pub fn build(self) -> Event {
        self.0
    }
}

impl From<EventBuilder> for Event {
    fn from(builder: EventBuilder) -> Self {
        builder.build()
    }
}

impl From<wit::AttributeValue> for AttributeValue {
    fn from(value: wit::AttributeValue) -> Self {
        match value {
            wit::AttributeValue::Boolean(value) => Self::Boolean(value),
            wit::AttributeValue::Integer(value) => Self::Integer(value),
            wit::AttributeValue::Text(value) => Self::Text(value),
            wit::AttributeValue::Binary(value) => Self::Binary(value),
            wit::AttributeValue::Uri(value) => Self::Uri(value),
            wit::AttributeValue::UriReference(value) => Self::UriReference(value),
            wit::AttributeValue::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<AttributeValue> for wit::AttributeValue {
    fn from(value: AttributeValue) -> Self {
        match value {
            AttributeValue::Boolean(value) => Self::Boolean(value),
            AttributeValue::Integer(value) => Self::Integer(value),
            AttributeValue::Text(value) => Self::Text(value),
            AttributeValue::Binary(value) => Self::Binary(value),
            AttributeValue::Uri(value) => Self::Uri(value),
            AttributeValue::UriReference(value) => Self::UriReference(value),
            AttributeValue::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<wit::Event> for Event {
    fn from(event: wit::Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            ty: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: event.data.map(|data| match data {
                wit::Payload::Text(text) => Data::Text(text),
                wit::Payload::Binary(bytes) => Data::Binary(bytes),
            }),
        }
    }
}

impl From<Event> for wit::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            type_: event.ty,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: event.data.map(|data| match data {
                Data::Text(text) => wit::Payload::Text(text),
                Data::Binary(bytes) => wit::Payload::Binary(bytes),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event::builder("com.example.x.v1").text("application/json", data).build()
    }

    #[test]
    fn data_that_does_not_fit_is_rejected_without_being_quoted() {
        #[derive(serde::Deserialize, Debug)]
        struct Expected {
            #[expect(dead_code, reason = "only its type matters")]
            count: u32,
        }
        let failure = event(r#"{"count":"hunter2"}"#).json::<Expected>().unwrap_err();
        let Failure::Reject(reason) = failure else { panic!("a retry would not help") };
        assert!(reason.contains("expected u32"), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
        let Failure::Reject(reason) = event("{}").json::<Expected>().unwrap_err() else {
            panic!("a retry would not help")
        };
        assert!(reason.contains("missing field `count`"), "{reason}");
    }

    #[test]
    fn an_event_survives_the_way_through_the_bindings() {
        let mut original = event("[1.0]");
        original.id = "1".into();
        original.source = "/s".into();
        original.subject = Some("s".into());
        original.time = Some("2026-01-01T00:00:00Z".into());
        original.dataschema = Some("https://example.com/s".into());
        for (name, value) in [
            ("a", AttributeValue::Boolean(true)),
            ("b", AttributeValue::Integer(-1)),
            ("c", AttributeValue::Text("t".into())),
            ("d", AttributeValue::Binary(vec![0, 255])),
            ("e", AttributeValue::Uri("urn:x".into())),
            ("f", AttributeValue::UriReference("/x".into())),
            ("g", AttributeValue::Timestamp("2026-01-01T00:00:00Z".into())),
        ] {
            original.extensions.insert(name.into(), value);
        }
        assert_eq!(Event::from(wit::Event::from(original.clone())), original);
    }
}
