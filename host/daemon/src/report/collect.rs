//! Collects what a report is made of from the log, and judges where nobody did.

use std::collections::BTreeMap;

use pilothouse_core::Event;
use pilothouse_core::keptn::{COMMIT_EXTENSION, TRIGGERED_ID_EXTENSION};
use pilothouse_files::evaluation::{Earlier, Evaluation, IndicatorResult, Values, evaluate, input};
use pilothouse_files::result::TaskResult;
use pilothouse_files::slo::{self, Slo};
use pilothouse_store::{EventFilter, EventRow, Store, StoreError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::series;
use super::{BeforeView, IndicatorView, LimitView, ReportView, TestView, VerdictView, WindowView};
use crate::engine::Engine;
use crate::engine::evaluations::FINISHED as EVALUATION_FINISHED;

/// The end of a test.
const TEST_FINISHED: &str = "sh.keptn.event.test.finished";
/// What a provider measured in the window of a test, whether or not anybody judges it.
const TEST_REPORTED: &str = "io.prometheus.test.reported.v1";
/// What a provider measured for an evaluation.
const GET_SLI_FINISHED: &str = "sh.keptn.event.get-sli.finished";
/// A dashboard has this run.
const ANNOTATED: &str = "com.grafana.run.annotated.v1";
/// Events of one task that are read, and events of one type in a run: a run of a hundred evaluations is none that anybody has.
const EVENTS_MAX: usize = 100;

/// Builds the report of the task `id`; `None` if no such test or evaluation has ended, or it is no longer kept.
///
/// # Errors
/// The store could not be read.
pub async fn build(engine: &Engine, id: &str) -> Result<Option<ReportView>, StoreError> {
    let store = engine.store().as_ref();
    let of_task = EventFilter { triggered_id: Some(id.to_owned()), ..EventFilter::default() };
    let events = store.events(&of_task, None, EVENTS_MAX).await?.items;
    let ended = |row: &&EventRow| matches!(row.event.ty(), TEST_FINISHED | EVALUATION_FINISHED);
    let Some(row) = events.iter().find(ended) else { return Ok(None) };
    let data = row.event.data_json().unwrap_or_default();
    let is_test = row.event.ty() == TEST_FINISHED;
    let window = if is_test {
        window(&data, "test", "start", "end")
    } else {
        window(&data, "evaluation", "timeStart", "timeEnd")
    };
    let mut report = begin(id, row, &data, is_test, window.clone());
    let of_run = Run { store, row };
    let (test, evaluation) = if is_test {
        (Some(row.clone()), of_run.with_window(EVALUATION_FINISHED, window.as_ref()).await?)
    } else {
        (of_run.with_window(TEST_FINISHED, window.as_ref()).await?, Some(row.clone()))
    };
    let mut measured = Measured::default();
    measured.take(of_run.with_window(TEST_REPORTED, window.as_ref()).await?.as_ref(), "/indicatorValues");
    measured.take(of_run.with_window(GET_SLI_FINISHED, window.as_ref()).await?.as_ref(), "/get-sli/indicatorValues");
    report.dashboard = of_run.with_window(ANNOTATED, window.as_ref()).await?.and_then(|row| {
        let url = text(&row.event.data_json()?, "/url");
        (!url.is_empty()).then_some(url)
    });
    report.test = test.as_ref().map(test_view);
    report.verdict = evaluation.as_ref().and_then(verdict_of);
    let before = before(store, row, evaluation.is_some()).await?;
    if report.verdict.is_none() && !measured.entries.is_empty() {
        report.verdict = judge(engine, row, &data, &measured, window.as_ref()).await?;
    }
    report.indicators = indicators(report.verdict.as_ref(), &measured, before.as_ref());
    report.before = match before {
        Some(before) => Some(BeforeView { test: test_before(store, test.as_ref()).await?, ..before.view }),
        None => None,
    };
    Ok(Some(report))
}

fn text(data: &Value, pointer: &str) -> String {
    data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn window(data: &Value, of: &str, start: &str, end: &str) -> Option<WindowView> {
    let read = |name: &str| Some(text(data, &format!("/{of}/{name}"))).filter(|text| !text.is_empty());
    Some(WindowView { start: read(start)?, end: read(end)? })
}

/// Tells whether two windows are the same; their spellings may differ.
fn same(one: &WindowView, other: &WindowView) -> bool {
    let instants = |window: &WindowView| -> Option<(jiff::Timestamp, jiff::Timestamp)> {
        Some((window.start.parse().ok()?, window.end.parse().ok()?))
    };
    instants(one).is_some() && instants(one) == instants(other)
}

/// Where an event of a type has its window.
fn window_of(event: &Event) -> Option<WindowView> {
    let data = event.data_json()?;
    match event.ty() {
        TEST_FINISHED => window(&data, "test", "start", "end"),
        EVALUATION_FINISHED => window(&data, "evaluation", "timeStart", "timeEnd"),
        GET_SLI_FINISHED => window(&data, "get-sli", "start", "end"),
        _ => Some(WindowView { start: text(&data, "/start"), end: text(&data, "/end") }),
    }
}

fn begin(id: &str, row: &EventRow, data: &Value, is_test: bool, window: Option<WindowView>) -> ReportView {
    ReportView {
        id: id.to_owned(),
        kind: if is_test { "test" } else { "evaluation" }.to_owned(),
        run: row.run.clone().unwrap_or_default(),
        project: row.place.project.clone(),
        stage: row.place.stage.clone(),
        service: row.place.service.clone(),
        commit: row.event.extension_str(COMMIT_EXTENSION).map(str::to_owned),
        labels: labels(data),
        time: time(row),
        window,
        status: text(data, "/status"),
        result: text(data, "/result"),
        message: text(data, "/message"),
        ..ReportView::default()
    }
}

fn labels(data: &Value) -> Map<String, Value> {
    data.get("labels").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn time(row: &EventRow) -> String {
    row.event.time().map_or_else(|| row.accepted.to_string(), str::to_owned)
}

fn task_id(row: &EventRow) -> String {
    row.event.extension_str(TRIGGERED_ID_EXTENSION).unwrap_or_else(|| row.event.id()).to_owned()
}

/// The run of a report, in its project, stage and service.
struct Run<'a> {
    store: &'a dyn Store,
    row: &'a EventRow,
}

impl Run<'_> {
    /// Finds the newest event of a type in the run that has this window.
    async fn with_window(&self, ty: &str, wanted: Option<&WindowView>) -> Result<Option<EventRow>, StoreError> {
        let (Some(wanted), Some(run)) = (wanted, &self.row.run) else { return Ok(None) };
        let place = &self.row.place;
        let filter = EventFilter {
            ty: Some(ty.to_owned()),
            run: Some(run.clone()),
            project: place.project.clone(),
            stage: place.stage.clone(),
            service: place.service.clone(),
            ..EventFilter::default()
        };
        let found = self.store.events(&filter, None, EVENTS_MAX).await?.items;
        Ok(found.into_iter().find(|row| window_of(&row.event).is_some_and(|it| same(&it, wanted))))
    }
}

fn test_view(row: &EventRow) -> TestView {
    let data = row.event.data_json().unwrap_or_default();
    TestView {
        id: task_id(row),
        result: text(&data, "/result"),
        message: text(&data, "/message"),
        figures: data.get("test").cloned().unwrap_or_else(|| json!({})),
    }
}

fn verdict_of(row: &EventRow) -> Option<VerdictView> {
    let data = row.event.data_json()?;
    let evaluation = data.get("evaluation").filter(|it| it.get("indicatorResults").is_some())?;
    Some(VerdictView {
        by: "evaluation".to_owned(),
        id: Some(task_id(row)),
        result: text(&data, "/result"),
        score: evaluation.get("score").and_then(Value::as_f64).unwrap_or_default(),
        message: text(&data, "/message"),
        evaluation: evaluation.clone(),
    })
}

/// What a provider measured: the entries of `indicatorValues`, in their order.
#[derive(Default)]
struct Measured {
    entries: Vec<Value>,
}

impl Measured {
    /// Takes the entries of an event; those of the later event win.
    fn take(&mut self, row: Option<&EventRow>, pointer: &str) {
        let data = row.and_then(|row| row.event.data_json()).unwrap_or_default();
        for entry in data.pointer(pointer).and_then(Value::as_array).into_iter().flatten() {
            match self.entries.iter_mut().find(|known| known.get("metric") == entry.get("metric")) {
                Some(known) => *known = entry.clone(),
                None => self.entries.push(entry.clone()),
            }
        }
    }

    fn entry(&self, metric: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.get("metric").and_then(Value::as_str) == Some(metric))
    }

    fn values(&self) -> Option<Values> {
        input::answer(&json!({ "status": "succeeded", "get-sli": { "indicatorValues": self.entries } })).ok()
    }
}

