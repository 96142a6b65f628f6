//! Reads one SLO criterion, such as `<=600` or `<+10%` (Keptn V1's grammar).
//!
//! Never here: what a criterion is applied to.

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

    /// Returns PromQL's comparison that holds exactly where this one does not.
    pub fn violated(self) -> &'static str {
        match self {
            Self::Less => ">=",
            Self::LessEqual => ">",
            Self::Equal => "!=",
            Self::GreaterEqual => "<",
            Self::Greater => "<=",
        }
    }
}

/// A criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// The comparison that must hold.
    pub operator: Operator,
    /// The number compared with; a difference or a percentage if `relative`.
    pub value: f64,
    /// Whether it compares with earlier results (`+`, `-` or `%`).
    pub relative: bool,
    /// The text as written, without blanks.
    pub text: String,
}

/// The text is not a criterion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a criterion; write an operator (<, <=, =, >=, >) and a number, such as `<=600` or `<=+10%`")]
pub struct CriterionError(pub String);

/// Parses a criterion. With `absolute`, a sign belongs to the number, so that `<-5` can say "below minus five".
///
/// # Errors
/// The text has no operator, or what follows is not a finite number.
pub fn parse(text: &str, absolute: bool) -> Result<Criterion, CriterionError> {
    let error = || CriterionError(text.chars().take(60).collect());
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (operator, rest) = Operator::ALL
        .iter()
        .find_map(|(sign, operator)| Some((*operator, compact.strip_prefix(sign)?)))
        .ok_or_else(error)?;
    let (number, percent) = match rest.strip_suffix('%') {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let relative = percent || (!absolute && number.starts_with(['+', '-']));
    // `f64` also reads `inf` and `nan`.
    let plain = number.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let value = number.parse::<f64>().ok().filter(|value| plain && value.is_finite()).ok_or_else(error)?;
    Ok(Criterion { operator, value, relative, text: compact })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_are_read_as_keptn_reads_them() {
        use Operator::{Equal, Greater, GreaterEqual, Less, LessEqual};
        let cases = [
            ("<600", Less, 600.0, false),
            ("<= 600", LessEqual, 600.0, false),
            ("=1", Equal, 1.0, false),
            (" > = 0.5", GreaterEqual, 0.5, false),
            (">1e3", Greater, 1000.0, false),
            ("<=+10%", LessEqual, 10.0, true),
            ("<=10%", LessEqual, 10.0, true),
            (">=-8%", GreaterEqual, -8.0, true),
            ("<=+5", LessEqual, 5.0, true),
            ("<-5", Less, -5.0, true),
        ];
        for (text, operator, value, relative) in cases {
            let got = parse(text, false).unwrap();
            assert_eq!((got.operator, got.value, got.relative), (operator, value, relative), "{text}");
        }
    }

    #[test]
    fn a_negative_threshold_can_be_absolute() {
        let got = parse("< -5", true).unwrap();
        assert_eq!((got.value, got.relative), (-5.0, false));
        assert!(parse("<5%", true).unwrap().relative);
    }

    #[test]
    fn everything_else_is_an_error_that_shows_the_text() {
        for text in ["", "600", "<", "<10ms", "==5", "=>5", "<inf", "<NaN", "<+%", "<|5", "!=5", "<1e999", "<5%%"] {
            let error = parse(text, false).unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn the_violated_comparison_is_the_exact_opposite() {
        let opposite = |text: &str| parse(text, false).unwrap().operator.violated();
        assert_eq!(["<1", "<=1", "=1", ">=1", ">1"].map(opposite), [">=", ">", "!=", "<", "<="]);
    }
}
