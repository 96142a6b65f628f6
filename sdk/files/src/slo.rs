//! The SLO file: what is good enough, judged on the values of the indicators.
//!
//! Never here: values, scores and comparisons, which are the quality gate's.

use std::collections::{BTreeMap, HashSet};

use crate::criterion::{self, Criterion};
use crate::member::{
    is_not, meant, number_of, place, read as read_file, scalar, shown, spec_version, texts, too_many, truth, whole,
};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Position, Problem};

/// Most objectives of a file. Each one is a query to a provider; a file with thousands is made by a program gone wrong.
pub const OBJECTIVES_MAX: usize = 1_000;
/// Most alternatives in `pass` or `warning` of an objective; real files have one to three.
pub const ALTERNATIVES_MAX: usize = 50;
/// Most criteria of an alternative; real files have one to three.
pub const CRITERIA_MAX: usize = 50;
/// Most filters, each of which is put in every query.
pub const FILTERS_MAX: usize = 100;
/// Largest weight, so that the sum of all weights is exact in any number type.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Most earlier results that a comparison takes: all of them are read at each evaluation.
pub const RESULTS_MAX: u32 = 100;
/// How many earlier results `several_results` takes without a number, as in Keptn.
pub const RESULTS_DEFAULT: u32 = 3;

/// What is good enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Values that queries can use by name.
    pub filter: BTreeMap<String, String>,
    /// Which earlier results relative criteria compare with.
    pub comparison: Comparison,
    /// The objectives in the order of the file. No two are for one indicator.
    pub objectives: Vec<Objective>,
    /// Which scores pass.
    pub total_score: TotalScore,
}

/// Which earlier results relative criteria compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How many at most, the latest first; at least one.
    pub results: u32,
    /// Which ones count.
    pub include: Include,
    /// What they become together.
    pub aggregate: Aggregate,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { results: 1, include: Include::All, aggregate: Aggregate::Avg }
    }
}

/// Which earlier results count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// All of them.
    #[default]
    All,
    /// Those that passed.
    Pass,
    /// Those that passed, with a warning or without.
    PassOrWarn,
}

/// What several earlier values become together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Their mean.
    #[default]
    Avg,
    /// Their median.
    P50,
    /// Their 90th percentile.
    P90,
    /// Their 95th percentile.
    P95,
}

/// What is good enough for one indicator.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The indicator.
    pub sli: String,
    /// Its name for people.
    pub display_name: Option<String>,
    /// The unit of its value, for people (Pilothouse's).
    pub unit: Option<String>,
    /// Alternatives, of which one must hold to pass; of each, all criteria must hold. None: the indicator is not judged.
    pub pass: Vec<Vec<Criterion>>,
    /// The same for a warning.
    pub warning: Vec<Vec<Criterion>>,
    /// Its part of the score; at least one.
    pub weight: u32,
    /// Whether the whole evaluation fails with it.
    pub key_sli: bool,
    /// What may go wrong over a longer time (Pilothouse's).
    pub error_budget: Option<ErrorBudget>,
    /// Where `sli` stands.
    pub at: Position,
}

/// How much may go wrong over a longer time: makes alerts on how fast the budget is spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBudget {
    /// The share of what must be good, in percent; over 0, below 100.
    pub target: f64,
    /// The time that the budget is for, in seconds.
    pub window_seconds: u64,
    /// Whether the indicator is the share of what is good; else of what is bad. From 0 to 1.
    pub of_good: bool,
}

/// Shortest time of a budget: below a week, the slowest of its alerts looks at more than half of it.
pub const BUDGET_DAYS_MIN: u64 = 7;
/// Longest time of a budget, in days.
pub const BUDGET_DAYS_MAX: u64 = 400;

/// Which scores pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TotalScore {
    /// The score in percent from which on it is a pass.
    pub pass: f64,
    /// The score in percent from which on it is a warning; no warning without one.
    pub warning: Option<f64>,
}

/// Reads an SLO file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Slo>, Vec<Problem>) {
    let (slo, mut problems) = read_file(bytes, Problem::stops_a_run, file);
    if let [problem] = problems.as_mut_slice()
        && crate::yaml::parse(bytes).is_err()
        && begins_block(bytes, problem.at.line)
    {
        problem.message.push_str("; a criterion that begins with `>` must stand in quotes, such as `\">=600\"`");
    }
    (slo, problems)
}

