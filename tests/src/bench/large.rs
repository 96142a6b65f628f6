//! What a long log and a long backlog change.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pilothouse_core::event::json;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_store::{Batch, NewEvent, Store};
use serde_json::json;

use crate::deliver::{ECHO, SAID, echo};
use crate::ingest::{blocked, new_event, now};
use crate::load::{Body, event_json};
use crate::paced::paced_p99_ms;
use crate::program::{Install, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, allowed_ms, middle, percentile, ratio};

/// Events of the large store.
const EVENTS: usize = 1_000_000;
/// Deliveries of the backlog.
const BACKLOG: usize = 100_000;
/// Events per commit of the preparation.
const CHUNK: usize = 4_096;
/// Listings per filter.
const LISTINGS: usize = 21;
/// Time of one measurement of a rate.
const MEASURED: Duration = Duration::from_millis(1_500);
/// Time of one measurement beside the backlog: 300 events.
const BESIDE: Duration = Duration::from_secs(3);
/// What the installation with the backlog subscribes to.
const OLD: &str = "com.example.back.v1";

/// Makes the event of a store with a past: `number` decides on type, source, subject, place and run.
fn past_event(number: usize) -> Result<NewEvent> {
    let ty = format!("com.example.kind{}.v1", number % 40);
    let text = event_json(&ty).replacen("\"/bench\"", &format!("\"/bench/{}\"", number % 100), 1).replacen(
        "\"data\":",
        &format!("\"subject\":\"subject-{}\",\"data\":", number % 2_000),
        1,
    );
    let some = |name: &str, count: usize| Some(format!("{name}-{}", number % count));
    Ok(NewEvent {
        event: json::parse(text.as_bytes()).context("the bench's own event")?,
        place: Place { project: some("project", 20), stage: some("stage", 3), service: some("service", 200) },
        run: Some(format!("run-{}", number / 10)),
        triggered_id: Some(format!("triggered-{}", number / 3)),
        actor: Actor::token("bench"),
        caused_by: None,
        depth: 0,
        deliveries: Vec::new(),
        states: Vec::new(),
        timers: Vec::new(),
    })
}

async fn fill(store: &impl Store, count: usize, make: impl Fn(usize) -> Result<NewEvent>) -> Result<()> {
    let mut number = 0;
    while number < count {
        let mut batch = Batch::new(now());
        while number < count && batch.events.len() < CHUNK {
            batch.events.push(make(number)?);
            number += 1;
        }
        store.commit(batch).await?;
    }
    store.close().await;
    Ok(())
}

/// Measures the store of a million events.
///
/// # Errors
/// A host or the disk fails.
pub(crate) async fn store(report: &mut Report, work: &Path) -> Result<()> {
    report.section("large store")?;
    let (empty, full) = (blocked(work).await?, blocked(work).await?);
    let begun = Instant::now();
    let middle_time = {
        let store = full.store()?;
        fill(&store, EVENTS, past_event).await?;
        pilothouse_core::time::Timestamp::from_millis(
            now().as_millis() - i64::try_from(begun.elapsed().as_millis() / 2).unwrap_or(0),
        )
    };
    report.note(&format!("{EVENTS} events stored in {:.0} s", begun.elapsed().as_secs_f64()));

    let mut host = full.start().await?;
    let newest = host.get("/v1/events?limit=1").await?;
    let id = newest["items"][0]["id"].as_str().or(newest["items"][0]["event"]["id"].as_str()).unwrap_or("1").to_owned();
    let filters = [
        "type=com.example.kind7.v1".to_owned(),
        "type=com.example.kind3*".to_owned(),
        "source=/bench/42".to_owned(),
        format!("id={id}"),
        "subject=subject-77".to_owned(),
        "context=run-50000".to_owned(),
        "triggered-id=triggered-1000".to_owned(),
        "project=project-7".to_owned(),
        "stage=stage-1".to_owned(),
        "service=service-7".to_owned(),
        "caused-by=00000000-0000-5000-8000-000000000000".to_owned(),
        format!("since={middle_time}"),
        format!("until={middle_time}"),
        "type=com.example.none.v1".to_owned(),
    ];
    let mut slowest: f64 = 0.0;
    for filter in filters {
        let path = format!("/v1/events?{filter}");
        let mut times = Vec::new();
        for _ in 0..LISTINGS {
            let begun = Instant::now();
            host.get(&path).await?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let first = times.first().copied().unwrap_or_default();
        let p50 = percentile(&mut times, 0.5);
        report.note(&format!("{filter}: p50 {p50:.2} ms, the first one {first:.2} ms"));
        slowest = slowest.max(p50);
    }
    let name = "1,000,000 events: first page by any one filter, over HTTP, the slowest filter's p50";
    report.push(name, slowest, "ms", Better::Lower, Goal::Absolute(20.0));

    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        let small = empty.start().await?;
        let alone = small.load(Body::Event(SAID), 64, MEASURED).run().await?.rate();
        drop(small);
        // Not from a fresh copy: moving gigabytes about is not what is measured.
        let beside = host.load(Body::Event(SAID), 64, MEASURED).run().await?.rate();
        report.note(&format!("pair {pair} of {PAIRS}: {alone:.0}/s empty, {beside:.0}/s large"));
        pairs.push((beside, alone));
    }
    host.stop()?;
    let name = "1,000,000 events: ingest at 64 connections, share of an empty store's rate";
    report.push(name, ratio(&pairs), "ratio", Better::Higher, Goal::Relative(0.8));
    Ok(())
}

/// Measures what a backlog does to the others.
///
/// # Errors
/// A host or the disk fails.
pub(crate) async fn backlog(report: &mut Report, work: &Path) -> Result<()> {
    report.section("backlog")?;
    let old = Install::guest("echo", "old", Some((SAID, OLD)), json!({ "limits": { "concurrency": 8 } }))?;
    let template = Template::new(work, &[echo()?, old]).await?;
    let quiet = Template::new(work, &[echo()?]).await?;
    let consumer = InstallationName::new("old")?;
    fill(&template.store()?, BACKLOG, |_| new_event(OLD, &consumer, now())).await?;
    report.note(&format!("{BACKLOG} deliveries wait"));
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        let alone = paced_p99_ms(&quiet.start().await?, SAID, ECHO, BESIDE).await?;
        let host = template.start().await?;
        let beside = paced_p99_ms(&host, SAID, ECHO, BESIDE).await?;
        let left = host.owed("old").await?;
        report.note(&format!("pair {pair} of {PAIRS}: {alone:.1} ms alone, {beside:.1} ms beside; {left} left"));
        pairs.push((beside, allowed_ms(alone)));
    }
    let (beside, allowed) = middle(&pairs);
    let name = "live events at 100/s while 100,000 deliveries drain: p99 from sending to seeing the result";
    report.push(name, beside, "ms", Better::Lower, Goal::Relative(allowed));
    let mut host = template.start().await?;
    let begun = Instant::now();
    let owed = host.owed("old").await? as f64;
    host.wait_drained("old").await?;
    let rate = owed / begun.elapsed().as_secs_f64();
    report.push(
        "backlog of 100,000 deliveries: drained at 8 calls at once",
        rate,
        "deliveries/s",
        Better::Higher,
        Goal::None,
    );
    Ok(())
}
