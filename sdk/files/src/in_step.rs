//! How tools stand to a project's files: what a task `sync-monitoring` asks for, and how its answer is put into words. For every
//! plugin that keeps a tool in step.

use serde::Serialize;
use serde_json::Value;

use crate::result::TaskResult;

/// Whether differences are written or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write them.
    Sync,
    /// Tell them.
    Check,
}

impl Mode {
    /// Reads the data of `sync-monitoring.triggered`; without a mode the tool is brought in step.
    ///
    /// # Errors
    /// Another word; says which ones there are.
    pub fn read(data: &Value) -> Result<Self, String> {
        match data.pointer("/sync-monitoring/mode").and_then(Value::as_str) {
            None | Some("sync") => Ok(Self::Sync),
            Some("check") => Ok(Self::Check),
            Some(other) => Err(format!("`sync-monitoring.mode` is `{other}`; write `sync` or `check`")),
        }
    }
}

/// How a tool stands to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has what the files say.
    InStep,
    /// It has what an earlier commit said.
    Behind,
    /// Somebody changed by hand what was generated.
    Drifted,
    /// Nothing could be generated, or the tool refused it.
    Failed,
}

/// Most reasons of failures in a message; all of them stand in the items.
const REASONS_MAX: usize = 3;

/// Says how many are in which state, and why the first ones failed; and what that comes to as a result.
pub fn told(items: &[(State, &str)], mode: Mode) -> (TaskResult, String) {
    let count = |state: State| items.iter().filter(|(of, _)| *of == state).count();
    let words =
        [(State::InStep, "in step"), (State::Behind, "behind"), (State::Drifted, "drifted"), (State::Failed, "failed")];
    let shown = words.into_iter().filter(|(state, _)| *state == State::InStep || count(*state) > 0);
    let counts: Vec<String> = shown.map(|(state, word)| format!("{} {word}", count(state))).collect();
    let reasons = items.iter().filter(|(state, _)| *state == State::Failed).map(|(_, reason)| (*reason).to_owned());
    let message = [vec![counts.join(", ")], reasons.take(REASONS_MAX).collect()].concat().join(". ");
    let result = match mode {
        Mode::Sync if count(State::Failed) > 0 => TaskResult::Fail,
        _ if count(State::InStep) < items.len() => TaskResult::Warning,
        _ => TaskResult::Pass,
    };
    (result, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_in_step_is_counted_and_failures_say_why() {
        let items = [(State::InStep, ""), (State::Drifted, "by hand"), (State::Failed, "no SLI")];
        assert_eq!(told(&items, Mode::Sync), (TaskResult::Fail, "1 in step, 1 drifted, 1 failed. no SLI".to_owned()));
        assert_eq!(told(&items, Mode::Check).0, TaskResult::Warning, "a look changes nothing, and fails at nothing");
        assert_eq!(told(&[], Mode::Sync), (TaskResult::Pass, "0 in step".to_owned()));
    }

    #[test]
    fn the_mode_is_sync_unless_it_is_said() {
        let mode = |mode: Value| Mode::read(&json!({ "sync-monitoring": { "mode": mode } }));
        assert_eq!([mode(json!("check")), mode(Value::Null)], [Ok(Mode::Check), Ok(Mode::Sync)]);
        assert!(mode(json!("look")).unwrap_err().contains("write `sync` or `check`"));
    }
}