/// Tells whether a line, or the one before, has a list entry that begins with `>`: YAML takes that for a text in lines.
fn begins_block(bytes: &[u8], line: u32) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let before = usize::try_from(line).unwrap_or_default().saturating_sub(2);
    text.lines()
        .skip(before)
        .take(2)
        .any(|line| line.trim_start().strip_prefix("- ").is_some_and(|entry| entry.trim_start().starts_with('>')))
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Slo> {
    let mut fields = Fields::of(node, "the SLO file", problems)?;
    spec_version(&mut fields, node.at, "1.0");
    let filter = fields.get("filter");
    let block = fields.get("comparison");
    let items = fields.list("objectives");
    let objectives_at = place(&mut fields, "objectives", node.at);
    let misshapen = items.is_none() && objectives_at != node.at;
    let score = fields.required("total_score");
    fields.finish();
    let filter = filter.map(|node| texts(node, "`filter`", FILTERS_MAX, problems)).unwrap_or_default();
    let comparison = block.and_then(|node| comparison(node, problems)).unwrap_or_default();
    let objectives = objectives(items.unwrap_or_default(), objectives_at, problems);
    if objectives.is_empty() && !misshapen {
        problems.push(Problem::warning(objectives_at, "there are no `objectives`, so an evaluation always fails"));
    }
    let total_score = total_score(score?, problems)?;
    Some(Slo { filter, comparison, objectives, total_score })
}

fn comparison(node: &Node, problems: &mut Vec<Problem>) -> Option<Comparison> {
    let what = "`comparison`";
    let mut fields = Fields::of(node, what, problems)?;
    let several = compare_with(&mut fields, node);
    let include = match word(&mut fields, "include_result_with_score").as_deref() {
        None | Some("all") => Include::All,
        Some("pass") => Include::Pass,
        Some("pass_or_warn") => Include::PassOrWarn,
        Some(other) => {
            // Keptn took all results then.
            let at = place(&mut fields, "include_result_with_score", node.at);
            let hint = meant(other, &["all", "pass", "pass_or_warn"]);
            let message = format!("`include_result_with_score` cannot be `{}`; {hint}", shown(other));
            fields.problems().push(Problem::write_error(at, message));
            Include::All
        }
    };
    let number = whole(&mut fields, "number_of_comparison_results", what, 0..=RESULTS_MAX).unwrap_or_default();
    let aggregate = match word(&mut fields, "aggregate_function").as_deref() {
        None | Some("avg") => Aggregate::Avg,
        Some("p50") => Aggregate::P50,
        Some("p90") => Aggregate::P90,
        Some("p95") => Aggregate::P95,
        Some(other) => {
            let at = place(&mut fields, "aggregate_function", node.at);
            let hint = meant(other, &["avg", "p50", "p90", "p95"]);
            let message = format!("there is no aggregate function `{}`; {hint}", shown(other));
            fields.problems().push(Problem::error(at, message));
            Aggregate::Avg
        }
    };
    if !several && number > 1 {
        let at = place(&mut fields, "number_of_comparison_results", node.at);
        let message = "`number_of_comparison_results` counts only with `compare_with: several_results`";
        fields.problems().push(Problem::warning(at, message));
    }
    fields.finish();
    let results = match (several, number) {
        (false, _) => 1,
        (true, 0) => RESULTS_DEFAULT,
        (true, number) => number,
    };
    Some(Comparison { results, include, aggregate })
}

/// Reads `compare_with`; tells whether several results are compared with.
fn compare_with(fields: &mut Fields<'_, '_>, node: &Node) -> bool {
    let found = word(fields, "compare_with");
    let what = match found.as_deref() {
        Some("single_result") => return false,
        Some("several_results") => return true,
        Some(other) => format!("`compare_with` cannot be `{}`; {}", shown(other), meant(other, &COMPARE_WITH)),
        None => format!("`comparison` has no `compare_with`; {}", meant("", &COMPARE_WITH)),
    };
    let at = place(fields, "compare_with", node.at);
    let message = format!("{what} (as it stands, the last result alone is compared with)");
    fields.problems().push(Problem::warning(at, message));
    false
}

/// What `compare_with` can be.
const COMPARE_WITH: [&str; 2] = ["single_result", "several_results"];

