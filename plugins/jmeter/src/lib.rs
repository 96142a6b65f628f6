//! The plugin `jmeter`: executor of the task `test`. Starts JMeter as a job, and judges its result file when it ends.
//!
//! Only the order of steps is here; each step's rules are in a module of their own, tested natively:
//! `request` (what to run) → `workload` (Keptn's file) → the job → `jtl` (sums up) → `verdict` (judges) → `report` (words).

pub mod histogram;
pub mod jtl;
pub mod project;
pub mod report;
pub mod request;
pub mod verdict;
pub mod workload;

use std::time::Duration;

use pilothouse_sdk::jobs::{self, Job, State};
use pilothouse_sdk::{
    Cause, Context, Event, Failure, Finished, Handler, Outcome, Problem, Task, key_value, log, reject, retry, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::report::Place;
use crate::request::{RESULT_FILE, Refusal, Request, Settings, TEMPLATE};
use crate::workload::Workload;

/// Time between progress events, in seconds, unless the settings say otherwise: a few events for a usual test.
const PROGRESS_SECONDS_DEFAULT: u64 = 30;

/// Attempts at starting a job that the host cannot start, before the test is answered as errored with the host's reason.
const START_ATTEMPTS: u32 = 2;

/// What is kept between the start of a test and its end: the job's end comes as an event of its own, without the trigger.
#[derive(Serialize, Deserialize)]
struct Kept {
    job: String,
    workload: Workload,
    progress_seconds: u64,
    /// The trigger's data, while the job is the health check that comes before the test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_of: Option<Value>,
}

fn key(task: &Task) -> String {
    format!("test/{}", task.triggered_id)
}

fn place(ctx: &Context) -> Place {
    Place {
        project: ctx.project().unwrap_or_default(),
        stage: ctx.stage().unwrap_or_default(),
        service: ctx.service().unwrap_or_default(),
    }
}

struct Jmeter;

impl Handler for Jmeter {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("this plugin only executes the task `test`"))?;
        match task.cause {
            Cause::Triggered => start(ctx, &task, &event),
            Cause::WakeUp => progress(ctx, &task),
            Cause::JobEnded => end(ctx, &task, &event),
            _ => Ok(Outcome::pending()),
        }
    }

    fn validate(settings: &str) -> Vec<Problem> {
        match serde_json::from_str(settings) {
            Ok(settings) => {
                request::check_settings(&settings).into_iter().map(|(path, text)| Problem::new(path, text)).collect()
            }
            Err(error) => vec![Problem::new("", error.to_string())],
        }
    }
}

/// Starts what comes first; the host runs it once this delivery is committed.
fn start(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let data: Value = event.json()?;
    let settings: Settings = settings()?;
    let request = match request::read(&data, &settings, &project::files()?) {
        Ok(request) => request,
        Err(Refusal::Declined(reason)) => return Ok(Outcome::declined(reason)),
        Err(Refusal::Errored(message)) => return Ok(Outcome::finished(Finished::errored(message))),
    };
    match request.health {
        Some(health) => run(ctx, task, *health, &settings, Some(data)),
        None => run(ctx, task, request, &settings, None),
    }
}

/// Starts the test after its health check has passed.
fn test_itself(ctx: &Context, task: &Task, data: &Value) -> Result<Outcome, Failure> {
    let settings: Settings = settings()?;
    match request::read(data, &settings, &project::files()?) {
        Ok(request) => run(ctx, task, request, &settings, None),
        Err(Refusal::Declined(message) | Refusal::Errored(message)) => {
            Ok(Outcome::finished(Finished::errored(message)))
        }
    }
}

/// Starts a job, which is the test, or the health check of the test with this data.
fn run(
    ctx: &Context,
    task: &Task,
    request: Request,
    settings: &Settings,
    health_of: Option<Value>,
) -> Result<Outcome, Failure> {
    let mut job = Job::new(TEMPLATE);
    // Each of the two is a job of its own; the test's has no key, as before there were health checks.
    job.key = health_of.as_ref().map(|_| "health check".to_owned());
    job.parameters = request.parameters;
    job.files = request.files;
    job.timeout = settings.timeout_seconds.map(Duration::from_secs);
    let id = match job.start() {
        Ok(id) => id,
        // A missing program is "unavailable" too. It will not appear by waiting, so one more attempt is enough.
        Err(jobs::Error::Unavailable(reason)) if ctx.attempt() < START_ATTEMPTS => return Err(retry(reason)),
        Err(error @ (jobs::Error::Invalid(_) | jobs::Error::NotFound | jobs::Error::Unavailable(_))) => {
            return Ok(Outcome::finished(Finished::errored(format!("JMeter was not started: {error}"))));
        }
        Err(error) => return Err(error.into()),
    };
    let workload = request.workload;
    let message = format!(
        "{} test started: {} users, {} loops each, {} ms think time",
        workload.strategy, workload.users, workload.loops, workload.think_time_ms
    );
    let figures =
        json!({ "teststrategy": workload.strategy, "users": workload.users, "loops": workload.loops, "job": id });
    log::info!("{message}, job {id}");
    ctx.emit(report::status_changed(&task.triggered_id, &place(ctx), &message, figures))?;

    let progress_seconds = settings.progress_seconds.unwrap_or(PROGRESS_SECONDS_DEFAULT);
    let kept = Kept { job: id, workload, progress_seconds, health_of };
    let kept = serde_json::to_vec(&kept).map_err(|error| reject(error.to_string()))?;
    key_value::set(&key(task), kept)?;
    Ok(wait(progress_seconds))
}

