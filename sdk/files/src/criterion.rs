//! One criterion of an SLO, such as `<=600` or `<+10%` (Keptn V1's grammar).
//!
//! Never here: what a criterion is applied to.

use crate::member::{number_of, shown};

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>`
    Greater,
}

impl Operator {
    /// Longer ones first, since one is a prefix of the other.
    const ALL: [(&'static str, Self); 5] = [
        ("<=", Self::LessEqual),
        (">=", Self::GreaterEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];
}

/// A criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// The comparison that must hold.
    pub operator: Operator,
    /// The number as written, with its sign: a threshold, or what earlier results may change by.
    pub value: f64,
    /// Whether it compares with earlier results.
    pub relative: bool,
    /// Whether `value` is a percentage of earlier results; then it is always relative.
    pub percent: bool,
    /// The text as written, without blanks.
    pub text: String,
}

/// The text is not a criterion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a criterion; write an operator (<, <=, =, >=, >) and a number, such as `<600` or `<=+10%`")]
pub struct CriterionError(pub String);

/// Parses a criterion. With `absolute`, a sign belongs to the number, so that `<-5` can say "below minus five".
///
/// # Errors
/// The text has no operator, or what follows is not a finite number.
pub fn parse(text: &str, absolute: bool) -> Result<Criterion, CriterionError> {
    let error = || CriterionError(shown(text));
    let compact: String = text.chars().filter(|it| !it.is_whitespace()).collect();
    let (operator, rest) = Operator::ALL
        .iter()
        .find_map(|(sign, operator)| Some((*operator, compact.strip_prefix(sign)?)))
        .ok_or_else(error)?;
    let (number, percent) = match rest.strip_suffix('%') {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let relative = percent || (!absolute && number.starts_with(['+', '-']));
    let value = number_of(number).ok_or_else(error)?;
    Ok(Criterion { operator, value, relative, percent, text: compact })
}

impl Criterion {
    /// Tells whether it was perhaps meant as a threshold below zero, and is none: `<-5` is "5 less than before".
    pub fn looks_absolute(&self) -> bool {
        self.relative && !self.percent && self.value.is_sign_negative()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_are_read_as_keptn_reads_them() {
        use Operator::{Equal, Greater, GreaterEqual, Less, LessEqual};
        for (text, operator, value, relative, percent) in [
            ("<600", Less, 600.0, false, false),
            ("<= 600", LessEqual, 600.0, false, false),
            ("=1", Equal, 1.0, false, false),
            (" > = 0.5", GreaterEqual, 0.5, false, false),
            (">1e3", Greater, 1000.0, false, false),
            ("<=+10%", LessEqual, 10.0, true, true),
            ("<=10%", LessEqual, 10.0, true, true),
            (">=-8%", GreaterEqual, -8.0, true, true),
            ("<=+5", LessEqual, 5.0, true, false),
            ("<-5", Less, -5.0, true, false),
        ] {
            let got = parse(text, false).unwrap();
            let found = (got.operator, got.value, got.relative, got.percent);
            assert_eq!(found, (operator, value, relative, percent), "{text}");
        }
        let below = parse("< -5", true).unwrap();
        assert_eq!((below.value, below.relative, below.looks_absolute()), (-5.0, false, false));
        assert!(parse("<5%", true).unwrap().relative);
    }

    #[test]
    fn everything_else_is_an_error_that_shows_the_text() {
        for text in ["", "600", "<", "<10ms", "==5", "=>5", "<inf", "<NaN", "<+%", "<|5", "!=5", "<1e999", "<5%%"] {
            let error = parse(text, false).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("`<600` or `<=+10%`"), "{error}");
        }
    }
}
