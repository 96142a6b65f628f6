//! What a shipyard says, and what is wrong with one.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::yaml::Severity;

const GOOD: &str = r#"
apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: shop}
spec:
  stages:
  - name: hardening
    sequences:
    - name: delivery
      concurrency: replace
      tasks:
      - name: deployment
        properties: {deploymentstrategy: direct}
        timeout: {start: 1m, finish: 1h30m}
        retries: 2
        retryAfter: 10s
      - parallel:
        - name: test
          triggeredAfter: "10m"
        - name: security-scan
      - name: release
    - name: rollback
      triggeredOn:
      - event: hardening.delivery.finished
        selector: {match: {result: fail}}
      tasks: [{name: rollback}]
  - name: production
    sequences:
    - name: delivery
      triggeredOn:
      - event: hardening.delivery.finished
      tasks: [{name: deployment}]
"#;

fn problems(text: &str) -> Vec<String> {
    read(text.as_bytes()).1.iter().map(ToString::to_string).collect()
}

/// A shipyard with one stage `dev`, whose sequences are given.
fn with_sequences(sequences: &str) -> String {
    format!(
        "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {{name: x}}\nspec:\n  stages:\n  - name: dev\n    sequences:\n{sequences}"
    )
}

#[test]
fn a_shipyard_of_the_specification_with_our_additions_is_read() {
    let (shipyard, problems) = read(GOOD.as_bytes());
    assert_eq!(problems, []);
    let shipyard = shipyard.unwrap();
    let delivery = shipyard.stage("hardening").unwrap().sequence("delivery").unwrap();
    assert_eq!(delivery.concurrency, Concurrency::Replace);
    let names: Vec<Vec<&str>> =
        delivery.steps.iter().map(|step| step.iter().map(|task| task.name.as_str()).collect()).collect();
    assert_eq!(names, [vec!["deployment"], vec!["test", "security-scan"], vec!["release"]]);
    let deployment = &delivery.steps[0][0];
    assert_eq!(deployment.finish_timeout, Some(Duration::from_secs(5_400)));
    assert_eq!((deployment.retries, deployment.retry_after), (2, Duration::from_secs(10)));
    assert_eq!(deployment.properties["deploymentstrategy"], "direct");
    assert_eq!(delivery.steps[1][0].triggered_after, Duration::from_secs(600));
    let followers: Vec<String> = shipyard
        .followers("hardening", "delivery")
        .map(|(stage, it, _)| format!("{}.{}", stage.name, it.name))
        .collect();
    assert_eq!(followers, ["hardening.rollback", "production.delivery"]);
}

#[test]
fn every_stage_has_a_sequence_called_evaluation_unless_it_defines_one() {
    let (shipyard, _) = read(GOOD.as_bytes());
    let sequence = shipyard.unwrap().stage("production").unwrap().sequence("evaluation").unwrap();
    assert_eq!(sequence.steps[0][0].name.as_str(), "evaluation");
}

#[test]
fn each_mistake_is_named_with_its_place() {
    let cases = [
        ("a: 1", "1:1: the shipyard needs `apiVersion`"),
        (
            "apiVersion: spec.keptn.sh/0.1.7\nkind: Shipyard\nmetadata: {name: x}\nspec: {stages: [{name: dev}]}",
            "write `spec.keptn.sh/0.2.3`",
        ),
        (
            "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyrd\nmetadata: {name: x}\nspec: {stages: [{name: dev}]}",
            "2:7: `kind` is `Shipyrd`",
        ),
        (
            "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {name: x}\nspec: {stages: []}",
            "needs at least one stage",
        ),
        (
            "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {name: x}\nspec: {stages: [{name: Dev.1}]}",
            "4:24: `Dev.1` is not a valid stage name",
        ),
        (
            "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {name: x}\nspec: {stages: [{name: dev}, {name: dev}]}",
            "two stages called `dev`",
        ),
    ];
    for (text, expected) in cases {
        says(text, expected);
    }
}

/// Checks that one of the problems of `text` is `expected`.
fn says(text: &str, expected: &str) {
    let problems = problems(text);
    assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}\n{expected}\n{problems:#?}");
}

