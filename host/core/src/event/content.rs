//! What of an event counts as its content: the same in whatever mode it came.
//!
//! Used to tell a repeat from a clash: two events with one identity must have equal content.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Data, Event, Inner, rule};

/// Cuts off the white space that JSON allows around a value.
pub(super) fn trim_json(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

impl Event {
    /// Makes an event of what has passed [`rule::check`].
    pub(super) fn from_checked(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the bytes of all attribute names and values and of the data; at most [`super::EVENT_SIZE_BYTES_MAX`].
    pub fn size_bytes(&self) -> usize {
        rule::size_bytes(&self.0)
    }

    /// Returns the content type as binary mode writes it: JSON data that came without one is `application/json`.
    pub fn effective_content_type(&self) -> Option<&str> {
        match (self.datacontenttype(), self.data()) {
            (None, Some(Data::Json(_))) => Some("application/json"),
            (media_type, _) => media_type,
        }
    }

    /// Tells whether both events have the same attributes and data bytes, whatever mode they came in.
    ///
    /// Binary mode knows only strings and cannot tell empty data from none; so an attribute is compared in its
    /// canonical string form, and empty data equals no data.
    pub fn content_eq(&self, other: &Self) -> bool {
        self.content().eq(other.content())
    }

    /// Returns the SHA-256 of what [`Event::content_eq`] compares; stored to recognize repeats for years.
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (name, value) in self.content() {
            // Lengths keep neighbors apart: no text can pretend to be the next field.
            for part in [name.as_bytes(), &value] {
                hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                hasher.update(part);
            }
        }
        hasher.finalize().into()
    }

    fn content(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, [u8]>)> {
        use std::borrow::Cow;
        let core = [
            ("id", Some(self.id())),
            ("source", Some(self.source())),
            ("type", Some(self.ty())),
            ("subject", self.subject()),
            ("time", self.time()),
            ("datacontenttype", self.effective_content_type()),
            ("dataschema", self.dataschema()),
        ];
        let core = core.into_iter().filter_map(|(name, value)| Some((name, Cow::Borrowed(value?.as_bytes()))));
        let extensions = self.extensions().iter().map(|(name, value)| {
            let bytes = match value {
                super::AttributeValue::String(text) => Cow::Borrowed(text.as_bytes()),
                other => Cow::Owned(other.to_string().into_bytes()),
            };
            (name.as_str(), bytes)
        });
        let data = self.data().map(Data::as_bytes).filter(|bytes| !bytes.is_empty());
        core.chain(extensions).chain(data.map(|bytes| ("data", Cow::Borrowed(bytes))))
    }
}