fn wait(progress_seconds: u64) -> Outcome {
    match progress_seconds {
        0 => Outcome::pending(),
        seconds => Outcome::wake_after(Duration::from_secs(seconds)),
    }
}

fn kept(task: &Task) -> Result<Option<Kept>, Failure> {
    let Some(bytes) = key_value::get(&key(task))? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| reject(format!("what was kept of the test is damaged: {error}")))
}

/// Says how far JMeter is, and asks to be woken again while it runs.
fn progress(ctx: &Context, task: &Task) -> Result<Outcome, Failure> {
    let Some(kept) = kept(task)? else { return Ok(Outcome::pending()) };
    match jobs::status(&kept.job)?.state {
        State::Waiting => Ok(wait(kept.progress_seconds)),
        State::Running => {
            let tail = jobs::open(&kept.job, "stdout").map(report::tail).unwrap_or_default();
            if let Some(line) = report::progress_line(&tail) {
                let figures = json!({ "teststrategy": kept.workload.strategy, "job": kept.job });
                ctx.emit(report::status_changed(&task.triggered_id, &place(ctx), line, figures))?;
            }
            Ok(wait(kept.progress_seconds))
        }
        // Its end is on the way as an event, which answers the task.
        _ => Ok(Outcome::pending()),
    }
}

/// Answers the task from what the job left behind.
fn end(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let Some(kept) = kept(task)? else {
        let message = "the test's job has ended, but what was kept of the test is gone; trigger it again";
        return Ok(Outcome::finished(Finished::errored(message)));
    };
    let status = jobs::status(&kept.job)?;
    if matches!(status.state, State::Waiting | State::Running) {
        return Ok(wait(kept.progress_seconds));
    }
    key_value::delete(&key(task))?;
    if status.state != State::Succeeded {
        let data = event.data_json().unwrap_or_default();
        let reason = data.get("reason").and_then(serde_json::Value::as_str);
        let message = report::broke_off(status.state, status.exit_code, reason, &last_words(&kept.job));
        log::warn!("the test's job {} ended as {:?}, status {:?}", kept.job, status.state, status.exit_code);
        return Ok(Outcome::finished(Finished::errored(message)));
    }
    let file = match jobs::open(&kept.job, RESULT_FILE) {
        Ok(file) => file,
        Err(jobs::Error::NotFound) => {
            return Ok(Outcome::finished(Finished::errored(report::without_results(&last_words(&kept.job)))));
        }
        Err(error) => return Err(error.into()),
    };
    let summary = match jtl::summarize(file) {
        Ok(summary) => summary,
        Err(jtl::JtlError::Read(reason)) => return Err(retry(reason)),
        Err(error) => return Ok(Outcome::finished(Finished::errored(error.to_string()))),
    };
    if summary.total.elapsed.count() == 0 {
        return Ok(Outcome::finished(Finished::errored(report::without_results(&last_words(&kept.job)))));
    }
    let output = report::output(&summary, &kept.workload, ctx.commit().as_deref());
    let verdict = verdict::judge(&summary, &kept.workload);
    if let Some(data) = &kept.health_of {
        if verdict.passed {
            return test_itself(ctx, task, data);
        }
        let message = format!("the health check failed, so the test was not run: {}", verdict.message);
        return Ok(Outcome::finished(Finished::fail(message).output(&output)));
    }
    let read = format!("{} samples read", summary.total.elapsed.count());
    ctx.emit(report::status_changed(&task.triggered_id, &place(ctx), &read, json!({ "job": kept.job })))?;
    let finished = if verdict.passed { Finished::pass(verdict.message) } else { Finished::fail(verdict.message) };
    Ok(Outcome::finished(finished.output(&output)))
}

/// Returns the last lines of what the job wrote, errors after output.
fn last_words(job: &str) -> String {
    let read = |artifact| jobs::open(job, artifact).map(report::tail).unwrap_or_default();
    [read("stdout"), read("stderr")].into_iter().filter(|tail| !tail.is_empty()).collect::<Vec<_>>().join("\n")
}

pilothouse_sdk::plugin!(Jmeter, settings);
