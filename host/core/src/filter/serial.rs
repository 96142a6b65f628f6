//! Reads a filter from TOML or JSON, with errors that say what was meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::Filter;
use crate::suggest::nearest;

const DIALECTS: [&str; 6] = ["exact", "prefix", "suffix", "all", "any", "not"];

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Dialect)
    }
}

struct Dialect;

impl<'de> Visitor<'de> for Dialect {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter, such as `{ exact = { type = \"dev.example.built\" } }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
        let Some(dialect) = map.next_key::<String>()? else {
            return Err(A::Error::custom(format!("a filter is empty; {}", known())));
        };
        let filter = match dialect.as_str() {
            "exact" => Filter::Exact(map.next_value()?),
            "prefix" => Filter::Prefix(map.next_value()?),
            "suffix" => Filter::Suffix(map.next_value()?),
            "all" => Filter::All(map.next_value()?),
            "any" => Filter::Any(map.next_value()?),
            "not" => Filter::Not(map.next_value()?),
            other => return Err(A::Error::custom(unknown(other))),
        };
        match map.next_key::<String>()? {
            None => Ok(filter),
            Some(second) => Err(A::Error::custom(format!(
                "a filter has one dialect, and here are `{dialect}` and `{second}`; combine them with `all` or `any`"
            ))),
        }
    }
}

fn unknown(dialect: &str) -> String {
    if matches!(dialect, "sql" | "cesql") {
        return format!("the filter dialect `{dialect}` is not supported; {}", known());
    }
    let shown: String = dialect.chars().take(40).collect();
    match nearest(dialect, DIALECTS) {
        Some(meant) => format!("unknown filter dialect `{shown}`; did you mean `{meant}`?"),
        None => format!("unknown filter dialect `{shown}`; {}", known()),
    }
}

fn known() -> String {
    format!("the dialects are {}", DIALECTS.map(|it| format!("`{it}`")).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_dialect_is_named_with_what_was_meant() {
        for (json, words) in [
            (r#"{"exakt":{}}"#, "did you mean `exact`?"),
            (r#"{"regex":{}}"#, "the dialects are `exact`"),
            (r#"{"sql":"x"}"#, "`sql` is not supported"),
            (r#"{}"#, "is empty"),
            (r#"{"exact":{"type":"a"},"prefix":{"type":"a"}}"#, "combine them"),
            (r#"{"all":[{"prefx":{"type":"a"}}]}"#, "did you mean `prefix`?"),
            (r#"[]"#, "expected a filter, such as"),
        ] {
            let error = serde_json::from_str::<Filter>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_filter_is_the_same_in_toml_and_json() {
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Holder {
            filter: Filter,
        }
        let text = r#"filter = { all = [{ exact = { type = "a" } }, { not = { suffix = { source = "b" } } }] }"#;
        let holder: Holder = toml::from_str(text).unwrap();
        let json = serde_json::to_string(&holder).unwrap();
        assert_eq!(json, r#"{"filter":{"all":[{"exact":{"type":"a"}},{"not":{"suffix":{"source":"b"}}}]}}"#);
        assert_eq!(serde_json::from_str::<Holder>(&json).unwrap(), holder);
        assert_eq!(toml::from_str::<Holder>(&toml::to_string(&holder).unwrap()).unwrap(), holder);
    }
}
