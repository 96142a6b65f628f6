//! Writes YAML that any reader understands the same way: block collections, and texts in JSON's quotes unless they are
//! plainly texts.

use serde_json::Value;

/// Longest key that may stand before its colon (YAML 1.2 §7.4.2), with room for quotes and escapes.
const KEY_BYTES_MAX: usize = 128;
/// Words that some reader takes for something other than a text.
const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// A YAML value whose mappings have an order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Yaml {
    /// A mapping.
    Map(Vec<(String, Yaml)>),
    /// A list.
    List(Vec<Yaml>),
    /// A text, a number, a truth value or nothing.
    Scalar(Value),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Scalar(text.into())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Scalar(text.into())
    }
}

impl From<Value> for Yaml {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(members) => Self::Map(members.into_iter().map(|(key, value)| (key, value.into())).collect()),
            Value::Array(items) => Self::List(items.into_iter().map(Into::into).collect()),
            scalar => Self::Scalar(scalar),
        }
    }
}

impl Yaml {
    /// Makes a mapping.
    pub(crate) fn map<const N: usize>(members: [(&str, Yaml); N]) -> Self {
        Self::Map(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// Writes a file.
pub(crate) fn write(yaml: &Yaml) -> String {
    match in_line(yaml) {
        Some(text) => format!("{text}\n"),
        None => lines(yaml, 0),
    }
}

/// Returns what stands in one line: scalars and empty collections.
fn in_line(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::Map(members) if members.is_empty() => Some("{}".to_owned()),
        Yaml::List(items) if items.is_empty() => Some("[]".to_owned()),
        Yaml::Scalar(Value::String(text)) => Some(quoted(text)),
        Yaml::Scalar(value) => Some(value.to_string()),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte));
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && plain && !word { text.to_owned() } else { escaped(&Value::from(text).to_string()) }
}

/// Escapes what JSON may hold as it is and YAML may not, and what breaks lines in some readers.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => text.push(letter),
        }
    }
    text
}

fn lines(yaml: &Yaml, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut text = String::new();
    match yaml {
        Yaml::Map(members) => {
            for (key, value) in members {
                let key = quoted(key);
                let start =
                    if key.len() > KEY_BYTES_MAX { format!("{pad}? {key}\n{pad}:") } else { format!("{pad}{key}:") };
                text.push_str(&start);
                match in_line(value) {
                    Some(value) => text.push_str(&format!(" {value}\n")),
                    None => text.push_str(&format!("\n{}", lines(value, indent + 2))),
                }
            }
        }
        Yaml::List(items) => {
            for item in items {
                let item = in_line(item).map_or_else(|| lines(item, indent + 2), |item| format!("{item}\n"));
                text.push_str(&format!("{pad}- {}", item.trim_start_matches(' ')));
            }
        }
        Yaml::Scalar(_) => text.push_str(&pad),
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::parse;

    #[test]
    fn collections_are_blocks_and_texts_are_quoted_when_they_must_be() {
        let yaml = Yaml::map([
            ("apiVersion", "pilothouse.dev/v1".into()),
            ("none", Yaml::Map(Vec::new())),
            ("list", Yaml::List(vec!["no".into(), Yaml::map([("a", 1.into()), ("b: c", "{/service}".into())])])),
        ]);
        let text =
            "apiVersion: pilothouse.dev/v1\nnone: {}\nlist:\n  - \"no\"\n  - a: 1\n    \"b: c\": \"{/service}\"\n";
        assert_eq!(write(&yaml), text);
    }

    impl From<i32> for Yaml {
        fn from(number: i32) -> Self {
            Self::Scalar(number.into())
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-zA-Z0-9:#{}'\" \\-/~.]{0,8}".prop_map(Value::from),
            "[\u{7f}-\u{a1}\u{2028}\u{2029}\u{feff}\u{fffd}-\u{ffff}\u{e000}\u{1f600}]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z:# \"{}\\-?]{0,300}|\\PC{0,9}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(value in json()) {
            let text = write(&value.clone().into());
            let read = parse(text.as_bytes()).map(|node| node.to_json());
            prop_assert_eq!(read, Ok(value), "{}", text);
        }
    }
}
