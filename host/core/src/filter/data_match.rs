//! `match`: the values that an event's data must have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FilterError;

/// Most pointers in one match, and most values for one pointer: each is looked up for each event of the type.
const MATCH_COUNT_MAX: usize = 64;

/// JSON pointers (RFC 6901) into an event's data, each with the values accepted there. All pointers must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataMatch(pub BTreeMap<String, Vec<Value>>);

impl DataMatch {
    /// Tells whether nothing is asked, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether the data has one of the accepted values at each pointer. Without JSON data only the empty match
    /// does. Numbers are compared by value: `5` is `5.0`.
    pub fn matches(&self, data: Option<&Value>) -> bool {
        self.mismatch(data).is_none()
    }

    /// Says in words which pointer does not match, without quoting the data; `None` if all do.
    pub fn mismatch(&self, data: Option<&Value>) -> Option<String> {
        self.0.iter().find_map(|(pointer, accepted)| {
            let Some(data) = data else { return Some(format!("it has no JSON data, and `{pointer}` is looked at")) };
            match data.pointer(pointer) {
                None => Some(format!("its data has no `{pointer}`")),
                Some(actual) if accepted.iter().any(|wanted| same(actual, wanted)) => None,
                Some(_) => {
                    let accepted: Vec<String> = accepted.iter().map(|wanted| format!("`{}`", plain(wanted))).collect();
                    Some(format!("its data's `{pointer}` is not {}", accepted.join(" or ")))
                }
            }
        })
    }

    /// Checks that each pointer is one and has values.
    ///
    /// # Errors
    /// A text that is not a JSON pointer; no value, or one that is not a string, number, boolean or null; too many.
    pub fn check(&self) -> Result<(), FilterError> {
        if self.0.len() > MATCH_COUNT_MAX {
            return Err(FilterError::new("match", format!("has more than {MATCH_COUNT_MAX} pointers")));
        }
        for (pointer, accepted) in &self.0 {
            let error = |problem: &str| Err(FilterError::new(format!("match.\"{pointer}\""), problem));
            if !is_pointer(pointer) {
                return error("is not a JSON pointer; write `/` before each part, such as `/deployment/strategy`");
            }
            if accepted.is_empty() {
                return error("accepts no value, so nothing would ever match");
            }
            if accepted.len() > MATCH_COUNT_MAX {
                return error("has too many values; at most 64 are compared");
            }
            if accepted.iter().any(|value| value.is_array() || value.is_object()) {
                return error("accepts an array or object; values are strings, numbers, booleans or null");
            }
        }
        Ok(())
    }
}

/// In RFC 6901 a `~` is only ever the first half of `~0` or `~1`.
fn is_pointer(text: &str) -> bool {
    let escapes_valid = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes_valid
}

fn same(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64()) && !(a.is_i64() && b.is_i64())
        }
        (a, b) => a == b,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data_match(value: Value) -> DataMatch {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_pointer_must_have_one_of_its_values() {
        let data = json!({"get-sli": {"sliProvider": "prometheus"}, "a/b": 5, "list": [true], "none": null});
        for (wanted, expected) in [
            (json!({}), true),
            (json!({"/get-sli/sliProvider": ["dynatrace", "prometheus"]}), true),
            (json!({"/get-sli/sliProvider": ["dynatrace"]}), false),
            (json!({"/get-sli/sliProvider": ["prometheus"], "/missing": ["x"]}), false),
            (json!({"/a~1b": [5.0]}), true),
            (json!({"/a~1b": ["5"]}), false),
            (json!({"/list/0": [true]}), true),
            (json!({"/none": [null]}), true),
            (json!({"/missing": [null]}), false),
        ] {
            let wanted = data_match(wanted);
            wanted.check().unwrap();
            assert_eq!(wanted.matches(Some(&data)), expected, "{wanted:?}");
            assert_eq!(wanted.matches(None), wanted.is_empty());
        }
        let reason = data_match(json!({"/get-sli/sliProvider": ["a", 1]})).mismatch(Some(&data)).unwrap();
        assert_eq!(reason, "its data's `/get-sli/sliProvider` is not `a` or `1`");
    }

    #[test]
    fn numbers_beyond_the_precision_of_a_float_stay_apart() {
        let wanted = data_match(json!({"": [9_007_199_254_740_993_i64]}));
        assert!(wanted.matches(Some(&json!(9_007_199_254_740_993_i64))));
        assert!(!wanted.matches(Some(&json!(9_007_199_254_740_992_i64))));
    }

    #[test]
    fn a_match_that_can_never_be_is_refused() {
        for bad in
            [json!({"a": [1]}), json!({"/a~2": [1]}), json!({"/a~": [1]}), json!({"/a": []}), json!({"/a": [{}]})]
        {
            assert!(data_match(bad.clone()).check().is_err(), "{bad}");
        }
    }
}
