//! From an event to what a plugin returned because of it: how many per second, and how soon the plugin starts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use pilothouse_store::sqlite::SqliteStore;
use pilothouse_store::{DeliveryFilter, Store};
use serde_json::json;

use crate::ingest;
use crate::load::{Body, Load};
use crate::program::{Install, Program, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, percentile, ratio};

/// What the echo subscribes to.
pub(crate) const SAID: &str = "com.example.said.v1";
/// The name of its installation.
pub(crate) const ECHO: &str = "echo";
/// Time of sending in one measurement of the rate.
const SENDING: Duration = Duration::from_millis(1_200);
/// Time of the measurement of latency.
const PACED: Duration = Duration::from_secs(5);
/// Connections.
const CONNECTIONS: usize = 64;
/// Calls of the good plugin at once: the most that the default ceiling gives to one installation.
const CONCURRENCY: u32 = 64;

/// Makes the installation of the good plugin, `echo`.
///
/// # Errors
/// The guest is not built.
pub(crate) fn echo() -> Result<Install> {
    Install::guest("echo", ECHO, None, json!({ "limits": { "concurrency": CONCURRENCY } }))
}

/// Sends for a while as fast as answers come, and waits until everything is handled; returns events per second over all of
/// that time, each with one returned event that is durable.
///
/// # Errors
/// The host fails.
pub(crate) async fn rate(host: &mut Program) -> Result<f64> {
    let begun = Instant::now();
    let loaded = host.load(Body::Event(SAID), CONNECTIONS, SENDING).run().await?;
    host.wait_drained(ECHO).await?;
    Ok(loaded.all as f64 / begun.elapsed().as_secs_f64())
}

/// Measures.
///
/// # Errors
/// A host or the disk fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("delivery")?;
    let (blocked, template) = (ingest::blocked(work).await?, Template::new(work, &[echo()?]).await?);
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        let host = blocked.start().await?;
        let ingest = host.load(Body::Event(SAID), CONNECTIONS, SENDING).run().await?.rate();
        drop(host);
        let mut host = template.start().await?;
        let delivered = rate(&mut host).await?;
        let commits = host.commits().await?;
        report.note(&format!("pair {pair} of {PAIRS}: {ingest:.0}/s taken, {delivered:.0}/s all the way; {commits}"));
        pairs.push((delivered, ingest));
    }
    let rates: Vec<f64> = pairs.iter().map(|(rate, _)| *rate).collect();
    let all_the_way = median(&rates);
    let name = "ingest, observer in a fresh sandbox, one returned event durable";
    report.push(name, all_the_way, "events/s", Better::Higher, Goal::Absolute(2_500.0));
    let name = "the same: share of the ingest rate at 64 connections";
    report.push(name, ratio(&pairs), "ratio", Better::Higher, Goal::Relative(0.35));

    let mut p99 = Vec::new();
    for _ in 0..3 {
        let host = template.start().await?;
        let load = Load { rate: Some(all_the_way / 2.0), ..host.load(Body::Event(SAID), CONNECTIONS, PACED) };
        let loaded = load.run().await?;
        report.note(&format!("half rate: {:.0}/s sent", loaded.rate()));
        let (store, _folder) = host.into_store()?;
        p99.push(percentile(&mut starts_ms(&store).await?, 0.99));
        store.close().await;
    }
    let name = "p99 from accept to the plugin's start at half that rate";
    report.push(name, median(&p99), "ms", Better::Lower, Goal::Absolute(50.0));
    Ok(())
}

/// Returns for each delivery the time from its making to the start of its call, to the millisecond, from what the store
/// recorded of both.
async fn starts_ms(store: &SqliteStore) -> Result<Vec<f64>> {
    let (mut times, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.deliveries(&DeliveryFilter::default(), cursor, 1_000).await?;
        for row in page.items {
            let attempts = store.attempts(row.id).await?;
            let Some(first) = attempts.first() else { continue };
            let Some(ended) = first.ended else { continue };
            let started = ended.as_millis() as f64 - first.wall_us as f64 / 1_000.0;
            times.push(started - row.created.as_millis() as f64);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(times);
        }
    }
}
