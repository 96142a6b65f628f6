//! The import of OpenSLO 1.0 (`apiVersion: openslo/v1`): its SLOs and SLIs become an SLO file and an SLI file.
//!
//! What cannot be translated is a note: nothing is lost in silence. Never here: reading and writing files.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::keptn_import::emit::{Yaml, write};
use crate::yaml::{self, Node, Problem};

/// Most documents of one file.
const DOCUMENTS_MAX: usize = 1_000;

/// The files that OpenSLO's became, for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The text of `slo.yaml`.
    pub slo: String,
    /// The text of `prometheus/sli.yaml`.
    pub sli: String,
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The files, by service.
    pub services: BTreeMap<String, Service>,
    /// What was not translated, or not one to one, and by which document.
    pub notes: Vec<String>,
}

/// Why nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenSloError {
    /// A document is not YAML; the number counts from 1.
    #[error("document {number}: {problem}")]
    Yaml {
        /// Which.
        number: usize,
        /// What is wrong, and where in the document.
        problem: Problem,
    },
    /// There are too many documents.
    #[error("there are {0} documents, at most {DOCUMENTS_MAX} are imported")]
    TooMany(usize),
    /// There is no SLO in it.
    #[error("there is no document with `apiVersion: openslo/v1` and `kind: SLO` in it")]
    NoSlo,
}

/// What was read of one service, in the order of the documents.
#[derive(Default)]
struct Collected {
    objectives: Vec<Yaml>,
    indicators: Vec<(String, Yaml)>,
}

/// Translates the documents of OpenSLO files, parted by `---`.
///
/// # Errors
/// [`OpenSloError`] says which document cannot be read, or that there is nothing to import.
pub fn import(text: &str) -> Result<Imported, OpenSloError> {
    let documents = documents(text)?;
    let mut notes = Vec::new();
    let mut indicators: BTreeMap<String, &Value> = BTreeMap::new();
    for document in documents.iter().filter(|it| text_at(it, "/kind") == Some("SLI")) {
        if let (Some(name), Some(spec)) = (text_at(document, "/metadata/name"), document.get("spec")) {
            indicators.insert(name.to_owned(), spec);
        }
    }
    let mut services: BTreeMap<String, Collected> = BTreeMap::new();
    let mut found = false;
    for document in &documents {
        match (text_at(document, "/apiVersion"), text_at(document, "/kind")) {
            (Some("openslo/v1"), Some("SLO")) => {
                found = true;
                slo(document, &indicators, &mut services, &mut notes);
            }
            (Some("openslo/v1"), Some("SLI" | "Service")) => {}
            (_, kind) => {
                let kind = kind.unwrap_or("without a kind");
                notes.push(format!("a document `{}` is not imported", shown(kind)));
            }
        }
    }
    if !found {
        return Err(OpenSloError::NoSlo);
    }
    let files = services.into_iter().filter(|(_, it)| !it.objectives.is_empty()).map(|(name, it)| (name, it.files()));
    Ok(Imported { services: files.collect(), notes })
}

impl Collected {
    fn files(self) -> Service {
        let version = || ("spec_version".to_owned(), Yaml::from("1.0"));
        let slo = Yaml::Map(vec![
            version(),
            ("objectives".to_owned(), Yaml::List(self.objectives)),
            ("total_score".to_owned(), Yaml::map([("pass", "100%".into())])),
        ]);
        let sli = Yaml::Map(vec![version(), ("indicators".to_owned(), Yaml::Map(self.indicators))]);
        Service { slo: write(&slo), sli: write(&sli) }
    }
}

fn documents(text: &str) -> Result<Vec<Value>, OpenSloError> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let is_empty =
        |part: &String| part.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    parts.retain(|part| !is_empty(part));
    if parts.len() > DOCUMENTS_MAX {
        return Err(OpenSloError::TooMany(parts.len()));
    }
    let read = |(index, part): (usize, &String)| {
        let node = yaml::parse(part.as_bytes());
        node.map(|node| value(&node)).map_err(|problem| OpenSloError::Yaml { number: index + 1, problem })
    };
    parts.iter().enumerate().map(read).collect()
}

