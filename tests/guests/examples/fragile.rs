//! Traps at each event until its setting `mended` is true: a plugin with a mistake.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, log, settings};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Settings {
    mended: bool,
}

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, event: Event) -> Result<Outcome, Failure> {
        let order: serde_json::Value = event.json()?;
        let number = order.get("order").and_then(serde_json::Value::as_u64).unwrap_or_default();
        log::info!("order {number} came in");
        let settings: Settings = settings()?;
        assert!(settings.mended, "this plugin has a mistake that its setting `mended` mends");
        let confirmed = serde_json::json!({ "order": number, "message": "the order is confirmed" });
        Ok(Outcome::none().event(Event::builder("com.example.order.confirmed.v1").json(&confirmed)?))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/fragile.toml");
