//! Who gets an event.
