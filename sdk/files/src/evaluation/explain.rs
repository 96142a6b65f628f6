//! Says in plain words what an evaluation came to.

use super::{Evaluation, IndicatorValue, ObjectiveStatus, Target, Values};
use crate::result::TaskResult;
use crate::slo::{Objective, Slo};

/// Most objectives that the message of an evaluation names; all of them have their own explanation.
const NAMED_MAX: usize = 5;

/// Writes a number for people: two decimals at most, more where it is small.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        0.0 => return "0".to_owned(),
        1e15.. => return format!("{value:.3e}"),
        1.0.. => format!("{value:.2}"),
        0.0001.. => format!("{value:.4}"),
        _ => return format!("{value:.2e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes by how much a value differs from another one, in percent of it; `None` from 0, or without a difference.
pub fn change(before: f64, now: f64) -> Option<String> {
    let percent = (now - before) / before.abs() * 100.0;
    let shown = number((percent * 10.0).round() / 10.0);
    (percent.is_finite() && shown != "0" && shown != "-0")
        .then(|| format!("{}{shown} %", if percent > 0.0 { "+" } else { "" }))
}

fn with_unit(value: f64, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("{} {unit}", number(value)),
        None => number(value),
    }
}

/// Says what alternatives ask for: `<600 and >5, or <=+10% (660)`.
fn asked(alternatives: &[Vec<Target>]) -> String {
    let one = |target: &Target| match is_relative(&target.criteria) {
        true if target.target_value == 0.0 => target.criteria.clone(),
        true => format!("{} ({})", target.criteria, number(target.target_value)),
        false => target.criteria.clone(),
    };
    let all = |targets: &Vec<Target>| targets.iter().map(one).collect::<Vec<_>>().join(" and ");
    alternatives.iter().map(all).collect::<Vec<_>>().join(", or ")
}

fn is_relative(criterion: &str) -> bool {
    criterion.contains(['%', '+', '-'])
}

/// Says by how much the nearest violated limit is missed.
fn missed(value: f64, alternatives: &[Vec<Target>], unit: Option<&str>) -> Option<String> {
    // The alternative that is nearest to being met: the one with the fewest violations, then the smallest miss.
    let missed = |targets: &Vec<Target>| -> (usize, f64) {
        let violated = targets.iter().filter(|target| target.violated);
        let most = violated.clone().map(|target| (value - target.target_value).abs()).fold(0.0, f64::max);
        (violated.count(), most)
    };
    let nearest = alternatives.iter().map(missed).min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)))?;
    (nearest.1 > 0.0).then(|| format!("missed by {}", with_unit(nearest.1, unit)))
}

/// Says in one sentence how an objective ended, and why.
pub(super) fn objective(
    objective: &Objective,
    value: &IndicatorValue,
    status: ObjectiveStatus,
    pass: &[Vec<Target>],
    warning: &[Vec<Target>],
) -> String {
    let name = objective.display_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&objective.sli);
    let unit = objective.unit.as_deref();
    if !value.success {
        let why = if value.message.is_empty() { "no value" } else { &value.message };
        return match status {
            ObjectiveStatus::Info => format!("{name} has no value ({why}); it is not judged"),
            _ => format!("{name} has no value ({why}); asked for {}", asked(pass)),
        };
    }
    let mut text = match value.compared_value {
        Some(before) => {
            let change = change(before, value.value).map(|change| format!(", {change}")).unwrap_or_default();
            format!("{name} {} → {}{change}", number(before), with_unit(value.value, unit))
        }
        None => format!("{name} is {}", with_unit(value.value, unit)),
    };
    let mut add = |part: String| {
        text.push_str("; ");
        text.push_str(&part);
    };
    match status {
        ObjectiveStatus::Info => add("not judged".to_owned()),
        ObjectiveStatus::Pass => add(format!("meets {}", asked(pass))),
        ObjectiveStatus::Warning => {
            add(format!("misses {}, but meets {}, so it is a warning", asked(pass), asked(warning)))
        }
        ObjectiveStatus::Fail => {
            let by = missed(value.value, pass, unit).map(|by| format!(", {by}")).unwrap_or_default();
            add(format!("misses {}{by}", asked(pass)));
        }
    }
    let relative =
        |alternatives: &[Vec<crate::criterion::Criterion>]| alternatives.iter().flatten().any(|it| it.relative);
    if value.compared_value.is_none() && (relative(&objective.pass) || relative(&objective.warning)) {
        add("no baseline: there is no earlier result to compare with".to_owned());
    }
    text
}

/// Says in a few sentences how an evaluation ended, and why.
pub(super) fn message(slo: &Slo, values: &Values, evaluation: &Evaluation) -> String {
    if slo.objectives.is_empty() {
        return "the evaluation failed because no SLO objective was provided".to_owned();
    }
    let mut parts = Vec::new();
    let score = format!("score {} of 100", number((evaluation.score * 100.0).round() / 100.0));
    let key = evaluation.indicator_results.iter().find(|it| it.key_sli && it.status == ObjectiveStatus::Fail);
    parts.push(match (evaluation.result, &values.failed, key) {
        (TaskResult::Fail, Some(why), _) => format!("fail, {score}, because the SLI provider failed: {why}"),
        (TaskResult::Fail, None, Some(key)) => {
            format!("fail, {score}, because the key SLI `{}` failed", key.value.metric)
        }
        (TaskResult::Fail, None, None) => {
            let asked = slo.total_score.warning.unwrap_or(slo.total_score.pass);
            format!("fail, {score}, {} needed", number(asked))
        }
        (TaskResult::Warning, ..) => format!("warning, {score}, {} needed to pass", number(slo.total_score.pass)),
        (TaskResult::Pass, ..) => format!("pass, {score}"),
    });
    let not_met: Vec<&str> = evaluation
        .indicator_results
        .iter()
        .filter(|it| matches!(it.status, ObjectiveStatus::Fail | ObjectiveStatus::Warning))
        .map(|it| it.explanation.as_str())
        .collect();
    parts.extend(not_met.iter().take(NAMED_MAX).map(|text| (*text).to_owned()));
    if not_met.len() > NAMED_MAX {
        parts.push(format!("{} more objectives are not met", not_met.len() - NAMED_MAX));
    }
    if evaluation.indicator_results.iter().any(|it| it.explanation.contains("no baseline")) {
        parts.push("no baseline for relative criteria, which count as met".to_owned());
    }
    let known = |metric: &str| slo.objectives.iter().any(|objective| objective.sli == metric);
    let more: Vec<&str> =
        values.indicators.iter().map(|it| it.metric.as_str()).filter(|metric| !known(metric)).take(20).collect();
    if !more.is_empty() {
        parts.push(format!("measured, but without an objective: {}", more.join(", ")));
    }
    parts.join(". ")
}
