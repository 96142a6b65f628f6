//! The last acts: a plugin that traps, and an event that is sent twice.

use pilothouse_core::host_event::DELIVERY_DEAD;
use serde_json::{Value, json};

use super::error::DemoError;
use super::follow::Seen;
use super::report::Shown;
use super::setup;
use super::stage::{Stage, wait};
use super::story::{self, count, seq};

/// The plugin with a mistake.
const FRAGILE: &str = "demo-fragile";
/// What it makes of an order once it is mended.
const CONFIRMED: &str = "com.example.order.confirmed.v1";

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

/// Sends the event that asked for monitoring again.
pub(super) async fn duplicate(stage: &mut Stage) -> Result<Shown, DemoError> {
    let event = setup::example_event(setup::MONITORING_CONFIGURE)?;
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
