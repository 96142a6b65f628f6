//! The page of questions, `docs/questions.md`: each has one command, and each command's answer is looked at here.

use std::time::Instant;

use pilothouse_tests::git_server::{GitServer, push_file};
use pilothouse_tests::{PATIENCE, guests, plugins, root};
use serde_json::{Value, json};

use crate::program::{Program, client};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: hardening
      sequences:
        - {name: delivery, tasks: [{name: deployment}, {name: test}, {name: release}]}
        - {name: approve, tasks: [{name: approval, properties: {pass: manual}}]}
        - {name: outside, tasks: [{name: scan}]}
        - name: rollback
          triggeredOn: [{event: hardening.delivery.finished, selector: {match: {result: fail}}}]
          tasks: [{name: undo}]
    - name: production
      sequences:
        - name: delivery
          triggeredOn: [{event: hardening.delivery.finished}]
          tasks: [{name: deployment}, {name: release}]
";

/// A host with a project and somebody who executes its tasks.
struct Bench {
    host: Program,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { host: Program::start(folder.path(), &[]), folder };
        bench.install(guests().join("stagehand.wasm").to_str().unwrap(), "stagehand");
        bench.write("shipyard.yaml", SHIPYARD);
        bench.ok(&["project", "create", "podtato", "--shipyard", "shipyard.yaml"]);
        bench
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn install(&self, file: &str, name: &str) {
        self.ok(&["plugin", "install", file, "--name", name, "--yes"]);
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.host.ok(self.folder.path(), arguments)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    /// Asks the question of this number; its command must be the one of the page. Returns the answer.
    fn ask(&self, number: usize, arguments: &[&str]) -> String {
        is_on_the_page(number, arguments);
        self.ok(arguments)
    }

    /// Asks until the answer has all of these texts.
    fn answered(&self, number: usize, arguments: &[&str], parts: &[&str]) -> String {
        let begin = Instant::now();
        loop {
            let answer = self.ask(number, arguments);
            if parts.iter().all(|part| answer.contains(part)) {
                return answer;
            }
            assert!(begin.elapsed() < PATIENCE, "question {number}: {parts:?} are not all in\n{answer}");
        }
    }

    /// Triggers a sequence of the service `hello`; returns its id and its run.
    fn trigger(&self, sequence: &str, more: &[&str]) -> (String, String) {
        let place = ["--project", "podtato", "--stage", "hardening", "--service", "hello"];
        let made = self.json(&[&["sequence", "trigger", sequence], &place[..], more].concat());
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("run"))
    }

    /// Triggers a delivery and waits until all that follows has ended.
    fn delivered(&self, more: &[&str]) -> (String, String) {
        let (id, run) = self.trigger("delivery", more);
        self.until(&["sequence", "list", "--run", &run], |listed| {
            let items = listed["items"].as_array().unwrap();
            items.len() == 2 && items.iter().all(|item| item["state"] == "finished")
        });
        (id, run)
    }

    /// Asks until the answer is as it shall be; returns it.
    fn until(&self, arguments: &[&str], is_it: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let answer = self.json(arguments);
            if is_it(&answer) {
                return answer;
            }
            assert!(begin.elapsed() < PATIENCE, "{arguments:?}: {answer:#}");
        }
    }

    /// Sends an event with the token; returns the status and the answer.
    fn send(&self, event: &Value, token: &str) -> (u16, Value) {
        let request = client().post(format!("{}/v1/events", self.host.url)).bearer_auth(token);
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        })
    }

    fn admin(&self) -> String {
        self.host.token.clone().unwrap()
    }

    fn delivery(&self, id: &str, labels: &Value) -> u64 {
        let data = json!({ "project": "podtato", "stage": "hardening", "service": "hello", "labels": labels });
        let ty = "sh.keptn.event.hardening.delivery.triggered";
        let event = json!({ "specversion": "1.0", "id": id, "source": "/ci", "type": ty, "data": data });
        self.send(&event, &self.admin()).1["events"][0]["seq"].as_u64().unwrap()
    }
}

/// The rows of the page: number, question, command.
fn page() -> Vec<(usize, String, String)> {
    let text = std::fs::read_to_string(root().join("docs/questions.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = cells.get(1)?.parse().ok()?;
        Some((number, cells[2].to_owned(), cells[3].trim_matches('`').to_owned()))
    });
    rows.collect()
}

/// A word in capitals on the page stands for any word.
fn is_on_the_page(number: usize, arguments: &[&str]) {
    let (_, question, command) = page().into_iter().find(|(at, ..)| *at == number).unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let any = |word: &str| word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase());
    let same =
        words.len() == arguments.len() && words.iter().zip(arguments).all(|(page, here)| any(page) || page == here);
    assert!(same, "{number} `{question}` is answered by `{command}` on the page, and not by {arguments:?}");
}

