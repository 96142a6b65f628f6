//! Posts the event's data to the connection `api`, and reports the answer; asks for another attempt when the peer is
//! busy.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, http::Request};
use std::time::Duration;

use pilothouse_guests::report;

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let response = Request::post("https://api.connection.internal/echo")
            .query("attempt", &ctx.attempt().to_string())
            .header("idempotency-key", ctx.delivery_id())
            .json(&event.data_json())
            .timeout(Duration::from_secs(5))
            .send()?
            .success()?;
        report(&serde_json::json!({ "status": response.status, "body": response.text() }))
    }
}

pilothouse_sdk::plugin!(Guest);
