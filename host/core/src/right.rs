//! What a token may do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One right of a token. A token has a set of them; none implies another but [`Right::Admin`], which implies all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Install plugins, make tokens, back up: everything.
    Admin,
    /// Decide on approvals.
    Approve,
    /// Send events, except `<task>.triggered`.
    Ingest,
    /// Redrive dead letters, cancel, pause.
    Operate,
    /// Read events, deliveries, tasks and installations.
    Read,
    /// Send `<task>.triggered`, which makes executors work.
    Task,
}

impl Right {
    /// Every right, in the order of their names.
    pub const ALL: [Self; 6] = [Self::Admin, Self::Approve, Self::Ingest, Self::Operate, Self::Read, Self::Task];

    /// Returns the word used on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Approve => "approve",
            Self::Ingest => "ingest",
            Self::Operate => "operate",
            Self::Read => "read",
            Self::Task => "task",
        }
    }

    /// Tells whether a holder of this right may do what `needed` asks for.
    pub fn allows(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

impl std::str::FromStr for Right {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|right| right.as_str() == word).ok_or_else(|| {
            format!("`{word}` is not a right; the rights are ingest, read, task, approve, operate and admin")
        })
    }
}

/// A set of rights under a name that says what somebody does.
///
/// Whoever operates does not thereby approve: a token that shall do both has both roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, sends events and triggers.
    Sender,
    /// Reads and decides on approvals.
    Approver,
    /// Reads, sends, triggers, changes projects, pauses, aborts and redrives.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, from the least to the most.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Sender, Self::Approver, Self::Operator, Self::Admin];

    /// Returns the word used on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Sender => "sender",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the rights that the role is made of.
    pub fn rights(self) -> &'static [Right] {
        match self {
            Self::Viewer => &[Right::Read],
            Self::Sender => &[Right::Ingest, Right::Read, Right::Task],
            Self::Approver => &[Right::Approve, Right::Read],
            Self::Operator => &[Right::Ingest, Right::Operate, Right::Read, Right::Task],
            Self::Admin => &[Right::Admin],
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| {
            format!("`{word}` is not a role; the roles are viewer, sender, approver, operator and admin")
        })
    }
}

/// A role, perhaps in one project only; written `approver` or `approver@shop`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoleGrant {
    /// The role.
    pub role: Role,
    /// The project; those that the token is narrowed to when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl std::fmt::Display for RoleGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.project {
            None => f.write_str(self.role.as_str()),
            Some(project) => write!(f, "{}@{project}", self.role.as_str()),
        }
    }
}

impl std::str::FromStr for RoleGrant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            None => Ok(Self { role: text.parse()?, project: None }),
            Some((_, "")) => Err(format!("`{text}` names no project; write `approver@shop`")),
            Some((role, project)) => Ok(Self { role: role.parse()?, project: Some(project.to_owned()) }),
        }
    }
}

/// The projects that a right reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All, and what belongs to none.
    All,
    /// These; none when empty.
    Projects(BTreeSet<String>),
}

impl Reach {
    /// Tells whether the right is not there at all.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Projects(projects) if projects.is_empty())
    }

    /// Tells whether the right reaches what belongs to `project`.
    pub fn contains(&self, project: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Projects(projects) => project.is_some_and(|project| projects.contains(project)),
        }
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all projects"),
            Self::Projects(projects) if projects.is_empty() => f.write_str("no project"),
            Self::Projects(projects) => {
                let names: Vec<&str> = projects.iter().map(String::as_str).collect();
                write!(f, "the projects {}", names.join(", "))
            }
        }
    }
}

/// Who causes a change: stored with what it causes.
///
/// Written `token:<name>`, `plugin:<installation>` or `host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// The host itself.
    pub fn host() -> Self {
        Self("host".to_owned())
    }

    /// The holder of the token called `name`.
    pub fn token(name: &str) -> Self {
        Self(format!("token:{name}"))
    }

    /// The plugin installed as `installation`.
    pub fn plugin(installation: &crate::name::InstallationName) -> Self {
        Self(format!("plugin:{installation}"))
    }

    /// Reads what was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the actor as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for right in Right::ALL {
            assert_eq!(right.as_str().parse::<Right>().unwrap(), right);
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
            assert!(!role.rights().is_empty());
        }
        for text in ["viewer", "approver@shop"] {
            assert_eq!(text.parse::<RoleGrant>().unwrap().to_string(), text);
        }
        assert!("approver@".parse::<RoleGrant>().unwrap_err().contains("no project"));
        assert!("boss@shop".parse::<RoleGrant>().unwrap_err().contains("`boss` is not a role"));
    }

    #[test]
    fn an_operator_does_not_approve_and_an_approver_does_not_operate() {
        assert!(!Role::Operator.rights().contains(&Right::Approve));
        assert!(!Role::Approver.rights().contains(&Right::Operate));
        assert!(!Role::Viewer.rights().iter().any(|right| *right != Right::Read));
    }
}