#[test]
fn the_page_has_thirty_questions_each_with_a_test() {
    let page = page();
    assert!(page.iter().map(|(number, ..)| *number).eq(1..=30), "{page:?}");
    let tests: String = include_str!("questions.rs").split_whitespace().collect();
    for (number, question, _) in page {
        let asked = ["ask", "answered"].iter().any(|way| tests.contains(&format!("bench.{way}({number},")));
        assert!(asked, "nothing asks question {number}, `{question}`");
    }
}

#[test]
fn what_waits_says_for_what_and_for_whom() {
    let bench = Bench::new();
    let (first, _) = bench.trigger("delivery", &["--label", "test=wait"]);
    bench.answered(2, &["sequence", "why", &first], &["waits for task `test`", "`stagehand` waits", "at the latest"]);
    let (second, _) = bench.trigger("delivery", &[]);
    bench.answered(1, &["sequence", "why", &second], &["waits for its turn at podtato/hardening/hello", &first]);
    let running = bench.ask(8, &["sequence", "list", "--state", "running"]);
    assert!(running.contains(&first) && !running.contains(&second), "{running}");
    let waiting = bench.ask(9, &["sequence", "list", "--state", "waiting"]);
    assert!(waiting.contains(&second) && !waiting.contains(&first), "{waiting}");
    bench.ok(&["sequence", "pause", &second, "--reason", "until Monday"]);
    let paused = ["paused by token:admin", "until Monday", "is aborted at"];
    bench.answered(7, &["sequence", "why", &second], &paused);
    bench.ok(&["sequence", "abort", &first, "--reason", "wrong version"]);
    bench.answered(6, &["sequence", "why", &first], &["aborted by token:admin: wrong version"]);
}

#[test]
fn what_failed_says_where_and_what_followed() {
    let bench = Bench::new();
    let (failed, run) = bench.delivered(&["--label", "test=fail"]);
    let shown = bench.answered(3, &["sequence", "get", &failed], &["test fail: told to fail"]);
    let asked = bench.ask(4, &["sequence", "get", &failed]);
    assert_eq!(shown, asked);
    assert!(shown.contains("release skipped"), "{shown}");
    let followed = bench.ask(10, &["sequence", "list", "--run", &run]);
    assert!(followed.contains("rollback") && followed.contains(&failed), "{followed}");
    let again = bench.ask(11, &["sequence", "rerun", &failed, "--from-failed"]);
    assert!(again.contains("hardening.delivery of hello triggered by token:admin"), "{again}");
    bench.delivered(&[]);
    let figures =
        bench.answered(12, &["sequence", "figures", "podtato"], &["hardening.delivery", "production.delivery"]);
    assert!(figures.contains("rollback"), "{figures}");
}

#[test]
fn the_same_event_runs_once_and_two_events_are_told_apart() {
    let bench = Bench::new();
    let first = bench.delivery("build-7", &json!({}));
    assert_eq!(bench.delivery("build-7", &json!({})), first, "a repeat is absorbed");
    bench.delivery("build-7-again", &json!({}));
    let list = ["event", "list", "--type", "sh.keptn.event.hardening.delivery.triggered"];
    let answer = bench.ask(5, &list);
    let lines: Vec<&str> = answer.lines().filter(|line| line.contains("hardening.delivery.triggered")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("admin")), "{answer}");
    let became =
        ["yes  sequencer", "→ stagehand", "deployment.triggered", "release.finished", "production.delivery.finished"];
    bench.answered(20, &["event", "why", &first.to_string()], &became);
}

#[test]
fn an_approval_names_who_decides_and_who_decided() {
    let bench = Bench::new();
    bench.install(plugins().join("approval.wasm").to_str().unwrap(), "approval");
    let (id, _) = bench.trigger("approve", &[]);
    bench.answered(14, &["approval", "list"], &["hardening", "hello"]);
    bench.answered(2, &["sequence", "why", &id], &["people decide, by `pilothouse approval approve"]);
    bench.ok(&["approval", "approve", "--comment", "figures look good"]);
    bench.answered(13, &["approval", "list", "--state", "ended"], &["token:admin", "figures look good"]);
    bench.ok(&["token", "create", "ann", "--role", "approver@podtato"]);
    bench.answered(18, &["token", "list"], &["ann", "approve", "podtato"]);
}

#[test]
fn an_executor_that_never_comes_is_seen_and_a_stranger_is_refused() {
    let bench = Bench::new();
    let stranger =
        bench.json(&["token", "create", "stranger", "--right", "ingest"])["token"].as_str().unwrap().to_owned();
    bench.ok(&["executor", "register", "scanner", "--task", "scan"]);
    bench.trigger("outside", &[]);
    let listed = bench.answered(15, &["executor", "list"], &["scanner", "scan", "stagehand", "deployment"]);
    assert!(listed.contains("never"), "{listed}");
    bench.answered(16, &["executor", "list"], &["scanner", "never"]);
    let is_scan = |task: &Value| task["task"] == "scan" || task["name"] == "scan";
    let tasks = bench.until(&["task", "list"], |listed| listed["items"].as_array().unwrap().iter().any(is_scan));
    let scan = tasks["items"].as_array().unwrap().iter().find(|task| is_scan(task)).unwrap();
    let triggered = scan["id"].as_str().unwrap().to_owned();
    let answer = json!({
        "specversion": "1.0", "id": "mine", "source": "/stranger", "type": "sh.keptn.event.scan.finished",
        "triggeredid": triggered, "data": { "project": "podtato", "stage": "hardening", "service": "hello" },
    });
    assert_eq!(bench.send(&answer, &stranger).0, 403);
    bench.answered(17, &["event", "list", "--type", "dev.pilothouse.answer.refused.v1"], &["answer.refused"]);
}

