//! What is told of which commit.

use serde::Deserialize;
use serde_json::Value;

/// Longest description, in characters: GitHub takes 140, GitLab 255.
const DESCRIPTION_CHARS_MAX: usize = 140;
/// Characters of a commit's id: SHA-1 and SHA-256.
const COMMIT_CHARS: [usize; 2] = [40, 64];

/// Whose API it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// GitHub's REST API.
    #[default]
    Github,
    /// GitLab's, version 4.
    Gitlab,
}

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Whose API it is.
    pub api: Api,
    /// The repository of runs that do not name theirs.
    pub repository: Option<String>,
    /// What the status is called.
    pub context: Option<String>,
    /// What a warning becomes.
    pub warning: Warning,
}

/// What a warning becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// A success.
    #[default]
    Success,
    /// A failure.
    Failure,
}

/// How a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being judged.
    Pending,
    /// It is good enough.
    Success,
    /// It is not.
    Failure,
    /// It could not be judged.
    Error,
}

/// The status of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The repository.
    pub repository: String,
    /// The commit's id.
    pub commit: String,
    /// How it is.
    pub state: State,
    /// What the status is called.
    pub context: String,
    /// One sentence.
    pub description: String,
}

/// What an event comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This.
    Status(Status),
    /// Nothing, and why.
    Nothing(String),
}

/// Reads what to tell from an event of an evaluation. Its labels `commit` and `repository` say of which commit.
pub fn read(ty: &str, data: &Value, settings: &Settings) -> Told {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(commit) = text("/labels/commit") else {
        return Told::Nothing("the run has no label `commit`".to_owned());
    };
    if !COMMIT_CHARS.contains(&commit.len()) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Told::Nothing(format!("the label `commit` is `{}`, which is no whole commit id", cut(commit)));
    }
    let Some(repository) = text("/labels/repository").or(settings.repository.as_deref()) else {
        return Told::Nothing("neither the label nor the setting `repository` says where the commit is".to_owned());
    };
    let stage = text("/stage").unwrap_or("evaluation");
    let errored = matches!(text("/status"), Some("errored" | "aborted"));
    let state = match (ty.ends_with(".triggered"), text("/result")) {
        (true, _) => State::Pending,
        _ if errored => State::Error,
        (_, Some("pass")) => State::Success,
        (_, Some("warning")) if settings.warning == Warning::Success => State::Success,
        _ => State::Failure,
    };
    let description = match state {
        State::Pending => format!("{stage} is being judged"),
        _ => text("/message").map_or_else(|| format!("{stage}: {}", text("/result").unwrap_or("fail")), str::to_owned),
    };
    Told::Status(Status {
        repository: repository.to_owned(),
        commit: commit.to_owned(),
        state,
        context: settings.context.clone().unwrap_or_else(|| format!("pilothouse/{stage}")),
        description: cut_to(&description, DESCRIPTION_CHARS_MAX),
    })
}

fn cut(text: &str) -> String {
    cut_to(text, 60)
}

/// Cuts a text to so many characters, and says that it is cut.
fn cut_to(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    if clean.chars().count() <= most {
        return clean;
    }
    let mut short: String = clean.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";
    const FINISHED: &str = "sh.keptn.event.evaluation.finished";

    fn event(result: &str, status: &str) -> Value {
        json!({ "stage": "prod", "result": result, "status": status, "message": "m",
            "labels": { "commit": COMMIT, "repository": "o/r" } })
    }

    fn state(ty: &str, data: &Value, settings: &Settings) -> State {
        match read(ty, data, settings) {
            Told::Status(status) => status.state,
            Told::Nothing(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_result_becomes_the_state_of_its_commit() {
        let usual = Settings::default();
        let strict = Settings { warning: Warning::Failure, ..Settings::default() };
        assert_eq!(state(FINISHED, &event("pass", "succeeded"), &usual), State::Success);
        assert_eq!(state(FINISHED, &event("warning", "succeeded"), &usual), State::Success);
        assert_eq!(state(FINISHED, &event("warning", "succeeded"), &strict), State::Failure);
        assert_eq!(state(FINISHED, &event("fail", "succeeded"), &usual), State::Failure);
        assert_eq!(state(FINISHED, &event("fail", "errored"), &usual), State::Error);
        assert_eq!(state("sh.keptn.event.evaluation.triggered", &event("pass", ""), &usual), State::Pending);
    }

    #[test]
    fn without_a_whole_commit_and_a_repository_nothing_is_told() {
        let nothing = |labels: Value, settings: &Settings| match read(FINISHED, &json!({ "labels": labels }), settings)
        {
            Told::Nothing(why) => why,
            Told::Status(status) => panic!("{status:?}"),
        };
        let usual = Settings::default();
        assert!(nothing(json!({}), &usual).contains("no label `commit`"));
        assert!(nothing(json!({ "commit": "abc" }), &usual).contains("no whole commit id"));
        assert!(nothing(json!({ "commit": COMMIT }), &usual).contains("`repository`"));
        let named = Settings { repository: Some("a/b".to_owned()), ..Settings::default() };
        assert!(matches!(read(FINISHED, &json!({ "labels": { "commit": COMMIT } }), &named), Told::Status(_)));
    }

    #[test]
    fn a_long_message_is_cut_to_what_the_apis_take() {
        let mut long = event("pass", "succeeded");
        long["message"] = "ü".repeat(500).into();
        let Told::Status(status) = read(FINISHED, &long, &Settings::default()) else { panic!() };
        assert_eq!(status.description.chars().count(), 140);
        assert!(status.description.ends_with('…'));
    }
}
