//! Reads Slack's answer: taken, worth another attempt, or to be given up with the reason.
//!
//! Never here: what was sent.

use std::time::Duration;

use pilothouse_sdk::http::Response;
use pilothouse_sdk::{Failure, reject};
use serde::Deserialize;

use crate::channel::Mode;

/// How long to wait when Slack says "too many" without saying how long. Its limit is one message per second and channel.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
/// Longest error code quoted: Slack's are words joined by underscores.
const CODE_CHARS_MAX: usize = 60;

/// Errors of Slack's Web API that pass by themselves.
const PASSING: [&str; 7] = [
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
];

/// Says what to do about an error code that a person must mend.
fn advice(code: &str) -> &'static str {
    match code {
        "invalid_payload"
        | "invalid_blocks"
        | "invalid_blocks_format"
        | "no_text"
        | "msg_too_long"
        | "msg_blocks_too_long" => "this is a bug of the plugin",
        "no_service" | "no_service_id" | "no_team" | "team_disabled" | "no_active_hooks" => {
            "the webhook was removed or turned off; make a new one and put it into the connection `slack`"
        }
        "invalid_token" | "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "the credential of the connection `slack` is not valid any more"
        }
        "channel_not_found" => "there is no such channel, or the app cannot see it; check the setting `channel`",
        "not_in_channel" => "invite the app to the channel",
        "channel_is_archived" | "is_archived" => "the channel is archived",
        "missing_scope" | "no_permission" => "the app's token needs the scope `chat:write`",
        "action_prohibited" | "restricted_action" | "posting_to_general_channel_denied" => {
            "the workspace does not let this app post there"
        }
        _ => "see Slack's documentation of this error",
    }
}

/// The answer of Slack's Web API.
#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    error: Option<String>,
}

/// Takes a code out of text that anything may have written.
fn code(text: &str) -> Option<&str> {
    let text = text.trim();
    let plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (plain && !text.is_empty() && text.len() <= CODE_CHARS_MAX).then_some(text)
}

fn given_up(code: &str) -> Failure {
    reject(format!("Slack refused the message (`{code}`): {}", advice(code)))
}

/// Reads the answer to a message.
///
/// # Errors
/// A retry for 429 (after the time that Slack asks for) and for 5xx; a reject with Slack's reason for everything else.
pub fn read(mode: Mode, response: &Response) -> Result<(), Failure> {
    match response.status {
        429 => {
            return Err(Failure::Retry {
                reason: "Slack asks to wait (429)".to_owned(),
                after: Some(response.retry_after().unwrap_or(RATE_LIMIT_WAIT)),
            });
        }
        status @ (408 | 425 | 500..) => {
            let reason = format!("Slack answered with status {status}");
            return Err(Failure::Retry { reason, after: response.retry_after() });
        }
        200..=299 => {}
        status => {
            return Err(match code(&response.text()) {
                Some(code) => given_up(code),
                None => reject(format!(
                    "what answers at the connection `slack` refused the message with status {status}; check its address"
                )),
            });
        }
    }
    if mode == Mode::Webhook {
        return Ok(());
    }
    // The Web API answers 200 to nearly everything.
    match serde_json::from_slice::<Envelope>(&response.body) {
        Ok(Envelope { ok: true, .. }) => Ok(()),
        Ok(Envelope { error, .. }) => {
            let error = error.unwrap_or_default();
            let code = code(&error).unwrap_or("unknown_error");
            if PASSING.contains(&code) {
                let after = response.retry_after().or(code.starts_with("rate").then_some(RATE_LIMIT_WAIT));
                return Err(Failure::Retry { reason: format!("Slack answered `{code}`"), after });
            }
            Err(given_up(code))
        }
        Err(_) => Err(reject(
            "what answers at the connection `slack` is not Slack's Web API; its base URL is https://slack.com",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, retry_after: Option<&str>, body: &str) -> Response {
        let headers = retry_after.map(|value| ("Retry-After".to_owned(), value.to_owned())).into_iter().collect();
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_message_is_taken() {
        assert_eq!(read(Mode::Webhook, &response(200, None, "ok")), Ok(()));
        assert_eq!(read(Mode::PostMessage, &response(200, None, r#"{"ok":true,"ts":"1.2"}"#)), Ok(()));
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_after_the_time_that_slack_asks_for() {
        let api = |error: &str| format!(r#"{{"ok":false,"error":"{error}"}}"#);
        let cases = [
            ("429", Mode::Webhook, response(429, Some("7"), ""), Some(7)),
            ("429 without a time", Mode::Webhook, response(429, None, ""), Some(30)),
            ("500", Mode::Webhook, response(500, None, "rollup_error"), None),
            ("503 with a time", Mode::PostMessage, response(503, Some("3"), ""), Some(3)),
            ("api rate limit", Mode::PostMessage, response(200, None, &api("ratelimited")), Some(30)),
            ("api trouble", Mode::PostMessage, response(200, None, &api("internal_error")), None),
        ];
        for (name, mode, response, seconds) in cases {
            match read(mode, &response) {
                Err(Failure::Retry { after, .. }) => assert_eq!(after.map(|it| it.as_secs()), seconds, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_a_person_must_mend_is_given_up_with_the_reason() {
        let cases = [
            ("payload", Mode::Webhook, response(400, None, "invalid_payload"), "(`invalid_payload`): this is a bug"),
            ("removed", Mode::Webhook, response(404, None, "no_service"), "make a new one"),
            ("archived", Mode::Webhook, response(410, None, "channel_is_archived"), "archived"),
            ("forbidden", Mode::Webhook, response(403, None, "action_prohibited"), "does not let"),
            ("html", Mode::Webhook, response(404, None, "<html>secret"), "status 404; check its address"),
            ("redirect", Mode::Webhook, response(302, None, ""), "status 302"),
            (
                "channel",
                Mode::PostMessage,
                response(200, None, r#"{"ok":false,"error":"channel_not_found"}"#),
                "setting `channel`",
            ),
            (
                "odd code",
                Mode::PostMessage,
                response(200, None, r#"{"ok":false,"error":"<script>"}"#),
                "`unknown_error`",
            ),
            ("no api", Mode::PostMessage, response(200, None, "ok"), "https://slack.com"),
        ];
        for (name, mode, response, expected) in cases {
            match read(mode, &response) {
                Err(Failure::Reject(reason)) => {
                    assert!(reason.contains(expected), "{name}: {reason}");
                    assert!(!reason.contains("secret") && !reason.contains("script"), "{name}: {reason}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
