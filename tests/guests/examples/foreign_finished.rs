//! Hostile: although its manifest lists the type, it ends a task that it was never asked to do. The data holds
//! `task`, `triggeredid` and `shkeptncontext` of the victim.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, event: Event) -> Result<Outcome, Failure> {
        #[derive(serde::Deserialize)]
        struct Victim {
            task: String,
            triggeredid: String,
            shkeptncontext: String,
        }
        let victim: Victim = event.json()?;
        let finished = Event::builder(format!("sh.keptn.event.{}.finished", victim.task))
            .extension_str("triggeredid", victim.triggeredid)
            .extension_str("shkeptncontext", victim.shkeptncontext)
            .json(&serde_json::json!({ "result": "pass", "status": "succeeded" }))?;
        Ok(Outcome::none().event(finished))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/foreign_finished.toml");
