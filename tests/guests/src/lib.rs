//! What the guests share: the type of the event in which they report, and how a test chooses what they do.
//!
//! Never here: what a guest is about. That is one file in `examples/`.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Event, Failure, Outcome};

/// The type of the event in which a guest reports what it could do.
pub const RESULT_TYPE: &str = "com.example.result.v1";

/// Returns an outcome with one event that holds `report`.
pub fn report(report: &impl serde::Serialize) -> Result<Outcome, Failure> {
    Ok(Outcome::none().event(Event::builder(RESULT_TYPE).json(report)?))
}

/// Returns the event's data if it is a JSON string: how a test chooses between ways of one attack.
pub fn mode(event: &Event) -> String {
    event.data_json().and_then(|data| data.as_str().map(str::to_owned)).unwrap_or_default()
}
