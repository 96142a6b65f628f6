//! The plugin `approval` and the people who decide: who may, how many, until when, and what comes of it.

use std::time::Instant;

use pilothouse::engine::approval::{DecideError, Verdict};
use pilothouse_core::right::Actor;
use pilothouse_tests::{Host, Options, PATIENCE, check_published, data, event, plugins};
use serde_json::{Value, json};

use crate::program::{Program, run};

const FINISHED: &str = "sh.keptn.event.approval.finished";

async fn host(settings: Value) -> Host {
    let host = Host::start(Options::default()).await.unwrap();
    host.install_file(&plugins().join("approval.wasm"), "approval", "keyvalue = true", settings).await.unwrap();
    host
}

/// Asks for an approval and waits until it is open.
async fn ask(host: &Host, id: &str, approval: Value, result: &str) {
    let data = json!({ "project": "shop", "stage": "prod", "service": "cart", "result": result, "approval": approval });
    host.send(event(id, "sh.keptn.event.approval.triggered", &data).unwrap()).await.unwrap();
}

async fn said(host: &Host, text: &str) {
    let ty = "sh.keptn.event.approval.status.changed";
    host.wait_for(ty, |row| data(row)["message"].as_str().is_some_and(|said| said.contains(text))).await.unwrap();
}

