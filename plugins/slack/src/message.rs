//! Writes a notice as a Slack message (Block Kit), within Slack's limits.
//!
//! Text that comes from events only ever stands in `plain_text` objects, where Slack reads no markup, and in the escaped
//! fallback: nothing that anyone puts into an event can format, or mention `@channel`. The one link is that to the report, with
//! its host written beside it.

use serde_json::{Value, json};

use crate::notice::{Kind, Notice, Outcome};
use crate::text::{cut, escape};

/// Longest header, by Slack's limit.
const HEADER_CHARS_MAX: usize = 150;
/// Longest text of a section, by Slack's limit.
const SECTION_CHARS_MAX: usize = 3_000;
/// Most fields of a section, by Slack's limit.
const FIELDS_MAX: usize = 10;
/// Longest field. Slack takes 2,000; a value that long is no value to show in a column.
const FIELD_CHARS_MAX: usize = 300;
/// Most elements of a context block, by Slack's limit.
const CONTEXT_ELEMENTS_MAX: usize = 10;
/// Longest element of a context block: small print.
const CONTEXT_CHARS_MAX: usize = 200;
/// Longest fallback text, shown in notifications. Slack advises 4,000 characters at most; a notification shows one line.
const FALLBACK_CHARS_MAX: usize = 500;

fn symbol(notice: &Notice) -> &'static str {
    match (notice.outcome, notice.kind) {
        (Some(Outcome::Pass), _) => "✅",
        (Some(Outcome::Warning), _) => "⚠️",
        (Some(Outcome::Fail), _) => "❌",
        (None, Kind::Problem) => "🔥",
        (None, Kind::Approval) => "✋",
        (None, Kind::Remediation) => "🛠️",
        (None, _) => "📭",
    }
}

/// Makes a text object without markup; `:name:` is no emoji either.
fn plain(text: &str, chars_max: usize) -> Value {
    json!({ "type": "plain_text", "text": cut(text, chars_max), "emoji": false })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(text, SECTION_CHARS_MAX) })
}

