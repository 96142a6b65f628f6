//! Which events a subscription selects: the filter dialects of CloudEvents Subscriptions, and `match` on the data.
//!
//! A filter looks at context attributes only, [`DataMatch`] at the data only. Both are checked once, when a manifest is
//! read; evaluation cannot fail.

mod data_match;
mod serial;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::event::Event;
use crate::event::rule::is_attribute_name;

pub use data_match::DataMatch;

/// Deepest nesting of `all`, `any` and `not`: evaluation recurses, and no person reads deeper.
pub const FILTER_DEPTH_MAX: usize = 64;

/// Most expressions and attribute comparisons in one filter: each is evaluated for every event that is not sorted out
/// by its type. The longest in use compares about thirty types.
pub const FILTER_COUNT_MAX: usize = 512;

/// A CloudEvents filter expression (CloudEvents Subscriptions, "Filters").
///
/// Comparisons are case-sensitive, on an attribute's canonical string form. An attribute that the event does not have
/// makes a comparison false, and so its `not` true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Every named attribute has exactly this value.
    Exact(BTreeMap<String, String>),
    /// Every named attribute starts with this value.
    Prefix(BTreeMap<String, String>),
    /// Every named attribute ends with this value.
    Suffix(BTreeMap<String, String>),
    /// All of the filters match.
    All(Vec<Filter>),
    /// At least one of the filters matches.
    Any(Vec<Filter>),
    /// The filter does not match.
    Not(Box<Filter>),
}

/// Says which part of a filter or of a match on data breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{at}` {problem}")]
pub struct FilterError {
    /// The part at fault, such as `all[1].exact`.
    pub at: String,
    /// What is wrong, as the rest of the sentence.
    pub problem: String,
}

impl FilterError {
    fn new(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { at: at.into(), problem: problem.into() }
    }
}

impl Filter {
    /// Tells whether the event is selected.
    pub fn matches(&self, event: &Event) -> bool {
        let each = |wanted: &BTreeMap<String, String>, holds: fn(&str, &str) -> bool| {
            wanted.iter().all(|(name, value)| event.attribute(name).is_some_and(|actual| holds(&actual, value)))
        };
        match self {
            Self::Exact(wanted) => each(wanted, |actual, value| actual == value),
            Self::Prefix(wanted) => each(wanted, |actual, value| actual.starts_with(value)),
            Self::Suffix(wanted) => each(wanted, |actual, value| actual.ends_with(value)),
            Self::All(filters) => filters.iter().all(|filter| filter.matches(event)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
            Self::Not(filter) => !filter.matches(event),
        }
    }

    /// Says in words why the event is not selected; `None` if it is.
    pub fn mismatch(&self, event: &Event) -> Option<String> {
        let first = |wanted: &BTreeMap<String, String>, holds: fn(&str, &str) -> bool, verb: &str| {
            wanted.iter().find_map(|(name, value)| match event.attribute(name) {
                None => Some(format!("it has no attribute `{name}`")),
                Some(actual) if holds(&actual, value) => None,
                Some(actual) => Some(format!("{name} `{actual}` {verb} `{value}`")),
            })
        };
        match self {
            Self::Exact(wanted) => first(wanted, |actual, value| actual == value, "is not"),
            Self::Prefix(wanted) => first(wanted, |actual, value| actual.starts_with(value), "does not start with"),
            Self::Suffix(wanted) => first(wanted, |actual, value| actual.ends_with(value), "does not end with"),
            Self::All(filters) => filters.iter().find_map(|filter| filter.mismatch(event)),
            Self::Any(filters) => {
                let mismatches: Option<Vec<String>> = filters.iter().map(|filter| filter.mismatch(event)).collect();
                Some(mismatches?.join("; "))
            }
            Self::Not(filter) => filter.matches(event).then(|| "it is what a `not` of the filter excludes".to_owned()),
        }
    }

    /// Returns the event types that the filter can match, if it names them exactly; `None` if it leaves them open.
    ///
    /// A type is named by `exact`, by any part of an `all`, and by every part of an `any`.
    pub fn exact_types(&self) -> Option<BTreeSet<&str>> {
        match self {
            Self::Exact(wanted) => wanted.get("type").map(|ty| BTreeSet::from([ty.as_str()])),
            Self::All(filters) => filters.iter().filter_map(Self::exact_types).min_by_key(BTreeSet::len),
            Self::Any(filters) => {
                let sets: Option<Vec<_>> = filters.iter().map(Self::exact_types).collect();
                Some(sets?.into_iter().flatten().collect())
            }
            Self::Prefix(_) | Self::Suffix(_) | Self::Not(_) => None,
        }
    }

    /// Checks that the filter says something and can be evaluated cheaply.
    ///
    /// # Errors
    /// A name that no attribute can have; an empty map, value or list, which would match by accident; too deep or too
    /// long.
    pub fn check(&self) -> Result<(), FilterError> {
        let mut count = 0;
        self.check_part(self.dialect(), 1, &mut count)
    }

    fn dialect(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Prefix(_) => "prefix",
            Self::Suffix(_) => "suffix",
            Self::All(_) => "all",
            Self::Any(_) => "any",
            Self::Not(_) => "not",
        }
    }

