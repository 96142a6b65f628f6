//! Asks for another attempt until the attempt of the setting `succeed-at` (default 3), then reports it.
#![forbid(unsafe_code)]

use pilothouse_guests::report;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    succeed_at: u32,
    /// Wait asked for; the host's own when absent.
    after_ms: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { succeed_at: 3, after_ms: None }
    }
}

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, _: Event) -> Result<Outcome, Failure> {
        let settings: Settings = pilothouse_sdk::settings()?;
        if ctx.attempt() < settings.succeed_at {
            let failure = pilothouse_sdk::retry(format!("attempt {} is not enough", ctx.attempt()));
            return Err(match settings.after_ms {
                Some(after) => failure.after(std::time::Duration::from_millis(after)),
                None => failure,
            });
        }
        report(&serde_json::json!({ "attempt": ctx.attempt() }))
    }
}

pilothouse_sdk::plugin!(Guest);
