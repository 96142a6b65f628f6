//! Owns the distribution of response times: exact count, minimum, maximum and mean; percentiles to within 1 %.
//!
//! Memory does not grow with the number of samples, so that a result file of any length can be read as a stream.
//! Never here: what a sample is (`jtl`), what is good enough (`verdict`).

/// Number of buckets per power of two, and the first value that shares its bucket with another.
///
/// A bucket above it is at most 1/64 of its values wide, and a percentile is reported as the bucket's middle: the
/// error is at most 1/128, which is 0.8 %. Below 128 ms each millisecond has a bucket of its own.
const BUCKETS_PER_OCTAVE: u64 = 64;

/// Longest response time told apart from longer ones, in milliseconds: 49 days. It bounds the number of buckets.
pub const ELAPSED_MS_MAX: u64 = u32::MAX as u64;

/// A distribution of whole milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// Returns the bucket of `value`.
fn bucket(value: u64) -> usize {
    let value = value.min(ELAPSED_MS_MAX);
    let octave = u64::from(value.max(BUCKETS_PER_OCTAVE).ilog2() - BUCKETS_PER_OCTAVE.ilog2());
    // The top seven bits of the value, counted on from the octaves below.
    usize::try_from(octave * BUCKETS_PER_OCTAVE + (value >> octave)).unwrap_or(usize::MAX)
}

/// Returns the middle of bucket `index`.
fn middle(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * BUCKETS_PER_OCTAVE {
        return index;
    }
    let octave = index / BUCKETS_PER_OCTAVE - 1;
    let low = (index - octave * BUCKETS_PER_OCTAVE) << octave;
    low + (1 << octave) / 2
}

impl Histogram {
    /// Adds one value, in milliseconds.
    pub fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
        let index = bucket(value);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(index) {
            *count += 1;
        }
    }

    /// Returns how many values were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the smallest value; 0 if there is none.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Returns the largest value; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Returns the exact mean; 0 if there is no value.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// Returns the smallest value that at least `percent` of a hundred values do not exceed (nearest rank), to within
    /// 1 %; 0 if there is none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen: u128 = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return middle(index).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_up_to_the_largest_is_reported_to_within_one_percent() {
        let mut value = 0u64;
        while value <= ELAPSED_MS_MAX {
            let got = middle(bucket(value));
            let error = got.abs_diff(value) as f64 / value.max(1) as f64;
            assert!(error <= 0.01, "{value} became {got}");
            value = value + 1 + value / 1_000;
        }
        assert_eq!(bucket(ELAPSED_MS_MAX), bucket(u64::MAX));
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for value in 1..70_000u64 {
            let step = bucket(value) - bucket(value - 1);
            assert!(step <= 1, "{value} skips a bucket");
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|value| histogram.add(value));
        let got: Vec<u64> = [50, 90, 95, 99, 100].iter().map(|percent| histogram.percentile(*percent)).collect();
        assert_eq!(got, [50, 90, 95, 99, 100]);
        assert_eq!((histogram.min(), histogram.max(), histogram.mean()), (1, 100, 50.5));
    }

    #[test]
    fn a_single_value_is_every_percentile_exactly() {
        let mut histogram = Histogram::default();
        histogram.add(123_456);
        assert_eq!(
            (histogram.percentile(1), histogram.percentile(50), histogram.percentile(99)),
            (123_456, 123_456, 123_456)
        );
    }

    #[test]
    fn an_empty_distribution_is_all_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.percentile(95), empty.min(), empty.max(), empty.mean(), empty.count()), (0, 0, 0, 0.0, 0));
    }
}