/// Joins lines up to a section's limit, and says how many are left out.
fn joined(lines: &[String]) -> String {
    /// Room for the last line.
    const REST_CHARS: usize = 40;
    let mut text = String::new();
    let mut chars = 0;
    for (index, line) in lines.iter().enumerate() {
        let line = cut(&line.replace('\n', " "), FIELD_CHARS_MAX);
        chars += line.chars().count() + 1;
        if chars > SECTION_CHARS_MAX - REST_CHARS {
            text.push_str(&format!("… and {} more", lines.len() - index));
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Makes the message: at most five blocks, where Slack takes fifty.
///
/// `channel` is for `chat.postMessage`; `event_id` goes along as metadata there, so that a repeated message can be
/// recognized by a tool.
pub fn build(notice: &Notice, channel: Option<&str>, event_id: &str) -> Value {
    let title = format!("{} {}", symbol(notice), notice.title);
    let mut blocks = vec![json!({ "type": "header", "text": plain(&title.replace('\n', " "), HEADER_CHARS_MAX) })];
    // Slack refuses empty texts, so each block stands only where there is something to say.
    if !notice.text.trim().is_empty() {
        blocks.push(section(&notice.text));
    }
    let fields: Vec<Value> = notice
        .fields
        .iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .take(FIELDS_MAX)
        .map(|(name, value)| plain(&format!("{name}\n{value}"), FIELD_CHARS_MAX))
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if !notice.lines.is_empty() {
        blocks.push(section(&joined(&notice.lines)));
    }
    let context = notice.context.iter().filter(|text| !text.trim().is_empty()).take(CONTEXT_ELEMENTS_MAX);
    let context: Vec<Value> = context.map(|text| plain(text, CONTEXT_CHARS_MAX)).collect();
    if !context.is_empty() {
        blocks.push(json!({ "type": "context", "elements": context }));
    }
    if let Some(report) = &notice.report {
        // The one text with markup, made of an address that has none: who reads it sees where it leads.
        let host = report.split('/').nth(2).unwrap_or_default();
        let text = format!("<{report}|Open the report> ({host})");
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    if let Some(member) = &notice.mention {
        // The id is the operator's word: the settings' schema lets nothing else through.
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": format!("<@{member}>") } }));
    }
    if let Some(approval) = &notice.approval {
        let button = |name: &str, text: &str, style: &str| {
            let confirm = json!({ "title": plain("Are you sure?", 100), "text": plain(&title, 300),
                "confirm": plain(text, 30), "deny": plain("Cancel", 30) });
            json!({ "type": "button", "action_id": name, "text": plain(text, 75), "style": style, "value": approval, "confirm": confirm })
        };
        let elements = [button("approve", "Approve", "primary"), button("decline", "Decline", "danger")];
        blocks.push(json!({ "type": "actions", "block_id": "pilothouse-approval", "elements": elements }));
    }
    let mut message = json!({
        "text": escape(&cut(&title, FALLBACK_CHARS_MAX)),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let (Some(channel), Some(members)) = (channel, message.as_object_mut()) {
        members.insert("channel".to_owned(), channel.into());
        let metadata = json!({ "event_type": "pilothouse_notice", "event_payload": { "event": event_id } });
        members.insert("metadata".to_owned(), metadata);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice;

    fn report(message: &str) -> Notice {
        let data = json!({
            "project": "shop", "stage": "dev", "service": "cart", "labels": { "build": "7" }, "result": "fail",
            "status": "succeeded", "message": message, "test": { "count": 2, "p95": 25 },
            "indicatorValues": [{ "metric": "throughput", "value": 1.5, "success": true }],
        });
        notice::read(notice::TEST_REPORTED, &data).unwrap()
    }

    #[test]
    fn a_notice_becomes_header_text_fields_list_and_context() {
        let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": false });
        assert_eq!(
            build(&report("too slow"), None, "e-1"),
            json!({
                "text": "❌ Test failed: cart in shop/dev",
                "blocks": [
                    { "type": "header", "text": plain("❌ Test failed: cart in shop/dev") },
                    { "type": "section", "text": plain("too slow") },
                    { "type": "section", "fields": [plain("Requests\n2"), plain("p95\n25 ms")] },
                    { "type": "section", "text": plain("throughput: 1.5") },
                    { "type": "context", "elements": [plain("build: 7")] },
                ],
                "unfurl_links": false,
                "unfurl_media": false,
            })
        );
    }

    #[test]
    fn nothing_in_an_event_can_mention_anyone_or_make_a_link() {
        let data = json!({
            "service": "<!channel>", "result": "fail", "status": "succeeded", "message": "<!here> <https://evil|x> *b*",
            "labels": { "a": "<@U1>" },
        });
        let message = build(&notice::read(notice::TEST_REPORTED, &data).unwrap(), None, "e");
        assert_eq!(message["text"], "❌ Test failed: &lt;!channel&gt;");
        let text = message.to_string();
        assert!(!text.contains("mrkdwn"), "{text}");
        let types: Vec<&Value> =
            message["blocks"].as_array().unwrap().iter().filter_map(|block| block.pointer("/text/type")).collect();
        assert!(types.iter().all(|ty| *ty == "plain_text"));
    }

    #[test]
    fn the_report_is_a_link_whose_host_is_seen_and_anything_else_in_its_place_is_none() {
        let message = |url: &str| {
            let data = json!({ "result": "pass", "evaluation": { "reportUrl": url } });
            build(&notice::read("sh.keptn.event.evaluation.finished", &data).unwrap(), None, "e").to_string()
        };
        let url = "https://pilothouse.example.org/reports/1?expires=2&signature=x_y-z";
        let expected = format!("<{url}|Open the report> (pilothouse.example.org)");
        assert!(message(url).contains(&expected), "{}", message(url));
        for bad in
            ["https://x|y> <!channel", "https://x/<!here>", "javascript:alert(1)", "!channel", "https://x/ y", ""]
        {
            assert!(!message(bad).contains("mrkdwn"), "{bad}");
        }
    }

    #[test]
    fn everything_stays_within_slacks_limits() {
        let long = "x".repeat(10_000);
        let mut notice = report(&long);
        notice.title = long.clone();
        notice.fields = (0..20).map(|index| (format!("{index}{long}"), long.clone())).collect();
        notice.lines = (0..1_000).map(|index| format!("{index} {}", "y".repeat(500))).collect();
        notice.context = (0..30).map(|_| long.clone()).collect();
        let message = build(&notice, None, "e");
        let length = |pointer: &str| message.pointer(pointer).unwrap().as_str().unwrap().chars().count();
        assert_eq!(length("/blocks/0/text/text"), 150);
        assert_eq!(length("/blocks/1/text/text"), 3_000);
        assert_eq!(message.pointer("/blocks/2/fields").unwrap().as_array().unwrap().len(), 10);
        assert!(length("/blocks/2/fields/0/text") <= 2_000);
        assert!(length("/blocks/3/text/text") <= 3_000);
        assert!(message.pointer("/blocks/3/text/text").unwrap().as_str().unwrap().ends_with("more"));
        assert_eq!(message.pointer("/blocks/4/elements").unwrap().as_array().unwrap().len(), 10);
        assert!(message["blocks"].as_array().unwrap().len() <= 50);
        assert!(length("/text") <= 500);
    }

    #[test]
    fn no_block_is_empty() {
        let data = json!({ "labels": { "a": "" } });
        let message = build(&notice::read(notice::PROBLEM, &data).unwrap(), None, "e");
        let blocks = message["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 2, "{message}");
        assert_eq!(blocks[0]["text"]["text"], "🔥 Problem");
    }

    #[test]
    fn a_message_through_the_api_names_its_channel_and_the_event() {
        let message = build(&report(""), Some("C1"), "e-1");
        assert_eq!(
            (&message["channel"], &message["metadata"]["event_payload"]["event"]),
            (&json!("C1"), &json!("e-1"))
        );
    }
}
