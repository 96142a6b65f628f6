//! The window that is judged, by Keptn V1's rules (its `GetStartEndTime`).

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Window;
use crate::quantity::parse_go_duration;

/// The window when nothing is said: the last five minutes.
pub const TIMEFRAME_DEFAULT: Duration = Duration::from_secs(300);
/// The shortest window that can be asked for: a provider has a value a minute at best.
pub const TIMEFRAME_MIN: Duration = Duration::from_secs(60);
/// The longest window: longer than any provider keeps fine-grained values.
pub const TIMEFRAME_MAX: Duration = Duration::from_secs(400 * 86_400);

/// Finds the window: `start` and `end`, or `start` and `timeframe`, or the last `timeframe` before `now`, or the last five
/// minutes. Empty texts count as absent.
///
/// # Errors
/// A sentence that names what cannot be read, or what does not go together.
pub fn find(start: Option<&str>, end: Option<&str>, timeframe: Option<&str>, now: Timestamp) -> Result<Window, String> {
    let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let (start, end, timeframe) = (given(start), given(end), given(timeframe));
    let span = timeframe.as_deref().map(self::timeframe).transpose()?;
    let (from, to) = match (start, end, span) {
        (_, Some(_), Some(_)) => return Err("`end` and `timeframe` exclude each other; leave one out".to_owned()),
        (None, Some(_), None) => return Err("`end` needs `start`".to_owned()),
        (Some(_), None, None) => return Err("`start` needs `end` or `timeframe`".to_owned()),
        (None, None, span) => (minus(now, span.unwrap_or(TIMEFRAME_DEFAULT))?, now),
        (Some(start), None, Some(span)) => {
            let from = instant("start", &start)?;
            (from, plus(from, span)?)
        }
        (Some(start), Some(end), None) => (instant("start", &start)?, instant("end", &end)?),
    };
    let length = to.duration_since(from);
    if Duration::try_from(length).is_ok_and(|length| length > TIMEFRAME_MAX) {
        return Err("the window is longer than 400 days".to_owned());
    }
    if !Duration::try_from(length).is_ok_and(|length| length >= TIMEFRAME_MIN) {
        return Err(format!("the window must end at least one minute after its start; it is from {from} to {to}"));
    }
    Ok(Window { start: from.to_string(), end: to.to_string() })
}

/// Reads the window of a test, which may be shorter than a minute.
///
/// # Errors
/// As for [`find`].
pub fn of_test(start: &str, end: &str) -> Result<Window, String> {
    let (from, to) = (instant("test.start", start)?, instant("test.end", end)?);
    if to < from {
        return Err(format!("the test ended ({to}) before it began ({from})"));
    }
    Ok(Window { start: from.to_string(), end: to.to_string() })
}

fn timeframe(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`timeframe` is `{}`; write a time such as `5m` or `1h30m`", shown(text));
    parse_go_duration(text).ok().filter(|span| !span.is_zero()).ok_or_else(wrong)
}

fn instant(name: &str, text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{name}` is `{}`; write a time such as `2026-01-31T12:00:00Z`", shown(text));
    let with_zone = text.parse::<Timestamp>();
    // Keptn also took times without a zone, as UTC.
    let without =
        || text.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp());
    with_zone.or_else(|_| without()).map_err(|_| wrong())
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn plus(time: Timestamp, span: Duration) -> Result<Timestamp, String> {
    time.checked_add(span).map_err(|_| "the window ends beyond the calendar".to_owned())
}

fn minus(time: Timestamp, span: Duration) -> Result<Timestamp, String> {
    time.checked_sub(span).map_err(|_| "the window begins before the calendar".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twelve_ways_to_name_a_window() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let ok = |start: &str, end: &str| Ok(Window { start: start.to_owned(), end: end.to_owned() });
        let (eleven, noon) = ("2026-01-31T11:00:00Z", "2026-01-31T12:00:00Z");
        for (start, end, timeframe, expected) in [
            (None, None, None, ok("2026-01-31T11:55:00Z", noon)),
            (Some(""), Some(""), Some(""), ok("2026-01-31T11:55:00Z", noon)),
            (None, None, Some("1h"), ok(eleven, noon)),
            (None, None, Some("1h30m"), ok("2026-01-31T10:30:00Z", noon)),
            (Some(eleven), None, Some("10m"), ok(eleven, "2026-01-31T11:10:00Z")),
            (Some(eleven), Some(noon), None, ok(eleven, noon)),
            (Some("2026-01-31T11:00:00"), Some("2026-01-31T13:00:00+01:00"), None, ok(eleven, noon)),
            (Some(eleven), None, None, Err("`start` needs")),
            (None, Some(noon), None, Err("`end` needs")),
            (None, Some(noon), Some("5m"), Err("exclude each other")),
            (Some(eleven), Some(noon), Some("5m"), Err("exclude each other")),
            (Some(noon), Some(eleven), None, Err("at least one minute")),
            (Some(noon), Some("2026-01-31T12:00:59Z"), None, Err("at least one minute")),
            (None, None, Some("30s"), Err("at least one minute")),
            (None, None, Some("soon"), Err("`timeframe` is `soon`")),
            (None, None, Some("-5m"), Err("`timeframe` is `-5m`")),
            (Some("yesterday"), Some(noon), None, Err("`start` is `yesterday`")),
            (Some(eleven), Some("later"), None, Err("`end` is `later`")),
            (None, None, Some("10000h"), Err("longer than 400 days")),
        ] {
            let found = find(start, end, timeframe, now);
            match (&found, &expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                _ => panic!("{start:?} {end:?} {timeframe:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_window_of_a_test_may_be_short_and_not_upside_down() {
        assert!(of_test("2026-01-31T12:00:00Z", "2026-01-31T12:00:05.5Z").is_ok());
        assert!(of_test("2026-01-31T12:00:05Z", "2026-01-31T12:00:00Z").unwrap_err().contains("before it began"));
        assert!(of_test("", "2026-01-31T12:00:00Z").unwrap_err().contains("test.start"));
    }
}
