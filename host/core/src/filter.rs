//! Which events a subscription selects: the filter dialects of CloudEvents Subscriptions, and `match` on the data.
use std::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// A CloudEvents filter expression (CloudEvents Subscriptions, "Filters").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// JSON pointers (RFC 6901) into an event's data, each with the values accepted there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataMatch(pub BTreeMap<String, Vec<serde_json::Value>>);

impl DataMatch {
    /// Tells whether nothing is asked, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
