//! Hostile: emits until the host refuses, then returns more events than an outcome may hold. With the data `"emit"`
//! it only emits, and reports how many were taken and why it ended.
#![forbid(unsafe_code)]

use pilothouse_guests::{RESULT_TYPE, mode, report};
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

/// More than any limit, so that a host without one is found.
const EVENTS: usize = 10_000;

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let mut taken = 0;
        let mut refusal = String::new();
        for index in 0..EVENTS {
            if let Err(error) = ctx.emit(Event::builder(RESULT_TYPE).json(&index)?) {
                refusal = error.to_string();
                break;
            }
            taken += 1;
        }
        if mode(&event) == "emit" {
            return report(&serde_json::json!({ "taken": taken, "refusal": refusal }));
        }
        let mut outcome = Outcome::none();
        for index in 0..EVENTS {
            outcome = outcome.event(Event::builder(RESULT_TYPE).json(&index)?);
        }
        Ok(outcome)
    }
}

pilothouse_sdk::plugin!(Guest);
