//! How fast events are taken, against the limits of what is below: the store alone, and HTTP alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::json;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Place;
use pilothouse_core::time::Timestamp;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{Batch, NewDelivery, NewEvent, Seq, Store};
use serde_json::json;

use crate::load::{Body, WARM_UP, event_json};
use crate::program::{Install, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, ratio};

/// Time of one measurement.
const MEASURED: Duration = Duration::from_millis(1_500);
/// What the blocked observer subscribes to.
const SAID: &str = "com.example.said.v1";
/// Events of one batch.
const BATCH: usize = 100;

/// Makes a new event with one delivery to `consumer`.
///
/// # Errors
/// Never: the event is valid.
pub(crate) fn new_event(ty: &str, consumer: &InstallationName, now: Timestamp) -> Result<NewEvent> {
    let event = json::parse(event_json(ty).as_bytes()).context("the bench's own event")?;
    let delivery = NewDelivery {
        id: DeliveryId::derive(event.source(), event.id(), consumer, Cause::Observed.as_str()),
        event: Seq(0),
        consumer: consumer.clone(),
        cause: Cause::Observed,
        task: None,
        order_key: None,
        due: now,
        dead: None,
    };
    Ok(NewEvent {
        event,
        place: Place::default(),
        run: None,
        triggered_id: None,
        actor: Actor::token("bench"),
        caused_by: None,
        depth: 0,
        deliveries: vec![delivery],
        states: Vec::new(),
        timers: Vec::new(),
    })
}

/// Returns the time.
pub(crate) fn now() -> Timestamp {
    pilothouse::engine::clock::Clock::now(&pilothouse::engine::clock::SystemClock)
}

/// Returns commits per second of `writers` that each commit one event with one delivery, one after the other.
async fn store_rate(work: &Path, writers: usize) -> Result<f64> {
    let folder = tempfile::tempdir_in(work)?;
    let store = Arc::new(SqliteStore::open(SqliteConfig::new(folder.path().join("log.db")))?);
    let consumer = InstallationName::new("blocked")?;
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let (from, end) = (begun + WARM_UP, begun + WARM_UP + MEASURED);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let (store, consumer, count) = (Arc::clone(&store), consumer.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            loop {
                let mut batch = Batch::new(now());
                batch.events.push(new_event(SAID, &consumer, batch.now)?);
                store.commit(batch).await?;
                let at = Instant::now();
                if at >= end {
                    return anyhow::Ok(());
                }
                if at >= from {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    store.close().await;
    Ok(count.load(Ordering::Relaxed) as f64 / MEASURED.as_secs_f64())
}

/// Makes a host with one observer that is busy for ever, so that each event makes one delivery, which waits.
///
/// # Errors
/// The host does not start.
pub(crate) async fn blocked(work: &Path) -> Result<Template> {
    let grants = json!({ "limits": { "concurrency": 1, "timeout": "60s" } });
    Template::new(work, &[Install::guest("waits_forever", "blocked", None, grants)?]).await
}

/// Measures the requests per second of one host.
async fn http_rate(template: &Template, body: Body, connections: usize) -> Result<(f64, f64)> {
    let host = template.start().await?;
    let loaded = host.load(body, connections, MEASURED).run().await?;
    Ok((loaded.rate(), loaded.p99_ms()))
}

/// Measures; returns the rate of single events at 64 connections.
///
/// # Errors
/// A host or the disk fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("ingest")?;
    let template = blocked(work).await?;
    let counts = [64, 256];
    let mut alone: [Vec<f64>; 4] = Default::default();
    let mut http: [Vec<f64>; 2] = Default::default();
    let mut ingest: [Vec<f64>; 2] = Default::default();
    let mut p99: [Vec<f64>; 2] = Default::default();
    let mut held: [Vec<(f64, f64)>; 2] = Default::default();
    let mut batches = Vec::new();
    for pair in 1..=PAIRS {
        report.note(&format!("round {pair} of {PAIRS}"));
        let [one, s64, s256, s1024] = &mut alone;
        one.push(store_rate(work, 1).await?);
        for (index, s) in [s64, s256].into_iter().enumerate() {
            let connections = counts.get(index).copied().unwrap_or(64);
            let limit_s = store_rate(work, connections).await?;
            let (limit_h, _) = http_rate(&template, Body::Nothing, connections).await?;
            let (rate, worst) = http_rate(&template, Body::Event(SAID), connections).await?;
            s.push(limit_s);
            if let (Some(http), Some(ingest), Some(p99), Some(held)) =
                (http.get_mut(index), ingest.get_mut(index), p99.get_mut(index), held.get_mut(index))
            {
                http.push(limit_h);
                ingest.push(rate);
                p99.push(worst);
                held.push((rate, 1.0 / (1.0 / limit_s + 1.0 / limit_h)));
            }
        }
        let limit = store_rate(work, 1_024).await?;
        s1024.push(limit);
        let (rate, _) = http_rate(&template, Body::Batch(SAID, BATCH), 16).await?;
        batches.push((rate * BATCH as f64, limit));
    }
    for (writers, rates) in [1, 64, 256, 1_024].iter().zip(&alone) {
        let name = format!("S: commit called directly, {writers} writers");
        report.push(&name, median(rates), "events/s", Better::Higher, Goal::None);
    }
    for (index, connections) in counts.iter().enumerate() {
        let of = |all: &[Vec<f64>; 2]| all.get(index).map_or(f64::NAN, |rates| median(rates));
        let at = format!("{connections} connections");
        report.push(&format!("H: empty batches of 1 KiB, {at}"), of(&http), "requests/s", Better::Higher, Goal::None);
        report.push(&format!("ingest of single events, {at}"), of(&ingest), "events/s", Better::Higher, Goal::None);
        report.push(&format!("ingest of single events, {at}: p99"), of(&p99), "ms", Better::Lower, Goal::None);
        let share = held.get(index).map_or(f64::NAN, |pairs| ratio(pairs));
        let name = format!("ingest of single events, {at}: share of 1/(1/S + 1/H)");
        report.push(&name, share, "ratio", Better::Higher, Goal::Relative(0.7));
    }
    let rates: Vec<f64> = batches.iter().map(|(rate, _)| *rate).collect();
    report.push("ingest in batches of 100, 16 connections", median(&rates), "events/s", Better::Higher, Goal::None);
    let name = "ingest in batches of 100: share of S at 1,024 writers";
    report.push(name, ratio(&batches), "ratio", Better::Higher, Goal::Relative(0.6));
    Ok(())
}
