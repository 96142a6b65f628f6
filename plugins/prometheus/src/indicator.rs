//! Measures indicators over a window, and says how that went: the answer to `get-sli`.
//!
//! Never here: whether a value is good enough, which is the quality gate's.

use jiff::Timestamp;
use pilothouse_sdk::Finished;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{self, Trouble};
use crate::request::Window;
use crate::slo::Queries;
use crate::tools::Tools;
use pilothouse_sdk::files::query::{self, Scope};

/// Most indicators of one event, so that they are all asked for in one delivery's time.
pub const INDICATORS_MAX: usize = 100;

/// Most steps of a series: about one per three points of a screen's width that a chart has.
const STEPS: u64 = 120;
/// A value of a series looks back over this part of the window.
const LOOK_BACK_PARTS: u64 = 10;
/// Shortest look back of such a value: two scrapes, by Prometheus' default of 15 seconds, are within it.
const LOOK_BACK_SECONDS_MIN: u64 = 30;

/// A measured indicator, in Keptn's form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Indicator {
    /// Its name.
    pub metric: String,
    /// Its value; 0 without success.
    pub value: f64,
    /// Whether there is a value.
    pub success: bool,
    /// Why not.
    pub message: String,
    /// How it went within the window, where that was asked for and Prometheus has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// How an indicator went: one value per step from the window's start on. For people, and never judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When the first value was, RFC 3339.
    pub start: String,
    /// Seconds between two values.
    pub step_seconds: u64,
    /// How far each value looks back, in seconds: what `$DURATION_SECONDS` was.
    pub over_seconds: u64,
    /// The values; `None` where there was none.
    pub values: Vec<Option<f64>>,
}

/// Asks Prometheus for each indicator at the window's end, and `with_series` for how it went until then.
///
/// # Errors
/// Prometheus could not be asked at all. A query that it refuses, or without one finite value, is an indicator without
/// success.
pub fn measure(
    tools: &impl Tools,
    names: &[String],
    queries: &Queries,
    scope: &Scope<'_>,
    window: &Window,
    with_series: bool,
) -> Result<Vec<Indicator>, Trouble> {
    let mut measured = Vec::new();
    for name in names.iter().take(INDICATORS_MAX) {
        let value = match query::of(name, queries, scope) {
            Ok(query) => api::value(tools, &query, &window.end)?,
            Err(reason) => Err(reason),
        };
        let series = with_series.then(|| series(tools, name, queries, scope, window)).flatten();
        let (metric, success) = (name.clone(), value.is_ok());
        let (value, message) = match value {
            Ok(value) => (value, String::new()),
            Err(message) => (0.0, message),
        };
        measured.push(Indicator { metric, value, success, message, series });
    }
    Ok(measured)
}

/// Asks how an indicator went within the window. What cannot be had is left out: the value counts, and not its curve.
fn series(tools: &impl Tools, name: &str, queries: &Queries, scope: &Scope<'_>, window: &Window) -> Option<Series> {
    let step = window.seconds.div_ceil(STEPS).max(1);
    // Over the whole window a rate would be one flat line. Too short a look back has no two scrapes in it; then it is the window's.
    let short = (window.seconds / LOOK_BACK_PARTS).max(LOOK_BACK_SECONDS_MIN).min(window.seconds);
    let looks = if short < window.seconds { vec![short, window.seconds] } else { vec![short] };
    looks.into_iter().find_map(|seconds| {
        let query = query::of(name, queries, &Scope { window: &format!("{seconds}s"), ..scope.clone() }).ok()?;
        let points = api::range(tools, &query, &window.start, &window.end, step).ok()?;
        let start: Timestamp = window.start.parse().ok()?;
        let first = start.as_millisecond() as f64 / 1_000.0;
        let mut values = vec![None; usize::try_from(window.seconds / step).ok()? + 1];
        for (at, value) in &points {
            let index = ((at - first) / step as f64).round();
            if index >= 0.0
                && let Some(place) = values.get_mut(index as usize)
            {
                *place = Some(*value);
            }
        }
        let series = Series { start: window.start.clone(), step_seconds: step, over_seconds: seconds, values };
        (!points.is_empty()).then_some(series)
    })
}

/// Says in one sentence which indicators have no value; `None` if all have one.
pub fn missing(measured: &[Indicator]) -> Option<String> {
    let missing: Vec<String> =
        measured.iter().filter(|it| !it.success).map(|it| format!("{} ({})", it.metric, it.message)).collect();
    (!missing.is_empty())
        .then(|| format!("{} of {} SLIs have no value: {}", missing.len(), measured.len(), missing.join("; ")))
}

