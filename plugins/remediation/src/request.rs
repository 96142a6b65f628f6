//! Reads what a problem is, as Keptn's tools and Pilothouse's write it, and how far its remediation has come.

use pilothouse_sdk::files::remediation::{Action, Remediation};
use serde_json::Value;

/// A problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// What causes it; empty if nobody knows.
    pub root_cause: String,
    /// Its title.
    pub title: String,
    /// How many actions were taken already.
    pub taken: u64,
}

/// Reads the first member that is a text and not empty; V1's tools write some names in two spellings.
fn first(data: &Value, pointers: &[&str]) -> String {
    let text = |pointer: &&str| data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    pointers.iter().find_map(text).unwrap_or_default().to_owned()
}

/// Reads the data of `get-action.triggered`.
pub fn problem(data: &Value) -> Problem {
    let taken = data.pointer("/get-action/actionIndex");
    let number = taken.and_then(|it| it.as_u64().or_else(|| it.as_str()?.trim().parse().ok()));
    Problem {
        root_cause: first(data, &["/problem/rootCause", "/problem/RootCause"]),
        title: first(data, &["/problem/problemTitle", "/problem/ProblemTitle"]),
        taken: number.unwrap_or_default(),
    }
}

/// What is done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This action.
    Take {
        /// What is done.
        action: Action,
        /// The type of problem that it is listed under.
        problem_type: String,
        /// How many actions there are.
        of: usize,
    },
    /// Nothing more, and why.
    Nothing(String),
}

/// Finds the next action: by the problem's root cause, else its title, else the default (Keptn V1).
pub fn next(file: &Remediation, problem: &Problem) -> Next {
    let Problem { root_cause, title, taken } = problem;
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (root_cause, title) = (given(root_cause), given(title));
    let named = root_cause.clone().or_else(|| title.clone()).unwrap_or_else(|| "a problem without a title".to_owned());
    let Some(found) = file.find(root_cause.as_deref(), title.as_deref()) else {
        return Next::Nothing(format!("the remediation file has nothing for `{named}`, and no `default`"));
    };
    match usize::try_from(*taken).ok().and_then(|index| found.actions.get(index)) {
        Some(action) => {
            Next::Take { action: action.clone(), problem_type: found.name.clone(), of: found.actions.len() }
        }
        None if found.actions.is_empty() => Next::Nothing(format!("nothing is to be done about `{}`", found.name)),
        None => Next::Nothing(format!(
            "all {} actions about `{}` were taken, and the problem is still there",
            found.actions.len(),
            found.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_sdk::files::remediation;
    use serde_json::json;

    use super::*;

    const FILE: &str = "apiVersion: spec.keptn.sh/0.1.4\nkind: Remediation\nmetadata: {name: cart}\nspec:\n  remediations:\n  - problemType: p95\n    actionsOnOpen:\n    - {name: Scale, action: scaling, value: '1'}\n    - {name: Toggle, action: toggle-feature, value: {Promo: off}}\n    - {name: Restart, action: restart}\n  - problemType: default\n    actionsOnOpen: [{name: Call, action: escalate}]\n";

    fn file() -> Remediation {
        remediation::read(FILE.as_bytes()).0.unwrap()
    }

    fn named(data: &Value) -> Result<String, String> {
        match next(&file(), &problem(data)) {
            Next::Take { action, .. } => Ok(action.action),
            Next::Nothing(why) => Err(why),
        }
    }

    #[test]
    fn each_round_takes_the_next_action_until_there_is_none() {
        let round = |index: u64| {
            named(&json!({ "problem": { "problemTitle": "p95" }, "get-action": { "actionIndex": index } }))
        };
        assert_eq!([0, 1, 2].map(round), [Ok("scaling".into()), Ok("toggle-feature".into()), Ok("restart".into())]);
        assert_eq!(round(3), Err("all 3 actions about `p95` were taken, and the problem is still there".into()));
        assert!(round(u64::MAX).is_err());
        assert_eq!(
            named(&json!({ "problem": { "problemTitle": "p95" }, "get-action": { "actionIndex": "1" } })),
            Ok("toggle-feature".into())
        );
    }

    #[test]
    fn the_root_cause_goes_before_the_title_and_the_default_comes_last() {
        for (problem, expected) in [
            (json!({ "rootCause": "p95", "problemTitle": "other" }), "scaling"),
            (json!({ "rootCause": "unknown", "problemTitle": "p95" }), "scaling"),
            (json!({ "RootCause": "", "ProblemTitle": "p95" }), "scaling"),
            (json!({ "rootCause": "unknown" }), "escalate"),
            (json!(null), "escalate"),
        ] {
            assert_eq!(named(&json!({ "problem": problem })), Ok(expected.to_owned()), "{problem}");
        }
        let without = Remediation { problem_types: file().problem_types.into_iter().take(1).collect(), ..file() };
        let nothing = next(&without, &Problem { title: "x".to_owned(), ..Problem::default() });
        assert_eq!(nothing, Next::Nothing("the remediation file has nothing for `x`, and no `default`".to_owned()));
    }
}
