//! Reads SLI and SLO files with the SDK's readers, and says what is wrong in one sentence.

use std::collections::BTreeMap;

use pilothouse_sdk::files::criterion::Operator;
use pilothouse_sdk::files::yaml::Problem;
use pilothouse_sdk::files::{sli, slo};

pub use pilothouse_sdk::files::slo::{Objective, Slo};

/// Queries by indicator.
pub type Queries = BTreeMap<String, String>;

/// Reads an SLI file.
///
/// # Errors
/// All that is wrong with it.
pub fn read_sli(text: &str) -> Result<Queries, String> {
    let (found, problems) = sli::read(text.as_bytes());
    found.map(|found| found.indicators).ok_or_else(|| refused("SLI", &problems))
}

/// Reads an SLO file.
///
/// # Errors
/// All that is wrong with it.
pub fn read_slo(text: &str) -> Result<Slo, String> {
    let (found, problems) = slo::read(text.as_bytes());
    found.ok_or_else(|| refused("SLO", &problems))
}

fn refused(kind: &str, problems: &[Problem]) -> String {
    let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
    format!("the {kind} file has errors: {}", errors.join("; "))
}

/// Returns PromQL's comparison that holds exactly where a criterion's does not.
pub fn violated(operator: Operator) -> &'static str {
    match operator {
        Operator::Less => ">=",
        Operator::LessEqual => ">",
        Operator::Equal => "!=",
        Operator::GreaterEqual => "<",
        Operator::Greater => "<=",
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_sdk::files::criterion;

    use super::*;

    #[test]
    fn the_violated_comparison_is_the_exact_opposite() {
        let opposite = |text: &str| violated(criterion::parse(text, false).unwrap().operator);
        assert_eq!(["<1", "<=1", "=1", ">=1", ">1"].map(opposite), [">=", ">", "!=", "<", "<="]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_place() {
        let error =
            read_slo("spec_version: '1.0'\nobjectives:\n- sli: p95\n  pass: [{criteria: ['<10ms']}]\n").unwrap_err();
        assert!(error.contains("; 4:22: ") && error.contains("`<10ms`"), "{error}");
        assert!(read_sli("spec_version: '1.0'\nindicators: {a: [1]}").unwrap_err().contains("SLI file has errors"));
    }
}
