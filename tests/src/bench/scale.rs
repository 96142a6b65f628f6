//! What a host costs that does nothing, how soon it is ready, and what many installations change.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::deliver::{echo, rate};
use crate::program::{Install, Program, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, ratio};

/// Time between the start and the look at an idle host.
const IDLE: Duration = Duration::from_secs(30);
/// Installations of the larger host.
const MANY: usize = 500;

/// Measures.
///
/// # Errors
/// A host fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("scale")?;
    let none = json!({});
    let three = [
        echo()?,
        Install::guest("counter", "counter", Some(("com.example.", "bench.rest1.")), json!({ "keyvalue": true }))?,
        Install::guest("executor", "executor", None, none.clone())?,
    ];
    let few = Template::new(work, &three).await?;
    let mut all = Vec::from(three);
    let rest = Install::guest("echo", "rest", Some(("com.example.said.v1", "com.example.rest.v1")), none)?;
    for number in all.len()..MANY {
        let (name, wasm) = (format!("rest-{number}"), rest.wasm.clone());
        all.push(Install { name, wasm, grants: rest.grants.clone() });
    }
    report.note(&format!("installing {MANY} plugins"));
    let many = Template::new(work, &all).await?;

    report.note("a host that does nothing for 30 s");
    let host = few.start().await?;
    tokio::time::sleep(IDLE.saturating_sub(host.spawned.elapsed())).await;
    let resident = resident_mib(&host)?;
    report.push(
        "idle host with 3 installations: resident after 30 s",
        resident,
        "MiB",
        Better::Lower,
        Goal::Absolute(64.0),
    );
    drop(host);

    for (template, count, goal) in [(&few, 3, 0.5), (&many, MANY, 2.0)] {
        let (mut ready, mut active) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let mut host = template.start().await?.restart()?;
            ready.push(host.wait_ready().await?.as_secs_f64());
            active.push(host.wait_active().await?.as_secs_f64());
        }
        let name = format!("{count} installations: ready after a clean stop, with a warm cache");
        report.push(&name, median(&ready), "s", Better::Lower, Goal::Absolute(goal));
        let name = format!("{count} installations: every plugin loaded after the same");
        report.push(&name, median(&active), "s", Better::Lower, Goal::None);
    }

    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        let with_few = rate(&mut few.start().await?).await?;
        let with_many = rate(&mut many.start().await?).await?;
        report.note(&format!("pair {pair} of {PAIRS}: {with_few:.0}/s with 3, {with_many:.0}/s with {MANY}"));
        pairs.push((with_many, with_few));
    }
    let name = "500 installations: share of the rate with 3, all the way to a durable returned event";
    report.push(name, ratio(&pairs), "ratio", Better::Higher, Goal::Relative(0.8));
    Ok(())
}

fn resident_mib(host: &Program) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1_024.0)
}
