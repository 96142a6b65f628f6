//! Hostile together with `ping`: each answers the other for ever.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, event: Event) -> Result<Outcome, Failure> {
        let turn = event.data_json().and_then(|data| data.as_u64()).unwrap_or_default();
        Ok(Outcome::none().event(Event::builder("com.example.pong.v1").json(&(turn + 1))?))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/pong.toml");
