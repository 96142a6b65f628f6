//! What is passed from task to task, and from sequence to sequence.
//!
//! Per task one object under `data.<task>`; maps merge, and for everything else the newer value wins, numbers, booleans
//! and lists too (Keptn V1 kept older numbers, and joined lists).

use serde_json::{Map, Value};

use super::execution::Key;
use crate::task::{TaskResult, TaskStatus};

/// The data of an event: a JSON object.
pub type Data = Map<String, Value>;

/// Merges `newer` into `base`.
pub fn merge(base: &mut Value, newer: Value) {
    match (base, newer) {
        (Value::Object(base), Value::Object(newer)) => merge_maps(base, newer),
        (base, newer) => *base = newer,
    }
}

/// Merges the members of `newer` into `base`.
pub fn merge_maps(base: &mut Data, newer: Data) {
    for (name, value) in newer {
        match base.get_mut(&name) {
            Some(known) => merge(known, value),
            None => {
                base.insert(name, value);
            }
        }
    }
}

/// Writes the members that every Keptn event has: where it belongs, and the last result and status, if there is one.
pub(super) fn set_base(data: &mut Data, key: &Key, outcome: Option<(TaskResult, TaskStatus)>) {
    for (name, value) in [("project", &key.project), ("stage", &key.stage), ("service", &key.service)] {
        if !value.is_empty() {
            data.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    if let Some((result, status)) = outcome {
        data.insert("result".to_owned(), result.as_str().into());
        data.insert("status".to_owned(), status.as_str().into());
    }
    // A message is about one event; carried along, it would be taken for the next one's.
    if data.contains_key("message") {
        data.insert("message".to_owned(), "".into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_and_for_everything_else_the_newer_value_wins() {
        let mut base = json!({"a": {"x": 1, "y": [1, 2]}, "b": true, "c": "old", "d": 1, "e": {"z": 1}});
        merge(&mut base, json!({"a": {"y": [3], "z": null}, "b": false, "c": "new", "d": 2, "e": 5, "f": {}}));
        let merged = json!({"a": {"x": 1, "y": [3], "z": null}, "b": false, "c": "new", "d": 2, "e": 5, "f": {}});
        assert_eq!(base, merged);
    }

    #[test]
    fn a_message_is_not_carried_on() {
        let mut data = json!({"message": "old", "stage": "dev"}).as_object().unwrap().clone();
        let key = Key { project: "p".into(), stage: "prod".into(), service: "s".into() };
        set_base(&mut data, &key, Some((TaskResult::Pass, TaskStatus::Succeeded)));
        let expected = json!({"project": "p", "stage": "prod", "service": "s", "result": "pass", "status": "succeeded", "message": ""});
        assert_eq!(Value::Object(data), expected);
    }
}
