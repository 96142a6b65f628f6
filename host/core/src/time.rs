//! Instants and durations, passed in by whoever has a clock.

use std::time::Duration;

/// A wall-clock instant: milliseconds since 1970-01-01T00:00:00Z.
///
/// Due times are wall clock, because they outlive the process; deadlines of one call are monotonic and the runtime's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes an instant from milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the instant `duration` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns how long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339 with a time and an offset; sub-millisecond digits are cut off.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Self(instant.as_millisecond()))
    }
}

impl std::fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with milliseconds, Keptn's form: `2026-01-02T15:04:05.000Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_keptns_form_and_read_back() {
        let instant = Timestamp::from_millis(1_767_366_245_007);
        assert_eq!(instant.to_string(), "2026-01-02T15:04:05.007Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-01-02T16:04:05.007123+01:00"), Some(instant));
    }
}
