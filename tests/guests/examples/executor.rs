//! Executes the task `echo-task`. The setting `mode` chooses how: `finish` (default), `pending` (asks to be woken, then
//! finishes), `decline`, `error`, `warning`, `silent` (no answer at all), `retry`, `reject`.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, reject, retry};
use std::time::Duration;

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    mode: String,
    /// How long to wait in mode `pending`.
    wake_after_ms: u64,
}

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let settings: Settings = pilothouse_sdk::settings()?;
        let task = ctx.task().ok_or_else(|| reject("a delivery without a task"))?;
        let output = serde_json::json!({
            "cause": format!("{:?}", task.cause),
            "triggered": task.triggered_id,
            "run": task.run,
            "attempt": ctx.attempt(),
            "data": event.data_json(),
        });
        let done = |finished: Finished| Ok(Outcome::finished(finished.label("executor", "echo").output(&output)));
        match settings.mode.as_str() {
            "pending" if task.cause == Cause::Triggered => {
                ctx.emit(Event::builder("sh.keptn.event.echo-task.status.changed").json(&"waiting")?)?;
                Ok(Outcome::wake_after(Duration::from_millis(settings.wake_after_ms)))
            }
            "decline" => Ok(Outcome::declined("told to decline")),
            "error" => done(Finished::errored("told to fail")),
            "warning" => done(Finished::warning("told to warn")),
            "silent" => Ok(Outcome::none()),
            "retry" => Err(retry("told to retry")),
            "reject" => Err(reject("told to reject")),
            _ => done(Finished::pass("echoed")),
        }
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/executor.toml");
