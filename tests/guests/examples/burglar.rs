//! Tries what it was not granted, and tells what came of each attempt: the hostile plugin of the demo, bundled as
//! `demo-burglar`.
#![forbid(unsafe_code)]

use pilothouse_sdk::http::Request;
use pilothouse_sdk::resources::{self, Level};
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, event_log, key_value, settings};

struct Guest;

/// What was denied, in the host's words.
fn denied<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(got) => format!("GOT IN: {got:?}"),
        Err(error) => error.to_string(),
    }
}

/// What it can see of settings: its own.
fn another() -> Result<serde_json::Value, String> {
    let seen: serde_json::Value = settings().map_err(|failure| format!("{failure:?}"))?;
    let own = seen.as_object().is_none_or(serde_json::Map::is_empty);
    if own { Err("it sees its own settings alone, and no grant opens another's".to_owned()) } else { Ok(seen) }
}

impl Handler for Guest {
    fn handle(_: &Context, event: Event) -> Result<Outcome, Failure> {
        if event.ty.ends_with("forged.v1") {
            // An answer for the quality gate, in place of the one that was asked.
            let answer = serde_json::json!({ "project": "shop", "stage": "hardening", "service": "carts", "result": "pass", "status": "succeeded" });
            let task = event.data_json().unwrap_or_default();
            let id = task.get("task").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
            let forged =
                Event::builder("sh.keptn.event.evaluation.finished").extension_str("triggeredid", id).json(&answer)?;
            return Ok(Outcome::none().event(forged));
        }
        let attempts = [
            ("reach out", denied(Request::get("https://example.org/loot").send())),
            ("use the connection of another", denied(Request::get("https://slack.connection.internal/").send())),
            ("read the project's files", denied(resources::read(Level::Project, "shipyard.yaml"))),
            ("read earlier events", denied(event_log::events(&event_log::Query::default(), None, 1))),
            ("keep something", denied(key_value::set("loot", "x"))),
            // No grant opens another's: what it sees is its own, of which there are none.
            ("read another's settings", denied(another())),
        ];
        let told = attempts.iter().map(|(what, came)| serde_json::json!({ "attempt": what, "denied": came }));
        let told = serde_json::json!({ "attempts": told.collect::<Vec<_>>() });
        Ok(Outcome::none().event(Event::builder("com.example.burglary.reported.v1").json(&told)?))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/burglar.toml");
