//! Judges measured values by an SLO: Keptn V1's evaluation (its lighthouse-service), with what it got wrong mended.
//!
//! [`evaluate`] is a function of the SLO, the values and the earlier results, so that the plugin `quality-gate`, the
//! command line and the API come to the same result. [`input`] reads values and earlier results in the forms that people
//! and events have them in. Where this differs from V1, `docs/files/slo.md` says so.
//!
//! Never here: where values and earlier results come from, and how a result is shown.

mod baseline;
mod explain;
pub mod input;
#[cfg(test)]
mod tests;
pub mod window;

use base64::Engine;
use serde::{Deserialize, Serialize};

use crate::criterion::{Criterion, Operator};
use crate::result::TaskResult;
use crate::slo::{Objective, Slo};

pub use baseline::{Earlier, compared};
pub use explain::{change, number};

/// A measured indicator, in Keptn's form: an entry of `indicatorValues` in `get-sli.finished`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IndicatorValue {
    /// The indicator.
    pub metric: String,
    /// Its value; 0 without success. Always finite.
    pub value: f64,
    /// What earlier results had, aggregated as the SLO says; absent where there is no baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_value: Option<f64>,
    /// Whether there is a value.
    pub success: bool,
    /// Why not.
    pub message: String,
}

/// A criterion, and what it came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// As written, without blanks.
    pub criteria: String,
    /// The number compared with; 0 for a relative criterion without a baseline.
    pub target_value: f64,
    /// Whether it does not hold.
    pub violated: bool,
}

/// How an objective ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveStatus {
    /// It is met.
    Pass,
    /// It is nearly met.
    Warning,
    /// It is not met, or has no value.
    #[serde(alias = "failed")]
    Fail,
    /// It is reported and not judged.
    #[default]
    Info,
}

/// One objective, judged. The last two members are Pilothouse's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IndicatorResult {
    /// Its weight, half of it for a warning, else 0.
    pub score: f64,
    /// What was measured.
    pub value: IndicatorValue,
    /// Its name for people; empty without one.
    pub display_name: String,
    /// The criteria of `pass`, alternative by alternative.
    #[serde(deserialize_with = "null_is_empty")]
    pub pass_targets: Vec<Target>,
    /// The same of `warning`.
    #[serde(deserialize_with = "null_is_empty")]
    pub warning_targets: Vec<Target>,
    /// Whether the whole evaluation fails with it.
    pub key_sli: bool,
    /// How it ended.
    pub status: ObjectiveStatus,
    /// Its weight.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight: u32,
    /// The unit of its value; empty without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// In plain words: what was measured, what was asked for, by how much it was missed, what it was before.
    pub explanation: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(weight: &u32) -> bool {
    *weight == 0
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The window that was judged; both RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Its start.
    pub start: String,
    /// Its end.
    pub end: String,
}

/// What an evaluation came to: `data.evaluation` of `evaluation.finished`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The window's start; empty where values were given without one.
    #[serde(default)]
    pub time_start: String,
    /// The window's end.
    #[serde(default)]
    pub time_end: String,
    /// The result.
    pub result: TaskResult,
    /// In percent of what can be reached, not rounded.
    pub score: f64,
    /// The SLO file, as Base64.
    #[serde(default)]
    pub slo_file_content: String,
    /// One for each objective, in the order of the file.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub indicator_results: Vec<IndicatorResult>,
    /// The ids of the earlier results that count, the newest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub compared_events: Vec<String>,
    /// In one sentence: how it ended and why. Pilothouse's.
    #[serde(default)]
    pub message: String,
}

/// The values to judge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// What was measured. Of two with one name, the first counts.
    pub indicators: Vec<IndicatorValue>,
    /// The window, where it is known.
    pub window: Window,
    /// Set if the provider says that measuring as a whole failed: its message. The evaluation fails then.
    pub failed: Option<String>,
}