fn value(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Scalar(_) if node.is_null() => Value::Null,
        yaml::Value::Scalar(scalar) => Value::String(scalar.text.clone()),
        yaml::Value::List(items) => items.iter().map(value).collect(),
        yaml::Value::Map(members) => {
            let pairs = members.iter().map(|member| (member.key.clone(), value(&member.node)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn text_at<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn number_at(value: &Value, pointer: &str) -> Option<f64> {
    text_at(value, pointer)?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn shown(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(80).collect()
}

fn slo(
    document: &Value,
    indicators: &BTreeMap<String, &Value>,
    services: &mut BTreeMap<String, Collected>,
    notes: &mut Vec<String>,
) {
    let name = text_at(document, "/metadata/name").unwrap_or("unnamed");
    let mut note = |text: String| notes.push(format!("SLO `{}`: {text}", shown(name)));
    let service = text_at(document, "/spec/service").unwrap_or(name);
    let inline = document.pointer("/spec/indicator/spec");
    let by_name = || indicators.get(text_at(document, "/spec/indicatorRef")?).copied();
    let Some(indicator) = inline.or_else(by_name) else {
        return note("left out: its indicator is neither in it nor among the documents".to_owned());
    };
    let objectives = document.pointer("/spec/objectives").and_then(Value::as_array).cloned().unwrap_or_default();
    if objectives.is_empty() {
        return note("left out: it has no objectives".to_owned());
    }
    let window = text_at(document, "/spec/timeWindow/0/duration");
    if document.pointer("/spec/alertPolicies").is_some() {
        note("its `alertPolicies` are not translated: the alerts are those of an error budget".to_owned());
    }
    let sli = name.replace(['-', '.', ' '], "_");
    let made = match (indicator.get("thresholdMetric"), indicator.get("ratioMetric")) {
        (Some(metric), _) => threshold(metric, &objectives, &mut note),
        (None, Some(metric)) => ratio(metric, &objectives, window, &mut note),
        (None, None) => Err("its indicator has neither `thresholdMetric` nor `ratioMetric`".to_owned()),
    };
    let (query, mut members) = match made {
        Ok(made) => made,
        Err(why) => return note(format!("left out: {why}")),
    };
    let display = text_at(document, "/metadata/displayName").unwrap_or(name);
    members.insert(0, ("sli".to_owned(), sli.clone().into()));
    members.insert(1, ("displayName".to_owned(), display.into()));
    let service = services.entry(service.to_owned()).or_default();
    if service.indicators.iter().any(|(known, _)| *known == sli) {
        return note("left out: another SLO of the service has this name".to_owned());
    }
    service.indicators.push((sli, query.into()));
    service.objectives.push(Yaml::Map(members));
}

type Made = Result<(String, Vec<(String, Yaml)>), String>;

/// A value that must be on one side of a number.
fn threshold(metric: &Value, objectives: &[Value], note: &mut impl FnMut(String)) -> Made {
    let query = query_of(metric)?;
    let mut criteria = Vec::new();
    for objective in objectives {
        let operator = match text_at(objective, "/op") {
            Some("lte") => "<=",
            Some("lt") => "<",
            Some("gte") => ">=",
            Some("gt") => ">",
            _ => return Err("an objective has no `op` (lte, lt, gte, gt)".to_owned()),
        };
        let value = text_at(objective, "/value").filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
        let value = value.ok_or("an objective has no `value`")?;
        criteria.push(Yaml::from(format!("{operator}{value}")));
        if share(objective).is_some() {
            note(
                "its `target` (in how much of the time the threshold holds) is not translated: the window of an \
                  evaluation or of an alert as a whole must meet it"
                    .to_owned(),
            );
        }
    }
    Ok((windowed(query, note), vec![passes(criteria)]))
}

/// A share of all events.
fn ratio(metric: &Value, objectives: &[Value], window: Option<&str>, note: &mut impl FnMut(String)) -> Made {
    let [objective] = objectives else {
        return Err("a `ratioMetric` with several objectives; make an SLO of each".to_owned());
    };
    let target = share(objective).ok_or("its objective has no `target` or `targetPercent` between 0 and 1 (100)")?;
    let counter = text_at(metric, "/counter") == Some("true");
    let (query, of_good) = match (metric.get("good"), metric.get("bad"), metric.get("raw")) {
        (Some(part), ..) => (divided(part, metric, counter, note)?, true),
        (None, Some(part), _) => (divided(part, metric, counter, note)?, false),
        (None, None, Some(raw)) => {
            (windowed(query_of(raw)?, note), text_at(metric, "/rawType").is_none_or(|kind| kind == "success"))
        }
        (None, None, None) => return Err("its `ratioMetric` has none of `good`, `bad` and `raw`".to_owned()),
    };
    let limit = if of_good { format!(">={}", digits(target)) } else { format!("<={}", digits(1.0 - target)) };
    let mut budget = vec![("target".to_owned(), Yaml::from(format!("{}%", digits(target * 100.0))))];
    if let Some(window) = window {
        let days = crate::files::monitoring::seconds(window).map(|seconds| seconds / 86_400);
        if days.is_some_and(|days| (7..=400).contains(&days)) {
            budget.push(("window".to_owned(), window.into()));
        } else {
            note(format!("its time window `{}` is not translated; 30d is taken", shown(window)));
        }
    }
    budget.push(("ratioOf".to_owned(), if of_good { "good" } else { "bad" }.into()));
    Ok((query, vec![passes(vec![limit.into()]), ("errorBudget".to_owned(), Yaml::Map(budget))]))
}

fn passes(criteria: Vec<Yaml>) -> (String, Yaml) {
    ("pass".to_owned(), Yaml::List(vec![Yaml::map([("criteria", Yaml::List(criteria))])]))
}

fn divided(part: &Value, metric: &Value, counter: bool, note: &mut impl FnMut(String)) -> Result<String, String> {
    let total = metric.get("total").ok_or("its `ratioMetric` has no `total`")?;
    let side = |query: String, note: &mut dyn FnMut(String)| {
        if counter && !query.contains('[') {
            return format!("sum(increase({query}[$DURATION_SECONDS]))");
        }
        windowed(query, note)
    };
    Ok(format!("({}) / ({})", side(query_of(part)?, note), side(query_of(total)?, note)))
}

/// Returns the share that must be good, from 0 to 1.
fn share(objective: &Value) -> Option<f64> {
    let percent = || number_at(objective, "/targetPercent").map(|percent| percent / 100.0);
    number_at(objective, "/target").or_else(percent).filter(|share| *share > 0.0 && *share < 1.0)
}

/// Takes the PromQL out of a metric.
fn query_of(metric: &Value) -> Result<String, String> {
    let source = metric.get("metricSource").unwrap_or(metric);
    let kind = text_at(source, "/type").unwrap_or("Prometheus");
    if !kind.eq_ignore_ascii_case("prometheus") {
        return Err(format!("its metrics are of `{}`; only Prometheus' are translated", shown(kind)));
    }
    let query = ["/spec/query", "/spec/promql", "/query"].into_iter().find_map(|pointer| text_at(source, pointer));
    query.map(|query| query.trim().to_owned()).ok_or_else(|| "its metric has no `spec.query`".to_owned())
}

/// Puts the window of the evaluation in place of the ranges that a query has.
fn windowed(query: String, note: &mut (impl FnMut(String) + ?Sized)) -> String {
    let mut out = String::with_capacity(query.len());
    let mut rest = query.as_str();
    let mut replaced = false;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once(']') {
            Some((range, end)) if is_range(range) => {
                out.push_str("[$DURATION_SECONDS]");
                (rest, replaced) = (end, true);
            }
            _ => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    if replaced {
        note("the ranges of its query became the window of the evaluation".to_owned());
    }
    out
}

/// Tells whether brackets hold a range, in Prometheus' form or in a template's, and not a class of a regular expression.
fn is_range(text: &str) -> bool {
    crate::files::monitoring::is_duration(text) || text.trim().starts_with("{{") || text == "$window"
}

/// Writes a share with as many digits as mean something.
fn digits(value: f64) -> String {
    let text = format!("{value:.10}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
