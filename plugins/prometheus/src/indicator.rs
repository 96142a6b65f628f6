//! Measures indicators over a window, and says how that went: the answer to `get-sli`.
//!
//! Never here: whether a value is good enough, which is the quality gate's.

use pilothouse_sdk::Finished;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{self, Trouble};
use crate::query::{self, Scope};
use crate::request::Window;
use crate::slo::Queries;
use crate::tools::Tools;

/// Most indicators of one event, so that they are all asked for in one delivery's time.
pub const INDICATORS_MAX: usize = 100;

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
}

/// Asks Prometheus for each indicator at the window's end.
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
) -> Result<Vec<Indicator>, Trouble> {
    let mut measured = Vec::new();
    for name in names.iter().take(INDICATORS_MAX) {
        let value = match query::of(name, queries, scope) {
            Ok(query) => api::value(tools, &query, &window.end)?,
            Err(reason) => Err(reason),
        };
        measured.push(match value {
            Ok(value) => Indicator { metric: name.clone(), value, success: true, message: String::new() },
            Err(message) => Indicator { metric: name.clone(), value: 0.0, success: false, message },
        });
    }
    Ok(measured)
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
    use crate::place::Place;
    use crate::stand_in::{StandIn, answer as response};

    fn window() -> Window {
        Window { start: "2024-01-01T00:00:00Z".to_owned(), end: "2024-01-01T00:01:00Z".to_owned(), seconds: 60 }
    }

    fn run(tools: &StandIn, names: &[&str], queries: &[(&str, &str)]) -> Result<Vec<Indicator>, Trouble> {
        let place = Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() };
        let labels = BTreeMap::new();
        let scope = Scope { place: &place, deployment: "primary", labels: &labels, filters: &[], seconds: 60 };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let queries = queries.iter().map(|(name, query)| ((*name).to_owned(), (*query).to_owned())).collect();
        measure(tools, &names, &queries, &scope, &window())
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
        let measured = [Indicator { metric: "a".to_owned(), value: 2.5, success: true, message: String::new() }];
        assert_eq!(
            answer(&measured, &window()).output_json().unwrap(),
            json!({
                "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z",
                "indicatorValues": [{ "metric": "a", "value": 2.5, "success": true, "message": "" }],
            })
        );
    }

    #[test]
    fn a_prometheus_that_is_down_fails_the_delivery_and_not_the_indicator() {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", response(503, ""));
        assert!(matches!(run(&tools, &["throughput"], &[]), Err(Trouble::Failure(_))));
    }
}
