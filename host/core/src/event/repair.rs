//! Turns an envelope of Keptn V1 into a CloudEvent, and says what was changed.
//!
//! For people who send files written for V1 (`pilothouse event send`). The ingest path never repairs.

use serde_json::{Map, Value};

use super::rule::{CORE_ATTRIBUTES, is_attribute_name};

/// Repairs the habits of Keptn V1's event files, and returns the envelope with one sentence per change.
///
/// Data and a missing `id` are left alone, and what cannot be repaired stays for [`super::json::parse`] to refuse.
pub fn repair_v1(value: Value) -> (Value, Vec<String>) {
    let Value::Object(members) = value else { return (value, Vec::new()) };
    let mut changes = Vec::new();
    let mut repaired = Map::new();
    for (name, value) in members {
        let new_name = repaired_name(&name);
        if name == "extensions" && value.is_object() {
            changes.push("dropped the object `extensions`: extension attributes stand beside the others".to_owned());
        } else if matches!(value, Value::String(ref text) if text.is_empty()) && is_droppable(&new_name) {
            changes.push(format!("dropped the empty attribute `{name}`"));
        } else if repaired.contains_key(&new_name) && new_name != name {
            changes.push(format!("dropped `{name}`: `{new_name}` is already there"));
        } else {
            if new_name != name {
                changes.push(format!("renamed `{name}` to `{new_name}`"));
            }
            repaired.insert(new_name, value);
        }
    }
    match repaired.get("specversion").and_then(Value::as_str) {
        None | Some("") => {
            repaired.insert("specversion".to_owned(), Value::from("1.0"));
            changes.push("added `specversion` `1.0`".to_owned());
        }
        // V1's early files carry the version of a draft whose envelope, as Keptn used it, is the same.
        Some("0.2") => {
            repaired.insert("specversion".to_owned(), Value::from("1.0"));
            changes.push("changed `specversion` from `0.2` to `1.0`".to_owned());
        }
        Some(_) => {}
    }
    (Value::Object(repaired), changes)
}

fn repaired_name(name: &str) -> String {
    if name == "data_base64" {
        return name.to_owned();
    }
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "contenttype" => "datacontenttype".to_owned(),
        _ if is_attribute_name(&lower) => lower,
        _ => name.to_owned(),
    }
}

/// V1 wrote attributes that have no value as empty strings; a required one must be refused and not vanish.
fn is_droppable(name: &str) -> bool {
    !matches!(name, "id" | "source" | "type" | "specversion")
        && (CORE_ATTRIBUTES.contains(&name) || name == "triggeredid")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_envelope_of_keptn_v1_becomes_a_cloudevent_and_the_changes_are_told() {
        let (value, changes) = repair_v1(json!({
            "contenttype": "application/json", "Type": "sh.keptn.event.test.triggered", "source": "cli", "id": "1",
            "extensions": {}, "shkeptncontext": "c", "triggeredid": "", "data": {"Project": ""},
        }));
        assert_eq!(
            value,
            json!({"specversion": "1.0", "id": "1", "source": "cli", "type": "sh.keptn.event.test.triggered",
                "datacontenttype": "application/json", "shkeptncontext": "c", "data": {"Project": ""}})
        );
        assert_eq!(changes.len(), 5, "{changes:?}");
        super::super::json::parse(value.to_string().as_bytes()).unwrap();
    }

    #[test]
    fn a_valid_event_and_what_is_not_an_object_stay_unchanged() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"contenttype": 1}});
        assert_eq!(repair_v1(event.clone()), (event, vec![]));
        assert_eq!(repair_v1(json!([1])), (json!([1]), vec![]));
    }

    #[test]
    fn a_missing_id_and_an_empty_required_attribute_are_left_for_the_codec_to_refuse() {
        let (value, _) = repair_v1(json!({"specversion": "1.0", "source": "", "type": "t"}));
        assert_eq!(value, json!({"specversion": "1.0", "source": "", "type": "t"}));
    }

    #[test]
    fn the_right_name_wins_over_the_one_of_v1() {
        let (value, _) = repair_v1(json!({"contenttype": "text/plain", "datacontenttype": "application/json"}));
        assert_eq!(value["datacontenttype"], "application/json");
    }
}
