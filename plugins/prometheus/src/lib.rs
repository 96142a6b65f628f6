//! The plugin `prometheus`: executor of `configure-monitoring` and `get-sli`, observer of finished tests.
//!
//! Only the order of steps is here. `configure` writes and loads files (`rules`, `targets` from `slo`), `indicator` answers
//! `get-sli`, `report` reports on tests; all three ask through `api`, and reach the outside only through `tools`.

pub mod alerts;
pub mod api;
pub mod budget;
pub mod configure;
pub mod destination;
pub mod indicator;
pub mod project;
pub mod report;
pub mod request;
pub mod rules;
pub mod slo;
#[cfg(test)]
mod stand_in;
pub mod sync;
pub mod targets;
pub mod tools;

use pilothouse_sdk::files::result::TaskResult;
use pilothouse_sdk::files::shipyard::SHIPYARD_FILE;
use pilothouse_sdk::files::{in_step, query};
use pilothouse_sdk::resources::Level;
use pilothouse_sdk::{
    Cause, Context, Event, Failure, Finished, Handler, Outcome, Problem, Received, Request, Task, log, reject, settings,
};
use serde_json::{Value, json};

use crate::api::Trouble;
use crate::configure::Step;
use crate::request::Settings;
use crate::sync::{Mode, State};
use crate::tools::{Host, Tools};

/// The namespace of resources in Kubernetes, unless the settings say otherwise.
const NAMESPACE_DEFAULT: &str = "monitoring";
/// The value of `type` and `sliProvider` that means this plugin.
const PROVIDER: &str = "prometheus";
/// The type of the events with which tests end.
const TEST_FINISHED: &str = "sh.keptn.event.test.finished";

/// The type of the events that tell of a project's new commit.
const COMMITTED: &str = "dev.pilothouse.project.committed.v1";
/// The type of the events that tell of a project's end.
const DELETED: &str = "dev.pilothouse.project.deleted.v1";
/// What came of a commit, where it changed something or failed.
const SYNCED: &str = "io.prometheus.monitoring.synced.v1";
/// The extension that names a task.
const TRIGGERED_ID: &str = "triggeredid";
/// The task that brings tools in step with a project, or says where they are not.
const SYNC_MONITORING: &str = "sync-monitoring";

struct Prometheus;

impl Handler for Prometheus {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let settings: Settings = settings()?;
        let namespace = settings.namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT);
        let tools = Host { ctx, destination: settings.output, namespace };
        let data: Value = event.json()?;
        match ctx.task() {
            Some(task) if task.name == SYNC_MONITORING => sync_monitoring(ctx, &task, &data, &settings, &tools),
            Some(task) if task.name == "configure-monitoring" && is_of_project(&data, &tools)? => {
                answer(ctx, &task, &settings, &tools, Mode::Sync)
            }
            Some(task) if task.name == "configure-monitoring" => configure(ctx, &task, &data, &settings, &tools),
            Some(task) if task.name == "get-sli" => get_sli(&data, &settings, &tools),
            Some(task) => Err(reject(format!("this plugin does not execute the task `{}`", task.name))),
            None if event.ty == COMMITTED => committed(ctx, &settings, &tools),
            None if event.ty == DELETED => {
                sync::forget(&tools, request::text(&data, "project"))?;
                Ok(Outcome::none())
            }
            None if event.ty == TEST_FINISHED => report(event.extension_str(TRIGGERED_ID), &data, &settings, &tools),
            None => Err(reject(format!("this plugin does not observe events of type `{}`", event.ty))),
        }
    }

    fn receive(request: Request) -> Result<Received, String> {
        alerts::receive(&request)
    }

    fn validate(settings: &str) -> Vec<Problem> {
        match serde_json::from_str(settings) {
            Ok(settings) => check_settings(&settings),
            Err(error) => vec![Problem::new("", error.to_string())],
        }
    }
}

/// Tells whether a `configure-monitoring` means what the project's files say: it brings no configuration of its own.
fn is_of_project(data: &Value, tools: &impl Tools) -> Result<bool, Failure> {
    if data.get("prometheus").is_some_and(|brought| !brought.is_null()) {
        return Ok(false);
    }
    let shipyard = tools.resource(Level::Project, SHIPYARD_FILE).map_err(pilothouse_sdk::retry)?;
    Ok(shipyard.is_some())
}