/// Judges a test that nobody judged, by the SLO file of its commit; `None` if the service has none.
async fn judge(
    engine: &Engine,
    row: &EventRow,
    data: &Value,
    measured: &Measured,
    window: Option<&WindowView>,
) -> Result<Option<VerdictView>, StoreError> {
    let commit = row.event.extension_str(COMMIT_EXTENSION);
    let Some(file) = engine.slo_file(&row.place, commit).await else { return Ok(None) };
    let (Some(slo), _) = slo::read(&file) else { return Ok(None) };
    let Some(mut values) = measured.values() else { return Ok(None) };
    if let Some(window) = window {
        values.window.start.clone_from(&window.start);
        values.window.end.clone_from(&window.end);
    }
    if text(data, "/status") == "errored" {
        return Ok(None);
    }
    let earlier = earlier(engine.store().as_ref(), row, &slo).await?;
    let evaluation = evaluate(&slo, &file, &values, &earlier);
    Ok(Some(VerdictView {
        by: "report".to_owned(),
        id: None,
        result: evaluation.result.to_string(),
        score: evaluation.score,
        message: evaluation.message.clone(),
        evaluation: json!(evaluation),
    }))
}

/// Returns events of a type in the place of `row` and before it, the newest first.
async fn events_before(store: &dyn Store, row: &EventRow, ty: &str, limit: usize) -> Result<Vec<EventRow>, StoreError> {
    let filter = EventFilter {
        ty: Some(ty.to_owned()),
        project: row.place.project.clone(),
        stage: row.place.stage.clone(),
        service: row.place.service.clone(),
        ..EventFilter::default()
    };
    Ok(store.events(&filter, Some(row.seq.0), limit).await?.items)
}

