//! Hostile: starts a job from a template that its manifest does not name, and reports the refusal.
#![forbid(unsafe_code)]

use pilothouse_guests::report;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, jobs};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let refusal = jobs::Job::new("shell").parameter("command", "id").start().err().map(|error| error.to_string());
        report(&serde_json::json!({ "refusal": refusal }))
    }
}

pilothouse_sdk::plugin!(Guest);
