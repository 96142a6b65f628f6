//! Values of an event's data in a request: a text with places in braces, and whole values by `pointer`.

use serde_json::{Map, Value};

/// Fills the places of a text, such as `/releases/{/service}`: JSON pointers into `data`.
///
/// # Errors
/// A brace that does not enclose a pointer, or nothing there but a list, a map or null; the error names it.
pub fn text(template: &str, data: &Value, encode: fn(&str) -> String) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((pointer, after)) = after.split_once('}').filter(|(pointer, _)| pointer.starts_with('/')) else {
            return Err(format!("`{template}` has a brace that does not enclose a pointer such as `{{/service}}`"));
        };
        filled.push_str(before);
        filled.push_str(&encode(&plain(pointer, data)?));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Leaves a value as it is.
pub fn as_it_is(value: &str) -> String {
    value.to_owned()
}

/// Percent-encodes a value for a path, so that it stays one segment (RFC 3986 §2.3).
pub fn as_segment(value: &str) -> String {
    value.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

fn plain(pointer: &str, data: &Value) -> Result<String, String> {
    match data.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        _ => Err(format!("the event has no text, number or boolean at `{pointer}`")),
    }
}

/// Fills a JSON value: a mapping with `pointer` becomes the value that is there, a text its places.
///
/// # Errors
/// As for [`text`].
pub fn json(template: &Value, data: &Value) -> Result<Value, String> {
    match template {
        Value::Object(members) => {
            if let Some(pointer) = members.get("pointer").and_then(Value::as_str) {
                let found = data.pointer(pointer).filter(|value| !value.is_null());
                let found = found.or_else(|| members.get("default"));
                return found.cloned().ok_or_else(|| format!("the event has nothing at `{pointer}`"));
            }
            let mut filled = Map::new();
            for (name, value) in members {
                filled.insert(name.clone(), json(value, data)?);
            }
            Ok(Value::Object(filled))
        }
        Value::Array(items) => Ok(Value::Array(items.iter().map(|item| json(item, data)).collect::<Result<_, _>>()?)),
        Value::String(template) => text(template, data, as_it_is).map(Value::String),
        _ => Ok(template.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_event_stand_where_the_template_says() {
        let data = serde_json::json!({"service": "a/b c", "n": 5, "labels": {"x": "y"}, "none": null});
        assert_eq!(text("/r/{/service}/{/n}", &data, as_segment).unwrap(), "/r/a%2Fb%20c/5");
        let template = serde_json::json!({
            "title": "{/service} is out", "labels": {"pointer": "/labels"}, "count": {"pointer": "/m", "default": 1}, "list": ["{/n}", true],
        });
        let filled =
            serde_json::json!({"title": "a/b c is out", "labels": {"x": "y"}, "count": 1, "list": ["5", true]});
        assert_eq!(json(&template, &data).unwrap(), filled);
        for (template, says) in [
            ("{/none}", "`/none`"),
            ("{/labels}", "`/labels`"),
            ("{service}", "does not enclose a pointer"),
            ("{/a", "does not enclose a pointer"),
        ] {
            assert!(text(template, &data, as_it_is).unwrap_err().contains(says), "{template}");
        }
        assert!(json(&serde_json::json!({"pointer": "/none"}), &data).unwrap_err().contains("`/none`"));
    }
}
