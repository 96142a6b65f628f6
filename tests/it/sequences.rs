//! Sequences from end to end: a real project, a real plugin in its sandbox, the program as a process.

use std::time::Instant;

use pilothouse_tests::{Host, Options, PATIENCE, check_published, data, event, extension};
use serde_json::{Value, json};

use crate::program::{Program, run};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: hardening
      sequences:
        - {name: delivery, tasks: [{name: deployment}, {name: test}, {name: release}]}
        - name: rollback
          triggeredOn: [{event: hardening.delivery.finished, selector: {match: {result: fail}}}]
          tasks: [{name: undo}]
        - {name: unknown, tasks: [{name: nobody-does-this}]}
    - name: production
      sequences:
        - name: delivery
          triggeredOn: [{event: hardening.delivery.finished}]
          tasks: [{name: deployment}, {name: release}]
";

async fn host() -> Host {
    let host = Host::start(Options::default()).await.unwrap();
    host.install("stagehand", "", json!({})).await.unwrap();
    host.create_project("podtato", SHIPYARD).await.unwrap();
    host
}

fn trigger(id: &str, sequence: &str, labels: Value) -> pilothouse_core::Event {
    let stage = sequence.split('.').next().unwrap();
    let data = json!({ "project": "podtato", "stage": stage, "service": "hello", "labels": labels });
    event(id, &format!("sh.keptn.event.{sequence}.triggered"), &data).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_carried_through_the_stages_in_one_run_and_at_one_commit() {
    let host = host().await;
    let accepted = host.send(trigger("t1", "hardening.delivery", json!({}))).await.unwrap();
    assert_eq!(accepted.deliveries, 1, "the sequencer takes it");
    let run = accepted.run.unwrap();
    let end = host.wait_for("sh.keptn.event.production.delivery.finished", |_| true).await.unwrap();
    assert_eq!((&data(&end)["result"], extension(&end, "shkeptncontext")), (&json!("pass"), Some(run.clone())));
    let commit = extension(&end, "gitcommitid").unwrap();
    let first = host.wait_for("sh.keptn.event.hardening.delivery.finished", |_| true).await.unwrap();
    assert_eq!(extension(&first, "triggeredid").as_deref(), Some("t1"));
    for ty in ["deployment", "test", "release"] {
        for row in host.events_of(&format!("sh.keptn.event.{ty}.triggered")).await.unwrap() {
            assert_eq!(extension(&row, "gitcommitid").as_deref(), Some(commit.as_str()), "{ty}");
            assert_eq!(row.run.as_deref(), Some(run.as_str()), "{ty}");
            assert_eq!(extension(&row, "triggeredid"), None, "{ty}");
        }
    }
    let release = &host.events_of("sh.keptn.event.release.triggered").await.unwrap()[0];
    assert_eq!(data(release)["deployment"]["by"], "stagehand", "what came before is passed on");
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_run_skips_the_rest_and_fires_the_rollback() {
    let host = host().await;
    host.send(trigger("t1", "hardening.delivery", json!({ "test": "fail" }))).await.unwrap();
    let end = host.wait_for("sh.keptn.event.hardening.rollback.finished", |_| true).await.unwrap();
    assert_eq!(data(&end)["result"], "pass");
    let failed = host.wait_for("sh.keptn.event.hardening.delivery.finished", |_| true).await.unwrap();
    assert_eq!((&data(&failed)["result"], &data(&failed)["message"]), (&json!("fail"), &json!("told to fail")));
    for ty in ["sh.keptn.event.release.triggered", "sh.keptn.event.production.delivery.triggered"] {
        assert!(host.events_of(ty).await.unwrap().is_empty(), "{ty}");
    }
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_an_executor_ends_its_sequence_at_once_and_says_who_is_missing() {
    let host = host().await;
    host.send(trigger("t1", "hardening.unknown", json!({}))).await.unwrap();
    let end = host.wait_for("sh.keptn.event.hardening.unknown.finished", |_| true).await.unwrap();
    assert_eq!(data(&end)["status"], "errored");
    let message = data(&end)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no installation that executes `nobody-does-this`"), "{message}");
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_cancels_the_task_at_work_says_so_and_lets_the_next_begin() {
    use pilothouse_core::right::Actor;
    use pilothouse_core::sequence::{Command, execution_id};
    let host = host().await;
    let id = execution_id("/test", "t1");
    host.send(trigger("t1", "hardening.delivery", json!({ "deployment": "wait" }))).await.unwrap();
    host.wait_for("sh.keptn.event.deployment.started", |_| true).await.unwrap();
    host.send(trigger("t2", "hardening.delivery", json!({}))).await.unwrap();
    let waiting = execution_id("/test", "t2");
    let why = loop {
        match host.engine.sequence(waiting).await.unwrap() {
            Some(view) => break view.reasons,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(why[0].contains("waits for its turn at podtato/hardening/hello before task `deployment`"), "{why:?}");
    assert!(why[0].contains(&id.to_string()), "who is in the way is named: {why:?}");
    host.engine.order(id, Command::Abort, &Actor::token("ann"), "wrong version").await.unwrap();
    let view = host.engine.sequence(id).await.unwrap().unwrap();
    assert_eq!((view.summary.state.as_str(), view.status.as_deref()), ("aborted", Some("aborted")));
    assert!(view.reasons[0].contains("aborted by token:ann: wrong version"), "{:?}", view.reasons);
    let cancelled = host.wait_for("dev.pilothouse.task.cancelled.v1", |_| true).await.unwrap();
    check_published(&cancelled).unwrap();
    let ordered = host.wait_for("dev.pilothouse.sequence.ordered.v1", |_| true).await.unwrap();
    check_published(&ordered).unwrap();
    let finished = host.wait_for("sh.keptn.event.deployment.finished", |_| true).await.unwrap();
    assert_eq!(data(&finished)["status"], "aborted");
    host.wait_for("sh.keptn.event.production.delivery.finished", |_| true).await.unwrap();
    let error = host.engine.order(id, Command::Pause, &Actor::token("ann"), "").await.unwrap_err();
    assert!(error.to_string().contains("`hardening.delivery` has ended already"), "{error}");
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sequence_triggers_nothing_until_it_is_resumed() {
    use pilothouse_core::right::Actor;
    use pilothouse_core::sequence::{Command, execution_id};
    let host = host().await;
    let id = execution_id("/test", "t1");
    host.send(trigger("t1", "hardening.delivery", json!({ "deployment": "slow" }))).await.unwrap();
    host.wait_for("sh.keptn.event.deployment.triggered", |_| true).await.unwrap();
    host.engine.order(id, Command::Pause, &Actor::token("ann"), "a look").await.unwrap();
    host.wait_for("sh.keptn.event.deployment.finished", |_| true).await.unwrap();
    // Another sequence of the same service goes through meanwhile, so the end above has long been decided about.
    host.send(trigger("t2", "hardening.unknown", json!({}))).await.unwrap();
    host.wait_for("sh.keptn.event.hardening.unknown.finished", |_| true).await.unwrap();
    assert!(host.events_of("sh.keptn.event.test.triggered").await.unwrap().is_empty());
    host.engine.order(id, Command::Resume, &Actor::token("ann"), "").await.unwrap();
    host.wait_for("sh.keptn.event.production.delivery.finished", |_| true).await.unwrap();
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_projects_sequences_end_and_its_successor_starts_afresh() {
    use pilothouse_core::name::ProjectName;
    use pilothouse_core::right::Actor;
    use pilothouse_core::sequence::execution_id;
    let host = host().await;
    for (id, mode) in [("t1", "wait"), ("t2", "pass")] {
        host.send(trigger(id, "hardening.delivery", json!({ "deployment": mode }))).await.unwrap();
    }
    host.wait_for("sh.keptn.event.deployment.started", |_| true).await.unwrap();
    host.projects.delete(&ProjectName::new("podtato").unwrap(), &Actor::token("ann")).await.unwrap();
    for _ in 0..2 {
        host.wait_for("sh.keptn.event.hardening.delivery.finished", |row| data(row)["status"] == "aborted")
            .await
            .unwrap();
    }
    host.create_project("podtato", SHIPYARD).await.unwrap();
    host.send(trigger("t3", "hardening.delivery", json!({}))).await.unwrap();
    host.wait_for("sh.keptn.event.production.delivery.finished", |_| true).await.unwrap();
    let queued = host.engine.sequence(execution_id("/test", "t2")).await.unwrap().unwrap();
    assert_eq!(queued.summary.state, "aborted");
    assert!(host.check_log().await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_a_project_count_what_ran() {
    use pilothouse_core::time::Timestamp;
    let host = host().await;
    for (id, mode) in [("t1", "fail"), ("t2", "pass")] {
        host.send(trigger(id, "hardening.delivery", json!({ "test": mode }))).await.unwrap();
    }
    host.wait_for("sh.keptn.event.production.delivery.finished", |_| true).await.unwrap();
    let (since, until) = (Timestamp::from_millis(0), host.engine.now().after(PATIENCE));
    let figures = host.engine.figures("podtato", since, until).await.unwrap();
    let hardening = &figures.sequences["hardening.delivery"];
    assert_eq!((hardening.triggered, hardening.passed, hardening.failed), (2, 1, 1));
    assert_eq!(hardening.failure_rate, Some(0.5));
    assert!(hardening.time_to_restore_median.is_some() && hardening.lead_time_median.is_some(), "{hardening:?}");
    assert_eq!(figures.sequences["hardening.rollback"].passed, 1);
    assert!(host.check_log().await.unwrap() > 0);
}

/// The program as a process, with the plugin `stagehand` and the project.
struct Bench {
    host: Program,
    folder: tempfile::TempDir,
    token: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Program::start(folder.path(), &[]);
        let bench = Self { token: host.token.clone().unwrap(), host, folder };
        std::fs::write(bench.folder.path().join("shipyard.yaml"), SHIPYARD).unwrap();
        let guest = pilothouse_tests::guests().join("stagehand.wasm");
        bench.ok(&["plugin", "install", guest.to_str().unwrap(), "--name", "stagehand", "--yes"]);
        bench.ok(&["project", "create", "podtato", "--shipyard", "shipyard.yaml"]);
        bench
    }

    fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let environment = [("PILOTHOUSE_URL", self.host.url.as_str()), ("PILOTHOUSE_TOKEN", self.token.as_str())];
        run(self.folder.path(), arguments, &environment)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.cli(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}\n{}", self.host.said());
        out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    fn trigger(&self, more: &[&str]) -> (i32, String, String) {
        let arguments = ["sequence", "trigger", "delivery", "--project", "podtato", "--stage", "hardening"];
        self.cli(&[&arguments, &["--service", "hello"][..], more].concat())
    }

    /// Waits until there are `count` sequences in this state.
    fn until(&self, state: &str, count: usize) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            let listed = self.json(&["sequence", "list", "--state", state, "--limit", "500"]);
            let items = listed["items"].as_array().unwrap().clone();
            if items.len() >= count {
                return items;
            }
            assert!(begin.elapsed() < PATIENCE, "{} are {state}, not {count}\n{}", items.len(), self.host.said());
        }
    }
}

#[test]
fn a_pipeline_can_gate_on_the_result_of_a_sequence() {
    let bench = Bench::new();
    for (more, code, says) in [
        (&["--label", "test=warning", "--follow"][..], 0, ""),
        (&["--label", "release=warning"], 3, "ended with a warning"),
        (&["--label", "test=fail", "--follow"], 1, "hardening.delivery of hello failed"),
        (&["--label", "test=wait", "--timeout", "1ms"], 4, "in time; it goes on"),
        (&["--stage", "hardning"], 2, "did you mean `hardening`?"),
    ] {
        let (got, out, err) = if more[0] == "--stage" {
            bench.cli(&[
                "sequence",
                "trigger",
                "delivery",
                "--project",
                "podtato",
                "--stage",
                more[1],
                "--service",
                "hello",
                "--wait",
            ])
        } else {
            bench.trigger(&[more, &["--wait"]].concat())
        };
        assert_eq!(got, code, "{more:?}: {out}{err}");
        assert!(err.contains(says), "{more:?}: {out}{err}");
    }
    let open = bench.until("running", 1);
    let id = open[0]["id"].as_str().unwrap();
    bench.ok(&["sequence", "abort", id, "--reason", "enough"]);
    let (_, out, _) = bench.trigger(&["--watch", "--label", "build=7"]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("hardening.delivery of hello triggered by token:admin"), "{out}");
    assert!(lines.iter().any(|line| line.contains("test pass: done")), "{out}");
    assert!(lines.last().unwrap().contains("hardening.delivery of hello pass (succeeded)"), "{out}");
    let shown = bench.ok(&["sequence", "get", id]);
    assert!(shown.contains("aborted by token:admin: enough") && shown.contains("release skipped"), "{shown}");
    let figures = bench.ok(&["sequence", "figures", "podtato"]);
    assert!(figures.contains("hardening.delivery"), "{figures}");
    let again = bench.json(&["sequence", "rerun", id]);
    assert_eq!(again["rerun-of"], id);
    let (code, _, err) = bench.cli(&["sequence", "pause", "no-such-sequence"]);
    assert!(code == 5 && err.contains("there is no such sequence"), "{code} {err}");
}

#[test]
fn a_host_that_is_killed_again_and_again_ends_every_sequence_as_it_would_have_ended() {
    let mut bench = Bench::new();
    let sequences = crate::program::count_from("PILOTHOUSE_CRASH_SEQUENCES", 20);
    for index in 0..sequences {
        let mode = ["pass", "fail", "slow", "warning"][index % 4];
        let service = format!("s{index}");
        let label = format!("test={mode}");
        let arguments = ["sequence", "trigger", "delivery", "--project", "podtato", "--stage", "hardening"];
        let (code, _, err) = bench.cli(&[&arguments, &["--service", &service, "--label", &label][..]].concat());
        assert_eq!(code, 0, "{err}");
        if index % 5 == 4 {
            bench.host.kill();
            bench.host = Program::start(bench.folder.path(), &[]);
        }
    }
    // Each run has one more sequence: the rollback, or the next stage.
    let ended = bench.until("finished", 2 * sequences);
    assert_eq!(ended.len(), 2 * sequences);
    for index in 0..sequences {
        let failing = index % 4 == 1;
        let of_service: Vec<&Value> = ended.iter().filter(|it| it["service"] == format!("s{index}")).collect();
        let name = |it: &&&Value| format!("{}.{}", it["stage"].as_str().unwrap(), it["sequence"].as_str().unwrap());
        let mut names: Vec<String> = of_service.iter().map(|it| name(&it)).collect();
        names.sort();
        let follows = if failing { "hardening.rollback" } else { "production.delivery" };
        assert_eq!(names, ["hardening.delivery", follows], "s{index}");
        let first = of_service.iter().find(|it| name(it) == "hardening.delivery").unwrap();
        assert_eq!(first["result"], if failing { "fail" } else { "pass" }, "s{index}");
    }
}
