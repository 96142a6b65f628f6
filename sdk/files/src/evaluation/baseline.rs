//! What earlier results had: which of them count, and what their values become together.

use std::collections::BTreeMap;

use crate::result::TaskResult;
use crate::slo::{Aggregate, Include, Slo};

/// An earlier result, as far as a comparison needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// The id of its event; empty where there is none.
    pub id: String,
    /// How it ended.
    pub result: TaskResult,
    /// Its values, by indicator; only those that there were.
    pub values: BTreeMap<String, f64>,
}

/// Returns the earlier results that count for an SLO, the newest first, as they are given.
pub fn compared<'a>(slo: &Slo, earlier: &'a [Earlier]) -> Vec<&'a Earlier> {
    let counts = |it: &&Earlier| match slo.comparison.include {
        Include::All => true,
        Include::Pass => it.result == TaskResult::Pass,
        Include::PassOrWarn => it.result != TaskResult::Fail,
    };
    let most = usize::try_from(slo.comparison.results).unwrap_or(usize::MAX);
    earlier.iter().filter(counts).take(most).collect()
}

/// Returns the baseline of an indicator: its earlier values, aggregated; `None` if there is no earlier value.
pub(super) fn of(indicator: &str, aggregate: Aggregate, earlier: &[&Earlier]) -> Option<f64> {
    let values: Vec<f64> =
        earlier.iter().filter_map(|it| it.values.get(indicator)).copied().filter(|it| it.is_finite()).collect();
    match aggregate {
        Aggregate::Avg => average(&values),
        Aggregate::P50 => percentile(values, 0.5),
        Aggregate::P90 => percentile(values, 0.9),
        Aggregate::P95 => percentile(values, 0.95),
    }
}

fn count(values: usize) -> f64 {
    f64::from(u32::try_from(values).unwrap_or(u32::MAX))
}

fn average(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let sum: f64 = values.iter().sum();
    let many = count(values.len());
    // The sum of huge values can overflow, and the mean cannot.
    Some(if sum.is_finite() { sum / many } else { values.iter().map(|value| value / many).sum() })
}

/// Interpolates between the two values next to the place `part * (n + 1)`, counted from 1, as V1 did.
fn percentile(mut values: Vec<f64>, part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = part * (count(values.len()) + 1.0);
    let (first, last) = (*values.first()?, *values.last()?);
    if place <= 1.0 {
        return Some(first);
    }
    if place >= count(values.len()) {
        return Some(last);
    }
    // At least 1, and less than the number of values, so that both neighbours exist.
    let whole = place.floor();
    let below = (1..values.len()).find(|at| count(at + 1) > whole)?;
    let (low, high) = (*values.get(below.checked_sub(1)?)?, *values.get(below)?);
    let share = place - whole;
    Some(low * (1.0 - share) + high * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours_at_p_times_n_plus_one() {
        let of = |values: &[f64], part| percentile(values.to_vec(), part).unwrap();
        assert_eq!(of(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(of(&[1.0, 2.0, 3.0], 0.9), 3.0);
        assert_eq!(of(&[7.0], 0.5), 7.0);
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert!((of(&ten, 0.9) - 9.9).abs() < 1e-9);
        assert_eq!(of(&ten, 0.95), 10.0);
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!((of(&twenty, 0.95) - 19.95).abs() < 1e-9);
        assert_eq!(percentile(Vec::new(), 0.5), None);
    }

    #[test]
    fn the_average_of_huge_values_is_finite() {
        assert_eq!(average(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(average(&[]), None);
        assert!(average(&[f64::MAX, f64::MAX]).unwrap().is_finite());
    }
}
