//! A table per rule of the evaluation, and what holds for any SLO and any values.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::slo;

fn slo(objectives: &str, rest: &str) -> Slo {
    let text = format!("spec_version: '1.0'\nobjectives: {objectives}\n{rest}\n");
    let (slo, problems) = slo::read(text.as_bytes());
    slo.unwrap_or_else(|| panic!("{text}: {problems:?}"))
}

const SCORE: &str = "total_score: {pass: '90%', warning: '75%'}";

fn values(json: &Value) -> Values {
    input::values(json).unwrap()
}

fn earlier(result: TaskResult, values: &[(&str, f64)]) -> Earlier {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Earlier { id: format!("id-{result}"), result, values }
}

/// Judges one objective for the indicator `x` with a value, by its `pass` and `warning`.
fn one(pass: &str, warning: &str, value: &Value, before: &[f64]) -> IndicatorResult {
    let slo = slo(&format!("[{{sli: x, pass: {pass}, warning: {warning}}}]"), SCORE);
    let earlier: Vec<Earlier> = before.iter().map(|value| earlier(TaskResult::Pass, &[("x", *value)])).collect();
    let evaluation = evaluate(&slo, b"", &values(&json!({ "x": value })), &earlier);
    evaluation.indicator_results.into_iter().next().unwrap()
}

fn status(pass: &str, value: f64, before: &[f64]) -> ObjectiveStatus {
    one(pass, "[]", &json!(value), before).status
}

#[test]
fn absolute_criteria_compare_with_the_number() {
    use ObjectiveStatus::{Fail, Pass};
    for (criterion, value, expected) in [
        ("<600", 599.9, Pass),
        ("<600", 600.0, Fail),
        ("<=600", 600.0, Pass),
        ("<=600", 600.1, Fail),
        ("=1", 1.0, Pass),
        ("=1", 1.1, Fail),
        (">=10", 10.0, Pass),
        (">=10", 9.9, Fail),
        (">10", 10.1, Pass),
        (">10", 10.0, Fail),
        ("< 1e3", 999.0, Pass),
    ] {
        assert_eq!(status(&format!("[{{criteria: ['{criterion}']}}]"), value, &[]), expected, "{criterion} {value}");
    }
}

#[test]
fn relative_criteria_compare_with_the_baseline_and_hold_without_one() {
    use ObjectiveStatus::{Fail, Pass};
    for (criterion, before, value, expected, target) in [
        ("<=+10%", Some(100.0), 110.0, Pass, 110.0),
        ("<=+10%", Some(100.0), 110.1, Fail, 110.0),
        ("<=10%", Some(100.0), 110.0, Pass, 110.0),
        ("<+10%", Some(100.0), 110.0, Fail, 110.0),
        (">=-8%", Some(50.0), 46.0, Pass, 46.0),
        (">=-8%", Some(50.0), 45.9, Fail, 46.0),
        ("<=+5", Some(100.0), 105.0, Pass, 105.0),
        ("<=+5", Some(100.0), 105.1, Fail, 105.0),
        (">=-5", Some(100.0), 95.0, Pass, 95.0),
        ("<-5", Some(100.0), 94.0, Pass, 95.0),
        ("<-5", Some(100.0), 95.0, Fail, 95.0),
        ("<=+10%", None, 1e9, Pass, 0.0),
        ("<+101%", Some(0.0), 0.0, Fail, 0.0),
    ] {
        let before: Vec<f64> = before.into_iter().collect();
        let result = one(&format!("[{{criteria: ['{criterion}']}}]"), "[]", &json!(value), &before);
        let found = (result.status, result.pass_targets[0].target_value);
        assert_eq!(found, (expected, target), "{criterion} {before:?} {value}");
        assert_eq!(result.value.compared_value, before.first().copied());
        assert_eq!(result.explanation.contains("no baseline"), before.is_empty(), "{}", result.explanation);
    }
}

#[test]
fn one_alternative_must_hold_and_all_criteria_of_it() {
    use ObjectiveStatus::{Fail, Pass};
    let both = "[{criteria: ['<=+10%', '<600']}, {criteria: ['<100']}]";
    for (value, expected) in [(500.0, Pass), (550.0, Pass), (551.0, Fail), (600.0, Fail), (99.0, Pass)] {
        assert_eq!(status(both, value, &[500.0]), expected, "{value}");
    }
    let result = one(both, "[]", &json!(560.0), &[500.0]);
    let violated: Vec<(&str, bool)> =
        result.pass_targets.iter().map(|target| (target.criteria.as_str(), target.violated)).collect();
    assert_eq!(violated, [("<=+10%", true), ("<600", false), ("<100", true)], "every criterion is told of");
}