    fn check_part(&self, at: &str, depth: usize, count: &mut usize) -> Result<(), FilterError> {
        if depth > FILTER_DEPTH_MAX {
            return Err(FilterError::new(at, format!("is nested more than {FILTER_DEPTH_MAX} deep")));
        }
        *count += match self {
            Self::Exact(wanted) | Self::Prefix(wanted) | Self::Suffix(wanted) => 1 + wanted.len(),
            Self::All(_) | Self::Any(_) | Self::Not(_) => 1,
        };
        if *count > FILTER_COUNT_MAX {
            return Err(FilterError::new(at, format!("makes the filter longer than {FILTER_COUNT_MAX} expressions")));
        }
        match self {
            Self::Exact(wanted) | Self::Prefix(wanted) | Self::Suffix(wanted) => check_comparisons(at, wanted),
            Self::Not(filter) => filter.check_part(&format!("{at}.{}", filter.dialect()), depth + 1, count),
            Self::All(filters) | Self::Any(filters) if filters.is_empty() => {
                Err(FilterError::new(at, "is empty; give at least one filter"))
            }
            Self::All(filters) | Self::Any(filters) => filters.iter().enumerate().try_for_each(|(index, filter)| {
                filter.check_part(&format!("{at}[{index}].{}", filter.dialect()), depth + 1, count)
            }),
        }
    }
}

