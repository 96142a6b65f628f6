//! Makes the report on a finished test: the test's own figures beside what Prometheus measured meanwhile.
//!
//! Never here: a verdict. The test has one already, and the quality gate makes another.

use serde_json::{Map, Value, json};

use crate::indicator::Indicator;
use crate::request::{self, Window};

/// The type of the report event.
pub const REPORTED: &str = "io.prometheus.test.reported.v1";

/// The test's figures that the report repeats; per-label ones stay in the test's own event.
const FIGURES: [&str; 13] = [
    "teststrategy",
    "count",
    "errors",
    "errorRate",
    "throughput",
    "min",
    "mean",
    "p50",
    "p90",
    "p95",
    "p99",
    "max",
    // Where the host shows all of it.
    "reportUrl",
];

/// Makes the report's data from the data of `test.finished`, and the measured window if the test had one.
pub fn data(finished: &Value, measured: Option<(&Window, &[Indicator])>) -> Value {
    let place = request::place(finished);
    let test = finished.get("test").and_then(Value::as_object);
    let figures: Map<String, Value> =
        FIGURES.iter().filter_map(|name| Some(((*name).to_owned(), test?.get(*name)?.clone()))).collect();
    let mut report = json!({
        "project": place.project,
        "stage": place.stage,
        "service": place.service,
        "labels": request::labels(finished),
        "result": request::text(finished, "result"),
        "status": request::text(finished, "status"),
        "message": request::text(finished, "message"),
        "indicatorValues": measured.map(|(_, indicators)| indicators).unwrap_or_default(),
        "test": figures,
    });
    if let (Some((window, _)), Some(members)) = (measured, report.as_object_mut()) {
        members.insert("start".to_owned(), window.start.clone().into());
        members.insert("end".to_owned(), window.end.clone().into());
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished() -> Value {
        json!({
            "project": "shop", "stage": "dev", "service": "cart", "labels": { "build": "7", "odd": 1 },
            "result": "pass", "status": "succeeded", "message": "fine",
            "test": { "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z", "count": 600, "errors": 0,
                      "errorRate": 0.0, "p95": 25, "labels": { "home": {} }, "gitCommit": "abc" },
        })
    }

    #[test]
    fn a_report_has_the_window_the_indicators_and_the_tests_figures() {
        let window = request::window(finished().get("test"), "test").unwrap();
        let indicators = [Indicator {
            metric: "throughput".to_owned(),
            value: 9.5,
            success: true,
            message: String::new(),
            series: None,
        }];
        assert_eq!(
            data(&finished(), Some((&window, &indicators))),
            json!({
                "project": "shop", "stage": "dev", "service": "cart", "labels": { "build": "7" },
                "start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:01:00Z",
                "result": "pass", "status": "succeeded", "message": "fine",
                "indicatorValues": [{ "metric": "throughput", "value": 9.5, "success": true, "message": "" }],
                "test": { "count": 600, "errors": 0, "errorRate": 0.0, "p95": 25 },
            })
        );
    }

    #[test]
    fn a_test_that_did_not_run_is_reported_without_a_window() {
        let report =
            data(&json!({ "project": "shop", "status": "errored", "result": "fail", "message": "no JMeter" }), None);
        assert_eq!(report["message"], "no JMeter");
        assert_eq!(report["indicatorValues"], json!([]));
        assert!(report.get("start").is_none());
    }
}
