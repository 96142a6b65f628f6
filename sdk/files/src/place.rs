//! Project, stage and service, and the names that follow from them: jobs, files, groups.
//!
//! Never here: anything that reads or writes.

use serde::{Deserialize, Serialize};

/// Where something belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Project.
    pub project: String,
    /// Stage.
    pub stage: String,
    /// Service.
    pub service: String,
}

impl Place {
    /// Returns the value of the label `job`, as in V1.
    pub fn job(&self) -> String {
        format!("{}-{}-{}", self.service, self.project, self.stage)
    }

    /// Returns the name of the file with the scrape targets.
    ///
    /// A dot parts the names, since none of them can hold one: with a dash, `a-b`+`c` and `a`+`b-c` would share a file,
    /// and each would drop the other's targets.
    pub fn targets_file(&self) -> String {
        format!("{}.{}.{}.json", self.project, self.stage, self.service)
    }

    /// Returns the name of the file with the alert rules of all stages.
    pub fn rules_file(&self) -> String {
        format!("{}.{}.rules.yml", self.project, self.service)
    }

    /// Returns the name of the rule group, as in V1.
    pub fn group(&self) -> String {
        format!("{} {}-{} alerts", self.service, self.project, self.stage)
    }
}

/// Longest name; three of them, with what is around, make a file name that every file system takes.
pub const NAME_LENGTH_MAX: usize = 63;

/// Tells whether a project, stage or service may be called so: letters, digits, `-` and `_`.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_share_a_file() {
        let place = |project: &str, stage: &str, service: &str| Place {
            project: project.to_owned(),
            stage: stage.to_owned(),
            service: service.to_owned(),
        };
        assert_ne!(place("a-b", "c", "d").targets_file(), place("a", "b-c", "d").targets_file());
        assert_ne!(place("a-b", "x", "c").rules_file(), place("a", "x", "b-c").rules_file());
        assert_eq!(place("a", "b", "c").rules_file(), place("a", "z", "c").rules_file());
    }

    #[test]
    fn a_name_cannot_leave_its_directory_or_its_quotes() {
        assert!(["cart", "Cart_2", "a-b"].into_iter().all(is_name));
        assert!(!["", ".", "..", "a/b", "a.b", "a'b", "a b", "ü", &"a".repeat(64)].into_iter().any(is_name));
    }
}
