//! Refuses settings in which `low` is not under `high`: what a JSON Schema cannot say.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, Problem};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        Ok(Outcome::none())
    }

    fn validate(settings: &str) -> Vec<Problem> {
        let settings: serde_json::Value = serde_json::from_str(settings).unwrap_or_default();
        let number = |name: &str| settings.get(name).and_then(serde_json::Value::as_i64);
        match (number("low"), number("high")) {
            (Some(low), Some(high)) if low >= high => vec![Problem::new("/low", "must be under `high`")],
            _ => Vec::new(),
        }
    }
}

pilothouse_sdk::plugin!(Guest, settings);
