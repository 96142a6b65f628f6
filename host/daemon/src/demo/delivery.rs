//! The acts in which a version is delivered: one goes through both stages, a slow one is stopped and taken back, and one is
//! under way when the host is killed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Ended, Watch, run, show, watch};
use super::error::DemoError;
use super::follow::Seen;
use super::project::{NAME, SERVICE};
use super::release_bot;
use super::report::{Shown, seconds};
use super::sample_service::SLOW;
use super::stage::{Stage, wait};
use super::story::{self, TEST_SECONDS_MAX, count};

/// Who approves: the holder of this token.
const APPROVER: &str = "release-manager";
/// What a test's trigger is.
const TEST: &str = "sh.keptn.event.test.triggered";
/// Requests of a test after which it is in its middle: early enough that most of it is still to come.
const MIDDLE_REQUESTS: u64 = 40;
/// Requests that JMeter must send while there is no host.
const ORPHANED_REQUESTS: u64 = 20;

/// A delivery under way.
struct Delivery {
    watch: Watch,
    /// The run, of both stages.
    run: String,
    /// The sequence in the first stage.
    id: String,
    /// Position of its trigger.
    seq: u64,
}

/// Delivers a version through both stages: Ansible deploys, JMeter tests, a person approves, an outside executor releases.
pub(super) async fn delivery(stage: &mut Stage) -> Result<Shown, DemoError> {
    let admin = stage.admin().to_owned();
    let bot = token(stage, &["token", "create", release_bot::NAME, "--right", "ingest"]).await?;
    let role = format!("approver@{NAME}");
    let approver = token(stage, &["token", "create", APPROVER, "--role", &role]).await?;
    let register = ["executor", "register", release_bot::NAME, "--task", "release", "--for-token", release_bot::NAME];
    run(stage, &admin, &register).await?;
    stage.start_release_bot(&bot)?;
    stage.approver = approver;

    let delivery = trigger(stage, "1.0.0", &[]).await?;
    let comment = "p95 is well below 300 ms";
    approve(stage, &delivery, comment).await?;
    let (ended, run) = end(stage, delivery).await?;
    must_end(&ended, 0)?;
    let test = stage.log.of_run(&run).into_iter().find(|seen| seen.text("type") == TEST);
    let test = test.ok_or_else(|| DemoError::Wrong("there was no test".to_owned()))?;
    let report = story::follow_test(stage, test.text("id"), Some(test.seq)).await?;
    let judged = finished(stage, &run, "evaluation").await?;
    let message = story::message_about(stage, &judged, "Evaluation passed").await?;
    let approval = finished(stage, &run, "approval").await?;
    Ok(Shown {
        summary:
            "Ansible deployed, JMeter tested, the gate passed, a person approved, a bot released, production followed"
                .to_owned(),
        facts: json!({
            "tasks": tasks(stage, &run), "test": report, "evaluation": judged.event.pointer("/data/evaluation"),
            "evaluation-message": message,
            "gate-to-slack-seconds": story::slack_after(stage, &judged, "Evaluation passed"), "marks": stage.grafana.marks(), "approved-by": approval.event.pointer("/data/approval"),
            "versions": versions(stage).await, "exit": ended.code, "timeline": ended.lines,
        }),
    })
}

/// Who made the slow commit, and which it is.
const AUTHOR: &str = "mia@example.com";
const COMMIT: &str = "4f1c9a7e0d2b8c6a5e3f1d0b9a8c7e6f5d4b3a21";