#[test]
fn a_warning_gives_half_of_the_weight() {
    let slo = slo("[{sli: x, weight: 3, pass: [{criteria: ['<10']}], warning: [{criteria: ['<20']}]}]", SCORE);
    for (value, score, total, status) in [
        (9.0, 3.0, 100.0, ObjectiveStatus::Pass),
        (15.0, 1.5, 50.0, ObjectiveStatus::Warning),
        (20.0, 0.0, 0.0, ObjectiveStatus::Fail),
    ] {
        let evaluation = evaluate(&slo, b"", &values(&json!({ "x": value })), &[]);
        let found = &evaluation.indicator_results[0];
        assert_eq!((found.score, found.status, evaluation.score), (score, status, total));
    }
}

#[test]
fn weights_and_total_scores_decide_and_the_limits_belong_to_the_better_side() {
    let three = |pass: &str| {
        let objective =
            |name: &str, weight: u32| format!("{{sli: {name}, weight: {weight}, pass: [{{criteria: ['<1']}}]}}");
        slo(&format!("[{}, {}, {}]", objective("a", 1), objective("b", 1), objective("c", 2)), pass)
    };
    for (score, values_of, expected, total) in [
        (SCORE, json!({ "a": 0, "b": 0, "c": 0 }), TaskResult::Pass, 100.0),
        (SCORE, json!({ "a": 5, "b": 0, "c": 0 }), TaskResult::Warning, 75.0),
        (SCORE, json!({ "a": 0, "b": 0, "c": 5 }), TaskResult::Fail, 50.0),
        ("total_score: {pass: 75}", json!({ "a": 5, "b": 0, "c": 0 }), TaskResult::Pass, 75.0),
        ("total_score: {pass: '75.1%'}", json!({ "a": 5, "b": 0, "c": 0 }), TaskResult::Fail, 75.0),
        ("total_score: {pass: '0%'}", json!({ "a": 5, "b": 5, "c": 5 }), TaskResult::Pass, 0.0),
        ("total_score: {pass: '90%', warning: '0%'}", json!({ "a": 5, "b": 5, "c": 5 }), TaskResult::Warning, 0.0),
    ] {
        let evaluation = evaluate(&three(score), b"", &values(&values_of), &[]);
        assert_eq!((evaluation.result, evaluation.score), (expected, total), "{score} {values_of}");
    }
}

#[test]
fn a_key_sli_that_fails_fails_all_and_one_that_warns_does_not() {
    let slo = slo(
        "[{sli: a, weight: 99, pass: [{criteria: ['<1']}]}, \
         {sli: key, key_sli: true, pass: [{criteria: ['<1']}], warning: [{criteria: ['<5']}]}]",
        SCORE,
    );
    for (key, expected) in [
        (json!(0), TaskResult::Pass),
        (json!(2), TaskResult::Pass),
        (json!(9), TaskResult::Fail),
        (json!(null), TaskResult::Fail),
    ] {
        let evaluation = evaluate(&slo, b"", &values(&json!({ "a": 0, "key": key })), &[]);
        assert_eq!(evaluation.result, expected, "{key}");
        assert!(evaluation.score >= 99.0);
        assert!(evaluation.indicator_results[1].key_sli && !evaluation.indicator_results[0].key_sli);
        assert_eq!(evaluation.message.contains("key SLI `key`"), expected == TaskResult::Fail);
    }
}

#[test]
fn informational_objectives_are_reported_and_not_judged() {
    let slo_of = |objectives: &str| slo(objectives, SCORE);
    let evaluation = evaluate(&slo_of("[{sli: a}, {sli: b}]"), b"", &values(&json!({ "a": 7 })), &[]);
    assert_eq!((evaluation.result, evaluation.score), (TaskResult::Pass, 100.0));
    let status: Vec<ObjectiveStatus> = evaluation.indicator_results.iter().map(|it| it.status).collect();
    assert_eq!(status, [ObjectiveStatus::Info; 2]);
    assert!(!evaluation.indicator_results[1].value.success);
    let mixed = slo_of("[{sli: a, weight: 50}, {sli: b, pass: [{criteria: ['<1']}]}]");
    assert_eq!(evaluate(&mixed, b"", &values(&json!({ "b": 0 })), &[]).score, 100.0);
    // `warning` alone has no effect.
    let warning = slo_of("[{sli: a, warning: [{criteria: ['<1']}]}]");
    let evaluation = evaluate(&warning, b"", &values(&json!({ "a": 7 })), &[]);
    assert!(evaluation.indicator_results[0].warning_targets.is_empty());
    assert_eq!(evaluation.indicator_results[0].status, ObjectiveStatus::Info);
}

