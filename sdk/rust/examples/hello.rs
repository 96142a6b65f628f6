//! The smallest whole plugin: one event in, one event out.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, log};

#[derive(serde::Deserialize)]
struct Arrived {
    name: String,
}

struct Hello;

impl Handler for Hello {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let arrived: Arrived = event.json()?;
        log::info!("attempt {} at {}", ctx.attempt(), event.id);
        let greeted = Event::builder("com.example.greeted.v1")
            .json(&serde_json::json!({ "text": format!("Hello, {}!", arrived.name) }))?;
        Ok(Outcome::none().event(greeted))
    }
}

pilothouse_sdk::plugin!(Hello);
