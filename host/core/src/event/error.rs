//! Why bytes are not an event that we accept.

/// What kind of refusal it is; the HTTP layer turns it into a status (`docs/http-api.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventErrorKind {
    /// Recognized as a CloudEvent, but it breaks a rule: 400.
    Invalid,
    /// Not a CloudEvent in any mode, or in a format or encoding that is not understood: 415.
    Unsupported,
    /// Over a limit of size or count: 413.
    TooLarge,
}

/// Says which rule an event breaks, in a form for programs (`code`, `attribute`, `index`) and one for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EventError {
    /// What kind of refusal it is.
    pub kind: EventErrorKind,
    /// A stable word for programs, such as `attribute-missing`; see [`super::code`] and `docs/event-errors.md`.
    pub code: &'static str,
    /// The attribute at fault, where there is one.
    pub attribute: Option<String>,
    /// The position in the batch, from 0, where the event came in one.
    pub index: Option<usize>,
    /// A sentence for people: what is wrong, and what was expected. Never contains the event's data.
    pub message: String,
}

impl EventError {
    /// Makes a refusal of kind [`EventErrorKind::Invalid`].
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventErrorKind::Invalid, code, attribute: None, index: None, message: message.into() }
    }

    /// Makes a refusal of kind [`EventErrorKind::Unsupported`].
    pub fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventErrorKind::Unsupported, ..Self::invalid(code, message) }
    }

    /// Makes a refusal of kind [`EventErrorKind::TooLarge`].
    pub fn too_large(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventErrorKind::TooLarge, ..Self::invalid(code, message) }
    }

    /// Names the attribute at fault.
    #[must_use]
    pub fn at(mut self, attribute: &str) -> Self {
        self.attribute = Some(attribute.to_owned());
        self
    }

    /// Names the position in the batch.
    #[must_use]
    pub fn in_batch(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}