/// Returns a word in lower case; Keptn's users wrote both.
fn word(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    fields.text(name).map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty())
}

fn objectives(items: &[Node], at: Position, problems: &mut Vec<Problem>) -> Vec<Objective> {
    if items.len() > OBJECTIVES_MAX {
        problems.push(too_many(at, "`objectives`", items.len(), OBJECTIVES_MAX));
        return Vec::new();
    }
    let mut seen: HashSet<String> = HashSet::new();
    let mut objectives: Vec<Objective> = Vec::new();
    // Keptn dropped entries that are `null`.
    for item in items.iter().filter(|item| !item.is_null()) {
        let Some(found) = objective(item, problems) else { continue };
        if !seen.insert(found.sli.clone()) {
            let message = format!("there are two objectives for `{}`; put their criteria in one", shown(&found.sli));
            problems.push(Problem::error(found.at, message));
        }
        objectives.push(found);
    }
    objectives
}

fn objective(node: &Node, problems: &mut Vec<Problem>) -> Option<Objective> {
    let mut fields = Fields::of(node, "an objective", problems)?;
    let sli = fields.required_text("sli");
    let at = place(&mut fields, "sli", node.at);
    let what = sli.as_deref().map_or("an objective".to_owned(), |sli| format!("objective `{}`", shown(sli)));
    fields.rename(&what);
    let display_name = fields.text("displayName");
    let unit = fields.text("unit").filter(|unit| !unit.trim().is_empty());
    let pass = fields.list("pass");
    let pass_at = place(&mut fields, "pass", node.at);
    let warning = fields.list("warning");
    let warning_at = place(&mut fields, "warning", node.at);
    let weight = whole(&mut fields, "weight", &what, 0..=WEIGHT_MAX);
    let key_sli = truth(&mut fields, "key_sli", &what).unwrap_or_default();
    let absolute = truth(&mut fields, "absolute", &what).unwrap_or_default();
    let budget = fields.get("errorBudget");
    if weight == Some(0) {
        let at = place(&mut fields, "weight", node.at);
        let message = format!("`weight: 0` of {what} counts as 1, as in Keptn; without `pass` it would not be judged");
        fields.problems().push(Problem::warning(at, message));
    }
    let judged = pass.is_some_and(|items| !items.is_empty()) || pass_at != node.at && pass.is_none();
    for (name, given) in [("warning", warning.is_some_and(|items| !items.is_empty())), ("key_sli", key_sli)] {
        if given && !judged {
            let at = place(&mut fields, name, node.at);
            let message = format!("`{name}` of {what} has no effect: without `pass` it is reported and not judged");
            fields.problems().push(Problem::warning(at, message));
        }
    }
    fields.finish();
    let mut alternatives = |name: &str, items: Option<&[Node]>, at| {
        let of = format!("`{name}` of {what}");
        self::alternatives(items.unwrap_or_default(), at, &of, absolute, problems)
    };
    let pass = alternatives("pass", pass, pass_at);
    let warning = alternatives("warning", warning, warning_at);
    let weight = weight.unwrap_or(1).max(1);
    let error_budget = budget.and_then(|node| error_budget(node, &what, problems));
    Some(Objective { error_budget, sli: sli?, display_name, unit, pass, warning, weight, key_sli, at })
}

