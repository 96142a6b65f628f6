//! Remediation from end to end: a problem, the actions of the service's file one after the other, and their end.

use pilothouse_core::event::EventBuilder;
use pilothouse_tests::{Host, Options, check_keptn, data, plugins};
use serde_json::{Value, json};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: shop}
spec:
  stages:
  - name: production
    sequences:
    - name: remediation
      triggeredOn: [{event: production.remediation.finished, selector: {match: {evaluation.result: fail}}}]
      tasks: [{name: get-action}, {name: action}, {name: evaluation}]
";

const REMEDIATION: &str = "apiVersion: spec.keptn.sh/0.1.4
kind: Remediation
metadata: {name: cart}
spec:
  remediations:
  - problemType: ResponseTime
    actionsOnOpen:
    - {name: Scale, action: scaling, value: {replicas: 2}}
    - {name: Toggle, action: toggle-feature, value: {feature: promotion}}
    - {name: Restart, action: restart}
";

const FINISHED: &str = "sh.keptn.event.production.remediation.finished";

async fn host(settings: Value) -> Host {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("stagehand", "", json!({})).await.unwrap();
    let grants = include_str!("../../examples/grants/remediation.toml");
    host.install_file(&plugins().join("remediation.wasm"), "remediation", grants, settings).await.unwrap();
    host.create_project("shop", SHIPYARD).await.unwrap();
    host.write("shop", "services/cart/remediation.yaml", REMEDIATION).await.unwrap();
    host
}

/// Tells of a problem, in the run `run`, that only the action `heals` ends.
async fn problem(host: &Host, run: &str, heals: &str) {
    let event = EventBuilder::new(run, "/test", "sh.keptn.event.production.remediation.triggered")
        .extension_str("shkeptncontext", run)
        .json(&json!({ "project": "shop", "stage": "production", "service": "cart", "labels": { "heals": heals },
            "problem": { "problemTitle": "p95 is high", "rootCause": "ResponseTime", "problemURL": "https://prometheus.example.org/x" } }))
        .build()
        .unwrap();
    host.send(event).await.unwrap();
}

