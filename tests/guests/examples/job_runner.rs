//! Executes the task `run-script`: starts the job `script` with `data.run-script.name` as its parameter and
//! `data.run-script.input` as a file, and answers with its exit code and output when it has ended.
#![forbid(unsafe_code)]

use pilothouse_sdk::{
    Cause, Context, Event, Failure, Finished, Handler, Outcome, Task,
    jobs::{self, Job},
    key_value, reject, retry,
};
use std::io::Read as _;

/// Key of the state that remembers the job of a task.
fn key(task: &Task) -> String {
    format!("job/{}", task.triggered_id)
}

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("a delivery without a task"))?;
        if task.cause == Cause::Triggered {
            let data = event.data_json().unwrap_or_default();
            let text = |pointer| data.pointer(pointer).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
            let job = Job::new("script")
                .parameter("name", text("/run-script/name"))
                .file("input.txt", text("/run-script/input"))
                .start()?;
            key_value::set(&key(&task), &job)?;
            return Ok(Outcome::pending());
        }
        let job = key_value::get(&key(&task))?.ok_or_else(|| reject("no job is known of this task"))?;
        let job = String::from_utf8_lossy(&job).into_owned();
        let status = jobs::status(&job)?;
        let mut stdout = String::new();
        jobs::open(&job, "stdout")?
            .read_to_string(&mut stdout)
            .map_err(|error| retry(format!("the output cannot be read: {error}")))?;
        let state = format!("{:?}", status.state);
        let output = serde_json::json!({ "state": state, "exit-code": status.exit_code, "stdout": stdout });
        let finished = match status.state {
            jobs::State::Succeeded => Finished::pass("the script succeeded"),
            _ => Finished::fail(format!("the script ended as {state}")),
        };
        key_value::delete(&key(&task))?;
        Ok(Outcome::finished(finished.output(&output)))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/job_runner.toml");
