//! Makes text fit for Slack: short enough, and without a way to format, mention or link.
//!
//! Never here: which text stands where (`message`).

/// Cuts to at most `chars_max` characters, with an ellipsis where something is missing; drops control characters other than
/// line breaks.
pub fn cut(text: &str, chars_max: usize) -> String {
    let clean = || text.trim().chars().filter(|c| !c.is_control() || *c == '\n');
    if clean().count() <= chars_max {
        return clean().collect();
    }
    let mut short: String = clean().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Escapes what Slack's markup reads as control characters, so that no text can mention anyone or make a link.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
    out
}

/// Writes a number as people read it: three digits after the point for small ones, none for large ones.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 1_000.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.001 || size == 0.0 {
        format!("{value:.3}")
    } else {
        return format!("{value:e}");
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_characters_and_never_inside_one() {
        assert_eq!(cut("ab", 2), "ab");
        assert_eq!(cut("üüü", 2), "ü…");
        assert_eq!(cut(" a\u{1b}[31m\nb\u{7} ", 10), "a[31m\nb");
        assert_eq!(cut(&"x".repeat(5_000), 3_000).chars().count(), 3_000);
    }

    #[test]
    fn markup_is_escaped_once() {
        assert_eq!(escape("<!channel> & <@U1> &lt;"), "&lt;!channel&gt; &amp; &lt;@U1&gt; &amp;lt;");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.0004, "4e-4"),
            (1.0, "1"),
            (2.34567, "2.346"),
            (48.26, "48.3"),
            (100.0, "100"),
            (12345.6, "12346"),
            (-3.5, "-3.5"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
