//! A CloudEvent 1.0.2, checked once at the door and trusted everywhere after it.
//!
//! An [`Event`] can only be made by [`EventBuilder::build`] and by the two codecs, [`json`] (structured and batched
//! mode) and [`http`] (binary mode); all of them apply the rules in [`rule`]. Attributes keep the
//! spelling in which they came, and JSON data keeps its bytes: an accepted event leaves exactly as it came.

mod builder;
pub mod code;
mod content;
mod error;
pub mod http;
pub mod json;
mod repair;
pub mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use builder::EventBuilder;
use content::trim_json;
pub use error::{EventError, EventErrorKind};

/// Largest event accepted: the bytes of all attribute names and values and of the data together, whatever the mode
/// adds by quoting and encoding ([`Event::size_bytes`]).
///
/// CloudEvents ("Size Limits") obliges an intermediary to forward 64 KiB; 1 MiB lets an excerpt of a build log or a
/// JMeter plan travel inside an event.
pub const EVENT_SIZE_BYTES_MAX: usize = 1024 * 1024;

/// Most extension attributes on one event.
///
/// The specification sets no limit; every one is copied to each subscriber, and no known producer sends over thirty.
pub const EXTENSION_COUNT_MAX: usize = 64;

/// Deepest nesting of arrays and objects in JSON data, so that no reader's stack depends on a stranger's input.
///
/// serde_json reads 127 levels; the rest is for the envelope, a batch and the task object that the host puts around data.
pub const JSON_DEPTH_MAX: usize = 120;

/// A valid CloudEvent. Cheap to clone: the content is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(Arc<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    id: String,
    source: String,
    ty: String,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    extensions: BTreeMap<String, AttributeValue>,
    data: Option<Data>,
}

/// The value of an extension attribute, as far as the JSON format tells the types apart.
///
/// CloudEvents has seven types (§ "Type System"), but its JSON format writes binary, URI and timestamp values as
/// strings and no receiver can tell them from strings; so a value of those types is a [`AttributeValue::String`] in its
/// canonical text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number in the range −2,147,483,648 to 2,147,483,647.
    Integer(i32),
    /// Text, and the text form of binary, URI, URI-reference and timestamp values.
    String(String),
}

impl std::fmt::Display for AttributeValue {
    /// Writes the canonical string form (CloudEvents 1.0.2, "Type System"), which filters compare and headers carry.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(value) => f.write_str(value),
        }
    }
}

/// The event's data, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Valid JSON text, exactly as received: number spelling, key order and white space kept, except white space
    /// around the whole. At most [`JSON_DEPTH_MAX`] deep. The content type is JSON or absent.
    Json(String),
    /// Text of a content type that is not JSON.
    Text(String),
    /// Bytes: `data_base64`, or a body that is neither valid JSON under a JSON content type nor valid UTF-8 text.
    Binary(Vec<u8>),
}

impl Data {
    /// Returns the bytes as they travel in binary mode.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) | Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl Event {
    /// Returns the attribute `id`, unique together with [`Event::source`].
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the attribute `source`, a URI-reference in its original spelling.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Returns the attribute `type`.
    pub fn ty(&self) -> &str {
        &self.0.ty
    }

    /// Returns the attribute `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// Returns the attribute `time` in its original spelling (RFC 3339).
    pub fn time(&self) -> Option<&str> {
        self.0.time.as_deref()
    }

    /// Returns the attribute `datacontenttype` in its original spelling (RFC 2046).
    pub fn datacontenttype(&self) -> Option<&str> {
        self.0.datacontenttype.as_deref()
    }

    /// Returns the attribute `dataschema`, an absolute URI.
    pub fn dataschema(&self) -> Option<&str> {
        self.0.dataschema.as_deref()
    }

    /// Returns the extension attributes in the order of their names.
    pub fn extensions(&self) -> &BTreeMap<String, AttributeValue> {
        &self.0.extensions
    }

    /// Returns one extension attribute.
    pub fn extension(&self, name: &str) -> Option<&AttributeValue> {
        self.0.extensions.get(name)
    }

    /// Returns an extension attribute if it is a string.
    pub fn extension_str(&self, name: &str) -> Option<&str> {
        match self.0.extensions.get(name) {
            Some(AttributeValue::String(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns any context attribute, core or extension, in its canonical string form; what filters look at.
    pub fn attribute(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        use std::borrow::Cow;
        match name {
            "specversion" => Some(Cow::Borrowed("1.0")),
            "id" => Some(Cow::Borrowed(self.id())),
            "source" => Some(Cow::Borrowed(self.source())),
            "type" => Some(Cow::Borrowed(self.ty())),
            "subject" => self.subject().map(Cow::Borrowed),
            "time" => self.time().map(Cow::Borrowed),
            "datacontenttype" => self.datacontenttype().map(Cow::Borrowed),
            "dataschema" => self.dataschema().map(Cow::Borrowed),
            other => self.extension(other).map(|value| match value {
                AttributeValue::String(text) => Cow::Borrowed(text.as_str()),
                value => Cow::Owned(value.to_string()),
            }),
        }
    }

    /// Returns the data, if the event has any. A JSON `null` is data; an absent member is not.
    pub fn data(&self) -> Option<&Data> {
        self.0.data.as_ref()
    }

    /// Parses the data as JSON; `None` when there is no JSON data. Costs a parse: call it once and keep the value.
    ///
    /// Also `None` for JSON that Rust cannot hold: a number beyond `f64` (`1E400`), half of a surrogate pair.
    pub fn data_json(&self) -> Option<serde_json::Value> {
        match self.data()? {
            Data::Json(text) => serde_json::from_str(text).ok(),
            Data::Text(_) | Data::Binary(_) => None,
        }
    }

    /// Returns a builder that starts from this event's content, to make a changed copy.
    pub fn to_builder(&self) -> EventBuilder {
        EventBuilder::from_inner((*self.0).clone())
    }
}