#[test]
fn a_missing_value_fails_its_objective_and_its_criteria_are_listed_as_violated() {
    for value in [json!(null), json!("NaN"), json!("inf"), json!("-Infinity")] {
        let result = one("[{criteria: ['<600', '<=+10%']}]", "[{criteria: ['<800']}]", &value, &[100.0]);
        assert_eq!((result.status, result.score, result.value.success), (ObjectiveStatus::Fail, 0.0, false), "{value}");
        assert_eq!(result.value.value, 0.0);
        let targets: Vec<(f64, bool)> = result.pass_targets.iter().map(|it| (it.target_value, it.violated)).collect();
        assert_eq!(targets, [(600.0, true), (110.0, true)]);
        assert!(result.warning_targets[0].violated);
    }
    let slo = slo("[{sli: x, pass: [{criteria: ['<600']}]}]", SCORE);
    let evaluation = evaluate(&slo, b"", &values(&json!({})), &[]);
    assert_eq!(evaluation.indicator_results[0].value.message, "no value received from SLI provider");
    let failed = json!({ "get-sli": { "indicatorValues": [
        { "metric": "x", "value": 5, "success": false, "message": "query did not return any values" }] } });
    let evaluation = evaluate(&slo, b"", &values(&failed), &[]);
    assert_eq!(evaluation.result, TaskResult::Fail);
    assert!(evaluation.message.contains("query did not return any values"), "{}", evaluation.message);
}

#[test]
fn a_failed_provider_fails_all_and_values_without_an_objective_are_named() {
    let slo = slo("[{sli: x, pass: [{criteria: ['<600']}]}]", SCORE);
    let data = json!({ "result": "fail", "message": "no access", "get-sli": { "indicatorValues": [
        { "metric": "x", "value": 5, "success": true }, { "metric": "other", "value": 1, "success": true }] } });
    let evaluation = evaluate(&slo, b"", &values(&data), &[]);
    assert_eq!((evaluation.result, evaluation.score), (TaskResult::Fail, 100.0));
    assert!(evaluation.message.contains("no access") && evaluation.message.ends_with("without an objective: other"));
}

#[test]
fn without_objectives_it_fails() {
    let evaluation = evaluate(&slo("[]", SCORE), b"", &Values::default(), &[]);
    assert_eq!((evaluation.result, evaluation.score), (TaskResult::Fail, 0.0));
    assert!(evaluation.message.contains("no SLO objective was provided"));
}

#[test]
fn the_comparison_takes_as_many_results_of_the_kind_it_asks_for() {
    let history = [
        earlier(TaskResult::Fail, &[("x", 1000.0)]),
        earlier(TaskResult::Warning, &[("x", 200.0)]),
        earlier(TaskResult::Pass, &[("x", 100.0)]),
        earlier(TaskResult::Pass, &[("x", 300.0)]),
    ];
    for (comparison, expected) in [
        ("", 1000.0),
        ("comparison: {compare_with: single_result, include_result_with_score: pass}", 100.0),
        ("comparison: {compare_with: single_result, include_result_with_score: PASS_OR_WARN}", 200.0),
        (
            "comparison: {compare_with: several_results, number_of_comparison_results: 2, include_result_with_score: pass}",
            200.0,
        ),
        ("comparison: {compare_with: several_results}", 1300.0 / 3.0),
        (
            "comparison: {compare_with: several_results, number_of_comparison_results: 4, aggregate_function: p50}",
            250.0,
        ),
        (
            "comparison: {compare_with: several_results, number_of_comparison_results: 4, aggregate_function: p90}",
            1000.0,
        ),
        (
            "comparison: {compare_with: several_results, number_of_comparison_results: 4, aggregate_function: p95}",
            1000.0,
        ),
    ] {
        let slo = slo("[{sli: x, pass: [{criteria: ['<=+10%']}]}]", &format!("{SCORE}\n{comparison}"));
        let evaluation = evaluate(&slo, b"", &values(&json!({ "x": 1 })), &history);
        let found = evaluation.indicator_results[0].value.compared_value.unwrap();
        assert!((found - expected).abs() < 1e-9, "{comparison}: {found}");
        assert_eq!(evaluation.compared_events.len(), compared(&slo, &history).len());
    }
}

