//! From what a job left behind to the answer of its task.

use pilothouse_sdk::Finished;
use pilothouse_sdk::jobs::State;
use serde_json::{Map, Value, json};

use crate::jobs_file::FailureMeans;

/// Most characters of a job's last words in the answer's message.
const MESSAGE_CHARS_MAX: usize = 500;

/// What a job left behind.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// How it ended.
    pub state: Option<State>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Why it did not succeed, as the host says.
    pub reason: Option<String>,
    /// The text of the result file, if there is one.
    pub result: Option<String>,
    /// The artifacts that were asked for, by name.
    pub files: Vec<(String, String)>,
    /// The last lines that it wrote.
    pub log: String,
}

/// Makes the answer. A result file has the last word: its members `result`, `message` and `labels` are read, and everything
/// else in it is the output.
pub fn answer(job: &str, left: &Left, failure: FailureMeans) -> Finished {
    let mut output = match left.result.as_deref().map(serde_json::from_str::<Value>) {
        None => Map::new(),
        Some(Ok(Value::Object(members))) => members,
        Some(Ok(_)) => return errored(job, left, "its result file is not a JSON object"),
        Some(Err(error)) => return errored(job, left, &format!("its result file is not JSON: {error}")),
    };
    let said = output.remove("result");
    let message = match output.remove("message") {
        Some(Value::String(message)) => message,
        _ => how_it_ended(left),
    };
    let succeeded = left.state == Some(State::Succeeded);
    let finished = match said.as_ref().and_then(Value::as_str) {
        // Whoever was stopped has not said its last word.
        _ if !succeeded && left.state != Some(State::Failed) => return errored(job, left, &how_it_ended(left)),
        Some("pass") if succeeded => Finished::pass(message),
        Some("warning") if succeeded => Finished::warning(message),
        Some("fail") => Finished::fail(message),
        Some("pass" | "warning") => {
            return errored(job, left, &format!("{}, and its result file says otherwise", how_it_ended(left)));
        }
        Some(other) => {
            return errored(job, left, &format!("its result file says `{other}`; write pass, warning or fail"));
        }
        None if said.is_some() => return errored(job, left, "`result` in its result file is no text"),
        None if succeeded => Finished::pass(message),
        None if failure == FailureMeans::Fail => Finished::fail(with_last_words(&message, &left.log)),
        None => return errored(job, left, &how_it_ended(left)),
    };
    let labels = match output.remove("labels") {
        Some(Value::Object(labels)) => labels,
        _ => Map::new(),
    };
    let texts = labels.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Number(_) | Value::Bool(_) => Some((name, value.to_string())),
        _ => None,
    });
    let finished = texts.fold(finished, |finished, (name, text)| finished.label(name, text));
    output.insert("job".to_owned(), about(job, left));
    finished.output(&output)
}

fn about(job: &str, left: &Left) -> Value {
    let files: Map<String, Value> =
        left.files.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    let mut about = json!({ "id": job, "log": left.log });
    if let Some(members) = about.as_object_mut() {
        if let Some(code) = left.exit_code {
            members.insert("exit-code".to_owned(), code.into());
        }
        if !files.is_empty() {
            members.insert("files".to_owned(), files.into());
        }
    }
    about
}

fn errored(job: &str, left: &Left, message: &str) -> Finished {
    Finished::errored(with_last_words(message, &left.log)).output(&json!({ "job": about(job, left) }))
}

fn how_it_ended(left: &Left) -> String {
    match (left.state, left.exit_code, &left.reason) {
        (Some(State::Succeeded), ..) => "the job succeeded".to_owned(),
        (Some(State::TimedOut), _, reason) => with_reason("the job was out of time", reason),
        (Some(State::Cancelled), _, reason) => with_reason("the job was cancelled", reason),
        (Some(State::Lost), _, reason) => with_reason("nobody knows how the job ended", reason),
        (_, Some(code), _) => format!("the job ended with exit code {code}"),
        (_, None, reason) => with_reason("the job failed", reason),
    }
}

fn with_reason(text: &str, reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}"))
}

/// Adds the last line that says something.
fn with_last_words(message: &str, log: &str) -> String {
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match last {
        Some(line) => format!("{message}: {}", line.chars().take(MESSAGE_CHARS_MAX).collect::<String>()),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_sdk::{TaskResult, TaskStatus};

    use super::*;

    fn left(state: State, code: Option<i32>, result: Option<&str>) -> Left {
        let result = result.map(str::to_owned);
        Left { state: Some(state), exit_code: code, result, log: "one\nlast words\n\n".to_owned(), ..Left::default() }
    }

    fn judged(left: &Left, failure: FailureMeans) -> (TaskResult, TaskStatus, String) {
        let finished = answer("j1", left, failure);
        (finished.result, finished.status, finished.message)
    }

    #[test]
    fn a_job_that_succeeds_passes_and_one_that_fails_is_what_the_file_says() {
        use FailureMeans::{Errored, Fail};
        let passed = judged(&left(State::Succeeded, Some(0), None), Errored);
        assert_eq!(passed, (TaskResult::Pass, TaskStatus::Succeeded, "the job succeeded".to_owned()));
        let failed = left(State::Failed, Some(3), None);
        let message = "the job ended with exit code 3: last words".to_owned();
        assert_eq!(judged(&failed, Errored), (TaskResult::Fail, TaskStatus::Errored, message.clone()));
        assert_eq!(judged(&failed, Fail), (TaskResult::Fail, TaskStatus::Succeeded, message));
        let late = judged(&left(State::TimedOut, None, Some("{\"result\": \"pass\"}")), Fail);
        assert_eq!((late.0, late.1), (TaskResult::Fail, TaskStatus::Errored));
        assert!(late.2.starts_with("the job was out of time"), "{}", late.2);
    }

    #[test]
    fn the_result_file_has_the_last_word() {
        let text = r#"{"result": "warning", "message": "slow", "labels": {"build": 7}, "url": "http://a"}"#;
        let finished = answer("j1", &left(State::Succeeded, Some(0), Some(text)), FailureMeans::Errored);
        assert_eq!((finished.result, finished.message.as_str()), (TaskResult::Warning, "slow"));
        assert_eq!(finished.labels, [("build".to_owned(), "7".to_owned())]);
        let output = finished.output_json().unwrap();
        assert_eq!((&output["url"], &output["job"]["exit-code"]), (&json!("http://a"), &json!(0)));
        assert_eq!(output.get("result"), None);
        let fail = judged(
            &left(State::Failed, Some(1), Some("{\"result\": \"fail\", \"message\": \"2 of 9\"}")),
            FailureMeans::Errored,
        );
        assert_eq!(fail, (TaskResult::Fail, TaskStatus::Succeeded, "2 of 9".to_owned()));
        for wrong in ["[]", "{", "{\"result\": \"good\"}", "{\"result\": 5}"] {
            let judged = judged(&left(State::Succeeded, Some(0), Some(wrong)), FailureMeans::Errored);
            assert_eq!((judged.0, judged.1), (TaskResult::Fail, TaskStatus::Errored), "{wrong}");
        }
        let lies = judged(&left(State::Failed, Some(1), Some("{\"result\": \"pass\"}")), FailureMeans::Errored);
        assert!(lies.2.contains("its result file says otherwise"), "{}", lies.2);
    }
}
