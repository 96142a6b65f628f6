//! Medians, percentiles, and the pair in the middle.

/// Pairs of a comparison; the one in the middle counts.
pub(crate) const PAIRS: usize = 5;

/// Returns the value below which the share `at` of `values` lies, by the nearest rank; NaN of none.
pub(crate) fn percentile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * at).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Returns the median.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 0.5)
}

/// Returns the longest time that a latency may take beside a disturbance: twice as long as alone, or 25 ms longer.
pub(crate) fn allowed_ms(alone_ms: f64) -> f64 {
    (2.0 * alone_ms).max(alone_ms + 25.0)
}

/// Returns the pair whose quotient is the median, of pairs of a value and what it is held against.
pub(crate) fn middle(pairs: &[(f64, f64)]) -> (f64, f64) {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or((f64::NAN, f64::NAN))
}

/// Returns the median quotient of pairs of a value and what it is held against.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> f64 {
    let (value, against) = middle(pairs);
    value / against
}
