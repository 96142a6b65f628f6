//! `pilothouse demo` as a person runs it: a process of its own, real Prometheus, Alertmanager, JMeter, Ansible and
//! Git, six acts.
//!
//! What the acts show is read from `--report`; that they are shown, from standard output. The guest `burglar` is the hostile
//! plugin of the fifth act.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Starts the demo with a folder for temporary files of its own.
fn demo(temporary: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse-host"));
    command.arg("demo").args(arguments).env("TMPDIR", temporary.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Lists what is left of a demo: files in its folder for temporary files, and processes that name it.
fn left_behind(temporary: &Path) -> Vec<String> {
    let files = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let name = temporary.display().to_string();
    let names_it = |id: &String| {
        let read = |file: &str| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let told = [read("cmdline"), read("environ")].concat();
        String::from_utf8_lossy(&told).contains(&name)
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let processes = processes.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())).filter(names_it);
    files.chain(processes.map(|id| format!("process {id}"))).collect()
}

fn act<'a>(report: &'a Value, name: &str) -> &'a Value {
    let acts = report["acts"].as_array().unwrap();
    &acts.iter().find(|act| act["name"] == name).unwrap_or_else(|| panic!("no act {name} in {report:#}"))["facts"]
}

/// Files came by the command line and by the API, each a commit that arrived upstream; a push moved Prometheus and the dashboard.
fn one_commit_moves_every_tool(commit: &Value) {
    let log: Vec<&str> = commit["upstream-log"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    for message in ["Create the project", "Create the service carts", "Deploy with Ansible", "Promise 600 ms"] {
        assert!(log.contains(&format!("token:admin: {message}").as_str()), "{message}: {log:?}");
    }
    assert!(log.contains(&"plugin:grafana: Dashboards generated from SLIs and SLOs"), "{log:?}");
    let told = &commit["told"];
    assert_eq!(told["commit"], commit["pushed"], "{commit}");
    assert_eq!(told["paths"][0]["path"], "services/carts/slo.yaml", "{commit}");
    let rules: Vec<&str> = commit["rules"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(rules.iter().filter(|rule| rule.ends_with(">= 300")).count(), 2, "in both stages: {rules:?}");
    assert!(!rules.iter().any(|rule| rule.ends_with(">= 600")), "{rules:?}");
    assert_eq!(commit["limits"], serde_json::json!([300.0, 300.0]), "{commit}");
}

/// What ends in a delivery that goes through both stages, in order.
const DELIVERED: [&str; 10] = [
    "hardening.deployment.pass",
    "hardening.test.pass",
    "hardening.get-sli.pass",
    "hardening.evaluation.pass",
    "hardening.approval.pass",
    "hardening.release.pass",
    "hardening.delivery.pass",
    "production.deployment.pass",
    "production.release.pass",
    "production.delivery.pass",
];

fn delivered(delivery: &Value, shown: &str) {
    assert_eq!(delivery["tasks"], serde_json::json!(DELIVERED));
    assert_eq!(delivery["versions"], serde_json::json!({ "hardening": "1.0.0", "production": "1.0.0" }));
    assert_eq!(delivery["exit"], 0);
    let test = &delivery["test"];
    assert_eq!(test["requests"], 400, "five users, forty loops, two requests each: {test}");
    assert_eq!((&test["reports"], &test["finished"]), (&1.into(), &1.into()));
    assert!(test["indicators"].as_array().unwrap().iter().all(|it| it["success"] == true), "{test}");
    assert!(test["slack"].as_str().unwrap().contains("carts in shop/hardening"), "{test}");
    assert!(shown.contains("│ ✅ Test passed: carts in shop/hardening"), "{shown}");
    assert_eq!(test["report"], "Test of carts in shop/hardening", "its report opens by the link in the event");
    assert!(shown.contains("because of #"), "{shown}");
    let criteria = delivery["evaluation"]["indicatorResults"][0]["passTargets"][0]["criteria"].as_str();
    assert_eq!(criteria, Some("<300"), "the gate has the limit that was pushed: {delivery}");
    let message = delivery["evaluation-message"].as_str().unwrap();
    assert!(message.contains("Score 100.00") && message.contains("|Open the report>"), "{message}");
    assert!(delivery["marks"].as_u64().unwrap() >= 2, "the test and the evaluation are marked in Grafana: {delivery}");
    assert!(delivery["approved-by"].to_string().contains("token:release-manager"), "{delivery}");
    // One timeline, in which a step that waits says why.
    let timeline: Vec<&str> = delivery["timeline"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let at = |text: &str| timeline.iter().position(|line| line.contains(text));
    let steps = ["deployment pass: carts 1.0.0 answers", "test pass", "people decide, by `pilothouse approval approve"];
    let steps = [&steps[..], &["release pass: carts:1.0.0 is released", "production.delivery of carts pass"]].concat();
    let places: Vec<Option<usize>> = steps.iter().map(|text| at(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{}", timeline.join("\n"));
}

/// The gate named what was slow, by how much and whose commit it was; the rest was skipped, and the version before came back.
fn stopped_and_named(slow: &Value) {
    assert_eq!(slow["skipped"], serde_json::json!(["approval", "release"]));
    let tasks = [
        "deployment.pass",
        "test.pass",
        "get-sli.pass",
        "evaluation.fail",
        "delivery.fail",
        "rollback.pass",
        "rollback.pass",
    ];
    assert_eq!(slow["tasks"], serde_json::json!(tasks.map(|task| format!("hardening.{task}"))));
    assert_eq!(slow["versions"], serde_json::json!({ "hardening": "1.0.0", "production": "1.0.0" }));
    assert_eq!((&slow["exit"], &slow["result"]), (&1.into(), &"fail".into()), "{slow}");
    let explained = slow["explained"].as_str().unwrap();
    for part in ["Response time", " → ", " %; misses <300, missed by "] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let message = slow["slack"].as_str().unwrap();
    for part in
        ["❌ Evaluation failed", explained, "version: 1.1.0-slow", "author: mia@example.com", "commit: 4f1c9a7e"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// Each attempt of the hostile plugin was denied, with the line that would grant it.
fn denied(hostile: &Value) {
    let attempts = hostile["lines"].as_array().unwrap();
    let lines = [
        "http = [\"https://example.org\"]",
        "under [connections]",
        "resources = true",
        "event-log = true",
        "keyvalue = true",
    ];
    assert_eq!(attempts.len(), lines.len(), "{attempts:?}");
    for (attempt, line) in attempts.iter().zip(lines) {
        assert!(attempt.as_str().unwrap().contains(line), "{line}: {attempt}");
    }
    assert!(hostile["forged"].as_str().unwrap().contains("evaluation.finished"), "{hostile}");
}

/// The alert led to an action, the action helped, and the report of the evaluation opened.
fn healed(heal: &Value) {
    let problem = &heal["problem"];
    assert_eq!((&problem["state"], &problem["stage"]), (&"resolved".into(), &"production".into()), "{problem}");
    assert!(problem["closed"].is_string(), "Alertmanager said so: {problem}");
    let actions = problem["actions"].as_array().unwrap();
    assert_eq!(actions.len(), 1, "{problem}");
    let of = |name: &str| actions[0][name].as_str().unwrap();
    assert_eq!((of("action"), of("result"), of("evaluation")), ("restart", "pass", "pass"), "{problem}");
    assert_eq!(heal["chosen"], "action 1 of 1 about `response_time_p95`: Restart the unit (restart)");
    assert_eq!(heal["action"], "carts-production was restarted and answers");
    assert_eq!(heal["report"], "Evaluation of carts in shop/production");
    assert!(heal["slack"].as_str().unwrap().contains("Evaluation passed: carts in shop/production"), "{heal}");
}

fn killed_in_the_middle(crash: &Value) {
    assert_eq!(crash["tasks"], serde_json::json!(DELIVERED), "each once");
    assert_eq!(crash["versions"], serde_json::json!({ "hardening": "1.2.0", "production": "1.2.0" }));
    let test = &crash["test"];
    assert_eq!((&test["finished"], &crash["jobs-finished"], &test["reports"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((&test["result"], &test["requests"]), (&"pass".into(), &400.into()), "{crash}");
    assert!(crash["requests-without-host"].as_u64().unwrap() > 0, "{crash}");
}

#[test]
fn the_demo_shows_every_act_and_leaves_nothing_behind() {
    let (temporary, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = reports.path().join("report.json");
    let output = demo(&temporary, &["--report", file.to_str().unwrap()]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{shown}\n{errors}", output.status);
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["done"], true);

    let installed = &act(&report, "start")["installed"];
    assert_eq!(installed["prometheus"]["connections"]["prometheus"], "prometheus", "{installed}");
    assert!(shown.contains("is granted job template jmeter, state between deliveries"), "{shown}");

    one_commit_moves_every_tool(act(&report, "commit"));
    delivered(act(&report, "delivery"), &shown);
    stopped_and_named(act(&report, "slow"));
    killed_in_the_middle(act(&report, "crash"));
    denied(act(&report, "hostile"));
    healed(act(&report, "heal"));
    for number in 1..=6 {
        assert!(shown.contains(&format!("\n{number}. ")), "act {number} is announced: {shown}");
    }

    assert!(shown.trim_end().ends_with(" s") && shown.contains("\ndone in "), "{shown}");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

/// Reads what the demo shows until a line has `text`.
fn read_until(child: &mut Child, text: &str) -> String {
    let mut shown = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        shown.push_str(&line);
        shown.push('\n');
        if line.contains(text) {
            return shown;
        }
    }
    panic!("the demo ended before it showed `{text}`:\n{shown}");
}

#[test]
fn a_demo_that_is_interrupted_in_the_middle_of_a_test_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&temporary, &[]).spawn().unwrap();
    read_until(&mut child, "test triggered");
    assert_ne!(left_behind(temporary.path()), Vec::<String>::new());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

#[test]
fn a_demo_without_its_programs_says_what_to_install() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(&temporary, &[]).env("PATH", temporary.path()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(9), "{errors}");
    assert!(errors.contains("apt-get install") && errors.contains("prometheus"), "{errors}");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}