#[test]
fn an_earlier_result_without_the_value_is_no_baseline() {
    let slo = slo("[{sli: x, pass: [{criteria: ['<=+10%']}]}]", SCORE);
    let evaluation = evaluate(&slo, b"", &values(&json!({ "x": 1 })), &[earlier(TaskResult::Pass, &[("y", 1.0)])]);
    assert_eq!(evaluation.indicator_results[0].value.compared_value, None);
    assert_eq!(evaluation.result, TaskResult::Pass);
    assert!(evaluation.message.contains("no baseline"));
}

#[test]
fn explanations_say_what_was_measured_asked_for_and_missed() {
    let slo = slo(
        "[{sli: p95, displayName: p95, unit: ms, pass: [{criteria: ['<=+10%', '<600']}], warning: [{criteria: ['<=800']}]}]",
        SCORE,
    );
    let before = [earlier(TaskResult::Pass, &[("p95", 412.0)])];
    let of = |value: Value| {
        let evaluation = evaluate(&slo, b"", &values(&json!({ "p95": value })), &before);
        evaluation.indicator_results[0].explanation.clone()
    };
    assert_eq!(of(json!(400)), "p95 412 → 400 ms, -2.9 %; meets <=+10% (453.2) and <600");
    assert_eq!(
        of(json!(655)),
        "p95 412 → 655 ms, +59 %; misses <=+10% (453.2) and <600, but meets <=800, so it is a warning"
    );
    assert_eq!(of(json!(900)), "p95 412 → 900 ms, +118.4 %; misses <=+10% (453.2) and <600, missed by 446.8 ms");
    assert_eq!(of(json!(null)), "p95 has no value (the value is null); asked for <=+10% (453.2) and <600");
}

#[test]
fn an_event_of_keptns_and_what_was_printed_are_read_back_as_earlier_results() {
    let slo = slo("[{sli: x, pass: [{criteria: ['<=+10%']}]}, {sli: gone}]", SCORE);
    let printed = serde_json::to_value(evaluate(&slo, b"file", &values(&json!({ "x": 5.5 })), &[])).unwrap();
    let expected = BTreeMap::from([("x".to_owned(), 5.5)]);
    let read = input::earlier(&printed).unwrap();
    assert_eq!((read.result, &read.values), (TaskResult::Pass, &expected));
    let event = json!({
        "specversion": "1.0", "type": "sh.keptn.event.evaluation.finished", "id": "e1", "source": "lighthouse-service",
        "data": { "result": "failed", "evaluation": { "result": "pass", "score": 100, "indicatorResults": [
            { "score": 1, "value": { "metric": "x", "value": 5.5, "success": true }, "passTargets": null, "status": "failed" },
            { "value": null, "status": "info" },
            { "value": { "metric": "y", "value": 0, "success": false } }], "comparedEvents": null } },
    });
    let read = input::earlier(&event).unwrap();
    assert_eq!((read.id.as_str(), read.result, &read.values), ("e1", TaskResult::Fail, &expected));
}

