//! Hostile guests beside a good one: what they do to its latency.
//!
//! Each hostile guest is kept busy at its full concurrency by more events than it can handle, while the good plugin gets
//! 100 events per second. The time is taken outside: from sending the event to seeing what the plugin returned, by the
//! host's live tail.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::deliver::{ECHO, SAID, echo};
use crate::paced::paced_p99_ms;
use crate::program::{Install, Program, Template};
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, allowed_ms, middle};

/// Time of one measurement: 250 events.
const MEASURED: Duration = Duration::from_millis(2_500);
/// Time that a hostile guest has to get to its full concurrency before the measurement.
const HEAD_START: Duration = Duration::from_millis(300);
/// Events that wait for the hostile guest at least; the rest of a feeding is sent when there are fewer.
const WAITING_MIN: u64 = 200;
/// Events of one feeding.
const FEEDING: usize = 400;
/// What the guests' common manifest subscribes to.
const PREFIX: &str = "prefix = { type = \"com.example.\" }";

/// The hostile guests, each with a prefix of types of its own, of the same length as the common one.
const GUESTS: [(&str, &str, &str); 10] = [
    ("endless_loop", "bench.atk01.", "bench.atk01.v1"),
    ("memory_growth", "bench.atk02.", "bench.atk02.v1"),
    ("stack_overflow", "bench.atk03.", "bench.atk03.v1"),
    ("handle_flood", "bench.atk04.", "bench.atk04.v1"),
    ("log_flood", "bench.atk05.", "bench.atk05.v1"),
    ("emit_flood", "bench.atk06.", "bench.atk06.v1"),
    ("huge_event", "bench.atk07.", "bench.atk07.v1"),
    ("invalid_event", "bench.atk08.", "bench.atk08.v1"),
    ("waits_forever", "bench.atk09.", "bench.atk09.v1"),
    ("traps", "bench.atk10.", "bench.atk10.v1"),
];

/// Measures.
///
/// # Errors
/// A host fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("hostile guests")?;
    let mut installs = vec![echo()?];
    for (guest, prefix, _) in GUESTS {
        let exchanged = PREFIX.replace("com.example.", prefix);
        let name = guest.replace('_', "-");
        // Default limits: 8 at once, 1 s of CPU time, 64 MiB; one attempt, so that it is always the next event's turn.
        let grants = json!({ "limits": { "attempts": 1 } });
        installs.push(Install::guest(guest, &name, Some((PREFIX, &exchanged)), grants)?);
    }
    let template = Template::new(work, &installs).await?;
    let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); GUESTS.len()];
    for pair in 1..=PAIRS {
        let host = template.start().await?;
        let alone = paced_p99_ms(&host, SAID, ECHO, MEASURED).await?;
        drop(host);
        let mut line = format!("round {pair} of {PAIRS}: alone {alone:.1} ms");
        for ((guest, _, ty), pairs) in GUESTS.iter().zip(&mut pairs) {
            let host = template.start().await?;
            let beside = beside(&host, guest, ty).await?;
            line.push_str(&format!(", {guest} {beside:.1}"));
            pairs.push((beside, allowed_ms(alone)));
        }
        report.note(&line);
    }
    for ((guest, _, _), pairs) in GUESTS.iter().zip(&pairs) {
        let (beside, allowed) = middle(pairs);
        let name = format!("good plugin at 100 events/s beside {guest}: p99 from sending to seeing the result");
        report.push(&name, beside, "ms", Better::Lower, Goal::Relative(allowed));
    }
    Ok(())
}

async fn beside(host: &Program, guest: &str, ty: &'static str) -> Result<f64> {
    let name = guest.replace('_', "-");
    host.send_batch(ty, FEEDING).await?;
    tokio::time::sleep(HEAD_START).await;
    let feeding = async {
        loop {
            if host.owed(&name).await? < WAITING_MIN {
                host.send_batch(ty, FEEDING).await?;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        measured = paced_p99_ms(host, SAID, ECHO, MEASURED) => measured,
        fed = feeding => fed,
    }
}
