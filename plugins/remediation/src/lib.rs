//! The plugin `remediation`: executor of the task `get-action`.
//!
//! Reads the service's remediation file and says which action is next. Escalation is the shipyard's: a sequence that is triggered
//! by its own end comes back here with the number of actions taken, until one helps, the problem is resolved, or none is left.

pub mod request;

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use pilothouse_sdk::event_log::{self, Query};
use pilothouse_sdk::files::remediation;
use pilothouse_sdk::resources::{self, Error, Level};
use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, key_value, log, reject, settings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::request::{Next, Problem};

/// Where the remediation file lies, in the folder of the service in the stage, or in that of the service in every stage.
const REMEDIATION_FILE: &str = "remediation.yaml";
/// Tells that an alert is over.
const ALERT_RESOLVED: &str = "io.prometheus.alert.resolved.v1";
/// Tells of a problem in Keptn's older form, its end included.
const PROBLEM: &str = "sh.keptn.events.problem";
/// The extension that names the run.
const RUN: &str = "shkeptncontext";
/// Most actions within an hour, unless the settings say otherwise.
const ACTIONS_PER_HOUR_DEFAULT: usize = 6;
/// An hour, in seconds.
const HOUR: i64 = 3_600;

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Settings {
    actions_per_hour: Option<usize>,
}

struct Remediation;

impl Handler for Remediation {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("this plugin only executes the task `get-action`"))?;
        if task.cause != Cause::Triggered {
            return Ok(Outcome::pending());
        }
        let settings: Settings = settings()?;
        let data: Value = event.json()?;
        let problem = request::problem(&data);
        if let Some(when) = resolved(event.extension_str(RUN))? {
            let message = format!("the problem was resolved{when}; nothing more is done about it");
            return Ok(Outcome::finished(
                Finished::fail(message).output(&json!({ "resolved": true, "actionIndex": problem.taken })),
            ));
        }
        let file = match file()? {
            Ok(file) => file,
            Err(why) => return Ok(Outcome::finished(Finished::errored(why))),
        };
        act(ctx, &problem, request::next(&file, &problem), &settings)
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's clock is the host's to give")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::try_from(SystemTime::UNIX_EPOCH + since).unwrap_or_default()
}

/// Tells whether the problem of a run is over; the text says since when, where that is known.
fn resolved(run: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(run) = run else { return Ok(None) };
    for ty in [ALERT_RESOLVED, PROBLEM] {
        let query = Query { ty: ty.to_owned(), stage: None, service: None, run: Some(run.to_owned()) };
        let events = match event_log::events(&query, None, 10) {
            Ok(page) => page.events,
            // Without the grant nothing is known of it; that is how the operator wants it.
            Err(event_log::Error::Denied(grant)) => {
                log::warn!("whether the problem was resolved is not known: {grant}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let data = event.data_json().unwrap_or_default();
            let state = ["/problem/state", "/State", "/state", "/problem/State"];
            let state = state.iter().find_map(|pointer| data.pointer(pointer)?.as_str()).unwrap_or_default();
            let over = ["RESOLVED", "CLOSED"].iter().any(|word| state.eq_ignore_ascii_case(word));
            if ty == ALERT_RESOLVED || over {
                let when = data.pointer("/problem/endsAt").and_then(Value::as_str).or(event.time.as_deref());
                return Ok(Some(when.map(|when| format!(" at {when}")).unwrap_or_default()));
            }
        }
    }
    Ok(None)
}

/// Reads the remediation file. The inner error is for the task's answer.
fn file() -> Result<Result<remediation::Remediation, String>, Failure> {
    for level in [Level::ServiceInStage, Level::Service] {
        match resources::read(level, REMEDIATION_FILE) {
            Ok(bytes) => {
                return Ok(match remediation::read(&bytes) {
                    (Some(file), _) => Ok(file),
                    (None, problems) => {
                        let errors = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string);
                        Err(format!("the remediation file has errors: {}", errors.collect::<Vec<_>>().join("; ")))
                    }
                });
            }
            Err(Error::NotFound) => {}
            Err(Error::Invalid(why)) => return Ok(Err(why)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Err(format!("the service has no `{REMEDIATION_FILE}`; add one with `pilothouse resource add`")))
}

/// Answers with the next action, unless there were too many of late.
fn act(ctx: &Context, problem: &Problem, next: Next, settings: &Settings) -> Result<Outcome, Failure> {
    let taken = problem.taken;
    let nothing = |why: String| Ok(Outcome::finished(Finished::fail(why).output(&json!({ "actionIndex": taken }))));
    let (action, problem_type, of) = match next {
        Next::Take { action, problem_type, of } => (action, problem_type, of),
        Next::Nothing(why) => return nothing(why),
    };
    let most = settings.actions_per_hour.unwrap_or(ACTIONS_PER_HOUR_DEFAULT);
    let of_stage = ctx.stage().unwrap_or_default();
    let key = format!("taken/{of_stage}/{}/{problem_type}", ctx.service().unwrap_or_default());
    let now = now().as_second();
    let bytes = key_value::get(&key)?;
    let mut times: Vec<i64> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    times.retain(|time| now - time < HOUR);
    if let Some(first) = times.first().filter(|_| times.len() >= most) {
        let free = Timestamp::from_second(first + HOUR).unwrap_or_default();
        return nothing(format!(
            "there were {} actions about `{problem_type}` within an hour, and no more than {most} are taken (the setting \
             `actions-per-hour`); the next one can be taken at {free}",
            times.len()
        ));
    }
    times.push(now);
    key_value::set(&key, serde_json::to_vec(&times).map_err(|error| reject(error.to_string()))?)?;
    let name = action.name.clone().unwrap_or_else(|| action.action.clone());
    let message = format!("action {} of {of} about `{problem_type}`: {name} ({})", taken + 1, action.action);
    let output = json!({
        "actionIndex": taken + 1,
        "problemType": problem_type,
        "action": {
            "name": name,
            "action": action.action,
            "description": action.description.unwrap_or_default(),
            "value": action.value,
        },
    });
    Ok(Outcome::finished(Finished::pass(message).output(&output)))
}

pilothouse_sdk::plugin!(Remediation);
