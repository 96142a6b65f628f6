//! The SLI file of a provider: a query for each indicator.

use std::collections::BTreeMap;

use crate::member::{read as read_file, spec_version, texts};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem, Value};

/// Most indicators of a file. A provider that is asked for more than some dozen takes too long for an evaluation.
pub const INDICATORS_MAX: usize = 1_000;

/// The queries of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sli {
    /// The query of each indicator.
    pub indicators: BTreeMap<String, String>,
}

/// Reads an SLI file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Sli>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_run, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Sli> {
    let mut fields = Fields::of(node, "the SLI file", problems)?;
    spec_version(&mut fields, node.at, "1.0");
    let indicators = fields.get("indicators");
    fields.finish();
    let Some(indicators) = indicators else {
        problems
            .push(Problem::warning(node.at, "the file names no `indicators`, so only those of the provider are known"));
        return Some(Sli::default());
    };
    if matches!(&indicators.value, Value::Map(members) if members.is_empty()) {
        problems
            .push(Problem::warning(indicators.at, "`indicators` is empty, so only those of the provider are known"));
    }
    let found = texts(indicators, "`indicators`", INDICATORS_MAX, problems);
    if let Value::Map(members) = &indicators.value {
        let empty = members.iter().filter(|member| found.get(&member.key).is_some_and(|query| query.trim().is_empty()));
        for member in empty {
            let message = format!("indicator `{}` has no query", member.key);
            problems.push(Problem::write_error(member.node.at, message));
        }
    }
    Some(Sli { indicators: found })
}
