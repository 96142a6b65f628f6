//! The settings: where messages go, and which ones.
//!
//! One installation posts to one channel. For several, install the plugin several times: each then has its own retries,
//! and a channel that is broken repeats nothing in the others.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::notice::{Kind, Notice, Outcome};

/// How messages are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// To an incoming webhook, whose URL is the connection's.
    #[default]
    #[serde(rename = "webhook")]
    Webhook,
    /// With a bot token through Slack's Web API.
    #[serde(rename = "chat.postMessage")]
    PostMessage,
}

/// The kinds shown unless the settings say otherwise. Not `test`: each report has the test's figures already.
const KINDS_DEFAULT: [Kind; 7] = [
    Kind::TestReport,
    Kind::Evaluation,
    Kind::Approval,
    Kind::Problem,
    Kind::Remediation,
    Kind::Failure,
    Kind::DeadLetter,
];

/// The installation's settings. An empty list selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// How messages are sent.
    pub mode: Mode,
    /// The channel's id or name, for `chat.postMessage`.
    pub channel: String,
    /// Projects to show.
    pub projects: Vec<String>,
    /// Stages to show.
    pub stages: Vec<String>,
    /// Services to show.
    pub services: Vec<String>,
    /// Results to show; what has no result (problems, dead letters) is shown whatever stands here.
    pub results: Vec<Outcome>,
    /// Kinds to show; the default kinds when absent.
    pub kinds: Option<Vec<Kind>>,
    /// Whether approvals have buttons.
    pub buttons: bool,
    /// Members to mention, by author.
    pub mentions: BTreeMap<String, String>,
}

impl Settings {
    /// Tells whether this channel wants the notice.
    pub fn wants(&self, notice: &Notice) -> bool {
        let listed = |list: &[String], value: &String| list.is_empty() || list.contains(value);
        let kinds = self.kinds.as_deref().unwrap_or(&KINDS_DEFAULT);
        kinds.contains(&notice.kind)
            && listed(&self.projects, &notice.project)
            && listed(&self.stages, &notice.stage)
            && listed(&self.services, &notice.service)
            && (self.results.is_empty() || notice.outcome.is_none_or(|outcome| self.results.contains(&outcome)))
    }

    /// Returns what a schema cannot check: JSON Pointer and problem.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        match self.mode {
            Mode::PostMessage if self.channel.is_empty() => {
                vec![(
                    "/channel",
                    "`chat.postMessage` needs a channel: its id, such as C0123456789, or its name".to_owned(),
                )]
            }
            Mode::Webhook if !self.channel.is_empty() => {
                vec![("/channel", "a webhook has one channel, which Slack set; leave `channel` out".to_owned())]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notice;

    fn wants(settings: serde_json::Value, ty: &str, data: serde_json::Value) -> bool {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        settings.wants(&notice::read(ty, &data).unwrap())
    }

    #[test]
    fn a_channel_is_filtered_by_kind_place_and_result() {
        let report =
            || json!({ "project": "shop", "stage": "dev", "service": "cart", "result": "fail", "status": "succeeded" });
        let cases = [
            ("everything", json!({}), true),
            ("this project", json!({ "projects": ["other", "shop"] }), true),
            ("another project", json!({ "projects": ["other"] }), false),
            ("another stage", json!({ "projects": ["shop"], "stages": ["prod"] }), false),
            ("another service", json!({ "services": ["payment"] }), false),
            ("this result", json!({ "results": ["warning", "fail"] }), true),
            ("another result", json!({ "results": ["pass"] }), false),
            ("another kind", json!({ "kinds": ["problem"] }), false),
            ("this kind", json!({ "kinds": ["test-report"] }), true),
        ];
        for (name, settings, expected) in cases {
            assert_eq!(wants(settings, notice::TEST_REPORTED, report()), expected, "{name}");
        }
    }

    #[test]
    fn what_has_no_result_is_not_filtered_by_results() {
        assert!(wants(json!({ "results": ["fail"] }), notice::PROBLEM, json!({})));
    }

    #[test]
    fn a_finished_test_is_shown_only_when_asked_for() {
        let data = || json!({ "result": "pass" });
        assert!(!wants(json!({}), "sh.keptn.event.test.finished", data()));
        assert!(wants(json!({ "kinds": ["test"] }), "sh.keptn.event.test.finished", data()));
    }

    #[test]
    fn the_channel_belongs_to_the_mode() {
        let problems = |settings| serde_json::from_value::<Settings>(settings).unwrap().problems().len();
        assert_eq!(problems(json!({})), 0);
        assert_eq!(problems(json!({ "channel": "C1" })), 1);
        assert_eq!(problems(json!({ "mode": "chat.postMessage" })), 1);
        assert_eq!(problems(json!({ "mode": "chat.postMessage", "channel": "C1" })), 0);
    }
}