/// Brings Prometheus in step with a project's new commit.
fn committed(ctx: &Context, settings: &Settings, tools: &impl Tools) -> Result<Outcome, Failure> {
    let name = ctx.project().ok_or_else(|| reject("the event names no project"))?;
    let commit = ctx.commit();
    let report = sync::run(tools, &name, settings, Mode::Sync, commit.as_deref())?;
    let bad = report.items.iter().any(|item| item.state != State::InStep);
    if !report.changed && !bad {
        return Ok(Outcome::none());
    }
    let data = json!({ "project": name, "commit": commit, "items": report.items });
    Ok(Outcome::none().event(Event::builder(SYNCED).subject(name).json(&data)?))
}

fn sync_monitoring(
    ctx: &Context,
    task: &Task,
    data: &Value,
    settings: &Settings,
    tools: &impl Tools,
) -> Result<Outcome, Failure> {
    let mode = match Mode::read(data) {
        Ok(mode) => mode,
        Err(message) => return Ok(Outcome::finished(Finished::errored(message))),
    };
    answer(ctx, task, settings, tools, mode)
}

/// Answers a task with how Prometheus stands to each service; looks again while it has not loaded what was written.
fn answer(ctx: &Context, task: &Task, settings: &Settings, tools: &impl Tools, mode: Mode) -> Result<Outcome, Failure> {
    if !matches!(task.cause, Cause::Triggered | Cause::WakeUp) {
        return Ok(Outcome::pending());
    }
    let name = ctx.project().ok_or_else(|| reject("the event names no project"))?;
    let mut report = sync::run(tools, &name, settings, mode, ctx.commit().as_deref())?;
    if mode == Mode::Sync {
        let loaded = sync::run(tools, &name, settings, Mode::Check, None)?;
        report.take_loaded(loaded);
        let key = format!("looks/{}", task.triggered_id);
        let looks = tools.kept(&key)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0_u32);
        let waits = report.items.iter().any(|item| item.state == State::Behind);
        if waits && looks + 1 < configure::CONFIRM_LOOKS_MAX {
            tools.keep(&key, Some((looks + 1).to_string().as_bytes()))?;
            return Ok(Outcome::wake_after(configure::CONFIRM_INTERVAL));
        }
        if looks > 0 {
            tools.keep(&key, None)?;
        }
    }
    let items: Vec<(State, &str)> = report.items.iter().map(|item| (item.state, item.reason.as_str())).collect();
    let (result, message) = in_step::told(&items, mode);
    let finished = match result {
        TaskResult::Pass => Finished::pass(message),
        TaskResult::Warning => Finished::warning(message),
        TaskResult::Fail => Finished::fail(message),
    };
    Ok(Outcome::finished(finished.output(&json!({ "type": "prometheus", "items": report.items }))))
}

fn check_settings(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Err(error)) = settings.sli.as_deref().map(slo::read_sli) {
        problems.push(Problem::new("/sli", error));
    }
    if let Some(Err(error)) = settings.slo.as_deref().map(slo::read_slo) {
        problems.push(Problem::new("/slo", error));
    }
    if settings.alert_for.as_deref().is_some_and(|text| !request::is_duration(text)) {
        problems.push(Problem::new("/alert-for", "write a duration such as 10m"));
    }
    problems
}

fn configure(
    ctx: &Context,
    task: &Task,
    data: &Value,
    settings: &Settings,
    tools: &impl Tools,
) -> Result<Outcome, Failure> {
    let configuration = match request::configuration(data, settings, tools) {
        Ok(configuration) => configuration,
        Err(message) => return Ok(Outcome::finished(Finished::errored(message))),
    };
    let plan = configure::plan(configuration);
    let key = format!("configure/{}", task.triggered_id);
    let step = match task.cause {
        Cause::Triggered => configure::begin(tools, &plan, ctx.commit().as_deref(), &key)?,
        Cause::WakeUp => configure::again(tools, &plan, &key)?,
        _ => return Ok(Outcome::pending()),
    };
    Ok(match step {
        Step::Answer(finished) => Outcome::finished(finished),
        Step::Wait(time) => Outcome::wake_after(time),
    })
}

