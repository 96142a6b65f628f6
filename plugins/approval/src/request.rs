//! What the task asks for: who decides after which result, how many people, until when.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// People who must approve, unless somebody says otherwise.
pub const QUORUM_DEFAULT: u32 = 1;
/// Most people who must approve: more than any team that decides by hand.
pub const QUORUM_MAX: u32 = 20;
/// When a request expires, unless somebody says otherwise.
pub const EXPIRES_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// The longest expiry; the manifest's finish timeout is a little longer.
pub const EXPIRES_MAX: Duration = Duration::from_secs(90 * 86_400);
/// The shortest time between two reminders, so that none of them is a flood.
pub const REMINDER_MIN: Duration = Duration::from_secs(1);

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// How many people must approve.
    pub quorum: Option<u32>,
    /// When a request expires.
    pub expires: Option<String>,
    /// How often to remind.
    pub reminder: Option<String>,
}

/// What the result of the work before means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It passed.
    Pass,
    /// It passed with a warning.
    Warning,
    /// It failed.
    Fail,
    /// Nothing was judged.
    Unknown,
}

/// What the task asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The result of the work before.
    pub before: Before,
    /// Whether no person is needed after that result.
    pub automatic: bool,
    /// How many different people must approve.
    pub quorum: u32,
    /// How long they have.
    pub expires: Duration,
    /// How often to remind.
    pub reminder: Option<Duration>,
}

/// What is kept of a request until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// How many different people must approve.
    pub quorum: u32,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: u64,
    /// Time between two reminders, in milliseconds.
    pub reminder: Option<u64>,
    /// What was decided so far, by the names of those who did; the newest of each counts.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

/// What somebody decided: the data of `dev.pilothouse.approval.decided.v1`, and a part of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who.
    pub actor: String,
    /// `approve` or `decline`.
    pub decision: Verdict,
    /// Why; may be empty.
    #[serde(default)]
    pub comment: String,
    /// When (RFC 3339).
    #[serde(default)]
    pub time: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Decline,
}

/// Reads what the task's event asks for; what it leaves out, the settings say.
///
/// # Errors
/// A sentence that names the value that makes no sense.
pub fn read(data: &Value, settings: &Settings) -> Result<Request, String> {
    let before = before(data);
    let asked = |name: &str| data.pointer(&format!("/approval/{name}")).filter(|value| !value.is_null());
    let strategy = match before {
        Before::Pass => asked("pass"),
        Before::Warning => asked("warning"),
        Before::Fail | Before::Unknown => None,
    };
    let automatic = match strategy.map(|value| value.as_str().unwrap_or_default()) {
        None | Some("manual" | "") => false,
        Some("automatic") => true,
        Some(other) => return Err(format!("the strategy `{other}` is none; write `automatic` or `manual`")),
    };
    let quorum = match asked("quorum") {
        Some(value) => {
            number(value).ok_or_else(|| format!("`quorum` is {value}; write a number from 1 to {QUORUM_MAX}"))?
        }
        None => settings.quorum.unwrap_or(QUORUM_DEFAULT),
    };
    if !(1..=QUORUM_MAX).contains(&quorum) {
        return Err(format!("`quorum` is {quorum}; write a number from 1 to {QUORUM_MAX}"));
    }
    let time = |name: &str, setting: Option<&String>| match (asked(name), setting) {
        (Some(value), _) => span(value.as_str().unwrap_or_default())
            .map(Some)
            .ok_or_else(|| format!("`{name}` is {value}; write a time such as `30m`, `24h` or `7d`")),
        (None, Some(text)) => {
            span(text).map(Some).ok_or_else(|| format!("the setting `{name}` is `{text}`; write a time such as `24h`"))
        }
        (None, None) => Ok(None),
    };
    let expires = time("expires", settings.expires.as_ref())?.unwrap_or(EXPIRES_DEFAULT);
    if expires > EXPIRES_MAX {
        return Err("`expires` is over 90 days".to_owned());
    }
    let reminder = time("reminder", settings.reminder.as_ref())?.map(|every| every.max(REMINDER_MIN));
    Ok(Request { before, automatic, quorum, expires, reminder })
}

/// Returns the result before, or that of the evaluation (Keptn's approval-service read them in this order).
fn before(data: &Value) -> Before {
    let text = |pointer| data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    match text("/result").or_else(|| text("/evaluation/result")) {
        Some("pass") => Before::Pass,
        Some("warning") => Before::Warning,
        Some("fail" | "failed") => Before::Fail,
        _ => Before::Unknown,
    }
}

/// Reads a number; a shipyard's property may well be a text.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Reads a whole number and `s`, `m`, `h` or `d`.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(data: &Value) -> Result<Request, String> {
        read(data, &Settings::default())
    }

    #[test]
    fn the_strategy_of_the_result_before_decides_and_manual_is_what_nothing_means() {
        let both = json!({ "pass": "automatic", "warning": "manual" });
        let automatic = |data: Value| asked(&data).unwrap().automatic;
        assert!(automatic(json!({ "result": "pass", "approval": both })));
        assert!(!automatic(json!({ "result": "warning", "approval": both })));
        assert!(automatic(json!({ "result": "warning", "approval": { "warning": "automatic" } })));
        assert!(automatic(json!({ "evaluation": { "result": "pass" }, "result": "", "approval": both })));
        assert!(!automatic(json!({ "result": "pass", "evaluation": { "result": "pass" } })));
        assert!(!automatic(json!({ "approval": both })), "nothing was judged");
        let failed = asked(&json!({ "result": "failed", "approval": both })).unwrap();
        assert_eq!((failed.before, failed.automatic), (Before::Fail, false));
        assert!(asked(&json!({ "result": "pass", "approval": { "pass": "auto" } })).unwrap_err().contains("`auto`"));
    }

    #[test]
    fn the_task_wins_over_the_settings_and_they_over_the_defaults() {
        let request = asked(&json!({})).unwrap();
        assert_eq!((request.quorum, request.expires, request.reminder), (1, EXPIRES_DEFAULT, None));
        let settings = Settings { quorum: Some(2), expires: Some("1d".to_owned()), reminder: Some("4h".to_owned()) };
        let request = read(&json!({}), &settings).unwrap();
        assert_eq!((request.quorum, request.expires.as_secs()), (2, 86_400));
        assert_eq!(request.reminder.unwrap().as_secs(), 14_400);
        let data = json!({ "approval": { "quorum": "3", "expires": "30m", "reminder": "5m" } });
        let request = read(&data, &settings).unwrap();
        assert_eq!((request.quorum, request.expires.as_secs()), (3, 1_800));
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        for (name, value) in [
            ("quorum", json!(0)),
            ("quorum", json!("many")),
            ("quorum", json!(21)),
            ("expires", json!("soon")),
            ("expires", json!("91d")),
            ("expires", json!(5)),
            ("reminder", json!("0s")),
            ("reminder", json!("1w")),
        ] {
            let error = asked(&json!({ "approval": { name: value } })).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        assert!(read(&json!({}), &Settings { expires: Some("é".to_owned()), ..Settings::default() }).is_err());
    }
}
