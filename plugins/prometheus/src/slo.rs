//! Reads Keptn's SLI and SLO files, as far as this plugin needs them.
//!
//! Never here: scores and comparisons, which are the quality gate's.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::criterion::{self, Criterion};

/// Says why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not YAML, or not of this form.
    #[error("the {kind} file cannot be read: {problem}")]
    Unreadable {
        /// `SLI` or `SLO`.
        kind: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// A criterion makes no sense.
    #[error("the SLO file's objective `{sli}`: {problem}")]
    Criterion {
        /// The objective.
        sli: String,
        /// What is wrong.
        problem: String,
    },
}

/// Queries by indicator.
pub type Queries = BTreeMap<String, String>;

#[derive(Deserialize)]
struct SliFile {
    #[serde(default)]
    indicators: Option<Queries>,
}

/// Reads an SLI file.
///
/// # Errors
/// It is not YAML, or an indicator's query is not text.
pub fn read_sli(text: &str) -> Result<Queries, FileError> {
    let file: SliFile = serde_saphyr::from_str(text).map_err(|error| unreadable("SLI", &error))?;
    Ok(file.indicators.unwrap_or_default())
}

/// What an SLO file says, as far as alerts need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slo {
    /// Filters for the queries, name to value.
    pub filters: Vec<(String, String)>,
    /// The objectives in order.
    pub objectives: Vec<Objective>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The indicator.
    pub sli: String,
    /// Its name for people.
    pub display_name: String,
    /// Alternatives, of which one must hold; each is a list of criteria, of which all must hold. None: informational.
    pub pass: Vec<Vec<Criterion>>,
}

#[derive(Deserialize)]
struct SloFile {
    #[serde(default)]
    filter: Option<BTreeMap<String, Scalar>>,
    #[serde(default)]
    objectives: Option<Vec<Option<RawObjective>>>,
}

#[derive(Deserialize)]
struct RawObjective {
    sli: String,
    #[serde(default, rename = "displayName")]
    display_name: Option<String>,
    #[serde(default)]
    pass: Option<Vec<Alternative>>,
    #[serde(default)]
    absolute: bool,
}

#[derive(Deserialize)]
struct Alternative {
    #[serde(default)]
    criteria: Option<Vec<String>>,
}

/// People write numbers without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value,
        }
    }
}

/// Reads an SLO file. Empty list items are dropped, as in V1.
///
/// # Errors
/// It is not YAML of this form, a criterion is invalid, or an alternative has no criteria and could never be judged.
pub fn read_slo(text: &str) -> Result<Slo, FileError> {
    let file: SloFile = serde_saphyr::from_str(text).map_err(|error| unreadable("SLO", &error))?;
    let filters = file.filter.unwrap_or_default().into_iter().map(|(name, value)| (name, value.into_text())).collect();
    let mut objectives = Vec::new();
    for raw in file.objectives.unwrap_or_default().into_iter().flatten() {
        let mut pass = Vec::new();
        for alternative in raw.pass.unwrap_or_default() {
            let criteria = alternative.criteria.unwrap_or_default();
            let problem = |problem: String| FileError::Criterion { sli: raw.sli.clone(), problem };
            if criteria.is_empty() {
                return Err(problem("`pass` has an entry without criteria, which can never be met".to_owned()));
            }
            let criteria: Result<Vec<Criterion>, _> =
                criteria.iter().map(|text| criterion::parse(text, raw.absolute)).collect();
            pass.push(criteria.map_err(|error| problem(error.to_string()))?);
        }
        objectives.push(Objective { sli: raw.sli, display_name: raw.display_name.unwrap_or_default(), pass });
    }
    Ok(Slo { filters, objectives })
}

fn unreadable(kind: &'static str, error: &serde_saphyr::Error) -> FileError {
    FileError::Unreadable { kind, problem: error.without_snippet().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_slo_file_is_read_with_its_alternatives() {
        let slo = read_slo(
            "spec_version: '1.0'\nfilter: {handler: ItemsController, code: 200}\ncomparison: {compare_with: single_result}\n\
             objectives:\n\
             - sli: response_time_p95\n  displayName: P95\n  pass:\n  - criteria: ['<=+10%', '<600']\n  - criteria: ['<100']\n  \
             warning:\n  - criteria: ['<=800']\n  weight: 2\n  key_sli: true\n\
             - null\n\
             - sli: throughput\n\
             total_score: {pass: '90%', warning: 75%}\n",
        )
        .unwrap();
        let filters: Vec<String> = slo.filters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(filters, ["code=200", "handler=ItemsController"]);
        assert_eq!(slo.objectives.len(), 2);
        let texts: Vec<Vec<&str>> =
            slo.objectives[0].pass.iter().map(|all| all.iter().map(|it| it.text.as_str()).collect()).collect();
        assert_eq!(texts, [vec!["<=+10%", "<600"], vec!["<100"]]);
        assert_eq!(slo.objectives[0].display_name, "P95");
        assert!(slo.objectives[1].pass.is_empty());
    }

    #[test]
    fn an_sli_file_is_read() {
        let queries =
            read_sli("spec_version: '1.0'\nindicators:\n  a: sum(rate(x[$DURATION_SECONDS]))\n  b: 'up{a=\"b\"}'\n")
                .unwrap();
        assert_eq!(queries["a"], "sum(rate(x[$DURATION_SECONDS]))");
        assert_eq!(queries["b"], "up{a=\"b\"}");
        assert!(read_sli("spec_version: '1.0'\nindicators:\n").unwrap().is_empty());
    }

    #[test]
    fn what_v1_took_half_silently_is_an_error_that_names_it() {
        let objective = |pass: &str| format!("objectives:\n- sli: p95\n  pass: {pass}\n");
        let cases = [
            ("not yaml", "objectives: [".to_owned(), "SLO file cannot be read"),
            ("bad criterion", objective("[{criteria: ['<10ms']}]"), "objective `p95`: `<10ms` is not a criterion"),
            ("no criteria", objective("[{criteria: []}]"), "objective `p95`: `pass` has an entry without criteria"),
            ("no sli", "objectives: [{weight: 1}]".to_owned(), "sli"),
        ];
        for (name, text, expected) in cases {
            let error = read_slo(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert!(read_sli("indicators: {a: [1]}").unwrap_err().to_string().contains("SLI file cannot be read"));
    }
}