async fn decide(host: &Host, id: &str, actor: &str, verdict: Verdict, comment: &str) {
    host.engine.decide(id, verdict, comment, &Actor::token(actor)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_different_people_as_the_task_says_must_approve_and_each_is_named() {
    let host = host(json!({})).await;
    ask(&host, "a1", json!({ "pass": "manual", "warning": "manual", "quorum": 2 }), "pass").await;
    // A decision that is quicker than the first delivery counts as well.
    decide(&host, "a1", "ann", Verdict::Approve, "figures look good").await;
    decide(&host, "a1", "ann", Verdict::Approve, "really").await;
    said(&host, "1 of 2 approvals, by token:ann").await;
    assert!(host.events_of(FINISHED).await.unwrap().is_empty(), "the same person counts once");
    decide(&host, "a1", "ben", Verdict::Approve, "").await;
    let end = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!((&data(&end)["result"], &data(&end)["status"]), (&json!("pass"), &json!("succeeded")));
    assert_eq!(data(&end)["message"], "approved by token:ann (\u{201c}figures look good\u{201d}), token:ben");
    assert_eq!(data(&end)["approval"]["decisions"][1]["actor"], "token:ben");
    let view = host.engine.approval("a1").await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.result.as_deref(), view.decisions.len()), ("ended", Some("pass"), 2));
    let late = host.engine.decide("a1", Verdict::Decline, "", &Actor::token("cid")).await.unwrap_err();
    assert!(late.to_string().contains("has ended already"), "{late}");
    let by_ann = |row: &pilothouse_store::EventRow| row.actor.as_str() == "token:ann";
    let decided = host.wait_for("dev.pilothouse.approval.decided.v1", by_ann).await.unwrap();
    check_published(&decided).unwrap();
    assert_eq!(data(&decided)["comment"], "figures look good");
    host.check_log().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_who_approve_at_the_same_moment_are_all_counted() {
    let host = host(json!({ "quorum": 8 })).await;
    ask(&host, "a1", json!({}), "pass").await;
    said(&host, "waiting for people").await;
    let mut people = tokio::task::JoinSet::new();
    for number in 0..8 {
        let engine = host.engine.clone();
        people.spawn(async move {
            let actor = Actor::token(&format!("p{number}"));
            engine.decide("a1", Verdict::Approve, "", &actor).await.unwrap();
        });
    }
    people.join_all().await;
    let end = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!(data(&end)["approval"]["decisions"].as_array().unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_who_declines_fails_the_task() {
    let host = host(json!({ "quorum": 3 })).await;
    ask(&host, "a1", json!({}), "").await;
    decide(&host, "a1", "ann", Verdict::Approve, "").await;
    decide(&host, "a1", "ben", Verdict::Decline, "not on a Friday").await;
    let end = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!((&data(&end)["result"], &data(&end)["status"]), (&json!("fail"), &json!("succeeded")));
    assert_eq!(data(&end)["message"], "declined by token:ben (\u{201c}not on a Friday\u{201d})");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_the_shipyard_says_automatic_and_nobody_approves_a_failure() {
    let host = host(json!({})).await;
    let both = json!({ "pass": "automatic", "warning": "automatic" });
    for (id, result, expected) in [("a1", "pass", "pass"), ("a2", "warning", "pass"), ("a3", "fail", "fail")] {
        ask(&host, id, both.clone(), result).await;
        let of_it = |row: &pilothouse_store::EventRow| row.triggered_id.as_deref() == Some(id);
        let end = host.wait_for(FINISHED, of_it).await.unwrap();
        assert_eq!(data(&end)["result"], expected, "{id}");
    }
    ask(&host, "a4", json!({ "pass": "sometimes" }), "pass").await;
    let end = host.wait_for(FINISHED, |row| row.triggered_id.as_deref() == Some("a4")).await.unwrap();
    assert_eq!(data(&end)["status"], "errored");
    assert!(data(&end)["message"].as_str().unwrap().contains("`sometimes`"));
    host.check_log().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_reminded_and_a_request_that_nobody_ends_expires() {
    let host = host(json!({})).await;
    ask(&host, "a1", json!({ "quorum": 2, "expires": "3s", "reminder": "1s" }), "pass").await;
    said(&host, "waiting for people to decide").await;
    decide(&host, "a1", "ann", Verdict::Approve, "").await;
    said(&host, "still waiting for people to decide: 1 of 2 approvals, by token:ann").await;
    let end = host.wait_for(FINISHED, |_| true).await.unwrap();
    assert_eq!(data(&end)["message"], "expired: 1 of 2 approvals, by token:ann");
    assert_eq!(data(&end)["result"], "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_decide_about_other_tasks_and_strangers_of_ids() {
    let host = host(json!({})).await;
    host.install("stagehand", "", json!({})).await.unwrap();
    let labels = json!({ "project": "shop", "labels": { "deployment": "wait" } });
    host.send(event("d1", "sh.keptn.event.deployment.triggered", &labels).unwrap()).await.unwrap();
    for id in ["d1", "nowhere"] {
        let error = host.engine.decide(id, Verdict::Approve, "", &Actor::token("ann")).await.unwrap_err();
        assert!(matches!(error, DecideError::NotFound(_)), "{id}: {error}");
    }
}

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: shop}
spec:
  stages:
    - name: prod
      sequences:
        - name: delivery
          tasks: [{name: approval, properties: {pass: manual, warning: manual, quorum: 2}}]
";

const TRIGGER: [&str; 9] =
    ["sequence", "trigger", "delivery", "--project", "shop", "--stage", "prod", "--service", "cart"];

/// The program with a project, the plugin installed, and a token per person.
struct Bench {
    host: Program,
    folder: tempfile::TempDir,
    admin: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Program::start(folder.path(), &[]);
        let admin = host.token.clone().unwrap();
        let bench = Self { host, folder, admin };
        let write = |name: &str, text: &str| std::fs::write(bench.folder.path().join(name), text).unwrap();
        write("shipyard.yaml", SHIPYARD);
        write("grants.toml", "keyvalue = true\n");
        let plugin = plugins().join("approval.wasm");
        bench.ok(&["project", "create", "shop", "--shipyard", "shipyard.yaml"]);
        bench.ok(&["service", "create", "shop", "cart"]);
        bench.ok(&["plugin", "install", plugin.to_str().unwrap(), "--grants", "grants.toml", "--yes"]);
        bench
    }

    fn with(&self, token: &str, arguments: &[&str]) -> (i32, String, String) {
        let environment = [("PILOTHOUSE_URL", self.host.url.as_str()), ("PILOTHOUSE_TOKEN", token)];
        run(self.folder.path(), arguments, &environment)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.with(&self.admin, arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    fn token(&self, name: &str, roles: &[&str]) -> String {
        let mut arguments = vec!["token", "create", name];
        roles.iter().for_each(|role| arguments.extend(["--role", *role]));
        self.ok(&arguments).trim().to_owned()
    }

    fn open(&self) -> Vec<Value> {
        let listed: Value = serde_json::from_str(&self.ok(&["approval", "list", "--output", "json"])).unwrap();
        listed["items"].as_array().unwrap().clone()
    }
}

#[test]
fn approvers_of_the_project_decide_by_command_and_nobody_else_does() {
    let bench = Bench::new();
    let ann = bench.token("ann", &["approver@shop"]);
    let ben = bench.token("ben", &["viewer", "approver@shop"]);
    let cid = bench.token("cid", &["approver@other"]);
    let ops = bench.token("ops", &["operator"]);
    let (code, _, err) = bench.with(&ann, &TRIGGER);
    assert!(code == 5 && err.contains("`ingest`"), "an approver triggers nothing: {code} {err}");
    let (code, _, err) = bench.with(&ops, &TRIGGER);
    assert_eq!(code, 0, "{err}");
    let begin = Instant::now();
    while bench.open().is_empty() {
        assert!(begin.elapsed() < PATIENCE, "nobody is asked");
    }
    let id = bench.open()[0]["id"].as_str().unwrap().to_owned();
    for (token, why) in [(&ops, "the right `approve`"), (&cid, "there is no approval")] {
        let (code, _, err) = bench.with(token, &["approval", "approve", &id]);
        assert!(code == 5 && err.contains(why), "{code} {err}");
    }
    let (code, out, err) = bench.with(&ann, &["approval", "approve", "--comment", "go"]);
    assert!(code == 0 && out.contains("still open: 1 of 2 approvals, by token:ann"), "{code} {out}{err}");
    let table = bench.ok(&["approval", "list", "--project", "shop"]);
    assert!(table.contains("token:ann approve"), "{table}");
    let (code, out, err) = bench.with(&ben, &["approval", "approve", &id]);
    assert!(code == 0 && out.contains("ended: approved by token:ann"), "{code} {out}{err}");
    let (code, _, err) = bench.with(&ben, &["approval", "decline", &id]);
    assert!(code == 5 && err.contains("has ended already"), "{code} {err}");
    let (code, _, err) = bench.with(&ben, &["approval", "approve"]);
    assert!(code == 1 && err.contains("nothing there waits"), "{code} {err}");
    assert!(bench.ok(&["token", "list"]).contains("viewer, approver@shop"));
}
