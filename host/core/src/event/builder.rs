//! Makes events in code: the host's own, a plugin's output, a test's input.

use std::collections::BTreeMap;

use super::{AttributeValue, Data, Event, EventError, Inner, rule};

/// Collects attributes and data, and checks them all in [`EventBuilder::build`].
#[derive(Clone, Debug)]
pub struct EventBuilder(Inner);

impl EventBuilder {
    /// Starts an event with its three attributes that have no default.
    pub fn new(id: impl Into<String>, source: impl Into<String>, ty: impl Into<String>) -> Self {
        Self(Inner {
            id: id.into(),
            source: source.into(),
            ty: ty.into(),
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::new(),
            data: None,
        })
    }

    pub(super) fn from_inner(inner: Inner) -> Self {
        Self(inner)
    }

    /// Sets `id`.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.id = id.into();
        self
    }

    /// Sets `source`.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.0.source = source.into();
        self
    }

    /// Sets `type`.
    #[must_use]
    pub fn ty(mut self, ty: impl Into<String>) -> Self {
        self.0.ty = ty.into();
        self
    }

    /// Sets or removes `subject`.
    #[must_use]
    pub fn subject(mut self, subject: Option<String>) -> Self {
        self.0.subject = subject;
        self
    }

    /// Sets or removes `time` (RFC 3339).
    #[must_use]
    pub fn time(mut self, time: Option<String>) -> Self {
        self.0.time = time;
        self
    }

    /// Sets or removes `datacontenttype`.
    #[must_use]
    pub fn datacontenttype(mut self, media_type: Option<String>) -> Self {
        self.0.datacontenttype = media_type;
        self
    }

    /// Sets or removes `dataschema`.
    #[must_use]
    pub fn dataschema(mut self, uri: Option<String>) -> Self {
        self.0.dataschema = uri;
        self
    }

    /// Sets an extension attribute, replacing an earlier value.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        self.0.extensions.insert(name.into(), value);
        self
    }

    /// Sets a string extension attribute.
    #[must_use]
    pub fn extension_str(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extension(name, AttributeValue::String(value.into()))
    }

    /// Removes an extension attribute.
    #[must_use]
    pub fn without_extension(mut self, name: &str) -> Self {
        self.0.extensions.remove(name);
        self
    }

    /// Sets or removes the data. It must fit the content type: see [`Data`].
    #[must_use]
    pub fn data(mut self, data: Option<Data>) -> Self {
        self.0.data = data;
        self
    }

    /// Sets JSON data and the content type `application/json`.
    #[must_use]
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.0.datacontenttype = Some("application/json".to_owned());
        self.0.data = Some(Data::Json(value.to_string()));
        self
    }

    /// Tells whether it has an id.
    pub fn has_id(&self) -> bool {
        !self.0.id.is_empty()
    }

    /// Sets the time if there is none.
    #[must_use]
    pub fn time_or(mut self, time: impl Into<String>) -> Self {
        self.0.time.get_or_insert_with(|| time.into());
        self
    }

    /// Checks every rule of CloudEvents 1.0.2 and makes the event. White space around JSON data is cut off.
    ///
    /// # Errors
    /// The first rule broken, with the attribute that breaks it.
    pub fn build(self) -> Result<Event, EventError> {
        let mut inner = self.0;
        if let Some(Data::Json(text)) = &mut inner.data {
            // White space around the value has no place in structured mode, so it would not survive the log.
            let trimmed = super::trim_json(text);
            if trimmed.len() != text.len() {
                *text = trimmed.to_owned();
            }
        }
        rule::check(&inner)?;
        Ok(Event::from_checked(inner))
    }
}
