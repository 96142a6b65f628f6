//! Executes the tasks of the tests' shipyards. The label of a task's name chooses how it ends: `pass` (default), `warning`,
//! `fail`, `error`, `wait` (never by itself), `slow` (passes after a moment). The label `heals` names the one action after which an
//! evaluation passes.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, reject};
use std::time::Duration;

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("a delivery without a task"))?;
        let data = event.data_json().unwrap_or_default();
        let labels = data.get("labels").cloned().unwrap_or_default();
        let mode = labels.get(&task.name).and_then(|mode| mode.as_str()).unwrap_or("pass").to_owned();
        let heals = labels.get("heals").filter(|_| task.name == "evaluation");
        let mode = match heals {
            Some(heals) if data.pointer("/action/action") != Some(heals) => "fail".to_owned(),
            _ => mode,
        };
        let output = serde_json::json!({ "by": "stagehand", "task": task.name });
        let done = |finished: Finished| Ok(Outcome::finished(finished.output(&output)));
        match mode.as_str() {
            "warning" => done(Finished::warning("told to warn")),
            "fail" => done(Finished::fail("told to fail")),
            "error" => done(Finished::errored("told to err")),
            "wait" => Ok(Outcome::pending()),
            "slow" if task.cause == Cause::Triggered => Ok(Outcome::wake_after(Duration::from_millis(50))),
            _ => done(Finished::pass("done")),
        }
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/stagehand.toml");