#[test]
fn each_mistake_in_a_sequence_is_named_with_its_place() {
    let cases = [
        (&with_sequences("    - name: a\n      tasks: []\n"), "8:7: sequence `a` of stage `dev` has no tasks"),
        (
            &with_sequences("    - {name: a, tasks: [{name: t, triggeredAfter: soon}]}\n"),
            "8:51: `triggeredAfter`: `soon` is not a duration",
        ),
        (&with_sequences("    - {name: a, tasks: [{name: t, timeout: {start: 31d}}]}\n"), "`start` is over 30 days"),
        (
            &with_sequences("    - {name: a, tasks: [{name: t, retries: 99}]}\n"),
            "`retries` of task `t` must be a whole number from 0 to 20",
        ),
        (
            &with_sequences("    - {name: a, tasks: [{name: t, propertys: {}}]}\n"),
            "8:35: task `t` has no field `propertys`; did you mean `properties`?",
        ),
        (
            &with_sequences("    - {name: a, concurrency: all, tasks: [{name: t}]}\n"),
            "must be `queue`, `replace` or `parallel`, this is a text",
        ),
        (
            &with_sequences("    - {name: a, tasks: [{name: t}], triggeredOn: [{event: b.finished}]}\n"),
            "write `<stage>.<sequence>.finished`",
        ),
        (
            &with_sequences("    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.b.finished}]}\n"),
            "never fires: stage `dev` has no sequence `b`; did you mean `a`?",
        ),
        (
            &with_sequences(
                "    - {name: b, tasks: [{name: t}]}\n    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.b.finished, selector: {match: {x.result: fail}}}]}\n",
            ),
            "never fires: sequence `b` has no task `x`",
        ),
        (
            &with_sequences(
                "    - {name: b, tasks: [{name: t}]}\n    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.b.finished, selector: {match: {result: bad}}}]}\n",
            ),
            "`result` must be `pass`, `warning` or `fail`",
        ),
        (
            &with_sequences(
                "    - {name: b, tasks: [{name: t}]}\n    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.b.finished, selector: {match: {colour: red}}}]}\n",
            ),
            "a selector cannot match `colour`",
        ),
        (
            &with_sequences("    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.a.finished}]}\n"),
            "trigger each other for ever: dev.a → dev.a",
        ),
        (
            &with_sequences("    - {name: a, tasks: [{parallel: [{name: t}, {name: t}]}]}\n"),
            "`t` stands twice in a parallel group",
        ),
    ];
    for (text, expected) in cases {
        says(text, expected);
    }
}

#[test]
fn ten_thousand_stages_are_refused_with_the_number() {
    let stages: String = (0..10_000).map(|index| format!("  - name: s{index}\n")).collect();
    let text =
        format!("apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {{name: x}}\nspec:\n  stages:\n{stages}");
    assert_eq!(problems(&text), ["1:1: there are 10000 stages, at most 100 are allowed"]);
}

#[test]
fn a_retry_by_a_failing_sequence_that_triggers_itself_is_only_warned_of() {
    let text = with_sequences(
        "    - {name: a, tasks: [{name: t}], triggeredOn: [{event: dev.a.finished, selector: {match: {t.result: failed}}}]}\n",
    );
    let (shipyard, problems) = read(text.as_bytes());
    assert!(shipyard.is_some());
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{problems:?}");
    assert!(
        problems.iter().any(|problem| problem.message.contains("until one passes, at most 64 times")),
        "{problems:?}"
    );
}

#[test]
fn unknown_fields_refuse_a_write_but_not_a_run_as_in_keptn() {
    let text = with_sequences("    - {name: a, colour: red, tasks: [{name: t}]}\n");
    let (shipyard, problems) = read(text.as_bytes());
    assert!(shipyard.is_some() && problems[0].stops_a_write() && !problems[0].stops_a_run());
}

proptest! {
    #[test]
    fn any_change_of_one_character_is_read_or_refused(index in 0..GOOD.len(), put in "[ -~\n]") {
        let mut text = GOOD.to_owned();
        text.replace_range(index..index + 1, &put);
        let (shipyard, problems) = read(text.as_bytes());
        prop_assert_eq!(shipyard.is_none(), problems.iter().any(crate::yaml::Problem::stops_a_run));
    }
}
