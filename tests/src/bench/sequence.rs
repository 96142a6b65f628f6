//! Sequences: how many per second, what a queue and many projects cost, and how soon one thing follows another.
//!
//! The plugin answers at once and does nothing, so that what is measured is the host: decisions, Git, the log.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pilothouse_store::{EventFilter, Store};
use pilothouse_tests::git_server::{GitServer, push_file};
use serde_json::{Value, json};

use crate::program::{Install, Program, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, percentile, ratio};

/// Sequences of one measurement of the rate.
const SEQUENCES: usize = 2_000;
/// Triggers in one request.
const BATCH: usize = 50;
/// Sequences that wait behind one.
const WAITING: usize = 1_000;
/// Time over which the CPU time of a host is taken.
const IDLE: Duration = Duration::from_secs(30);
/// Projects of the smaller and of the larger host.
const PROJECTS: [usize; 2] = [10, 10_000];
/// Sequences per second in the measurement of latency, and for how long.
const PACED: (usize, usize) = (20, 15);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks; they cost the host something too.
const LOOK: Duration = Duration::from_millis(20);

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: bench}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}, {name: test}, {name: release}]}]
";

/// Measures.
///
/// # Errors
/// A host, Git or the disk fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("sequences")?;
    let template = Template::new(work, &[Install::guest("stagehand", "stagehand", None, json!({}))?]).await?;
    report.note(&format!("{} projects, and {}", PROJECTS[0], PROJECTS[1]));
    let (mut few, mut many) = (template.start().await?, template.start().await?);
    projects(&few, PROJECTS[0]).await?;
    let begun = Instant::now();
    projects(&many, PROJECTS[1]).await?;
    report.note(&format!("{} projects were created in {:.0} s", PROJECTS[1], begun.elapsed().as_secs_f64()));

    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        let with_few = rate(&mut few, pair, PROJECTS[0]).await?;
        let with_many = rate(&mut many, pair, PROJECTS[1]).await?;
        report.note(&format!("pair {pair} of {PAIRS}: {with_few:.0}/s with 10 projects, {with_many:.0}/s with 10,000"));
        pairs.push((with_many, with_few));
    }
    drop(many);
    let rates: Vec<f64> = pairs.iter().map(|(_, few)| *few).collect();
    let name = "sequences of three tasks, each in a fresh sandbox, all durable";
    report.push(name, median(&rates), "sequences/s", Better::Higher, Goal::Absolute(100.0));
    let name = "10,000 projects: share of the rate with 10";
    report.push(name, ratio(&pairs), "ratio", Better::Higher, Goal::Relative(0.8));
    Ok(())
}

/// Measures how soon one thing follows another, and what waiting costs.
///
/// # Errors
/// A host, Git or the disk fails.
pub(crate) async fn latency(report: &mut Report, work: &Path) -> Result<()> {
    report.section("sequences, one after another")?;
    let template = Template::new(work, &[Install::guest("stagehand", "stagehand", None, json!({}))?]).await?;
    let host = template.start().await?;
    projects(&host, 1).await?;
    let name = "20 sequences/s: p95 from a task's end to the next task's trigger";
    report.push(name, paced(host).await?, "ms", Better::Lower, Goal::Absolute(25.0));

    let mut host = template.start().await?;
    projects(&host, 1).await?;
    let name = "1,000 sequences waiting in one queue: share of one core over 30 s";
    report.push(name, queue(&mut host).await?, "%", Better::Lower, Goal::Absolute(1.0));
    drop(host);

    let host = template.start().await?;
    projects(&host, 1).await?;
    let name = "git push with a webhook: time to the commit event, the slowest of 10";
    report.push(name, pushes(&host).await?, "s", Better::Lower, Goal::Absolute(1.0));
    Ok(())
}

fn project(number: usize) -> String {
    format!("bench-{number}")
}

async fn projects(host: &Program, count: usize) -> Result<()> {
    for number in 0..count {
        host.post("/v1/projects", &json!({ "name": project(number), "shipyard": SHIPYARD })).await?;
    }
    Ok(())
}

fn trigger(id: &str, project: &str, service: &str, labels: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/bench", "type": "sh.keptn.event.dev.delivery.triggered",
        "data": { "project": project, "stage": "dev", "service": service, "labels": labels },
    })
}

/// Triggers sequences of as many services, spread over the projects, and waits until all have ended; returns how many ended
/// per second.
async fn rate(host: &mut Program, round: usize, projects: usize) -> Result<f64> {
    let begun = Instant::now();
    let mut last = String::new();
    for first in (0..SEQUENCES).step_by(BATCH) {
        let events: Vec<Value> = (first..first + BATCH)
            .map(|number| {
                let place = number * projects / SEQUENCES.min(projects) % projects;
                trigger(&format!("{round}-{number}"), &project(place), &format!("s{number}"), &json!({}))
            })
            .collect();
        let accepted = host.send(&Value::from(events)).await?;
        accepted["events"][BATCH - 1]["run"].as_str().context("a run")?.clone_into(&mut last);
    }
    all_ended(host, &last).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let ended = host.get("/v1/events?type=sh.keptn.event.dev.delivery.finished&limit=500&data=true").await?;
    let failed = |item: &&Value| item["event"]["data"]["result"] != "pass";
    if let Some(failed) = ended["items"].as_array().context("a listing")?.iter().find(failed) {
        bail!("not every sequence passed: {failed}");
    }
    Ok(SEQUENCES as f64 / seconds)
}

