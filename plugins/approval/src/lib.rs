//! The plugin `approval`: executor of the task `approval`.
//!
//! A result that passed needs no person where the shipyard says `automatic`; one that failed is never approved; else
//! people decide. The host checks who they are and delivers each decision; this plugin counts them (`tally`) and
//! answers the task.

pub mod request;
pub mod tally;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pilothouse_sdk::{
    Cause, Context, EmitError, Event, Failure, Finished, Handler, Outcome, Task, key_value, log, reject, retry,
    settings,
};
use serde_json::{Value, json};

use crate::request::{Before, Decision, Open, Settings};

/// The progress that this plugin tells of.
const STATUS_CHANGED: &str = "sh.keptn.event.approval.status.changed";

struct Approval;

impl Handler for Approval {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("this plugin only executes the task `approval`"))?;
        match task.cause {
            Cause::Triggered => begin(ctx, &task, &event),
            Cause::WakeUp => wake(ctx, &task, &event),
            Cause::Decided => decide(ctx, &task, &event),
            _ => Ok(Outcome::pending()),
        }
    }
}

fn key(task: &Task) -> String {
    format!("approval/{}", task.triggered_id)
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's clock is the host's to give")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn begin(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let data = event.data_json().unwrap_or_default();
    let request = match request::read(&data, &settings::<Settings>()?) {
        Ok(request) => request,
        Err(reason) => return Ok(Outcome::finished(Finished::errored(reason))),
    };
    match (request.before, request.automatic) {
        (Before::Fail, _) => return Ok(Outcome::finished(Finished::fail("the result before is `fail`"))),
        (Before::Warning, true) => {
            return Ok(Outcome::finished(Finished::pass("automatic after a warning, as the shipyard says")));
        }
        (_, true) => return Ok(Outcome::finished(Finished::pass("automatic after a pass, as the shipyard says"))),
        (_, false) => {}
    }
    let open = Open {
        quorum: request.quorum,
        expires_at: now().saturating_add(millis(request.expires)),
        reminder: request.reminder.map(millis),
        decisions: Vec::new(),
    };
    keep(task, &open)?;
    say(ctx, &data, &format!("waiting for people to decide: {}", open.standing()))?;
    Ok(Outcome::wake_after(next(&open)))
}

/// Time until there is something to do: the next reminder, or the expiry.
fn next(open: &Open) -> Duration {
    let left = open.expires_at.saturating_sub(now());
    Duration::from_millis(open.reminder.map_or(left, |every| every.min(left)).max(1))
}

fn wake(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let Some(open) = kept(task)? else { return Ok(Outcome::pending()) };
    if now() >= open.expires_at {
        key_value::delete(&key(task))?;
        return Ok(Outcome::finished(open.expired()));
    }
    if open.reminder.is_some() {
        let data = event.data_json().unwrap_or_default();
        say(ctx, &data, &format!("still waiting for people to decide: {}", open.standing()))?;
    }
    Ok(Outcome::wake_after(next(&open)))
}

fn decide(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let decision: Decision = event.json()?;
    // A decision can be quicker than the first delivery.
    let Some(mut open) = kept(task)? else { return Err(retry("the request is not open yet")) };
    log::info!("{} decided on {}: {:?}", decision.actor, task.triggered_id, decision.decision);
    open.add(decision);
    if let Some(end) = open.end() {
        key_value::delete(&key(task))?;
        return Ok(Outcome::finished(end));
    }
    keep(task, &open)?;
    say(ctx, &event.data_json().unwrap_or_default(), &open.standing())?;
    // The wake-up that was asked for still comes.
    Ok(Outcome::pending())
}

fn kept(task: &Task) -> Result<Option<Open>, Failure> {
    let Some(bytes) = key_value::get(&key(task))? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| reject(format!("what was kept cannot be read: {error}")))
}

fn keep(task: &Task, open: &Open) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(open).map_err(|error| reject(error.to_string()))?;
    key_value::set(&key(task), bytes)?;
    Ok(())
}

/// Tells of progress.
fn say(ctx: &Context, data: &Value, message: &str) -> Result<(), Failure> {
    let mut said = json!({ "message": message });
    for name in ["project", "stage", "service", "labels"] {
        if let (Some(value), Some(members)) = (data.get(name), said.as_object_mut()) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    // What people want to see before they decide.
    let report =
        ["/evaluation/reportUrl", "/test/reportUrl"].iter().find_map(|pointer| data.pointer(pointer)?.as_str());
    if let (Some(report), Some(members)) = (report, said.as_object_mut()) {
        members.insert("approval".to_owned(), json!({ "reportUrl": report }));
    }
    match ctx.emit(Event::builder(STATUS_CHANGED).json(&said)?) {
        Ok(()) => Ok(()),
        Err(EmitError::Unavailable(reason)) => Err(retry(reason)),
        Err(error) => Err(reject(error.to_string())),
    }
}

pilothouse_sdk::plugin!(Approval);
