//! Whole flows of `configure-monitoring` against a stand-in.

use pilothouse_sdk::TaskStatus;
use serde_json::{Value, json};

use super::*;
use crate::request::{self, Settings};
use crate::stand_in::{StandIn, answer};

const KEY: &str = "configure/1";
const OK: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
const RULES: &str = "rules/shop.cart.rules.yml";
const TARGETS: &str = "targets/shop.dev.cart.json";

fn trigger(stages: Value) -> Value {
    json!({
        "project": "shop", "service": "cart",
        "prometheus": {
            "stages": stages,
            "targets": ["cart.$STAGE:80"],
            "sli": "indicators: {error_rate: errors}",
            "slo": "spec_version: '1.0'\ntotal_score: {pass: 90%}\nobjectives:\n- {sli: error_rate, pass: [{criteria: ['<=+10%', '<0.1']}]}\n- {sli: throughput, pass: [{criteria: ['>1']}]}",
        },
    })
}

fn plan_of(data: &Value, tools: &StandIn) -> Plan {
    plan(request::configuration(data, &Settings::default(), tools).unwrap())
}

/// Answers as a Prometheus that has loaded the stages.
fn loaded(tools: &StandIn, stages: &[&str]) {
    let groups: Vec<Value> = stages
        .iter()
        .map(|stage| {
            json!({
                "name": format!("cart shop-{stage} alerts"), "file": "/etc/prometheus/rules/shop.cart.rules.yml",
                "rules": [{ "name": "throughput" }, { "name": "error_rate" }],
            })
        })
        .collect();
    let targets: Vec<Value> = stages
        .iter()
        .map(|stage| {
            json!({
                "labels": { "job": format!("cart-shop-{stage}") },
                "discoveredLabels": { "__address__": format!("cart.{stage}:80") },
            })
        })
        .collect();
    let body = |data: Value| json!({ "status": "success", "data": data }).to_string();
    tools.answers("/api/v1/rules", answer(200, &body(json!({ "groups": groups }))));
    tools.answers("/api/v1/targets", answer(200, &body(json!({ "activeTargets": targets }))));
}

fn tools() -> StandIn {
    let tools = StandIn::default();
    tools.answers("/api/v1/query", answer(200, OK));
    tools
}

fn begin_dev(tools: &StandIn) -> Result<Step, Failure> {
    begin(tools, &plan_of(&trigger(json!(["dev"])), tools), None, KEY)
}

fn answered(step: Result<Step, Failure>) -> Finished {
    match step {
        Ok(Step::Answer(finished)) => finished,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn files_are_written_loaded_and_confirmed() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &["dev"]);
    let finished = answered(begin_dev(&tools));
    assert_eq!(finished.status, TaskStatus::Succeeded);
    assert_eq!(
        finished.message,
        "Prometheus has loaded 1 targets and 2 alert rules (stages dev); no alerts for error_rate <=+10%"
    );
    assert_eq!(finished.output_json().unwrap()["alerts"], json!({ "dev": ["error_rate", "throughput"] }));
    let files = tools.files.borrow();
    assert!(files[RULES].contains(r#"expr: "(errors) >= 0.1""#), "{}", files[RULES]);
    assert!(files[TARGETS].contains("cart.dev:80"));
    assert_eq!(tools.state.borrow()["sli/shop/cart"], b"indicators: {error_rate: errors}");
}

#[test]
fn a_query_that_prometheus_cannot_parse_writes_nothing() {
    let tools = StandIn::default();
    tools.answers("/api/v1/query", answer(400, r#"{"status":"error","error":"parse error at char 3"}"#));
    let finished = answered(begin_dev(&tools));
    assert_eq!(finished.message, "Prometheus refuses the query of SLI `error_rate`: parse error at char 3");
    assert!(tools.files.borrow().is_empty());
    assert_eq!(tools.count("/-/reload"), 0);
}

#[test]
fn refused_files_are_taken_back_and_prometheus_is_reloaded_without_them() {
    let tools = tools();
    tools.files.borrow_mut().insert(RULES.to_owned(), "groups: []\n".to_owned());
    tools.answers("/-/reload", answer(500, "failed to reload config"));
    tools.answers("/-/reload", answer(200, ""));
    let finished = answered(begin_dev(&tools));
    assert_eq!(finished.status, TaskStatus::Errored);
    assert!(finished.message.ends_with("taken back: failed to reload config"), "{}", finished.message);
    assert_eq!(*tools.files.borrow(), BTreeMap::from([(RULES.to_owned(), "groups: []\n".to_owned())]));
    assert_eq!(tools.count("/-/reload"), 2);
}

#[test]
fn a_refused_file_of_an_earlier_attempt_is_removed_and_not_put_back() {
    let tools = tools();
    tools.answers("/-/reload", answer(503, ""));
    tools.answers("/-/reload", answer(500, "bad"));
    tools.answers("/-/reload", answer(500, "bad"));
    assert!(matches!(begin_dev(&tools), Err(Failure::Retry { .. })));
    assert_eq!(tools.files.borrow().len(), 2);
    let finished = answered(begin_dev(&tools));
    assert!(tools.files.borrow().is_empty());
    assert!(finished.message.contains("without these files too"), "{}", finished.message);
}

#[test]
fn a_prometheus_that_may_not_be_reloaded_keeps_none_of_the_files() {
    let tools = tools();
    tools.answers("/-/reload", answer(403, "Lifecycle API is not enabled."));
    let finished = answered(begin_dev(&tools));
    assert!(finished.message.contains("--web.enable-lifecycle"), "{}", finished.message);
    assert!(tools.files.borrow().is_empty());
}

#[test]
fn what_is_not_listed_yet_is_looked_for_again_until_it_is() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &[]);
    loaded(&tools, &[]);
    loaded(&tools, &["dev"]);
    let plan = plan_of(&trigger(json!(["dev"])), &tools);
    assert_eq!(begin(&tools, &plan, None, KEY), Ok(Step::Wait(CONFIRM_INTERVAL)));
    assert_eq!(again(&tools, &plan, KEY), Ok(Step::Wait(CONFIRM_INTERVAL)));
    assert_eq!(answered(again(&tools, &plan, KEY)).status, TaskStatus::Succeeded);
    assert!(!tools.state.borrow().contains_key(KEY));
    assert_eq!(tools.count("/-/reload"), 1);
}

#[test]
fn what_is_never_listed_ends_with_its_names() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &[]);
    let plan = plan_of(&trigger(json!(["dev"])), &tools);
    let mut step = begin(&tools, &plan, None, KEY);
    let mut looks = 1;
    while let Ok(Step::Wait(_)) = step {
        step = again(&tools, &plan, KEY);
        looks += 1;
    }
    assert_eq!(looks, CONFIRM_LOOKS_MAX);
    let message = answered(step).message;
    assert!(
        message.contains("rule group `cart shop-dev alerts`, target `cart.dev:80` of job `cart-shop-dev`"),
        "{message}"
    );
}

