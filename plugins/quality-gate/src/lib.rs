//! The plugin `quality-gate`: executor of the task `evaluation`.
//!
//! Reads the service's SLO file, asks the provider of the indicators by a task `get-sli`, and judges its answer by the file
//! and by earlier evaluations. The rules are `pilothouse_sdk::files::evaluation`'s, the same that the command line has.

pub mod history;
pub mod request;

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use pilothouse_sdk::files::evaluation::{Evaluation, IndicatorResult, Values, evaluate, input};
use pilothouse_sdk::files::gate::{self, GATE_FILE, Gate};
use pilothouse_sdk::files::result::TaskResult;
use pilothouse_sdk::files::slo;
use pilothouse_sdk::files::yaml::Problem;
use pilothouse_sdk::resources::{self, Level};
use pilothouse_sdk::{
    Cause, Context, Event, Failure, Finished, Handler, Outcome, Task, key_value, log, reject, settings,
};
use serde_json::Value;

use crate::request::{Open, Settings};

/// The task that measures.
const GET_SLI: &str = "sh.keptn.event.get-sli.triggered";
/// Where the SLO file lies, in the folder of the service in the stage, or in that of the service in every stage. (A stage or a
/// project has none, as in Keptn.)
const SLO_FILE: &str = "slo.yaml";

struct QualityGate;

impl Handler for QualityGate {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("this plugin only executes the task `evaluation`"))?;
        match task.cause {
            Cause::Triggered => begin(&task, &event),
            Cause::TaskFinished => finish(ctx, &task, &event),
            _ => Ok(Outcome::pending()),
        }
    }
}

fn key(task: &Task) -> String {
    format!("evaluation/{}", task.triggered_id)
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's clock is the host's to give")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::try_from(SystemTime::UNIX_EPOCH + since).unwrap_or_default()
}

/// Answers that the evaluation could not be done.
fn errored(message: impl Into<String>) -> Outcome {
    Outcome::finished(Finished::errored(message))
}

fn begin(task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let data = event.data_json().unwrap_or_default();
    let at = event.time.as_deref().and_then(|time| time.parse().ok()).unwrap_or_else(now);
    let window = match request::window(&data, at) {
        Ok(window) => window,
        Err(reason) => return Ok(errored(reason)),
    };
    let slo = match slo_file(&data) {
        Ok(file) => file,
        Err(resources::Error::Unavailable(reason)) => return Err(resources::Error::Unavailable(reason).into()),
        Err(error @ resources::Error::Denied(_)) => return Err(error.into()),
        Err(error) => return Ok(errored(format!("the SLO file cannot be read: {error}"))),
    };
    let gate = match gate_file()? {
        Ok(gate) => gate,
        Err(reason) => return Ok(errored(reason)),
    };
    let settings = settings::<Settings>()?;
    let parsed = match slo.as_deref().map(|text| slo::read(text.as_bytes())) {
        None => None,
        Some((Some(slo), _)) => Some(slo),
        Some((None, problems)) => return Ok(errored(refused("SLO", &problems))),
    };
    let provider = request::provider(&data, &gate, &settings);
    let asked = match request::get_sli(&data, &window, parsed.as_ref(), &provider) {
        Ok(asked) => asked,
        Err(reason) => return Ok(errored(reason)),
    };
    let open = Open {
        start: window.start,
        end: window.end,
        slo,
        without_slo: gate.without_slo.or(settings.without_slo).unwrap_or(TaskResult::Warning),
    };
    let bytes = serde_json::to_vec(&open).map_err(|error| reject(error.to_string()))?;
    key_value::set(&key(task), bytes)?;
    Ok(Outcome::pending().event(Event::builder(GET_SLI).json(&asked)?))
}

/// Returns the text of the SLO file: what the event brings, else the service's in its stage, else the service's.
fn slo_file(data: &Value) -> Result<Option<String>, resources::Error> {
    if let Some(text) = data.pointer("/evaluation/slo").and_then(Value::as_str) {
        return Ok(Some(text.to_owned()));
    }
    for level in [Level::ServiceInStage, Level::Service] {
        match resources::read(level, SLO_FILE) {
            Ok(bytes) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(resources::Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns the nearest gate file. The inner error is for the task's answer.
fn gate_file() -> Result<Result<Gate, String>, Failure> {
    match resources::read_nearest(GATE_FILE) {
        Ok(bytes) => match gate::read(&bytes) {
            (Some(gate), _) => Ok(Ok(gate)),
            (None, problems) => Ok(Err(refused("gate", &problems))),
        },
        Err(resources::Error::NotFound | resources::Error::Invalid(_)) => Ok(Ok(Gate::default())),
        Err(error) => Err(error.into()),
    }
}

fn refused(kind: &str, problems: &[Problem]) -> String {
    let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
    format!("the {kind} file has errors: {}", errors.join("; "))
}

fn finish(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let key = key(task);
    let Some(bytes) = key_value::get(&key)? else {
        return Ok(errored("what the evaluation began with is gone; trigger it again"));
    };
    let open: Open = serde_json::from_slice(&bytes).map_err(|error| reject(error.to_string()))?;
    key_value::delete(&key)?;
    let data = event.data_json().unwrap_or_default();
    let mut values = match input::answer(&data) {
        Ok(values) => values,
        // Without an SLO file nothing depends on it.
        Err(_) if open.slo.is_none() => Values::default(),
        Err(reason) => return Ok(errored(reason)),
    };
    values.window.start.clone_from(&open.start);
    values.window.end.clone_from(&open.end);
    let Some(text) = &open.slo else { return Ok(answer(nothing_judged(&open, values))) };
    let (Some(slo), _) = slo::read(text.as_bytes()) else {
        return Ok(errored("the SLO file, which could be read before, cannot be read"));
    };
    let earlier = history::earlier(&slo, ctx.stage(), ctx.service())?;
    log::info!("{} values, {} earlier results", values.indicators.len(), earlier.len());
    Ok(answer(evaluate(&slo, text.as_bytes(), &values, &earlier)))
}

fn answer(evaluation: Evaluation) -> Outcome {
    let message = evaluation.message.clone();
    let finished = match evaluation.result {
        TaskResult::Pass => Finished::pass(message),
        TaskResult::Warning => Finished::warning(message),
        TaskResult::Fail => Finished::fail(message),
    };
    Outcome::finished(finished.output(&evaluation))
}

/// Makes the result of a service without an SLO file: its values, none of them judged.
fn nothing_judged(open: &Open, values: Values) -> Evaluation {
    let result = |value| IndicatorResult {
        value,
        explanation: "not judged: there is no SLO file".to_owned(),
        ..IndicatorResult::default()
    };
    Evaluation {
        time_start: open.start.clone(),
        time_end: open.end.clone(),
        result: open.without_slo,
        score: 0.0,
        slo_file_content: String::new(),
        indicator_results: values.indicators.into_iter().map(result).collect(),
        compared_events: Vec::new(),
        message: format!("nothing was judged: the service has no `{SLO_FILE}` in this stage"),
    }
}

pilothouse_sdk::plugin!(QualityGate);