fn check_comparisons(at: &str, wanted: &BTreeMap<String, String>) -> Result<(), FilterError> {
    if wanted.is_empty() {
        return Err(FilterError::new(at, "is empty; name at least one attribute, such as `type`"));
    }
    for (name, value) in wanted {
        let at = format!("{at}.{name}");
        if !is_attribute_name(name) || name == "data" {
            let hint = "is not an attribute: names have only `a` to `z` and `0` to `9`; for data use `match`";
            return Err(FilterError::new(at, hint));
        }
        if value.is_empty() {
            return Err(FilterError::new(at, "is empty; no attribute that a filter can select by is"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AttributeValue, EventBuilder};

    fn event() -> Event {
        EventBuilder::new("1", "/ci", "dev.build.finished")
            .subject(Some("shop".into()))
            .extension("attempt", AttributeValue::Integer(3))
            .build()
            .unwrap()
    }

    fn filter(json: &str) -> Filter {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_six_dialects_compare_attributes() {
        for (json, expected) in [
            (r#"{"exact":{"type":"dev.build.finished","source":"/ci"}}"#, true),
            (r#"{"exact":{"type":"dev.build.finished","source":"/c"}}"#, false),
            (r#"{"exact":{"type":"Dev.build.finished"}}"#, false),
            (r#"{"exact":{"attempt":"3","specversion":"1.0"}}"#, true),
            (r#"{"exact":{"missing":"3"}}"#, false),
            (r#"{"prefix":{"type":"dev."}}"#, true),
            (r#"{"prefix":{"type":"ev."}}"#, false),
            (r#"{"suffix":{"type":".finished","subject":"op"}}"#, true),
            (r#"{"suffix":{"type":".started"}}"#, false),
            (r#"{"all":[{"prefix":{"type":"dev."}},{"suffix":{"type":".started"}}]}"#, false),
            (r#"{"any":[{"prefix":{"type":"dev."}},{"suffix":{"type":".started"}}]}"#, true),
            (r#"{"not":{"exact":{"missing":"3"}}}"#, true),
            (r#"{"not":{"exact":{"type":"dev.build.finished"}}}"#, false),
        ] {
            let filter = filter(json);
            assert_eq!(filter.matches(&event()), expected, "{json}");
            assert_eq!(filter.mismatch(&event()).is_none(), expected, "{json}");
            filter.check().unwrap();
            assert_eq!(serde_json::to_string(&filter).unwrap().len(), json.len());
        }
    }

    #[test]
    fn a_mismatch_is_told_in_words() {
        for (json, words) in [
            (r#"{"exact":{"type":"x"}}"#, "type `dev.build.finished` is not `x`"),
            (r#"{"all":[{"prefix":{"type":"dev"}},{"exact":{"time":"x"}}]}"#, "it has no attribute `time`"),
            (
                r#"{"any":[{"suffix":{"subject":"x"}},{"prefix":{"subject":"x"}}]}"#,
                "subject `shop` does not end with `x`; subject `shop` does not start with `x`",
            ),
            (r#"{"not":{"prefix":{"type":"dev"}}}"#, "it is what a `not` of the filter excludes"),
        ] {
            assert_eq!(filter(json).mismatch(&event()).unwrap(), words);
        }
    }

    #[test]
    fn a_filter_that_would_match_by_accident_or_never_is_refused() {
        for (json, at) in [
            (r#"{"exact":{}}"#, "exact"),
            (r#"{"exact":{"type":""}}"#, "exact.type"),
            (r#"{"prefix":{"Type":"x"}}"#, "prefix.Type"),
            (r#"{"exact":{"data":"x"}}"#, "exact.data"),
            (r#"{"all":[]}"#, "all"),
            (r#"{"not":{"any":[]}}"#, "not.any"),
            (r#"{"all":[{"exact":{"type":"x"}},{"suffix":{"":"x"}}]}"#, "all[1].suffix."),
        ] {
            assert_eq!(filter(json).check().unwrap_err().at, at, "{json}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let exact = filter(r#"{"exact":{"type":"x"}}"#);
        let nested = |depth: usize| (1..depth).fold(exact.clone(), |inner, _| Filter::Not(Box::new(inner)));
        assert!(nested(FILTER_DEPTH_MAX).check().is_ok());
        assert!(nested(FILTER_DEPTH_MAX + 1).check().is_err());
        assert!(nested(5_000).check().is_err());
        assert!(Filter::Any(vec![exact.clone(); FILTER_COUNT_MAX / 2 - 1]).check().is_ok());
        assert!(Filter::Any(vec![exact; FILTER_COUNT_MAX]).check().is_err());
    }

    #[test]
    fn the_types_that_a_filter_names_are_found() {
        for (json, expected) in [
            (r#"{"exact":{"type":"a"}}"#, Some(vec!["a"])),
            (r#"{"exact":{"source":"a"}}"#, None),
            (r#"{"prefix":{"type":"a"}}"#, None),
            (r#"{"all":[{"prefix":{"source":"a"}},{"all":[{"exact":{"type":"a"}}]}]}"#, Some(vec!["a"])),
            (r#"{"any":[{"exact":{"type":"b"}},{"exact":{"type":"a"}}]}"#, Some(vec!["a", "b"])),
            (r#"{"any":[{"exact":{"type":"b"}},{"prefix":{"type":"a"}}]}"#, None),
            (r#"{"not":{"exact":{"type":"a"}}}"#, None),
        ] {
            let types =
                filter(json).exact_types().map(|types| types.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(types, expected.map(|types| types.into_iter().map(str::to_owned).collect()), "{json}");
        }
    }
}
