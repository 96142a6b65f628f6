//! The plugin `job` with a real Ansible: what a project's `jobs.yaml` says is run, and what came of it is the task's answer.

use pilothouse::git::Change;
use pilothouse::project::Cause;
use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::FilePath;
use pilothouse_core::right::Actor;
use pilothouse_tests::{Host, Options, data, event, plugins};
use serde_json::{Value, json};

use crate::program;

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}]}]
";

const JOBS: &str = "apiVersion: pilothouse.dev/v1
kind: Jobs
tasks:
  deployment:
    job: ansible
    parameters:
      version: { pointer: /configurationChange/values/image, default: none }
    files: [playbook.yaml, roles/]
    event: event.json
    result: result.json
    artifacts: [deployed.txt]
  broken: { job: ansible, parameters: { version: 'no good' }, files: [playbook.yaml] }
  nowhere: { job: missing }
";

const PLAYBOOK: &str = "- hosts: all
  gather_facts: false
  vars_files: [event.json]
  tasks:
    - fail: { msg: 'this version cannot be deployed' }
      when: version == 'v-bad'
    - copy: { dest: '{{ playbook_dir }}/deployed.txt', content: '{{ service }} {{ version }} {{ lookup(\"file\", \"roles/greeting.txt\") }}' }
    - copy:
        dest: '{{ playbook_dir }}/result.json'
        content: '{{ {\"message\": \"deployed \" ~ version, \"deploymentURIsPublic\": [\"http://127.0.0.1/\"], \"labels\": {\"version\": version}} | to_json }}'
";

/// The operator's template: a playbook on this very machine.
const TEMPLATE: &str = r#"
program = "ansible-playbook"
arguments = ["--inventory", "localhost,", "--connection", "local", "--extra-vars", "version={version}", "playbook.yaml"]
artifacts = ["result.json", "deployed.txt"]

[environment]
ANSIBLE_LOCAL_TEMP = "{scratch}/tmp"
ANSIBLE_NOCOLOR = "1"

[parameters.version]
pattern = "[a-z0-9.-]+"
required = true

[files]
pattern = "[a-z./]+"

[limits]
timeout = "5m"
"#;

const GRANTS: &str = "keyvalue = true\nresources = true\njobs = { ansible = \"ansible\" }\n[tasks.deployment]\n[tasks.broken]\n[tasks.nowhere]\n[tasks.unnamed]\n";

async fn host() -> Host {
    let options = Options {
        supervisor: Some(program::path()),
        jobs: [("ansible".to_owned(), TEMPLATE.to_owned())].into(),
        ..Options::default()
    };
    let host = Host::start(options).await.unwrap();
    host.install_file(&plugins().join("job.wasm"), "job", GRANTS, json!({})).await.unwrap();
    host.create_project("podtato", SHIPYARD).await.unwrap();
    let file =
        |path: &str, text: &str| Change { path: FilePath::new(path).unwrap(), content: Some(text.as_bytes().to_vec()) };
    let changes = vec![
        file("jobs.yaml", JOBS),
        file("playbook.yaml", "this one is not the nearest"),
        file("services/hello/playbook.yaml", PLAYBOOK),
        file("roles/greeting.txt", "greets"),
    ];
    let cause = Cause { actor: Actor::token("test"), message: "Files".to_owned(), origin: "api" };
    host.projects.write(&ProjectName::new("podtato").unwrap(), changes, None, &cause).await.unwrap();
    host
}

fn task(id: &str, name: &str, image: &str) -> pilothouse_core::Event {
    let data = json!({
        "project": "podtato", "stage": "dev", "service": "hello",
        "configurationChange": { "values": { "image": image } },
    });
    event(id, &format!("sh.keptn.event.{name}.triggered"), &data).unwrap()
}