/// Delivers a version that is slow: the gate fails and names objective, difference, version, commit and author; the rest is
/// skipped, and the rollback sequence fires.
pub(super) async fn slow(stage: &mut Stage) -> Result<Shown, DemoError> {
    let (commit, author) = (format!("commit={COMMIT}"), format!("author={AUTHOR}"));
    let delivery = trigger(stage, &format!("1.1.0{SLOW}"), &["--label", &commit, "--label", &author]).await?;
    let id = delivery.id.clone();
    let (ended, run) = end(stage, delivery).await?;
    must_end(&ended, 1)?;
    let sequence = stage.api()?.get(&format!("/v1/sequences/{id}")).await?;
    let steps = sequence.get("steps").and_then(Value::as_array).into_iter().flatten();
    let tasks_of = steps.flat_map(|step| step.get("tasks").and_then(Value::as_array).into_iter().flatten());
    let skipped = tasks_of.filter(|task| task.get("state") == Some(&json!("skipped")));
    let skipped: Vec<&str> = skipped.filter_map(|task| task.get("name")?.as_str()).collect();
    stage.printer.note(&format!("skipped: {}", skipped.join(", ")));
    let judged = finished(stage, &run, "evaluation").await?;
    let message = story::message_about(stage, &judged, "Evaluation failed").await?;
    let explained = judged.text("/data/evaluation/indicatorResults/0/explanation").to_owned();
    Ok(Shown {
        summary: format!("the gate stopped it: {explained}; Ansible took the version back"),
        facts: json!({
            "result": judged.text("/data/result"), "reason": judged.text("/data/message"), "explained": explained,
            "skipped": skipped, "tasks": tasks(stage, &run), "versions": versions(stage).await, "exit": ended.code,
            "slack": message, "labels": judged.event.pointer("/data/labels"),
        }),
    })
}

/// Kills the host in the middle of a delivery, starts it again, and waits until both stages have ended once.
pub(super) async fn crash(stage: &mut Stage) -> Result<Shown, DemoError> {
    let delivery = trigger(stage, "1.2.0", &[]).await?;
    let in_run = |seen: &Seen, ty: &str| seen.run.as_deref() == Some(&delivery.run) && seen.text("type") == ty;
    let is_started = |seen: &Seen| in_run(seen, "sh.keptn.event.test.started");
    stage.wait_for(wait("test.started", 120, Some(delivery.seq)), is_started).await?;
    more_requests(stage, "JMeter to be in the middle of the test", MIDDLE_REQUESTS, Some(delivery.seq)).await?;

    let process = stage.kill_host().await?;
    let killed = Instant::now();
    let at_kill = stage.requests().await;
    stage.printer.note(&format!("kill -9 {process}: the host is gone after {at_kill} requests of the test"));
    more_requests(stage, "JMeter to go on without the host", at_kill + ORPHANED_REQUESTS, None).await?;
    let without_host = stage.requests().await - at_kill;
    stage.printer.note(&format!("JMeter goes on: {without_host} requests without a host"));
    stage.resume_host().await?;
    let away = seconds(killed);
    stage.printer.note(&format!("the host is back after {away} s"));

    approve(stage, &delivery, "the crash did it no harm").await?;
    let id = delivery.id.clone();
    let (ended, run) = end(stage, delivery).await?;
    must_end(&ended, 0)?;
    let admin = stage.admin().to_owned();
    let timeline = show(stage, &admin, &["sequence", "get", &id]).await?;
    let test = stage.log.of_run(&run).into_iter().find(|seen| seen.text("type") == TEST);
    let test = test.ok_or_else(|| DemoError::Wrong("there was no test".to_owned()))?;
    let report = story::follow_test(stage, test.text("id"), Some(test.seq)).await?;
    let jobs = count(stage, &format!("type=dev.pilothouse.job.finished.v1&triggered-id={}", test.text("id"))).await?;
    if jobs != 1 {
        return Err(DemoError::Wrong(format!("the job of the test ended {jobs} times")));
    }
    Ok(Shown {
        summary: "the host took up the running job and the sequence where they were, and each task ended once"
            .to_owned(),
        facts: json!({
            "killed-process": process, "requests-without-host": without_host, "seconds-away": away,
            "jobs-finished": jobs, "test": report, "tasks": tasks(stage, &run), "versions": versions(stage).await,
            "timeline": timeline.lines().collect::<Vec<_>>(),
        }),
    })
}

/// Makes a token by the command line; returns its text, which is shown nowhere.
async fn token(stage: &Stage, arguments: &[&str]) -> Result<String, DemoError> {
    let text = run(stage, stage.admin(), &[arguments, &["--output", "json"]].concat()).await?;
    let made: Value = serde_json::from_str(&text).unwrap_or_default();
    let token = made.get("token").and_then(Value::as_str).map(str::to_owned);
    token.ok_or_else(|| DemoError::Wrong("a token was made and not shown".to_owned()))
}

