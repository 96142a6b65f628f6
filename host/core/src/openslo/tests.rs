//! Documents of OpenSLO, and the files that they become.

use super::*;
use crate::files::{FileKind, check, sli, slo};

const DOCUMENTS: &str = r#"
apiVersion: openslo/v1
kind: SLI
metadata: {name: good-requests}
spec:
  ratioMetric:
    counter: true
    good: {metricSource: {type: Prometheus, spec: {query: 'http_requests_total{status=~"2.."}'}}}
    total: {metricSource: {type: Prometheus, spec: {query: http_requests_total}}}
---
# An objective on a share, with its indicator elsewhere.
apiVersion: openslo/v1
kind: SLO
metadata: {name: availability, displayName: Availability}
spec:
  service: cart
  indicatorRef: good-requests
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: all of it, target: 0.999}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: latency-p95}
spec:
  service: cart
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: prometheus, spec: {query: 'histogram_quantile(0.95, sum(rate(b{p=~"[a-z]+"}[5m])) by (le))'}}}
  objectives: [{op: lt, value: 0.6, target: 0.99}]
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: x}
"#;

#[test]
fn slos_become_files_that_have_no_mistakes_and_what_is_lost_is_told() {
    let imported = import(DOCUMENTS).unwrap();
    let service = &imported.services["cart"];
    assert_eq!(check(FileKind::Slo, service.slo.as_bytes()), Vec::new(), "{}", service.slo);
    assert_eq!(check(FileKind::Sli, service.sli.as_bytes()), Vec::new(), "{}", service.sli);
    let queries = sli::read(service.sli.as_bytes()).0.unwrap().indicators;
    assert_eq!(
        queries["availability"],
        "(sum(increase(http_requests_total{status=~\"2..\"}[$DURATION_SECONDS]))) / (sum(increase(http_requests_total[$DURATION_SECONDS])))"
    );
    assert_eq!(
        queries["latency_p95"],
        "histogram_quantile(0.95, sum(rate(b{p=~\"[a-z]+\"}[$DURATION_SECONDS])) by (le))"
    );
    let found = slo::read(service.slo.as_bytes()).0.unwrap();
    let criteria: Vec<&str> = found.objectives.iter().map(|it| it.pass[0][0].text.as_str()).collect();
    assert_eq!(criteria, [">=0.999", "<0.6"]);
    let budget = found.objectives[0].error_budget.unwrap();
    assert_eq!((budget.target, budget.window_seconds / 86_400, budget.of_good), (99.9, 28, true));
    let notes = imported.notes.join("\n");
    for part in ["`AlertPolicy` is not imported", "`latency-p95`: its `target`", "`latency-p95`: the ranges"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

#[test]
fn what_cannot_be_translated_is_left_out_with_its_reason() {
    let of = |spec: &str| {
        let text = format!("apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: x}}\nspec: {spec}\n");
        let imported = import(&text).unwrap();
        assert!(imported.services.is_empty(), "{imported:?}");
        imported.notes.join("\n")
    };
    let metric = "{thresholdMetric: {metricSource: {type: Datadog, spec: {query: q}}}}";
    let ratio = "{ratioMetric: {good: {metricSource: {spec: {query: a}}}, total: {metricSource: {spec: {query: b}}}}}";
    for (spec, expected) in [
        ("{objectives: [{target: 0.9}]}".to_owned(), "its indicator is neither"),
        ("{indicator: {spec: {}}, objectives: [{target: 0.9}]}".to_owned(), "neither `thresholdMetric`"),
        (format!("{{indicator: {{spec: {metric}}}, objectives: [{{op: lt, value: 1}}]}}"), "are of `Datadog`"),
        (format!("{{indicator: {{spec: {ratio}}}}}"), "no objectives"),
        (format!("{{indicator: {{spec: {ratio}}}, objectives: [{{target: 2}}]}}"), "no `target`"),
        (
            format!("{{indicator: {{spec: {ratio}}}, objectives: [{{target: 0.9}}, {{target: 0.8}}]}}"),
            "several objectives",
        ),
    ] {
        let notes = of(&spec);
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
    assert_eq!(import("kind: Pod\n").unwrap_err(), OpenSloError::NoSlo);
    assert!(matches!(import("a: 1\n---\nb: ["), Err(OpenSloError::Yaml { number: 2, .. })));
}
