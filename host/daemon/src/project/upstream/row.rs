//! What the store keeps of a project's upstream.

use std::collections::BTreeMap;

use pilothouse_core::name::SecretName;
use pilothouse_core::quantity::Span;
use pilothouse_core::time::Timestamp;
use pilothouse_store::{StateKey, StateRow, StateWrite};
use serde::{Deserialize, Serialize};

use crate::git::CommitId;
use crate::git::merge::Side;

/// Kind of the state rows of upstreams; the key is the project's name.
pub(crate) const UPSTREAM_KIND: &str = "upstream";
/// Version of the serialized form.
const SCHEMA: u32 = 1;

/// Where a project's files are kept too, and how the host signs in there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamConfig {
    /// Its address.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// User name that goes with the token.
    pub user: Option<String>,
    /// The stored secret: a token, or a private key.
    pub secret: Option<SecretName>,
    /// The SSH server's keys, as `ssh-keyscan` prints them.
    pub known_hosts: Option<String>,
    /// The stored secret that signs its push webhooks.
    pub webhook_secret: Option<SecretName>,
    /// Time between two looks.
    pub interval: Span,
}

/// How a project and its upstream stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamState {
    /// Nobody has looked yet.
    New,
    /// Both have the same commit.
    InStep,
    /// Both changed the same files, or the upstream's history was rewritten: a person decides.
    Conflict,
    /// The upstream does not let the host push to its branch; the commits are on a branch of our own there.
    OwnBranch,
    /// The last look failed; it is tried again.
    Failed,
}

impl UpstreamState {
    /// Returns the word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::InStep => "in-step",
            Self::Conflict => "conflict",
            Self::OwnBranch => "own-branch",
            Self::Failed => "failed",
        }
    }
}

/// An upstream's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpstreamRow {
    schema: u32,
    pub(crate) config: UpstreamConfig,
    pub(crate) state: UpstreamState,
    /// The upstream's commit when it was last seen.
    pub(crate) seen: Option<CommitId>,
    /// Whether the conflict is a rewritten history.
    pub(crate) rewritten: bool,
    /// Files that need a decision.
    pub(crate) conflicts: Vec<String>,
    /// What a person decided so far, by file.
    pub(crate) choices: BTreeMap<String, Side>,
    /// Decision about a rewritten history.
    pub(crate) whole: Option<Side>,
    /// The branch of our own that the upstream has, while it refuses its own branch.
    pub(crate) own_branch: Option<String>,
    pub(crate) looked: Option<Timestamp>,
    pub(crate) succeeded: Option<Timestamp>,
    pub(crate) error: Option<String>,
    /// Failures in a row.
    pub(crate) failures: u32,
}

/// A row as read, with its revision.
#[derive(Clone, Debug)]
pub(crate) struct ReadUpstream {
    pub(crate) row: UpstreamRow,
    pub(crate) revision: u64,
}

impl UpstreamRow {
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        Self {
            schema: SCHEMA,
            config,
            state: UpstreamState::New,
            seen: None,
            rewritten: false,
            conflicts: Vec::new(),
            choices: BTreeMap::new(),
            whole: None,
            own_branch: None,
            looked: None,
            succeeded: None,
            error: None,
            failures: 0,
        }
    }

    pub(crate) fn read(row: &StateRow) -> Result<ReadUpstream, String> {
        let read: Self =
            serde_json::from_slice(&row.value).map_err(|error| format!("upstream of `{}`: {error}", row.key))?;
        if read.schema > SCHEMA {
            return Err(format!(
                "upstream of `{}` is of version {}, this host knows up to {SCHEMA}",
                row.key, read.schema
            ));
        }
        Ok(ReadUpstream { row: read, revision: row.revision })
    }

    pub(crate) fn write(&self, project: &str, revision: u64) -> StateWrite {
        StateWrite {
            key: StateKey::new(UPSTREAM_KIND, project),
            revision,
            // Strings and numbers always serialize.
            value: Some(serde_json::to_vec(self).unwrap_or_default()),
            holds: None,
            holds_own_event: false,
        }
    }
}