/// Waits until `count` remediations of a run have ended; returns their data, the oldest first.
async fn ended(host: &Host, run: &str, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let rows = host.events_of(FINISHED).await.unwrap();
        let found: Vec<Value> = rows.iter().filter(|row| row.run.as_deref() == Some(run)).map(data).collect();
        if found.len() >= count {
            return found;
        }
        assert!(begun.elapsed() < pilothouse_tests::PATIENCE, "{}", host.describe().await.unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actions_are_taken_one_after_the_other_until_one_helps() {
    let host = host(json!({})).await;
    problem(&host, "r1", "restart").await;
    let ends = ended(&host, "r1", 3).await;
    let results: Vec<&str> = ends.iter().map(|it| it["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["fail", "fail", "pass"]);
    let triggered = host.events_of("sh.keptn.event.action.triggered").await.unwrap();
    let actions: Vec<Value> = triggered.iter().map(|row| data(row)["action"].clone()).collect();
    let named = |name: &str, action: &str, value: Value| json!({ "name": name, "action": action, "description": "", "value": value });
    assert_eq!(
        actions,
        [
            named("Scale", "scaling", json!({ "replicas": 2 })),
            named("Toggle", "toggle-feature", json!({ "feature": "promotion" })),
            named("Restart", "restart", Value::Null)
        ],
        "nothing of one action is left in the next"
    );
    for row in host.events_of("sh.keptn.event.get-action.finished").await.unwrap().iter().chain(&triggered) {
        check_keptn(row).unwrap();
    }
    let view = host.engine.problem("r1").await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.root_cause.as_str()), ("resolved", "ResponseTime"));
    let done: Vec<(&str, Option<&str>)> =
        view.actions.iter().map(|it| (it.action.as_str(), it.evaluation.as_deref())).collect();
    assert_eq!(done, [("scaling", Some("fail")), ("toggle-feature", Some("fail")), ("restart", Some("pass"))]);
    // Another project's event in the same run says nothing of this problem.
    let foreign = EventBuilder::new("foreign", "/test", "sh.keptn.event.production.remediation.finished")
        .extension_str("shkeptncontext", "r1")
        .json(&json!({ "project": "other", "stage": "production", "service": "cart", "result": "fail", "message": "theirs" }))
        .build()
        .unwrap();
    host.send(foreign).await.unwrap();
    assert_eq!(host.engine.problem("r1").await.unwrap().unwrap().message, view.message);
    let list = host.engine.problems(&Default::default(), Some("resolved"), None, 50, |_| true).await.unwrap();
    assert_eq!(list.items.len(), 1, "three remediations are one problem: {list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_no_action_is_left_and_says_so() {
    let host = host(json!({})).await;
    problem(&host, "r1", "nothing").await;
    let ends = ended(&host, "r1", 4).await;
    let message = ends[3]["message"].as_str().unwrap();
    assert_eq!(message, "all 3 actions about `ResponseTime` were taken, and the problem is still there");
    assert_eq!(ends[3]["status"], "succeeded");
    // The sequencer takes one event after the other: when a later run has ended, it has decided about this one.
    problem(&host, "r2", "scaling").await;
    ended(&host, "r2", 1).await;
    assert_eq!(ended(&host, "r1", 4).await.len(), 4, "there is no fifth round");
    let view = host.engine.problem("r1").await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.actions.len()), ("open", 3));
    assert!(view.message.contains("all 3 actions"), "{view:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_done_once_the_problem_is_resolved() {
    let host = host(json!({})).await;
    let over = EventBuilder::new("end", "/test", "sh.keptn.events.problem")
        .extension_str("shkeptncontext", "r1")
        .json(&json!({ "project": "shop", "stage": "production", "service": "cart", "State": "RESOLVED" }))
        .build()
        .unwrap();
    host.send(over).await.unwrap();
    problem(&host, "r1", "restart").await;
    let ends = ended(&host, "r1", 1).await;
    assert!(ends[0]["message"].as_str().unwrap().starts_with("the problem was resolved"), "{ends:?}");
    assert!(host.events_of("sh.keptn.event.action.triggered").await.unwrap().is_empty());
    assert_eq!(host.engine.problem("r1").await.unwrap().unwrap().state, "resolved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_before_the_action_decides_whether_anything_is_done() {
    let host = host(json!({})).await;
    let with_approval = SHIPYARD.replace("{name: get-action}, ", "{name: get-action}, {name: approval}, ");
    host.write("shop", "shipyard.yaml", &with_approval).await.unwrap();
    for (run, decision, actions) in [("r1", "fail", 0), ("r2", "pass", 1)] {
        let event = EventBuilder::new(run, "/test", "sh.keptn.event.production.remediation.triggered")
            .extension_str("shkeptncontext", run)
            .json(&json!({ "project": "shop", "stage": "production", "service": "cart",
                "labels": { "approval": decision, "heals": "scaling" }, "problem": { "rootCause": "ResponseTime" } }))
            .build()
            .unwrap();
        host.send(event).await.unwrap();
        assert_eq!(ended(&host, run, 1).await[0]["result"], decision, "{run}");
        let taken = host.events_of("sh.keptn.event.action.triggered").await.unwrap();
        assert_eq!(taken.iter().filter(|row| row.run.as_deref() == Some(run)).count(), actions, "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_that_keeps_coming_back_does_not_act_without_end() {
    let host = host(json!({ "actions-per-hour": 2 })).await;
    problem(&host, "r1", "scaling").await;
    ended(&host, "r1", 1).await;
    problem(&host, "r2", "scaling").await;
    assert_eq!(ended(&host, "r2", 1).await[0]["result"], "pass");
    problem(&host, "r3", "scaling").await;
    let message = ended(&host, "r3", 1).await[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("there were 2 actions about `ResponseTime` within an hour"), "{message}");
    assert_eq!(host.events_of("sh.keptn.event.action.triggered").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_or_wrong_is_an_error_that_says_so() {
    let host = host(json!({})).await;
    for (index, (content, expected)) in [
        ("apiVersion: spec.keptn.sh/0.1.4\nkind: Remediation\nmetadata: {name: x}\nspec: {remediations: [{problemType: other, actionsOnOpen: [{action: a}]}]}\n",
         "the remediation file has nothing for `ResponseTime`, and no `default`"),
        ("apiVersion: spec.keptn.sh/0.1.4\nkind: Remediation\nmetadata: {name: x}\nspec: {remediations: []}\n", "has nothing for"),
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("r{index}");
        host.write("shop", "services/cart/remediation.yaml", content).await.unwrap();
        problem(&host, &run, "x").await;
        let ends = ended(&host, &run, 1).await;
        assert!(ends[0]["message"].as_str().unwrap().contains(expected), "{ends:?}");
    }
    let event = EventBuilder::new("m", "/test", "sh.keptn.event.production.remediation.triggered")
        .extension_str("shkeptncontext", "m")
        .json(&json!({ "project": "shop", "stage": "production", "service": "stock", "problem": {} }))
        .build()
        .unwrap();
    host.write("shop", "services/stock/x", "").await.unwrap();
    host.send(event).await.unwrap();
    let ends = ended(&host, "m", 1).await;
    assert_eq!(ends[0]["message"], "the service has no `remediation.yaml`; add one with `pilothouse resource add`");
    assert_eq!(ends[0]["status"], "errored");
}
