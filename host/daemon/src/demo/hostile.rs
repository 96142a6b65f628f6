//! The act in which a plugin tries what it was not granted: each attempt is denied, with the line that would grant it.

use serde_json::{Value, json};

use super::error::DemoError;
use super::follow::Seen;
use super::report::Shown;
use super::stage::{Stage, wait};
use super::story;

/// The hostile plugin.
const BURGLAR: &str = "demo-burglar";
/// What it tells of its attempts.
const REPORTED: &str = "com.example.burglary.reported.v1";

/// Installs a plugin with nothing granted, lets it try, and shows what the host said each time.
pub(super) async fn hostile(stage: &mut Stage) -> Result<Shown, DemoError> {
    story::install(stage, BURGLAR, BURGLAR, &json!({}), &json!({})).await?;
    let accepted = stage.send(&event("tried.v1", json!({}))).await?;
    let is_report = |seen: &Seen| seen.text("type") == REPORTED;
    let told = stage.wait_for(wait("what the plugin tried", 60, story::seq(&accepted)), is_report).await?;
    let attempts = told.event.pointer("/data/attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    for attempt in &attempts {
        let text = |name: &str| attempt.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("denied").starts_with("GOT IN") {
            return Err(DemoError::Wrong(format!("the plugin got in: {attempt}")));
        }
        stage.printer.note(&format!("it tried to {:<28} {}", text("attempt"), text("denied")));
    }
    let lines = denials(stage, story::seq(&accepted).unwrap_or_default()).await?;
    stage.printer.note("the operator reads in the log of the delivery what would grant each:");
    lines.iter().for_each(|line| stage.printer.note(&format!("  │ {line}")));
    // The gate of the last delivery; it could as well be open.
    let is_gate = |seen: &Seen| seen.text("type") == "sh.keptn.event.evaluation.triggered";
    let gate = stage.wait_for(wait("an evaluation", 5, None), is_gate).await?;
    let accepted = stage.send(&event("forged.v1", json!({ "task": gate.text("id") }))).await?;
    let seq = story::seq(&accepted).unwrap_or_default();
    let api = stage.api()?;
    let dead = || async {
        let page = api.get(&format!("/v1/deliveries?event={seq}&installation={BURGLAR}&state=dead")).await?;
        Ok(page.pointer("/items/0/reason").and_then(Value::as_str).map(str::to_owned))
    };
    let forged = stage.poll(wait("the forged answer to be refused", 30, Some(seq)), dead).await?;
    stage.printer.note(&format!("it tried to {:<28} {forged}", "answer the quality gate"));
    Ok(Shown {
        summary: format!("{} attempts, all denied, each with the line that would grant it", attempts.len() + 1),
        facts: json!({ "attempts": attempts, "lines": lines, "forged": forged }),
    })
}

/// Returns what the host wrote into the log of the plugin's delivery, each with the line that would grant it.
async fn denials(stage: &Stage, seq: u64) -> Result<Vec<String>, DemoError> {
    let api = stage.api()?;
    let page = api.get(&format!("/v1/deliveries?event={seq}&installation={BURGLAR}")).await?;
    let id = page.pointer("/items/0/id").and_then(Value::as_str).unwrap_or_default();
    let detail = api.get(&format!("/v1/deliveries/{id}")).await?;
    let tried = detail.get("tried").and_then(Value::as_array).into_iter().flatten();
    let lines = tried.filter_map(|attempt| attempt.get("log")?.as_array()).flatten();
    let text =
        |line: &Value| line.get("message").or_else(|| line.get("text")).unwrap_or(line).as_str().map(str::to_owned);
    Ok(lines.filter_map(text).filter(|line| line.starts_with("denied: ")).collect())
}

fn event(what: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": what, "source": "/examples/demo", "type": format!("com.example.burglary.{what}"),
        "datacontenttype": "application/json", "data": data,
    })
}
