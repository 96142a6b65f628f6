//! A project whose files change, against a Prometheus and folders that stand in.

use pilothouse_sdk::resources::Level;

use super::*;
use crate::stand_in::{StandIn, answer};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: s}\nspec:\n  stages:\n  - {name: dev, sequences: [{name: delivery, tasks: [{name: test}]}]}\n  - {name: prod, sequences: [{name: delivery, tasks: [{name: test}]}]}\n";
const RULES: &str = "rules/shop.cart.rules.yml";

fn slo(limit: u32) -> String {
    format!(
        "spec_version: '1.0'\nobjectives:\n- {{sli: p95, pass: [{{criteria: ['<{limit}']}}]}}\n- {{sli: grown, pass: [{{criteria: ['<=+5%']}}]}}\ntotal_score: {{pass: 90%}}\n"
    )
}

/// A project with one service in two stages, and a Prometheus that takes everything.
fn shop() -> StandIn {
    let tools = StandIn::default();
    put(&tools, "shipyard.yaml", SHIPYARD);
    put(&tools, "prometheus/sli.yaml", "spec_version: '1.0'\nindicators: {p95: 'q{s=\"$STAGE\"}'}\n");
    put(
        &tools,
        "prometheus/monitoring.yaml",
        "spec_version: '1.0'\ntargets: ['$SERVICE.$STAGE:80']\nlabels: {team: a}\n",
    );
    put(&tools, "stages/dev/services/cart/slo.yaml", &slo(600));
    tools.answers("/api/v1/query", answer(200, r#"{"status":"success","data":{}}"#));
    tools.answers("/-/reload", answer(200, ""));
    tools
}

fn put(tools: &StandIn, path: &str, text: &str) {
    tools.project.borrow_mut().insert((format!("{:?}", Level::Project), path.to_owned()), text.to_owned());
}

fn sync(tools: &StandIn, commit: &str) -> Report {
    run(tools, "shop", &Settings::default(), Mode::Sync, Some(commit)).unwrap()
}

fn states(report: &Report) -> Vec<(String, State)> {
    report.items.iter().map(|it| (format!("{}/{}", it.stage, it.service), it.state)).collect()
}

fn both(dev: State, prod: State) -> Vec<(String, State)> {
    vec![("dev/cart".to_owned(), dev), ("prod/cart".to_owned(), prod)]
}

fn file(tools: &StandIn, path: &str) -> Option<String> {
    tools.files.borrow().get(path).cloned()
}

/// Has Prometheus list what is to be loaded in both stages.
fn loaded(tools: &StandIn) {
    let rules = r#"{"status":"success","data":{"groups":[{"name":"cart shop-dev alerts","file":"x","rules":[{"name":"p95"}]}]}}"#;
    let target = |stage: &str| {
        format!(r#"{{"labels":{{"job":"cart-shop-{stage}"}},"discoveredLabels":{{"__address__":"cart.{stage}:80"}}}}"#)
    };
    let targets =
        format!(r#"{{"status":"success","data":{{"activeTargets":[{},{}]}}}}"#, target("dev"), target("prod"));
    tools.answers("/api/v1/rules", answer(200, rules));
    tools.answers("/api/v1/targets", answer(200, &targets));
}

#[test]
fn each_service_of_each_stage_is_scraped_and_alerted_on_as_the_files_say() {
    let tools = shop();
    let report = sync(&tools, "c1");
    assert_eq!(states(&report), both(State::InStep, State::InStep));
    assert_eq!(
        (report.items[0].alerts.clone(), report.items[0].commit.as_deref()),
        (vec!["p95".to_owned()], Some("c1"))
    );
    assert_eq!(report.items[0].skipped.len(), 2, "what is no threshold is named: {:?}", report.items[0].skipped);
    let rules = file(&tools, RULES).unwrap();
    assert!(
        rules.contains("# Commit c1.")
            && rules.contains(r#"(q{s=\"dev\"}) >= 600"#)
            && rules.contains("\"team\": \"a\""),
        "{rules}"
    );
    let targets = file(&tools, "targets/shop.prod.cart.json").unwrap();
    assert!(
        targets.contains("cart.prod:80") && targets.contains("\"team\": \"a\"") && targets.contains("c1"),
        "{targets}"
    );
    assert_eq!(tools.count("/-/reload"), 1);
}

#[test]
fn a_commit_that_changes_nothing_here_writes_nothing_and_one_that_does_writes_that() {
    let tools = shop();
    sync(&tools, "c1");
    let report = sync(&tools, "c2");
    assert!(!report.changed);
    assert_eq!(tools.count("/-/reload"), 1);
    assert!(file(&tools, RULES).unwrap().contains("# Commit c1."), "a file names the commit that changed it");
    assert_eq!(report.items[0].commit.as_deref(), Some("c2"), "and a service the commit that it is in step with");
    put(&tools, "stages/dev/services/cart/slo.yaml", &slo(300));
    assert!(sync(&tools, "c3").changed);
    let rules = file(&tools, RULES).unwrap();
    assert!(rules.contains(">= 300") && rules.contains("# Commit c3."), "{rules}");
    // A service that is gone takes its files with it, and another project's stay.
    tools.files.borrow_mut().insert("rules/shopping.cart.rules.yml".to_owned(), "x".to_owned());
    tools.project.borrow_mut().retain(|(_, path), _| !path.contains("services/"));
    sync(&tools, "c4");
    assert_eq!(tools.files.borrow().keys().collect::<Vec<_>>(), ["rules/shopping.cart.rules.yml"]);
}

#[test]
fn a_hand_edit_is_put_back_or_reported_as_the_project_chooses() {
    let tools = shop();
    loaded(&tools);
    sync(&tools, "c1");
    let good = file(&tools, RULES).unwrap();
    let edit = || tools.files.borrow_mut().insert(RULES.to_owned(), good.replace("600", "9000"));
    let check = || run(&tools, "shop", &Settings::default(), Mode::Check, None).unwrap();
    assert_eq!(states(&check()), both(State::InStep, State::InStep));
    edit();
    let told = check();
    assert_eq!(states(&told), both(State::Drifted, State::Drifted));
    assert!(told.items[0].reason.contains("changed by hand"), "{:?}", told.items[0]);
    assert_eq!(states(&sync(&tools, "c2")), both(State::InStep, State::InStep));
    assert_eq!(without_commit(&file(&tools, RULES).unwrap()), without_commit(&good));
    put(
        &tools,
        "prometheus/monitoring.yaml",
        "spec_version: '1.0'\ntargets: ['$SERVICE.$STAGE:80']\nlabels: {team: a}\nhandEdits: report\n",
    );
    edit();
    assert_eq!(states(&sync(&tools, "c3")), both(State::Drifted, State::Drifted));
    assert!(file(&tools, RULES).unwrap().contains("9000"));
}

#[test]
fn what_prometheus_refuses_is_taken_back_and_what_cannot_be_generated_keeps_what_it_has() {
    let tools = shop();
    sync(&tools, "c1");
    let good = file(&tools, RULES);
    put(&tools, "stages/dev/services/cart/slo.yaml", &slo(300));
    tools.answers("/-/reload", answer(500, "failed to reload config: bad"));
    tools.answers("/-/reload", answer(200, ""));
    // The stand-in's first answer was for the first reload.
    let _ = crate::api::reload(&tools);
    let report = sync(&tools, "c2");
    assert_eq!(report.items[0].state, State::Failed);
    assert!(report.items[0].reason.contains("failed to reload config: bad"), "{:?}", report.items[0]);
    assert_eq!(report.items[0].commit.as_deref(), Some("c1"));
    assert_eq!(file(&tools, RULES), good);
    put(&tools, "stages/dev/services/cart/slo.yaml", "objectives: [");
    let report = sync(&tools, "c3");
    assert_eq!(states(&report), both(State::Failed, State::InStep));
    assert!(report.items[0].reason.contains("stages/dev/services/cart/slo.yaml"), "{:?}", report.items[0]);
    assert!(file(&tools, RULES).unwrap().contains(">= 600"), "the alerts of before are still there");
}

#[test]
fn an_attempt_that_could_not_reload_is_ended_by_the_next_one() {
    let tools = shop();
    tools.answers("/-/reload", answer(503, ""));
    let _ = crate::api::reload(&tools);
    assert!(run(&tools, "shop", &Settings::default(), Mode::Sync, Some("c1")).is_err());
    assert!(file(&tools, RULES).is_some(), "the files are written");
    tools.answers("/-/reload", answer(200, ""));
    let before = tools.count("/-/reload");
    // The stand-in repeats its last answer but one once more.
    let mut last = run(&tools, "shop", &Settings::default(), Mode::Sync, Some("c1"));
    if last.is_err() {
        last = run(&tools, "shop", &Settings::default(), Mode::Sync, Some("c1"));
    }
    assert_eq!(states(&last.unwrap()), both(State::InStep, State::InStep));
    assert!(tools.count("/-/reload") > before, "what is written is loaded");
}

#[test]
fn a_project_without_a_shipyard_or_with_a_broken_one_says_so() {
    let tools = shop();
    put(&tools, "shipyard.yaml", "spec: [");
    let report = sync(&tools, "c1");
    assert_eq!((report.items.len(), report.items[0].state), (1, State::Failed));
    assert!(report.items[0].reason.contains("`shipyard.yaml` has errors"), "{:?}", report.items[0]);
}

#[test]
fn behind_is_what_an_earlier_commit_said_or_what_prometheus_has_not_loaded() {
    let tools = shop();
    sync(&tools, "c1");
    tools.answers("/api/v1/rules", answer(200, r#"{"status":"success","data":{"groups":[]}}"#));
    tools.answers("/api/v1/targets", answer(200, r#"{"status":"success","data":{"activeTargets":[]}}"#));
    let check = || run(&tools, "shop", &Settings::default(), Mode::Check, None).unwrap();
    let told = check();
    assert_eq!(states(&told), both(State::Behind, State::Behind));
    assert!(
        told.items[0].reason.contains("not loaded") && told.items[1].reason.contains("does not scrape"),
        "{told:?}"
    );
    put(&tools, "stages/dev/services/cart/slo.yaml", &slo(300));
    assert!(check().items[0].reason.contains("is not what the project's files say"));
    assert_eq!(check().items[0].commit.as_deref(), Some("c1"));
}

#[test]
fn a_deleted_project_leaves_nothing_behind() {
    let tools = shop();
    sync(&tools, "c1");
    forget(&tools, "shop").unwrap();
    assert!(tools.files.borrow().is_empty() && tools.state.borrow().is_empty());
}
