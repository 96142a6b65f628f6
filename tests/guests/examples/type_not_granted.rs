//! Hostile: returns an event of a type that its manifest does not list; with the data `"emit"` it emits it instead, and
//! reports the refusal.
#![forbid(unsafe_code)]

use pilothouse_guests::{mode, report};
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let stranger = Event::builder("com.example.not.in.the.manifest.v1").json(&true)?.build();
        if mode(&event) == "emit" {
            let refusal = ctx.emit(stranger).err().map(|error| error.to_string());
            return report(&serde_json::json!({ "refusal": refusal }));
        }
        Ok(Outcome::none().event(stranger))
    }
}

pilothouse_sdk::plugin!(Guest);