#[test]
fn an_event_that_starts_nothing_and_one_that_was_given_up_say_why() {
    let bench = Bench::new();
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/ci", "type": "com.example.nothing", "data": {} });
    let seq = bench.send(&event, &bench.admin()).1["events"][0]["seq"].as_u64().unwrap().to_string();
    bench.answered(19, &["event", "why", &seq], &["no   stagehand", "Who gets event"]);
    bench.install(guests().join("fragile.wasm").to_str().unwrap(), "fragile");
    let order = json!({ "specversion": "1.0", "id": "2", "source": "/ci", "type": "com.example.order.placed.v1",
        "data": { "order": 1 } });
    bench.send(&order, &bench.admin());
    bench.answered(21, &["delivery", "list", "--state", "dead"], &["fragile"]);
    let dead = bench.json(&["delivery", "list", "--state", "dead"]);
    let id = dead["items"][0]["id"].as_str().unwrap();
    bench.answered(22, &["delivery", "get", id], &["trap", "this plugin has a mistake"]);
}

#[test]
fn a_webhook_that_was_refused_says_why() {
    let bench = Bench::new();
    let mapping = root().join("examples/inbound/github.yaml");
    bench.write("secret", "hush");
    bench.ok(&["secret", "set", "hook", "--file", "secret"]);
    let arguments = ["--mapping", mapping.to_str().unwrap(), "--verify", "github", "--secret", "hook"];
    bench.ok(&[&["inbound", "set", "github"], &arguments[..]].concat());
    let request = client().post(format!("{}/v1/inbound/github", bench.host.url)).body("{}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async { request.send().await.unwrap().status().as_u16() });
    assert!((400..500).contains(&status), "{status}");
    bench.answered(23, &["inbound", "log"], &["github", "x-hub-signature-256"]);
}

#[test]
fn the_files_of_a_project_have_a_history_and_problems() {
    let bench = Bench::new();
    let slo = |limit: u32| {
        format!(
            "spec_version: '1.0'\nobjectives: [{{sli: p95, pass: [{{criteria: ['<={limit}']}}]}}]\ntotal_score: {{pass: '90%', warning: '75%'}}\n"
        )
    };
    for (limit, reason) in [(600, "Promise 600 ms"), (300, "Promise 300 ms")] {
        bench.write("slo.yaml", &slo(limit));
        bench.ok(&["resource", "add", "podtato", "slo.yaml", "-m", reason]);
    }
    let history = bench.ask(24, &["project", "history", "podtato"]);
    assert!(history.contains("token:admin") && history.contains("Promise 300 ms"), "{history}");
    let of_file = bench.ask(25, &["project", "history", "podtato", "--path", "slo.yaml"]);
    assert!(of_file.contains("Promise 600 ms") && !of_file.contains("Create the project"), "{of_file}");
    let commits = bench.json(&["project", "history", "podtato", "--path", "slo.yaml"]);
    let earlier = commits["items"][1]["commit"].as_str().unwrap();
    let file = bench.ask(26, &["resource", "get", "podtato", "slo.yaml", "--commit", earlier]);
    assert_eq!(file, slo(600));
    let (id, _) = bench.delivered(&[]);
    let shown = bench.ok(&["sequence", "get", &id]);
    let present = commits["items"][0]["commit"].as_str().unwrap();
    assert!(shown.contains(present), "a run names its commit: {shown}");
    bench.answered(
        27,
        &["validate", "--project", "podtato"],
        &["slo.yaml:2:20: warning: no provider measures these objectives"],
    );
}

#[test]
fn an_upstream_says_how_it_is_and_a_conflict_which_files_it_is_about() {
    let bench = Bench::new();
    let server = GitServer::start(None).unwrap();
    let url = server.create("podtato").unwrap();
    bench.ok(&["project", "upstream", "set", "podtato", &url]);
    bench.answered(28, &["project", "upstream", "get", "podtato"], &["in-step"]);
    let copy = server.clone_of("podtato").unwrap();
    push_file(&copy, "a.yaml", "theirs\n", "Theirs").unwrap();
    bench.write("a.yaml", "ours\n");
    bench.ok(&["resource", "add", "podtato", "a.yaml", "-m", "Ours"]);
    bench.answered(28, &["project", "upstream", "get", "podtato"], &["conflict"]);
    bench.answered(29, &["project", "conflict", "show", "podtato"], &["a.yaml"]);
}

#[test]
fn the_doctor_looks_at_machine_configuration_and_host() {
    let bench = Bench::new();
    bench.answered(30, &["doctor"], &["host"]);
}