/// Reads the custom filters of a `get-sli` trigger; those without a key are left out.
fn custom_filters(get_sli: Option<&Value>) -> Vec<(String, String)> {
    let filters = get_sli.and_then(|it| it.get("customFilters")).and_then(Value::as_array).into_iter().flatten();
    filters
        .map(|filter| (request::text(filter, "key").to_owned(), request::text(filter, "value").to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

fn get_sli(data: &Value, settings: &Settings, tools: &impl Tools) -> Result<Outcome, Failure> {
    let get_sli = data.get("get-sli");
    let provider = get_sli.map(|it| request::text(it, "sliProvider")).unwrap_or_default();
    if !provider.is_empty() && provider != PROVIDER {
        return Ok(Outcome::declined("the SLIs are another provider's"));
    }
    let errored = |message: String| Ok(Outcome::finished(Finished::errored(message)));
    let window = match request::window(get_sli, "get-sli") {
        Ok(window) => window,
        Err(message) => return errored(message),
    };
    let queries = match request::queries(data, settings, tools) {
        Ok(queries) => queries,
        Err(message) => return errored(message),
    };
    let asked = get_sli.and_then(|it| it.get("indicators")).and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<String> = asked.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    if names.is_empty() {
        names = request::indicators(&queries);
    }
    if names.len() > indicator::INDICATORS_MAX {
        return errored(format!("{} indicators are asked for; at most {}", names.len(), indicator::INDICATORS_MAX));
    }
    let scope = query::Scope {
        place: &request::place(data),
        deployment: &request::deployment(data),
        labels: &request::labels(data),
        filters: &custom_filters(get_sli),
        window: &window.text(),
    };
    let with_series = get_sli.and_then(|it| it.get("series")).and_then(Value::as_bool).unwrap_or(false);
    match indicator::measure(tools, &names, &queries, &scope, &window, with_series) {
        Ok(measured) => Ok(Outcome::finished(indicator::answer(&measured, &window))),
        Err(Trouble::Failure(failure)) => Err(failure),
        Err(Trouble::Refused(message) | Trouble::Unusable(message)) => errored(message),
    }
}

/// Makes the one report on a finished test; `test` is the id of its task, by which the report is found.
fn report(test: Option<&str>, data: &Value, settings: &Settings, tools: &impl Tools) -> Result<Outcome, Failure> {
    let report = match request::window(data.get("test"), "test") {
        Err(reason) => {
            // An errored test has no window; nothing was measured, and who reads reports still wants to know.
            log::info!("nothing is measured: {reason}");
            report::data(data, None)
        }
        Ok(window) => {
            let queries = request::queries(data, settings, tools).map_err(reject)?;
            let scope = query::Scope {
                place: &request::place(data),
                deployment: &request::deployment(data),
                labels: &request::labels(data),
                filters: &[],
                window: &window.text(),
            };
            let names = request::indicators(&queries);
            match indicator::measure(tools, &names, &queries, &scope, &window, true) {
                Ok(measured) => report::data(data, Some((&window, &measured))),
                Err(Trouble::Failure(failure)) => return Err(failure),
                Err(Trouble::Refused(message) | Trouble::Unusable(message)) => return Err(reject(message)),
            }
        }
    };
    let mut event = Event::builder(report::REPORTED);
    if let Some(test) = test {
        event = event.extension_str(TRIGGERED_ID, test);
    }
    Ok(Outcome::none().event(event.json(&report)?))
}

pilothouse_sdk::plugin!(Prometheus, settings, inbound);

#[cfg(test)]
mod tests {
    use pilothouse_sdk::{Answer, TaskStatus};
    use serde_json::json;

    use super::*;
    use crate::stand_in::{StandIn, answer};

    const VALUE: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2.5"]}]}}"#;

    fn tools(status: u16, body: &str) -> StandIn {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", answer(status, body));
        tools.answers("/api/v1/query_range", answer(status, body));
        tools
    }

    fn finished(outcome: Result<Outcome, Failure>) -> Finished {
        match outcome.unwrap().answer {
            Some(Answer::Finished(finished)) => finished,
            other => panic!("{other:?}"),
        }
    }

    fn trigger() -> Value {
        json!({
            "project": "shop", "stage": "dev", "service": "cart",
            "get-sli": { "sliProvider": "prometheus", "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z",
                         "indicators": ["throughput"], "customFilters": [{ "key": "handler", "value": "Items" }] },
        })
    }

    #[test]
    fn get_sli_asks_with_the_custom_filters() {
        let tools = tools(200, VALUE);
        let finished = finished(get_sli(&trigger(), &Settings::default(), &tools));
        assert_eq!(finished.output_json().unwrap()["indicatorValues"][0]["value"], 2.5);
        assert_eq!(
            tools.calls.borrow()[0].1[0].1,
            "sum(rate(http_requests_total{job='cart-shop-dev',handler='Items'}[60s]))"
        );
    }

    #[test]
    fn get_sli_without_indicators_takes_all_of_the_sli_file() {
        let tools = tools(200, VALUE);
        let settings = Settings { sli: Some("indicators: {a: x, b: y}".to_owned()), ..Settings::default() };
        let mut data = trigger();
        data["get-sli"]["indicators"] = json!([]);
        let output = finished(get_sli(&data, &settings, &tools)).output_json().unwrap();
        assert_eq!(output["indicatorValues"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn get_sli_that_cannot_be_answered_is_errored_with_the_reason() {
        let mut data = trigger();
        data["get-sli"]["end"] = json!("soon");
        let answer = finished(get_sli(&data, &Settings::default(), &tools(200, VALUE)));
        assert_eq!(
            (answer.status, answer.message.contains("`get-sli.end` is not a time")),
            (TaskStatus::Errored, true)
        );
        let answer = finished(get_sli(&trigger(), &Settings::default(), &tools(401, "")));
        assert_eq!((answer.status, answer.message.contains("credentials")), (TaskStatus::Errored, true));
    }

    #[test]
    fn get_sli_of_another_provider_is_declined() {
        let mut data = trigger();
        data["get-sli"]["sliProvider"] = json!("dynatrace");
        let outcome = get_sli(&data, &Settings::default(), &StandIn::default()).unwrap();
        assert!(matches!(outcome.answer, Some(Answer::Declined(_))));
    }

    fn test_finished() -> Value {
        json!({
            "project": "shop", "stage": "dev", "service": "cart", "result": "pass", "status": "succeeded", "message": "fine",
            "test": { "start": "2024-01-01T00:00:00.250Z", "end": "2024-01-01T00:00:30.250Z", "count": 7 },
        })
    }

    #[test]
    fn a_finished_test_becomes_one_report_over_exactly_its_window() {
        let tools = tools(200, VALUE);
        let outcome = report(Some("t-1"), &test_finished(), &Settings::default(), &tools).unwrap();
        assert_eq!(outcome.events.len(), 1);
        assert_eq!(outcome.events[0].ty, "io.prometheus.test.reported.v1");
        let data = outcome.events[0].data_json().unwrap();
        assert_eq!(
            (data["start"].as_str(), data["end"].as_str()),
            (Some("2024-01-01T00:00:00.250Z"), Some("2024-01-01T00:00:30.250Z"))
        );
        assert_eq!(data["indicatorValues"].as_array().unwrap().len(), 5);
        let calls = tools.calls.borrow();
        let mut asked = calls.iter().filter(|(path, _)| path == "/api/v1/query");
        assert!(asked.all(|(_, fields)| fields[1].1 == "2024-01-01T00:00:30.250Z"));
        assert!(tools.calls.borrow()[0].1[0].1.contains("[30s]"));
    }

    #[test]
    fn an_errored_test_is_reported_without_asking_prometheus() {
        let tools = StandIn::default();
        let data = json!({ "project": "shop", "status": "errored", "result": "fail", "message": "no JMeter" });
        let outcome = report(None, &data, &Settings::default(), &tools).unwrap();
        assert_eq!(outcome.events[0].data_json().unwrap()["message"], "no JMeter");
        assert!(tools.calls.borrow().is_empty());
    }

    #[test]
    fn a_report_is_tried_again_when_prometheus_is_down_and_given_up_when_it_is_the_wrong_one() {
        let run = |status| report(Some("t-1"), &test_finished(), &Settings::default(), &tools(status, ""));
        assert!(matches!(run(503), Err(Failure::Retry { .. })));
        assert!(matches!(run(403), Err(Failure::Reject(_))));
    }

    #[test]
    fn settings_are_checked_when_they_are_written() {
        let paths = |settings: &str| Prometheus::validate(settings).into_iter().map(|it| it.path).collect::<Vec<_>>();
        assert!(paths("{}").is_empty());
        assert_eq!(
            paths(r#"{"sli":"indicators: 1","slo":"objectives: 1","alert-for":"soon"}"#),
            ["/sli", "/slo", "/alert-for"]
        );
    }
}
