//! Hostile: returns one event of 8 MiB; with the data `"emit"` it emits it instead, and reports the refusal.
#![forbid(unsafe_code)]

use pilothouse_guests::{RESULT_TYPE, mode, report};
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

/// Eight times the largest event that is accepted.
const DATA_BYTES: usize = 8 << 20;

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let huge = Event::builder(RESULT_TYPE).text("text/plain", "x".repeat(DATA_BYTES)).build();
        if mode(&event) == "emit" {
            let refusal = ctx.emit(huge).err().map(|error| error.to_string());
            return report(&serde_json::json!({ "refusal": refusal }));
        }
        Ok(Outcome::none().event(huge))
    }
}

pilothouse_sdk::plugin!(Guest);
