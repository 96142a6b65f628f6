//! Projects as the API shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::git::CommitId;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ProjectView {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was created (RFC 3339).
    pub created: String,
    /// Its present commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its stages, in the order of the shipyard.
    pub stages: Vec<String>,
    /// Its services, in the order of their names.
    pub services: Vec<String>,
    /// What is wrong with its repository or its shipyard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WrittenView {
    /// The commit after the write; name it as `expected` in the next one.
    pub commit: String,
    /// The commit before.
    pub before: String,
    /// Whether anything changed.
    pub changed: bool,
    /// What is not quite right with the files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFound {
    /// Its path in the repository, which says whose it is.
    pub path: String,
    /// The commit that was looked at.
    pub commit: CommitId,
    /// Its content.
    pub content: Vec<u8>,
}
