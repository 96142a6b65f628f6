//! Hostile: sends events under another's source and with an id of its own choice, by `emit` and in the outcome.
#![forbid(unsafe_code)]

use pilothouse_guests::RESULT_TYPE;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, _: Event) -> Result<Outcome, Failure> {
        let mut event = Event::builder(RESULT_TYPE).json(&true)?.build();
        event.source = "/plugins/somebody-else".to_owned();
        event.id = "chosen-by-the-guest".to_owned();
        ctx.emit(event.clone())?;
        Ok(Outcome::none().event(event))
    }
}

pilothouse_sdk::plugin!(Guest);