/// Judges `values` by `slo`. `earlier` are all earlier results that may count, the newest first: those that the SLO's
/// `comparison` does not ask for are left out here.
pub fn evaluate(slo: &Slo, slo_file: &[u8], values: &Values, earlier: &[Earlier]) -> Evaluation {
    let earlier = compared(slo, earlier);
    let indicator_results: Vec<IndicatorResult> =
        slo.objectives.iter().map(|objective| judge(objective, slo, values, &earlier)).collect();
    let judged = || slo.objectives.iter().zip(&indicator_results).filter(|(objective, _)| !objective.pass.is_empty());
    let most: f64 = judged().map(|(objective, _)| f64::from(objective.weight)).sum();
    let reached: f64 = judged().map(|(_, result)| result.score).sum();
    let score = match slo.objectives.is_empty() {
        true => 0.0,
        // Nothing to judge: all of it is informational.
        false if most == 0.0 => 100.0,
        false => 100.0 * reached / most,
    };
    let key = judged().any(|(objective, result)| objective.key_sli && result.status == ObjectiveStatus::Fail);
    let warning = slo.total_score.warning.is_some_and(|limit| score >= limit);
    let result = match (slo.objectives.is_empty() || key || values.failed.is_some(), score >= slo.total_score.pass) {
        (true, _) => TaskResult::Fail,
        (false, true) => TaskResult::Pass,
        (false, false) if warning => TaskResult::Warning,
        (false, false) => TaskResult::Fail,
    };
    let mut evaluation = Evaluation {
        time_start: values.window.start.clone(),
        time_end: values.window.end.clone(),
        result,
        score,
        slo_file_content: base64::engine::general_purpose::STANDARD.encode(slo_file),
        indicator_results,
        compared_events: earlier.iter().filter(|it| !it.id.is_empty()).map(|it| it.id.clone()).collect(),
        message: String::new(),
    };
    evaluation.message = explain::message(slo, values, &evaluation);
    evaluation
}

fn judge(objective: &Objective, slo: &Slo, values: &Values, earlier: &[&Earlier]) -> IndicatorResult {
    let found = values.indicators.iter().find(|value| value.metric == objective.sli);
    let mut value = found.cloned().unwrap_or_else(|| IndicatorValue {
        metric: objective.sli.clone(),
        message: "no value received from SLI provider".to_owned(),
        ..IndicatorValue::default()
    });
    value.success &= value.value.is_finite();
    if !value.success {
        value.value = 0.0;
    }
    let baseline = baseline::of(&objective.sli, slo.comparison.aggregate, earlier);
    value.compared_value = baseline;
    let measured = value.success.then_some(value.value);
    let targets = |alternatives: &[Vec<Criterion>]| -> Vec<Vec<Target>> {
        let of = |criterion| target(criterion, measured, baseline);
        alternatives.iter().map(|all| all.iter().map(of).collect()).collect()
    };
    let (pass, warning) = (targets(&objective.pass), targets(&objective.warning));
    let met = |alternatives: &[Vec<Target>]| alternatives.iter().any(|all| all.iter().all(|target| !target.violated));
    let weight = f64::from(objective.weight);
    let (status, score) = match objective.pass.is_empty() {
        true => (ObjectiveStatus::Info, 0.0),
        false if measured.is_some() && met(&pass) => (ObjectiveStatus::Pass, weight),
        false if measured.is_some() && met(&warning) => (ObjectiveStatus::Warning, weight / 2.0),
        false => (ObjectiveStatus::Fail, 0.0),
    };
    let explanation = explain::objective(objective, &value, status, &pass, &warning);
    IndicatorResult {
        score,
        value,
        display_name: objective.display_name.clone().unwrap_or_default(),
        pass_targets: pass.into_iter().flatten().collect(),
        // Without `pass`, `warning` has no effect.
        warning_targets: match objective.pass.is_empty() {
            true => Vec::new(),
            false => warning.into_iter().flatten().collect(),
        },
        key_sli: objective.key_sli,
        status,
        weight: objective.weight,
        unit: objective.unit.clone().unwrap_or_default(),
        explanation,
    }
}

/// Says what a criterion comes to. A relative one without a baseline holds (V1), unless there is no value at all.
fn target(criterion: &Criterion, measured: Option<f64>, baseline: Option<f64>) -> Target {
    let limit = match (criterion.relative, baseline) {
        (false, _) => Some(criterion.value),
        (true, None) => None,
        (true, Some(before)) if criterion.percent => Some((100.0 + criterion.value) * before / 100.0),
        (true, Some(before)) => Some(before + criterion.value),
    };
    // An overflow of numbers near the largest: still a number in JSON.
    let limit = limit.map(|limit| limit.clamp(f64::MIN, f64::MAX));
    let holds = |value: f64| match (limit, criterion.operator) {
        (None, _) => true,
        (Some(limit), Operator::Less) => value < limit,
        (Some(limit), Operator::LessEqual) => value <= limit,
        #[expect(clippy::float_cmp, reason = "`=` in a criterion means exactly equal, as in V1")]
        (Some(limit), Operator::Equal) => value == limit,
        (Some(limit), Operator::GreaterEqual) => value >= limit,
        (Some(limit), Operator::Greater) => value > limit,
    };
    Target {
        criteria: criterion.text.clone(),
        target_value: limit.unwrap_or_default(),
        violated: !measured.is_some_and(holds),
    }
}