/// Waits until the last run has ended, and then until nothing runs any more: it may end before others.
async fn all_ended(host: &Program, last: &str) -> Result<()> {
    let ended = format!("/v1/events?type=sh.keptn.event.dev.delivery.finished&context={last}&limit=1");
    until(|| async { Ok(host.get(&ended).await?["items"][0].is_object()) }).await?;
    until(|| async {
        let running = host.get("/v1/sequences?state=running&limit=1").await?;
        Ok(running["items"].as_array().is_some_and(Vec::is_empty))
    })
    .await
}

/// Triggers sequences at a steady pace; returns the p95 from a task's end to the next task's trigger, in milliseconds, from
/// what the log says of both.
async fn paced(host: Program) -> Result<f64> {
    let (per_second, seconds) = PACED;
    let begun = Instant::now();
    let mut last = Value::Null;
    for number in 0..per_second * seconds {
        let due = begun + Duration::from_secs_f64(number as f64 / per_second as f64);
        tokio::time::sleep_until(due.into()).await;
        last = host.send(&trigger(&format!("paced-{number}"), &project(0), &format!("s{number}"), &json!({}))).await?;
    }
    all_ended(&host, last["events"][0]["run"].as_str().context("a run")?).await?;
    let (store, _folder) = host.into_store()?;
    let mut times = Vec::new();
    for (from, to) in [("deployment.finished", "test.triggered"), ("test.finished", "release.triggered")] {
        let ends = accepted(&store, &format!("sh.keptn.event.{from}")).await?;
        let begins = accepted(&store, &format!("sh.keptn.event.{to}")).await?;
        ensure!(ends.len() == per_second * seconds && begins.len() == ends.len(), "{} {}", ends.len(), begins.len());
        for (run, end) in &ends {
            let begin = begins.get(run).with_context(|| format!("{to} of {run}"))?;
            times.push((begin - end) as f64);
        }
    }
    store.close().await;
    Ok(percentile(&mut times, 0.95))
}

/// Returns when the event of a type was accepted in each run, in milliseconds.
async fn accepted(store: &impl Store, ty: &str) -> Result<std::collections::HashMap<String, i64>> {
    let (mut found, mut cursor) = (std::collections::HashMap::new(), None);
    let filter = EventFilter { ty: Some(ty.to_owned()), ..EventFilter::default() };
    loop {
        let page = store.events(&filter, cursor, 1_000).await?;
        for row in page.items {
            found.insert(row.run.clone().context("a run")?, row.accepted.as_millis());
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Lets a thousand sequences wait behind one; returns the share of a core that the host takes, in percent.
async fn queue(host: &mut Program) -> Result<f64> {
    host.send(&trigger("first", &project(0), "s", &json!({ "deployment": "wait" }))).await?;
    for first in (0..WAITING).step_by(BATCH) {
        let events: Vec<Value> = (first..first + BATCH)
            .map(|number| trigger(&format!("waits-{number}"), &project(0), "s", &json!({})))
            .collect();
        host.send(&Value::from(events)).await?;
    }
    until(|| async {
        let mut waiting = 0;
        let mut path = "/v1/sequences?state=waiting&limit=500".to_owned();
        loop {
            let page = host.get(&path).await?;
            waiting += page["items"].as_array().map_or(0, Vec::len);
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/sequences?state=waiting&limit=500&after={next}");
        }
        Ok(waiting == WAITING)
    })
    .await?;
    let before = cpu_seconds(host)?;
    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    Ok((cpu_seconds(host)? - before) / begun.elapsed().as_secs_f64() * 100.0)
}

/// Returns the CPU time of the host's process so far.
fn cpu_seconds(host: &Program) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.pid()))?;
    // `pid (name) state …`, and user and system time are the 14th and 15th field.
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("a time");
    // The kernel counts in hundredths of a second on every Linux that this runs on.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Pushes to the upstream of a project and tells the host of each by a webhook; returns the longest time from the end of a
/// push to its commit event, in seconds.
async fn pushes(host: &Program) -> Result<f64> {
    let server = tokio::task::spawn_blocking(|| GitServer::start(None)).await??;
    let measured = pushes_to(host, &server).await;
    // A runtime may not end on a thread of another.
    tokio::task::spawn_blocking(move || drop(server)).await?;
    measured
}

async fn pushes_to(host: &Program, server: &GitServer) -> Result<f64> {
    let url = server.create("bench")?;
    host.put("/v1/secrets/hook", &json!({ "text": "hush" })).await?;
    let upstream = json!({ "url": url, "webhook-secret": "hook", "interval": "24h" });
    let path = format!("/v1/projects/{}/upstream", project(0));
    host.put(&path, &upstream).await?;
    until(|| async { Ok(host.get(&path).await?["state"] == "in-step") }).await?;
    let copy = server.clone_of("bench")?;
    let mut slowest: f64 = 0.0;
    for number in 0..10 {
        let commit = push_file(&copy, "a.txt", &format!("{number}\n"), "By a developer")?;
        let begun = Instant::now();
        host.pushed(&format!("{path}/webhook"), "hush").await?;
        let events = "/v1/events?type=dev.pilothouse.project.committed.v1&limit=1&data=true";
        until(|| async { Ok(host.get(events).await?.to_string().contains(&commit)) }).await?;
        slowest = slowest.max(begun.elapsed().as_secs_f64());
    }
    Ok(slowest)
}

async fn until<F: Future<Output = Result<bool>>>(mut is_so: impl FnMut() -> F) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < PATIENCE, "it did not happen in {} s", PATIENCE.as_secs());
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
