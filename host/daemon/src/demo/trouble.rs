//! The later acts, in which something goes wrong: a trap, a repeat, and a host that is killed.

use std::time::{Duration, Instant};

use pilothouse_core::host_event::DELIVERY_DEAD;
use serde_json::{Value, json};

use super::error::DemoError;
use super::follow::Seen;
use super::report::{Shown, seconds};
use super::stage::{Stage, wait};
use super::story::{self, count, seq};

/// The plugin with a mistake.
const FRAGILE: &str = "demo-fragile";
/// What it makes of an order once it is mended.
const CONFIRMED: &str = "com.example.order.confirmed.v1";
/// Requests of a test after which it is in its middle: early enough that most of it is still to come.
const MIDDLE_REQUESTS: u64 = 40;
/// Requests that JMeter must send while there is no host.
const ORPHANED_REQUESTS: u64 = 20;

/// Lets an event trap its plugin until it is a dead letter, mends the plugin, and redrives the letter.
pub(super) async fn dead_letter(stage: &mut Stage) -> Result<Shown, DemoError> {
    story::install(stage, FRAGILE, FRAGILE, &json!({}), &json!({})).await?;
    let order = json!({
        "specversion": "1.0", "id": "order-1", "source": "/examples/shop", "type": "com.example.order.placed.v1",
        "datacontenttype": "application/json", "data": { "order": 1 },
    });
    let accepted = stage.send(&order).await?;
    let seq = seq(&accepted);
    let is_dead = |seen: &Seen| seen.text("type") == DELIVERY_DEAD && seen.text("/data/installation") == FRAGILE;
    let dead = stage.wait_for(wait("the dead letter", 60, seq), is_dead).await?;
    story::message_about(stage, &dead).await?;
    let delivery = dead.text("/data/delivery").to_owned();
    let api = stage.api()?;
    let detail = api.get(&format!("/v1/deliveries/{delivery}")).await?;
    let attempts = detail.get("tried").and_then(Value::as_array).map_or(0, Vec::len);
    show_log(stage, &detail);

    stage
        .printer
        .note("the mistake is mended: the plugin is installed with the setting `mended`, and the letter redriven");
    story::install(stage, FRAGILE, FRAGILE, &json!({ "mended": true }), &json!({})).await?;
    stage.api()?.redrive(&delivery).await?;
    let is_confirmed = |seen: &Seen| seen.text("type") == CONFIRMED;
    stage.wait_for(wait("the order to be confirmed", 60, seq), is_confirmed).await?;
    let confirmed = count(stage, &format!("type={CONFIRMED}")).await?;
    if confirmed != 1 {
        return Err(DemoError::Wrong(format!("the order was confirmed {confirmed} times")));
    }
    Ok(Shown {
        summary: format!(
            "the event trapped its plugin {attempts} times, waited as a dead letter, and was handled after all"
        ),
        facts: json!({
            "attempts": attempts, "kind": dead.text("/data/kind"), "reason": dead.text("/data/reason"), "confirmed": confirmed,
        }),
    })
}

/// Shows the plugin's log of the last attempt: what a person looks at first.
fn show_log(stage: &Stage, detail: &Value) {
    let last = detail.get("tried").and_then(Value::as_array).and_then(|tried| tried.last());
    let lines = last.and_then(|attempt| attempt.get("log")?.as_array()).into_iter().flatten();
    for line in lines {
        let text = line.get("message").or_else(|| line.get("text")).unwrap_or(line);
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        stage.printer.note(&format!("the plugin's log │ {text}"));
    }
}

/// Sends the trigger of the test again.
pub(super) async fn duplicate(stage: &mut Stage) -> Result<Shown, DemoError> {
    let event = story::test_triggered(stage)?;
    let before = count(stage, "").await?;
    let again = stage.send(&event).await?;
    let is_duplicate = again.get("duplicate").and_then(Value::as_bool).unwrap_or_default();
    let after = count(stage, "").await?;
    if !is_duplicate || before != after {
        return Err(DemoError::Wrong(format!("a repeat was not absorbed: {again}")));
    }
    let seq = seq(&again).unwrap_or_default();
    stage.printer.note(&format!("the host answers: duplicate: true, it is #{seq}"));
    Ok(Shown {
        summary: "the repeat was answered as success and had no effect".to_owned(),
        facts: json!({ "duplicate": is_duplicate, "seq": seq, "events-before": before, "events-after": after }),
    })
}

/// Kills the host in the middle of a test, starts it again, and waits until the test has ended once.
pub(super) async fn crash(stage: &mut Stage) -> Result<Shown, DemoError> {
    let id = "5b0e2f0a-3c55-4c0e-8d7f-6a4a3f1f0b12";
    let mut event = story::test_triggered(stage)?;
    if let Some(members) = event.as_object_mut() {
        members.insert("id".to_owned(), id.into());
        members.insert("shkeptncontext".to_owned(), "6c1f3b52-7a0d-4b8e-9d3e-2f5a1c7e9b41".into());
    }
    let accepted = stage.send(&event).await?;
    let seq = seq(&accepted);
    let is_started = |seen: &Seen| seen.answers("sh.keptn.event.test.started", id);
    stage.wait_for(wait("test.started", 60, seq), is_started).await?;
    let before = stage.service.requests();
    more_requests(stage, "JMeter to be in the middle of the test", before + MIDDLE_REQUESTS, seq).await?;

    let process = stage.kill_host().await?;
    let killed = Instant::now();
    let at_kill = stage.service.requests();
    stage.printer.note(&format!("kill -9 {process}: the host is gone after {} requests of the test", at_kill - before));
    more_requests(stage, "JMeter to go on without the host", at_kill + ORPHANED_REQUESTS, None).await?;
    let without_host = stage.service.requests() - at_kill;
    stage.printer.note(&format!("JMeter goes on: {without_host} requests without a host"));
    stage.resume_host().await?;
    let away = seconds(killed);
    stage.printer.note(&format!("the host is back after {away} s"));

    let mut facts = story::follow_test(stage, id, seq).await?;
    let jobs = count(stage, &format!("type=dev.pilothouse.job.finished.v1&triggered-id={id}")).await?;
    if jobs != 1 {
        return Err(DemoError::Wrong(format!("the job of the test ended {jobs} times")));
    }
    if let Some(members) = facts.as_object_mut() {
        members.insert("killed-process".to_owned(), process.into());
        members.insert("requests-without-host".to_owned(), without_host.into());
        members.insert("seconds-away".to_owned(), away.into());
        members.insert("jobs-finished".to_owned(), jobs.into());
    }
    Ok(Shown { summary: "the host took up the running job where it was, and the test ended once".to_owned(), facts })
}

async fn more_requests(stage: &Stage, what: &str, until: u64, event: Option<u64>) -> Result<(), DemoError> {
    let wait = super::stage::Wait { what, at_most: Duration::from_secs(60), event };
    stage.poll(wait, || async { Ok((stage.service.requests() >= until).then_some(())) }).await
}