/// Makes the answer to `get-sli`: `pass` if all indicators have a value, `warning` if some do, `fail` if none does.
pub fn answer(measured: &[Indicator], window: &Window) -> Finished {
    let output: Value = json!({ "start": window.start, "end": window.end, "indicatorValues": measured });
    let finished = match missing(measured) {
        None => Finished::pass(format!("{} SLIs retrieved", measured.len())),
        Some(missing) if measured.iter().any(|it| it.success) => Finished::warning(missing),
        Some(missing) => Finished::fail(format!("unable to retrieve metrics: {missing}")),
    };
    finished.output(&output)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pilothouse_sdk::TaskResult;

    use super::*;
    use crate::stand_in::{StandIn, answer as response};
    use pilothouse_sdk::files::place::Place;

    fn window() -> Window {
        Window { start: "2024-01-01T00:00:00Z".to_owned(), end: "2024-01-01T00:01:00Z".to_owned(), seconds: 60 }
    }

    fn run(tools: &StandIn, names: &[&str], queries: &[(&str, &str)]) -> Result<Vec<Indicator>, Trouble> {
        let place = Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() };
        let labels = BTreeMap::new();
        let scope = Scope { place: &place, deployment: "primary", labels: &labels, filters: &[], window: "60s" };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let queries = queries.iter().map(|(name, query)| ((*name).to_owned(), (*query).to_owned())).collect();
        measure(tools, &names, &queries, &scope, &window(), false)
    }

    const VALUE: &str =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2.5"]}]}}"#;
    const NONE: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

    #[test]
    fn each_indicator_is_asked_for_at_the_windows_end_over_its_length() {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", response(200, VALUE));
        let got = run(&tools, &["custom", "throughput"], &[("custom", "rate(x[$DURATION_SECONDS])")]).unwrap();
        assert!(got.iter().all(|it| it.success && it.value == 2.5));
        let asked: Vec<Vec<String>> = tools
            .calls
            .borrow()
            .iter()
            .map(|(_, fields)| fields.iter().map(|(name, value)| format!("{name}={value}")).collect())
            .collect();
        assert_eq!(
            asked,
            [
                ["query=rate(x[60s])", "time=2024-01-01T00:01:00Z"],
                ["query=sum(rate(http_requests_total{job='cart-shop-dev'}[60s]))", "time=2024-01-01T00:01:00Z"],
            ]
        );
    }

    #[test]
    fn the_result_says_whether_all_some_or_no_indicator_has_a_value() {
        let cases = [
            ("all", vec![VALUE, VALUE], TaskResult::Pass, "2 SLIs retrieved"),
            (
                "some",
                vec![NONE, VALUE],
                TaskResult::Warning,
                "1 of 2 SLIs have no value: a (query did not return any values)",
            ),
            ("none", vec![NONE, NONE], TaskResult::Fail, "unable to retrieve metrics: 2 of 2"),
        ];
        for (name, answers, result, message) in cases {
            let tools = StandIn::default();
            answers.into_iter().for_each(|body| tools.answers("/api/v1/query", response(200, body)));
            let finished = answer(&run(&tools, &["a", "b"], &[("a", "x"), ("b", "y")]).unwrap(), &window());
            assert_eq!(finished.result, result, "{name}");
            assert!(finished.message.starts_with(message), "{name}: {}", finished.message);
        }
    }

    #[test]
    fn an_unsupported_indicator_is_not_asked_for() {
        let tools = StandIn::default();
        let got = run(&tools, &["memory"], &[]).unwrap();
        assert!(!got[0].success && got[0].message.starts_with("unsupported SLI"));
        assert_eq!(tools.count("/api/v1/query"), 0);
    }

    #[test]
    fn the_answer_has_keptns_form() {
        let measured =
            [Indicator { metric: "a".to_owned(), value: 2.5, success: true, message: String::new(), series: None }];
        assert_eq!(
            answer(&measured, &window()).output_json().unwrap(),
            json!({
                "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z",
                "indicatorValues": [{ "metric": "a", "value": 2.5, "success": true, "message": "" }],
            })
        );
    }

    #[test]
    fn a_series_has_one_value_per_step_and_looks_back_over_a_part_of_the_window() {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", response(200, VALUE));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1704067200,"1"],[1704067202,"NaN"],[1704067205,"3"]]}]}}"#;
        tools.answers(
            "/api/v1/query_range",
            response(200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
        );
        tools.answers("/api/v1/query_range", response(200, matrix));
        let place = Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() };
        let labels = BTreeMap::new();
        let scope = Scope { place: &place, deployment: "primary", labels: &labels, filters: &[], window: "60s" };
        let queries: Queries = [("a".to_owned(), "rate(x[$DURATION_SECONDS])".to_owned())].into();
        let got = measure(&tools, &["a".to_owned()], &queries, &scope, &window(), true).unwrap();
        let series = got[0].series.clone().unwrap();
        assert_eq!((series.step_seconds, series.over_seconds, series.values.len()), (1, 60, 61));
        assert_eq!(series.values[..6], [Some(1.0), None, None, None, None, Some(3.0)]);
        let calls = tools.calls.borrow();
        let asked: Vec<&str> =
            calls.iter().filter(|(path, _)| path.ends_with("range")).map(|(_, form)| form[0].1.as_str()).collect();
        assert_eq!(asked, ["rate(x[30s])", "rate(x[60s])"], "two scrapes in 30 s there were not");
    }

    #[test]
    fn a_series_that_cannot_be_had_costs_nothing() {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", response(200, VALUE));
        tools.answers("/api/v1/query_range", response(503, ""));
        let place = Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() };
        let labels = BTreeMap::new();
        let scope = Scope { place: &place, deployment: "primary", labels: &labels, filters: &[], window: "60s" };
        let got = measure(&tools, &["throughput".to_owned()], &Queries::new(), &scope, &window(), true).unwrap();
        assert!(got[0].success && got[0].series.is_none());
    }

    #[test]
    fn a_prometheus_that_is_down_fails_the_delivery_and_not_the_indicator() {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", response(503, ""));
        assert!(matches!(run(&tools, &["throughput"], &[]), Err(Trouble::Failure(_))));
    }
}
