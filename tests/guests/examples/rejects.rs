//! Rejects every event.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        Err(pilothouse_sdk::reject("this guest wants no event"))
    }
}

pilothouse_sdk::plugin!(Guest);