/// Returns what earlier tests measured, for a comparison.
async fn earlier(store: &dyn Store, row: &EventRow, slo: &Slo) -> Result<Vec<Earlier>, StoreError> {
    let wanted = usize::try_from(slo.comparison.results).unwrap_or(EVENTS_MAX).clamp(1, EVENTS_MAX);
    let rows = events_before(store, row, TEST_REPORTED, EVENTS_MAX.min(wanted * 4)).await?;
    let read = |row: &EventRow| {
        let data = row.event.data_json()?;
        let result = match text(&data, "/result").as_str() {
            "pass" => TaskResult::Pass,
            "warning" => TaskResult::Warning,
            _ => TaskResult::Fail,
        };
        Some(Earlier { id: row.event.id().to_owned(), result, values: values_of(&row.event) })
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Reads the values that an event has, by indicator.
fn values_of(event: &Event) -> BTreeMap<String, f64> {
    let data = event.data_json().unwrap_or_default();
    let list = |pointer: &str| data.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let entries = match event.ty() {
        EVALUATION_FINISHED => {
            list("/evaluation/indicatorResults").iter().filter_map(|it| it.get("value").cloned()).collect()
        }
        _ => list("/indicatorValues"),
    };
    let number = |entry: &Value| {
        let value = entry.get("value")?.as_f64().filter(|value| value.is_finite())?;
        let known = entry.get("success").and_then(Value::as_bool).unwrap_or(true);
        known.then(|| (text(entry, "/metric"), value))
    };
    entries.iter().filter_map(number).collect()
}

/// The run before, and its values.
struct Before {
    view: BeforeView,
    values: BTreeMap<String, f64>,
}

/// Finds the run before: the evaluation before this one, or the test before one that nobody judged.
async fn before(store: &dyn Store, row: &EventRow, judged: bool) -> Result<Option<Before>, StoreError> {
    // A test ends before it is judged: what is before the test is before its evaluation as well.
    let ty = if judged { EVALUATION_FINISHED } else { TEST_REPORTED };
    let rows = events_before(store, row, ty, EVENTS_MAX).await?;
    let measured = |row: &EventRow| {
        let values = values_of(&row.event);
        (!values.is_empty()).then_some(values)
    };
    let Some((found, values)) = rows.iter().find_map(|row| Some((row, measured(row)?))) else { return Ok(None) };
    let data = found.event.data_json().unwrap_or_default();
    let view = BeforeView {
        id: task_id(found),
        time: time(found),
        result: text(&data, "/result"),
        score: data.pointer("/evaluation/score").and_then(Value::as_f64),
        labels: labels(&data),
        test: None,
    };
    Ok(Some(Before { view, values }))
}

async fn test_before(store: &dyn Store, test: Option<&EventRow>) -> Result<Option<Value>, StoreError> {
    let Some(test) = test else { return Ok(None) };
    let rows = events_before(store, test, TEST_FINISHED, 1).await?;
    Ok(rows.first().and_then(|row| row.event.data_json()?.get("test").cloned()))
}

/// Puts together the indicators: those of the verdict in its order, then those that were measured and not judged.
fn indicators(verdict: Option<&VerdictView>, measured: &Measured, before: Option<&Before>) -> Vec<IndicatorView> {
    let judged = verdict.and_then(|verdict| Evaluation::deserialize(&verdict.evaluation).ok());
    let results = judged.map(|evaluation| evaluation.indicator_results).unwrap_or_default();
    let before = |metric: &str| before.and_then(|before| before.values.get(metric).copied());
    let mut views: Vec<IndicatorView> = results.iter().map(|result| of_result(result, measured, &before)).collect();
    for entry in &measured.entries {
        let metric = text(entry, "/metric");
        if views.iter().any(|known| known.metric == metric) {
            continue;
        }
        let success = entry.get("success").and_then(Value::as_bool).unwrap_or(true);
        views.push(IndicatorView {
            name: metric.clone(),
            value: entry.get("value").and_then(Value::as_f64).filter(|_| success),
            message: text(entry, "/message"),
            before: before(&metric),
            status: "info".to_owned(),
            series: series::read(entry),
            metric,
            ..IndicatorView::default()
        });
    }
    views
}

fn of_result(result: &IndicatorResult, measured: &Measured, before: &impl Fn(&str) -> Option<f64>) -> IndicatorView {
    let value = &result.value;
    let limits = result.pass_targets.iter().map(|target| LimitView {
        criteria: target.criteria.clone(),
        value: target.target_value,
        violated: target.violated,
    });
    let named = Some(&result.display_name).filter(|name| !name.is_empty());
    IndicatorView {
        metric: value.metric.clone(),
        name: named.unwrap_or(&value.metric).clone(),
        unit: result.unit.clone(),
        value: value.success.then_some(value.value),
        message: value.message.clone(),
        before: before(&value.metric),
        status: json!(result.status).as_str().unwrap_or("info").to_owned(),
        explanation: result.explanation.clone(),
        limits: limits.collect(),
        series: measured.entry(&value.metric).and_then(series::read),
    }
}