async fn answer(host: &Host, name: &str) -> Value {
    let ty = format!("sh.keptn.event.{name}.finished");
    data(&host.wait_for(&ty, |_| true).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_deploys_the_version_of_the_event_and_its_result_is_the_answer() {
    let host = host().await;
    let data = json!({
        "project": "podtato", "stage": "dev", "service": "hello",
        "configurationChange": { "values": { "image": "v2.1" } },
    });
    host.send(event("s1", "sh.keptn.event.dev.delivery.triggered", &data).unwrap()).await.unwrap();
    let answer = answer(&host, "deployment").await;
    assert_eq!((&answer["result"], &answer["message"]), (&json!("pass"), &json!("deployed v2.1")), "{answer:#}");
    let deployment = &answer["deployment"];
    assert_eq!(deployment["job"]["files"]["deployed.txt"], "hello v2.1 greets", "the nearest files were given");
    assert!(deployment["job"]["log"].as_str().unwrap().contains("ok="), "{answer:#}");
    assert_eq!(deployment["deploymentURIsPublic"], json!(["http://127.0.0.1/"]));
    assert_eq!(answer["labels"]["version"], "v2.1");
    host.wait_for("sh.keptn.event.dev.delivery.finished", |_| true).await.unwrap();
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_that_fails_makes_its_task_errored_with_its_last_words() {
    let host = host().await;
    host.send(task("t1", "deployment", "v-bad")).await.unwrap();
    let answer = answer(&host, "deployment").await;
    assert_eq!((&answer["result"], &answer["status"]), (&json!("fail"), &json!("errored")), "{answer:#}");
    assert!(answer["message"].as_str().unwrap().contains("the job ended with exit code 2"), "{answer:#}");
    assert!(
        answer["deployment"]["job"]["log"].as_str().unwrap().contains("this version cannot be deployed"),
        "{answer:#}"
    );
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_projects_file_or_the_grants_is_the_answer() {
    let host = host().await;
    for (name, says) in [
        ("broken", "version"),
        ("nowhere", "job template `missing`"),
        ("unnamed", "`jobs.yaml` says nothing about the task `unnamed`"),
    ] {
        host.send(task(name, name, "v1")).await.unwrap();
        let answer = answer(&host, name).await;
        assert_eq!(answer["status"], "errored", "{answer:#}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{name}: {answer:#}");
    }
    host.send(event("t9", "sh.keptn.event.deployment.triggered", &json!({"project": "elsewhere"})).unwrap())
        .await
        .unwrap();
    let answer = answer(&host, "deployment").await;
    assert!(answer["message"].as_str().unwrap().contains("there is no project `elsewhere`"), "{answer:#}");
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_executors_of_a_task_exactly_the_meant_one_is_bound() {
    let host = Host::start(Options::default()).await.unwrap();
    let install = |name: &'static str, task: &'static str, pointer: &'static str, value: &'static str| {
        let grants =
            format!("keyvalue = true\nresources = true\n[tasks.{task}]\nmatch = {{ {pointer:?} = [{value:?}] }}\n");
        let host = &host;
        async move { host.install_file(&plugins().join("job.wasm"), name, &grants, json!({})).await.unwrap() }
    };
    for provider in ["prometheus", "dynatrace"] {
        install(if provider == "prometheus" { "sli-a" } else { "sli-b" }, "get-sli", "/get-sli/sliProvider", provider)
            .await;
    }
    for (name, action) in [("scaler", "scale"), ("toggler", "toggle"), ("restarter", "restart")] {
        install(name, "action", "/action/action", action).await;
    }
    for (id, ty, asked, bound) in [
        ("t1", "get-sli", json!({"get-sli": {"sliProvider": "dynatrace"}}), "sli-b"),
        ("t2", "get-sli", json!({"get-sli": {"sliProvider": "prometheus"}}), "sli-a"),
        ("t3", "action", json!({"action": {"action": "toggle"}}), "toggler"),
        ("t4", "action", json!({"action": {"action": "restart"}}), "restarter"),
    ] {
        host.send(event(id, &format!("sh.keptn.event.{ty}.triggered"), &asked).unwrap()).await.unwrap();
        let view = host.engine.task(id).await.unwrap().unwrap();
        assert_eq!(view.executors.keys().collect::<Vec<_>>(), [bound], "{id}");
    }
    host.send(event("t5", "sh.keptn.event.action.triggered", &json!({"action": {"action": "other"}})).unwrap())
        .await
        .unwrap();
    let view = host.engine.task("t5").await.unwrap().unwrap();
    assert!(view.reason.contains("no executor"), "{}", view.reason);
}
