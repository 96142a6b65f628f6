//! Sizes and durations as people write them in manifests, grants and configuration: `64MiB`, `10s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Says why a text is not a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}; write a whole number and a unit, such as {example}")]
pub struct QuantityError {
    what: &'static str,
    text: String,
    example: &'static str,
}

/// A number of bytes, written `512KiB`, `64MiB`, `1GiB` or `100B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time, written `250ms`, `10s`, `5m`, `2h` or `400d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const SPAN_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes `value` with the largest unit that leaves a whole number.
fn write(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: impl Iterator<Item = (&'static str, u64)>,
    smallest: &str,
) -> fmt::Result {
    let best =
        units.filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
    match best {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "{value}{smallest}"),
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, &SIZE_UNITS).map(Self).ok_or_else(|| QuantityError {
            what: "size",
            text: text.chars().take(40).collect(),
            example: "`64MiB`",
        })
    }
}

impl FromStr for Span {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let millis = parse(text, &SPAN_UNITS).ok_or_else(|| QuantityError {
            what: "duration",
            text: text.chars().take(40).collect(),
            example: "`10s` or `250ms`",
        })?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// Units of Go's `time.ParseDuration`, in nanoseconds, and `d`, which Go does not have.
const GO_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads a duration as Keptn's files write it: Go's form, such as `10m`, `1h30m` or `1.5h`; `d` is understood too.
///
/// # Errors
/// Anything else, negative ones included.
pub fn parse_go_duration(text: &str) -> Result<Duration, QuantityError> {
    let error =
        || QuantityError { what: "duration", text: text.chars().take(40).collect(), example: "`10m` or `1h30m`" };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(error)?;
        let letters = after.chars().take_while(|it| !it.is_ascii_digit() && *it != '.').map(char::len_utf8).sum();
        let (unit, left) = after.split_at_checked(letters).ok_or_else(error)?;
        let (_, factor) = GO_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        nanos += number.parse::<f64>().map_err(|_| error())? * *factor as f64;
        rest = left;
    }
    if text.is_empty() || nanos > u64::MAX as f64 {
        return Err(error());
    }
    Ok(Duration::from_nanos(nanos as u64))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, SIZE_UNITS.into_iter(), "B")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write(f, millis, SPAN_UNITS.into_iter(), "ms")
    }
}

macro_rules! as_text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(ByteSize);
as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_gos_form_are_read() {
        let read = |text| parse_go_duration(text).map(|it| it.as_millis());
        for (text, millis) in
            [("10m", 600_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("0", 0), ("2d", 172_800_000)]
        {
            assert_eq!(read(text).unwrap(), millis, "{text}");
        }
        for bad in ["", "10", "m", "-1s", "1x", "1s ", "99999999999h", "1..2s"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_are_read_and_written_with_their_unit() {
        for text in ["64MiB", "1GiB", "1536KiB", "100B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["250ms", "10s", "90s", "5m", "36h", "400d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "99999999999999999999s", "20000000000000000h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