#[test]
fn input_that_is_no_value_or_no_evaluation_is_refused_in_one_sentence() {
    let event = json!({ "specversion": "1.0", "type": "a.b", "id": "1", "source": "s", "data": {} });
    for (input, expected) in [
        (json!([1]), "no JSON object"),
        (json!({ "x": "fast" }), "the value of `x` is the text `fast`"),
        (json!({ "x": [1] }), "the value of `x` is no number"),
        (json!({ "get-sli": { "indicatorValues": 5 } }), "no list"),
        (json!({ "get-sli": { "indicatorValues": [{ "value": 1 }] } }), "no `metric`"),
        (json!({ "status": "errored", "message": "down", "get-sli": {} }), "status is `errored`: down"),
        (event.clone(), "the event `a.b`: it has no `data.get-sli`"),
    ] {
        let error = input::values(&input).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for input in [json!(5), json!({}), event, json!({ "result": "great", "indicatorResults": [] })] {
        assert!(input::earlier(&input).is_err(), "{input}");
    }
}

#[test]
fn numbers_are_written_for_people() {
    for (value, expected) in [
        (0.0, "0"),
        (655.0, "655"),
        (4.217_3, "4.22"),
        (0.000_4, "0.0004"),
        (0.000_001_23, "1.23e-6"),
        (-12.5, "-12.5"),
        (1e20, "1.000e20"),
    ] {
        assert_eq!(number(value), expected);
    }
    assert_eq!(change(0.0, 5.0), None);
    assert_eq!(change(5.0, 5.0), None);
    assert_eq!(change(-10.0, -5.0).as_deref(), Some("+50 %"));
}

fn any_objective(name: usize) -> impl Strategy<Value = String> {
    let criterion = (
        prop::sample::select(vec!["<", "<=", "=", ">=", ">"]),
        prop::sample::select(vec!["", "+", "-"]),
        0u32..1_000,
        prop::sample::select(vec!["", "%"]),
    )
        .prop_map(|(operator, sign, number, percent)| format!("'{operator}{sign}{number}{percent}'"));
    let all = prop::collection::vec(criterion, 1..3).prop_map(|all| format!("{{criteria: [{}]}}", all.join(",")));
    let alternatives = || prop::collection::vec(all.clone(), 0..3).prop_map(|all| format!("[{}]", all.join(",")));
    (alternatives(), alternatives(), 0u32..10, any::<bool>()).prop_map(move |(pass, warning, weight, key)| {
        format!("{{sli: s{name}, pass: {pass}, warning: {warning}, weight: {weight}, key_sli: {key}}}")
    })
}

fn any_objectives() -> impl Strategy<Value = Vec<String>> {
    (1usize..6).prop_flat_map(|count| (0..count).map(any_objective).collect::<Vec<_>>())
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (-1e3..1e3).prop_map(|value: f64| json!(value)),
        1 => Just(json!(null)),
        1 => any::<f64>().prop_filter("JSON has no others", |it| it.is_finite()).prop_map(|value| json!(value)),
    ]
}

fn any_case() -> impl Strategy<Value = (Vec<String>, Values, Vec<Earlier>)> {
    let six = || prop::collection::vec(any_value(), 6);
    let results = || prop::sample::select(vec![TaskResult::Pass, TaskResult::Warning, TaskResult::Fail]);
    let object = |list: Vec<Value>| -> serde_json::Map<String, Value> {
        list.into_iter().enumerate().map(|(index, value)| (format!("s{index}"), value)).collect()
    };
    let earlier = (results(), six()).prop_map(move |(result, list)| Earlier {
        id: String::new(),
        result,
        values: object(list).into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect(),
    });
    (any_objectives(), six(), prop::collection::vec(earlier, 0..5))
        .prop_map(move |(objectives, list, earlier)| (objectives, values(&Value::Object(object(list))), earlier))
}

proptest! {
    #[test]
    fn a_score_is_from_0_to_100_and_every_number_can_be_written_as_json((objectives, values, earlier) in any_case()) {
        let slo = slo(&format!("[{}]", objectives.join(",")), SCORE);
        let evaluation = evaluate(&slo, b"x", &values, &earlier);
        prop_assert!((0.0..=100.0).contains(&evaluation.score));
        prop_assert_eq!(evaluation.indicator_results.len(), objectives.len());
        let text = serde_json::to_string(&evaluation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), evaluation);
    }

    #[test]
    fn the_order_of_objectives_does_not_matter((objectives, values, earlier) in any_case(), seed in any::<u64>()) {
        let mut shuffled = objectives.clone();
        let by = usize::try_from(seed % 6).unwrap() % shuffled.len();
        shuffled.rotate_left(by);
        if seed % 2 == 0 { shuffled.reverse(); }
        let judge = |objectives: &[String]| {
            evaluate(&slo(&format!("[{}]", objectives.join(",")), SCORE), b"", &values, &earlier)
        };
        let (first, second) = (judge(&objectives), judge(&shuffled));
        prop_assert_eq!((first.result, first.score), (second.result, second.score));
        let by_name = |evaluation: &Evaluation| -> BTreeMap<String, IndicatorResult> {
            evaluation.indicator_results.iter().map(|it| (it.value.metric.clone(), it.clone())).collect()
        };
        prop_assert_eq!(by_name(&first), by_name(&second));
    }

    #[test]
    fn a_better_total_never_has_a_worse_result((objectives, values, earlier) in any_case()) {
        let slo = slo(&format!("[{}]", objectives.join(",")), SCORE);
        let evaluation = evaluate(&slo, b"", &values, &earlier);
        let key = evaluation.indicator_results.iter().any(|it| it.key_sli && it.status == ObjectiveStatus::Fail);
        let expected = match evaluation.score {
            _ if key => TaskResult::Fail,
            90.0.. => TaskResult::Pass,
            75.0.. => TaskResult::Warning,
            _ => TaskResult::Fail,
        };
        prop_assert_eq!(evaluation.result, expected);
    }
}
