//! The patterns of a template: literal text with `{parameter}`, `{file:name}` and `{scratch}`.
//!
//! A pattern becomes exactly one argument or one value, whatever a parameter holds: nothing is split, globbed or given
//! to a shell. `{{` and `}}` stand for braces.

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Segment>);

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text as it is.
    Text(String),
    /// The value of a parameter.
    Parameter(String),
    /// The absolute path of an input file.
    File(String),
    /// The absolute path of the job's directory.
    Scratch,
}

impl Pattern {
    /// Reads a pattern; the error is for the operator.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                if !literal.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut literal)));
                }
                segments.push(Segment::parse(name)?);
                rest = after;
            } else {
                return Err("a brace is not closed or not opened; write `{{` or `}}` for a brace as text".to_owned());
            }
        }
        literal.push_str(rest);
        if literal.contains('\0') {
            return Err("a NUL character cannot be part of it".to_owned());
        }
        if !literal.is_empty() || segments.is_empty() {
            segments.push(Segment::Text(literal));
        }
        Ok(Self(segments))
    }

    /// Returns its pieces in order; never none.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl Segment {
    fn parse(name: &str) -> Result<Self, String> {
        match name.strip_prefix("file:") {
            _ if name == "scratch" => Ok(Self::Scratch),
            Some(file) => match crate::outputs::PlainPath::parse(file) {
                Ok(path) => Ok(Self::File(path.as_str().to_owned())),
                Err(problem) => Err(problem.to_string()),
            },
            None if is_parameter_name(name) => Ok(Self::Parameter(name.to_owned())),
            None => Err(format!("`{{{}}}` is not a placeholder", name.escape_debug())),
        }
    }
}

/// Says whether `name` can name a parameter: letters, digits, `-` and `_`, starting with a letter.
pub(super) fn is_parameter_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_text_with_placeholders() {
        let parse = |text: &str| Pattern::parse(text).map(|pattern| pattern.0);
        let text = |text: &str| Segment::Text(text.to_owned());
        assert_eq!(parse(""), Ok(vec![text("")]));
        assert_eq!(parse("-Jhost={host}"), Ok(vec![text("-Jhost="), Segment::Parameter("host".to_owned())]));
        assert_eq!(
            parse("{scratch}/{file:in/plan.jmx}"),
            Ok(vec![Segment::Scratch, text("/"), Segment::File("in/plan.jmx".to_owned())])
        );
        assert_eq!(parse("a{{b}}c"), Ok(vec![text("a{b}c")]));
        for bad in ["{", "}", "a{b", "a}b", "{}", "{a b}", "{file:../x}", "{file:}", "{1}", "a\0b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
