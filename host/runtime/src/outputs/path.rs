//! Relative paths of plain names: the only paths that a plugin or a job's artifact may have.
//!
//! A path that passes [`PlainPath::parse`] cannot leave the directory it is used in by its text. It still may meet a
//! symbolic link on the disk: [`super::tree`] refuses those when it opens.

/// Most components of a path. Generated files lie in folders by project, stage and service; 8 is twice that depth.
pub const PATH_DEPTH_MAX: usize = 8;
/// Longest path, in bytes; also the longest name that common file systems store.
pub const PATH_LENGTH_MAX: usize = 255;

/// A relative path of plain names, such as `rules/sockshop-carts.yml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainPath(String);

/// Says why a text is not a plain relative path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relative path of plain names: {rule}")]
pub struct PathProblem {
    /// The text as given, cut to 80 characters, control characters escaped.
    pub text: String,
    /// The rule that it breaks, for people.
    pub rule: &'static str,
}

impl PlainPath {
    /// Checks `text` and makes the path.
    ///
    /// # Errors
    /// The text is empty, absolute, too long or too deep, or a name in it is not plain. `..`, hidden files, spaces,
    /// backslashes and control characters are all refused by the same rule: what is not known to be harmless is out.
    pub fn parse(text: &str) -> Result<Self, PathProblem> {
        let problem =
            |rule| Err(PathProblem { text: text.chars().take(80).flat_map(char::escape_debug).collect(), rule });
        if text.is_empty() {
            return problem("it is empty");
        }
        if text.len() > PATH_LENGTH_MAX {
            return problem("use at most 255 characters");
        }
        if text.split('/').count() > PATH_DEPTH_MAX {
            return problem("use at most 8 names");
        }
        if !text.split('/').all(is_plain) {
            return problem(
                "each name starts with a letter, a digit or `_` and goes on with those, `.` and `-`; names are \
                 separated by one `/`, and there is none at the start or the end",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last name.
    pub(crate) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Returns the names before the last one.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.parent().into_iter().flat_map(|parent| parent.split('/'))
    }

    /// Returns the path without its last name, if anything is left.
    pub(crate) fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl std::fmt::Display for PlainPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_of_plain_names_are_paths() {
        for good in ["a", "result.jtl", "rules/sockshop-carts.yml", "a/b/c/d/e/f/g/h", "_x", "1..2"] {
            assert_eq!(PlainPath::parse(good).map(|path| path.0), Ok(good.to_owned()), "{good}");
        }
        let long = "a".repeat(256);
        let bad = [
            "",
            "/",
            "/etc/passwd",
            "..",
            ".",
            "../a",
            "a/..",
            "a/../b",
            "./a",
            "a/",
            "a//b",
            ".hidden",
            "a/.hidden",
            "-x",
            "a b",
            "a\\b",
            "a\0b",
            "a\nb",
            "C:x",
            "~/x",
            "é",
            "a/b/c/d/e/f/g/h/i",
            "*",
            "$HOME",
            long.as_str(),
        ];
        for text in bad {
            assert!(PlainPath::parse(text).is_err(), "{text:?}");
        }
    }
}
