//! The plugin `slack`: observer of reports, evaluations, approvals, problems and failures; posts each as one message to one
//! channel. Its inbound route takes the buttons of approvals (`button`).
//!
//! Only the order of steps is here: `notice` (event → words) → `channel` (wanted?) → `message` (Block Kit) → `answer`.

pub mod answer;
pub mod button;
pub mod channel;
pub mod message;
pub mod notice;
pub mod text;

use std::time::Duration;

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, Problem, Received, Request, http, log, settings};
use serde_json::Value;

use crate::channel::{Mode, Settings};

/// The incoming webhook: the connection's address is the whole URL.
const WEBHOOK_URL: &str = "https://slack.connection.internal/";
/// The method of Slack's Web API.
const POST_MESSAGE_URL: &str = "https://slack.connection.internal/api/chat.postMessage";
/// The extension that names the task.
const TRIGGERED_ID: &str = "triggeredid";
/// Longest wait for Slack. It usually answers in under a second; what takes longer may have been posted all the same, so
/// waiting is better than repeating.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

struct Slack;

impl Handler for Slack {
    fn handle(_ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let settings: Settings = settings()?;
        let data: Value = event.json()?;
        let Some(mut notice) = notice::read(&event.ty, &data) else { return Ok(Outcome::none()) };
        if !settings.wants(&notice) {
            log::debug!("not wanted in this channel: {:?}", notice.kind);
            return Ok(Outcome::none());
        }
        if settings.buttons && event.ty == notice::APPROVAL_CHANGED {
            notice.approval = event.extension_str(TRIGGERED_ID).map(str::to_owned);
        }
        notice.mention = settings.mentions.get(&notice.author).cloned();
        let (url, channel) = match settings.mode {
            Mode::Webhook => (WEBHOOK_URL, None),
            Mode::PostMessage => (POST_MESSAGE_URL, Some(settings.channel.as_str())),
        };
        let message = message::build(&notice, channel, &event.id);
        let response = http::Request::post(url).json(&message).timeout(CALL_TIMEOUT).send()?;
        answer::read(settings.mode, &response)?;
        Ok(Outcome::none())
    }

    fn receive(request: Request) -> Result<Received, String> {
        button::receive(&request)
    }

    fn validate(settings: &str) -> Vec<Problem> {
        match serde_json::from_str::<Settings>(settings) {
            Ok(settings) => settings.problems().into_iter().map(|(path, text)| Problem::new(path, text)).collect(),
            Err(error) => vec![Problem::new("", error.to_string())],
        }
    }
}

pilothouse_sdk::plugin!(Slack, settings, inbound);
