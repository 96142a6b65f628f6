//! `pilothouse event why`: the story of one event as a tree.

use serde_json::Value;

use super::api::Api;
use super::terminal::{Format, cell};
use super::{CliError, Terminal};

/// Deepest level shown; the host cuts a trace long before.
const DEPTH_MAX: usize = 128;

pub(super) async fn run(api: &Api, terminal: &mut Terminal, seq: u64) -> Result<(), CliError> {
    let trace = api.get(&format!("/v1/events/{seq}/trace"), &[]).await?;
    if terminal.format == Format::Json {
        return terminal.json(&trace);
    }
    for line in lines(&trace, seq) {
        terminal.line(&line)?;
    }
    Ok(())
}

/// Writes a trace as lines.
fn lines(trace: &Value, seq: u64) -> Vec<String> {
    let mut lines = vec![format!("Who gets event {seq}, by the subscriptions of now:")];
    let subscriptions = items(trace, "subscriptions");
    if subscriptions.is_empty() {
        lines.push("  nothing is installed".to_owned());
    }
    for subscription in subscriptions {
        let matched = subscription.get("matched").and_then(Value::as_bool).unwrap_or(false);
        let mark = if matched { "yes" } else { "no " };
        lines.push(format!(
            "  {mark}  {}: {}",
            cell(subscription.get("installation")),
            cell(subscription.get("reason"))
        ));
    }
    lines.push(String::new());
    lines.push("What happened, from the first cause on:".to_owned());
    if let Some(root) = trace.get("root") {
        event(root, seq, 1, &mut lines);
    }
    if trace.get("truncated").and_then(Value::as_bool).unwrap_or(false) {
        lines.push("  … cut here; there is more".to_owned());
    }
    lines
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn event(node: &Value, seq: u64, depth: usize, lines: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    let indent = "  ".repeat(depth);
    let here = if node.get("seq").and_then(Value::as_u64) == Some(seq) { " ← this one" } else { "" };
    let summary = node.get("summary").and_then(Value::as_str).map(|text| format!("  ({text})")).unwrap_or_default();
    lines.push(format!(
        "{indent}{} {}  from {}  at {}  by {}{summary}{here}",
        cell(node.get("seq")),
        cell(node.get("type")),
        cell(node.get("source")),
        cell(node.get("accepted")),
        cell(node.get("actor"))
    ));
    for delivery in items(node, "deliveries") {
        let reason = delivery.get("reason").and_then(Value::as_str).map(|text| format!(": {text}")).unwrap_or_default();
        lines.push(format!(
            "{indent}  → {} ({}) {}, {} attempts{reason}  [{}]",
            cell(delivery.get("installation")),
            cell(delivery.get("cause")),
            cell(delivery.get("state")),
            cell(delivery.get("attempts")),
            cell(delivery.get("id"))
        ));
        for child in items(delivery, "events") {
            event(child, seq, depth + 2, lines);
        }
    }
    for child in items(node, "followed-by") {
        event(child, seq, depth + 1, lines);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tree_shows_causes_before_what_they_caused_and_marks_the_event_asked_for() {
        let trace = json!({
            "seq": 2, "truncated": false,
            "subscriptions": [{"installation": "slack", "matched": false, "reason": "the type is another"}],
            "root": {"seq": 1, "type": "a", "source": "/s", "accepted": "t", "actor": "token:ci", "deliveries": [
                {"id": "d", "installation": "jmeter", "cause": "triggered", "state": "done", "attempts": 1, "events": [
                    {"seq": 2, "type": "b", "source": "/plugins/jmeter", "accepted": "t", "actor": "plugin:jmeter", "deliveries": []}]}]},
        });
        let lines = lines(&trace, 2);
        let position = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
        assert!(position("1 a") < position("→ jmeter") && position("→ jmeter") < position("2 b"), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("2 b") && line.ends_with("← this one")), "{lines:#?}");
    }
}
