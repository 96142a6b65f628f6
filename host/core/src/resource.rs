//! A project's files: which paths are allowed, where those of a stage and a service lie, and which file is meant when several
//! have one name.
//!
//! ```text
//! shipyard.yaml                         the project's
//! services/<service>/…                  a service's, in every stage
//! stages/<stage>/…                      a stage's
//! stages/<stage>/services/<service>/…   a service's in one stage
//! ```
//!
//! A look-up takes the nearest: service in the stage, service, stage, project.

use crate::name::{ServiceName, StageName};

/// Longest path, in bytes; what common file systems and Git servers take with room to spare.
pub const PATH_BYTES_MAX: usize = 512;
/// Largest file, in bytes: a load test's script with its data.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most files changed by one commit.
pub const CHANGES_MAX: usize = 1_000;

/// Says why a text is no path of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path of a project's file: {rule}")]
pub struct PathError {
    /// The text as given, cut to 80 characters.
    pub path: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// A relative path of plain names, such as `jmeter/load.jmx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct FilePath(String);

impl FilePath {
    /// Checks a path.
    ///
    /// # Errors
    /// It is empty, absolute, over [`PATH_BYTES_MAX`], or has a part that no file may be called: empty, `.`, `..`, `.git`
    /// in any letter case, or one with a backslash, a colon or a control character.
    pub fn new(text: &str) -> Result<Self, PathError> {
        match broken_rule(text) {
            None => Ok(Self(text.to_owned())),
            Some(rule) => Err(PathError { path: text.chars().take(80).collect(), rule }),
        }
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for FilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn broken_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > PATH_BYTES_MAX {
        return Some("it is over 512 bytes long");
    }
    if text.starts_with('/') {
        return Some("it must be relative");
    }
    if text.chars().any(|it| it.is_control() || it == '\\' || it == ':') {
        return Some("it must not have backslashes, colons or control characters");
    }
    let reserved = |part: &str| {
        // What Git's clients treat as its own folder: also `.git.`, `.git ` and the short name `git~1`.
        let bare = part.trim_end_matches(['.', ' ']).to_ascii_lowercase();
        bare == ".git" || bare == "git~1"
    };
    for part in text.split('/') {
        match part {
            "" => return Some("it has an empty part"),
            "." | ".." => return Some("it must not have the parts `.` and `..`"),
            part if reserved(part) => return Some("`.git` is Git's own"),
            _ => {}
        }
    }
    None
}

/// Whose files: the project's, a stage's, a service's, or a service's in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The stage.
    pub stage: Option<StageName>,
    /// The service.
    pub service: Option<ServiceName>,
}

impl Folder {
    /// Returns the folder's path with a slash at its end; empty for the project's own.
    pub fn prefix(&self) -> String {
        let stage = self.stage.as_ref().map(|stage| format!("stages/{stage}/")).unwrap_or_default();
        let service = self.service.as_ref().map(|service| format!("services/{service}/")).unwrap_or_default();
        stage + &service
    }

    /// Returns the folders in which a file is looked for, the nearest first.
    pub fn lookup(&self) -> Vec<Self> {
        let mut folders = Vec::new();
        if self.stage.is_some() && self.service.is_some() {
            folders.push(self.clone());
        }
        if self.service.is_some() {
            folders.push(Self { stage: None, service: self.service.clone() });
        }
        if self.stage.is_some() {
            folders.push(Self { stage: self.stage.clone(), service: None });
        }
        folders.push(Self::default());
        folders
    }

    /// Splits a path of the repository into the folder and the file's path in it.
    pub fn of_path(path: &str) -> (Self, &str) {
        let named = |text: &str, word: &str| {
            let (name, rest) = text.strip_prefix(word)?.strip_prefix('/')?.split_once('/')?;
            Some((name.to_owned(), text.len() - rest.len()))
        };
        let mut folder = Self::default();
        let mut rest = path;
        if let Some((name, at)) = named(rest, "stages")
            && let Ok(stage) = StageName::new(&name)
        {
            folder.stage = Some(stage);
            rest = rest.get(at..).unwrap_or_default();
        }
        if let Some((name, at)) = named(rest, "services")
            && let Ok(service) = ServiceName::new(&name)
        {
            folder.service = Some(service);
            rest = rest.get(at..).unwrap_or_default();
        }
        (folder, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder(stage: Option<&str>, service: Option<&str>) -> Folder {
        Folder {
            stage: stage.map(|it| StageName::new(it).unwrap()),
            service: service.map(|it| ServiceName::new(it).unwrap()),
        }
    }

    #[test]
    fn a_path_that_could_lead_out_of_the_project_is_refused() {
        for good in ["a", "jmeter/load.jmx", "a b/ü.yaml", ".keptn", "..a", "a..", ".gitignore"] {
            assert!(FilePath::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(513);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".git/config",
            "a/.GIT/x",
            "GIT~1/x",
            ".git./x",
            "a\\b",
            "a\0b",
            "c:x",
            &long,
        ] {
            assert!(FilePath::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_looked_for_from_the_service_in_the_stage_up_to_the_project() {
        let prefixes = |folder: Folder| folder.lookup().iter().map(Folder::prefix).collect::<Vec<_>>();
        assert_eq!(
            prefixes(folder(Some("dev"), Some("cart"))),
            ["stages/dev/services/cart/", "services/cart/", "stages/dev/", ""]
        );
        assert_eq!(prefixes(folder(Some("dev"), None)), ["stages/dev/", ""]);
        assert_eq!(prefixes(folder(None, Some("cart"))), ["services/cart/", ""]);
        assert_eq!(prefixes(folder(None, None)), [""]);
    }

    #[test]
    fn a_path_tells_whose_file_it_is() {
        let cases = [
            ("stages/dev/services/cart/slo.yaml", folder(Some("dev"), Some("cart")), "slo.yaml"),
            ("services/cart/a/b", folder(None, Some("cart")), "a/b"),
            ("stages/dev/x", folder(Some("dev"), None), "x"),
            ("shipyard.yaml", folder(None, None), "shipyard.yaml"),
            ("stages/dev", folder(None, None), "stages/dev"),
            ("stages/Dev/x", folder(None, None), "stages/Dev/x"),
        ];
        for (path, expected, rest) in cases {
            assert_eq!(Folder::of_path(path), (expected, rest), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_the_project(text in "[a-z./\\\\ ~:G]{0,24}") {
            if let Ok(path) = FilePath::new(&text) {
                let parts: Vec<&str> = path.as_str().split('/').collect();
                prop_assert!(!parts.iter().any(|part| ["", ".", ".."].contains(part)));
            }
        }
    }
}