/// Triggers a delivery of a version and watches it; the timeline is shown instead of the events.
async fn trigger(stage: &Stage, version: &str, more: &[&str]) -> Result<Delivery, DemoError> {
    stage.printer.hide_events(true);
    let image = format!("{SERVICE}:{version}");
    let place = ["--project", NAME, "--stage", "hardening", "--service", SERVICE, "--image", &image];
    let show = ["--watch", "--follow", "--wait"];
    let watch =
        watch(stage, stage.admin(), &[&["sequence", "trigger", "delivery"], &place[..], more, &show[..]].concat())?;
    let is_trigger = |seen: &Seen| {
        seen.text("type") == "sh.keptn.event.hardening.delivery.triggered"
            && seen.text("/data/configurationChange/values/image") == image
    };
    let seen = stage.wait_for(wait("the trigger of the delivery", 60, None), is_trigger).await?;
    let run = seen.run.clone().unwrap_or_default();
    let api = stage.api()?;
    let listed = || async {
        let page = api.get(&format!("/v1/sequences?run={run}")).await?;
        Ok(page.pointer("/items/0/id").and_then(Value::as_str).map(str::to_owned))
    };
    let id = stage.poll(wait("the sequence to begin", 60, Some(seen.seq)), listed).await?;
    Ok(Delivery { watch, run, id, seq: seen.seq })
}

/// Waits until the approval is open, shows why nothing happens, and approves it as a person does.
async fn approve(stage: &Stage, delivery: &Delivery, comment: &str) -> Result<(), DemoError> {
    let api = stage.api()?;
    let open = || async {
        let page = api.get(&format!("/v1/approvals?project={NAME}")).await?;
        Ok(page.pointer("/items/0/id").and_then(Value::as_str).map(str::to_owned))
    };
    let id = stage.poll(wait("the approval to open", TEST_SECONDS_MAX, Some(delivery.seq)), open).await?;
    let asked = || async { Ok(delivery.watch.has_shown("people decide").then_some(())) };
    stage.poll(wait("the watch to say what it waits for", 30, Some(delivery.seq)), asked).await?;
    show(stage, stage.admin(), &["sequence", "why", &delivery.id]).await?;
    run(stage, &stage.approver, &["approval", "approve", &id, "--comment", comment]).await?;
    Ok(())
}

/// Waits until the whole run has ended.
async fn end(stage: &Stage, delivery: Delivery) -> Result<(Ended, String), DemoError> {
    let at_most = Duration::from_secs(TEST_SECONDS_MAX + 120);
    let ended = tokio::time::timeout(at_most, delivery.watch.ended()).await;
    stage.printer.hide_events(false);
    let late =
        |_| DemoError::Late { what: "the delivery to end".to_owned(), waited: at_most, event: Some(delivery.seq) };
    Ok((ended.map_err(late)??, delivery.run))
}

fn must_end(ended: &Ended, code: i32) -> Result<(), DemoError> {
    if ended.code == code {
        return Ok(());
    }
    let shown = ended.lines.join("\n");
    Err(DemoError::Wrong(format!("the delivery ended with the exit code {} and not {code}:\n{shown}", ended.code)))
}

/// Returns the end of a task of a run.
async fn finished(stage: &Stage, run: &str, task: &str) -> Result<Seen, DemoError> {
    let ty = format!("sh.keptn.event.{task}.finished");
    let is = |seen: &Seen| seen.run.as_deref() == Some(run) && seen.text("type") == ty;
    stage.wait_for(wait(&ty, 30, None), is).await
}

/// Returns what ended in a run, in order: `<stage>.<what>.<result>`.
fn tasks(stage: &Stage, run: &str) -> Vec<String> {
    let ended = stage.log.of_run(run).into_iter().filter_map(|seen| {
        let what = seen.text("type").strip_prefix("sh.keptn.event.")?.strip_suffix(".finished")?.to_owned();
        let place = seen.text("/data/stage");
        let what = what.strip_prefix(&format!("{place}.")).unwrap_or(&what).to_owned();
        Some(format!("{place}.{what}.{}", seen.text("/data/result")))
    });
    ended.collect()
}

/// Asks the service in each stage for its version.
async fn versions(stage: &Stage) -> Value {
    let mut versions = serde_json::Map::new();
    for name in stage.services.keys() {
        versions.insert(name.clone(), stage.version(name).await.get("version").cloned().unwrap_or_default());
    }
    versions.into()
}

async fn more_requests(stage: &Stage, what: &str, until: u64, event: Option<u64>) -> Result<(), DemoError> {
    let wait = super::stage::Wait { what, at_most: Duration::from_secs(60), event };
    stage.poll(wait, || async { Ok((stage.requests().await >= until).then_some(())) }).await
}