fn error_budget(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<ErrorBudget> {
    let of = format!("`errorBudget` of {what}");
    let mut fields = Fields::of(node, &of, problems)?;
    let target = fields.required("target");
    let window = fields.text("window");
    let window_at = place(&mut fields, "window", node.at);
    let ratio = fields.text("ratioOf");
    let ratio_at = place(&mut fields, "ratioOf", node.at);
    fields.finish();
    let wanted = "a share over 0% and below 100%, such as `\"99.9%\"`";
    let number = target.and_then(scalar).and_then(|text| number_of(text.trim().trim_end_matches('%').trim_end()));
    let target = match (target, number.filter(|number| *number > 0.0 && *number < 100.0)) {
        (Some(node), None) => {
            problems.push(is_not("target", &of, node, wanted));
            None
        }
        (_, number) => number,
    };
    let days = BUDGET_DAYS_MIN..=BUDGET_DAYS_MAX;
    let text = window.as_deref().unwrap_or("30d");
    let window_seconds = crate::monitoring::seconds(text).filter(|seconds| days.contains(&(seconds / 86_400)));
    if window_seconds.is_none() {
        let message = format!("`window` of {of} is `{}`; write a time from 7d to 400d, such as `30d`", shown(text));
        problems.push(Problem::error(window_at, message));
    }
    let of_good = match ratio.as_deref() {
        None | Some("bad") => Some(false),
        Some("good") => Some(true),
        Some(other) => {
            let hint = meant(other, &["bad", "good"]);
            problems.push(Problem::error(ratio_at, format!("`ratioOf` of {of} cannot be `{}`; {hint}", shown(other))));
            None
        }
    };
    Some(ErrorBudget { target: target?, window_seconds: window_seconds?, of_good: of_good? })
}

fn alternatives(
    items: &[Node],
    at: Position,
    of: &str,
    absolute: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Vec<Criterion>> {
    if items.len() > ALTERNATIVES_MAX {
        problems.push(too_many(at, of, items.len(), ALTERNATIVES_MAX));
        return Vec::new();
    }
    let mut found = Vec::new();
    for item in items {
        let never =
            format!("{of} has an entry without `criteria`, which can never be met; write `criteria: [\"<600\"]`");
        if item.is_null() {
            problems.push(Problem::error(item.at, never));
            continue;
        }
        let Some(mut fields) = Fields::of(item, format!("an entry of {of}"), problems) else { continue };
        let there = fields.get("criteria").is_some();
        let criteria = fields.list("criteria");
        let list_at = place(&mut fields, "criteria", item.at);
        fields.finish();
        match criteria {
            None if there => {}
            None | Some([]) => problems.push(Problem::error(list_at, never)),
            Some(criteria) if criteria.len() > CRITERIA_MAX => {
                problems.push(too_many(list_at, &format!("`criteria` in {of}"), criteria.len(), CRITERIA_MAX));
            }
            Some(criteria) => {
                found.push(criteria.iter().filter_map(|it| self::criterion(it, of, absolute, problems)).collect());
            }
        }
    }
    found
}

fn criterion(node: &Node, of: &str, absolute: bool, problems: &mut Vec<Problem>) -> Option<Criterion> {
    let Some(text) = scalar(node) else {
        let message = format!("a criterion in {of} must be a text such as `<600` or `<=+10%`, this is {}", node.kind());
        problems.push(Problem::error(node.at, message));
        return None;
    };
    let found = criterion::parse(text, absolute)
        .map_err(|error| problems.push(Problem::error(node.at, format!("{of}: {error}"))))
        .ok()?;
    if found.looks_absolute() {
        let message = format!(
            "{of}: `{}` compares with earlier results ({} less than before); for a value below zero set `absolute: true` \
             on the objective",
            found.text,
            found.value.abs()
        );
        problems.push(Problem::warning(node.at, message));
    }
    Some(found)
}

fn total_score(node: &Node, problems: &mut Vec<Problem>) -> Option<TotalScore> {
    let mut fields = Fields::of(node, "`total_score`", problems)?;
    let pass = fields.required("pass");
    let warning = fields.get("warning");
    fields.finish();
    let pass = pass.and_then(|node| percent("pass", node, problems));
    let warning_score = warning.and_then(|node| percent("warning", node, problems));
    if let (Some(pass), Some(score), Some(node)) = (pass, warning_score, warning)
        && score > pass
    {
        let message = format!("`warning` is {score}%, above `pass` at {pass}%, so that nothing is ever a warning");
        problems.push(Problem::error(node.at, message));
    }
    Some(TotalScore { pass: pass?, warning: warning_score })
}

/// Reads a score: `90%`, `90` or `92.5%`.
fn percent(name: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<f64> {
    let wanted = "a score from 0% to 100%, such as `\"90%\"`";
    let number = scalar(node).and_then(|text| number_of(text.trim().trim_end_matches('%').trim_end()));
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Some(number),
        Some(number) => {
            // Keptn ran with it: always a fail, or never one.
            let problem = is_not(name, "`total_score`", node, wanted);
            problems.push(Problem::write_error(problem.at, problem.message));
            Some(number)
        }
        None => {
            problems.push(is_not(name, "`total_score`", node, wanted));
            None
        }
    }
}