#[test]
fn all_stages_replace_what_was_there_and_leave_other_services_alone() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &["dev", "prod"]);
    for name in [
        "targets/shop.old.cart.json",
        "targets/shop.old.cart2.json",
        "targets/shop2.old.cart.json",
        "rules/shop.cart2.rules.yml",
    ] {
        tools.files.borrow_mut().insert(name.to_owned(), "[]".to_owned());
    }
    answered(begin(&tools, &plan_of(&trigger(json!(["dev", "prod"])), &tools), None, KEY));
    let names: Vec<String> = tools.files.borrow().keys().cloned().collect();
    assert_eq!(
        names,
        [
            RULES,
            "rules/shop.cart2.rules.yml",
            TARGETS,
            "targets/shop.old.cart2.json",
            "targets/shop.prod.cart.json",
            "targets/shop2.old.cart.json"
        ]
    );
}

#[test]
fn a_single_stage_keeps_the_rules_of_the_others() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &["dev", "prod"]);
    answered(begin(&tools, &plan_of(&trigger(json!(["dev", "prod"])), &tools), None, KEY));
    let mut data = trigger(Value::Null);
    data["stage"] = json!("dev");
    data["prometheus"]["sli"] = json!("indicators: {error_rate: changed}");
    answered(begin(&tools, &plan_of(&data, &tools), None, KEY));
    let rules = RulesFile::parse(&tools.files.borrow()[RULES]).unwrap();
    let expressions: Vec<&str> = rules.groups.iter().map(|group| group.rules[0].expr.as_str()).collect();
    assert_eq!(expressions, ["(changed) >= 0.1", "(errors) >= 0.1"]);
    assert!(tools.files.borrow().contains_key("targets/shop.prod.cart.json"));

    tools.files.borrow_mut().insert(RULES.to_owned(), "groups: by hand".to_owned());
    let finished = answered(begin(&tools, &plan_of(&data, &tools), None, KEY));
    assert!(finished.message.contains("changed by hand"), "{}", finished.message);
}

#[test]
fn another_attempt_writes_the_same_and_ends_the_same() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &["dev"]);
    let first = answered(begin_dev(&tools));
    let files = tools.files.borrow().clone();
    assert_eq!(answered(begin_dev(&tools)), first);
    assert_eq!(*tools.files.borrow(), files);
}

#[test]
fn an_slo_without_alerts_removes_the_rules_and_no_slo_leaves_them() {
    let tools = tools();
    tools.answers("/-/reload", answer(200, ""));
    loaded(&tools, &["dev"]);
    answered(begin_dev(&tools));
    let mut data = trigger(json!(["dev"]));
    data["prometheus"]["slo"] = Value::Null;
    answered(begin(&tools, &plan_of(&data, &tools), None, KEY));
    assert!(tools.files.borrow().contains_key(RULES));
    data["prometheus"]["slo"] = json!("spec_version: '1.0'\ntotal_score: {pass: 90%}\nobjectives: []");
    answered(begin(&tools, &plan_of(&data, &tools), None, KEY));
    assert!(!tools.files.borrow().contains_key(RULES));
}
