//! What the store keeps of a project; everything else about it is in its repository.

use pilothouse_core::time::Timestamp;
use pilothouse_store::{StateKey, StateRow, StateWrite};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::git::CommitId;

/// Kind of the state rows of projects; the key is the name.
pub(crate) const PROJECT_KIND: &str = "project";
/// Version of the serialized form.
const SCHEMA: u32 = 1;

/// A project's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProjectRow {
    schema: u32,
    /// Tells a project from a later one of the same name.
    pub(crate) uid: Uuid,
    /// What it is for.
    pub(crate) description: String,
    /// When it was created.
    pub(crate) created: Timestamp,
    /// The commit that was last told of by an event; `None` until the first.
    pub(crate) announced: Option<CommitId>,
}

/// A row as read, with its revision.
#[derive(Clone, Debug)]
pub(crate) struct ReadRow {
    pub(crate) row: ProjectRow,
    pub(crate) revision: u64,
}

impl ProjectRow {
    pub(crate) fn new(description: String, created: Timestamp) -> Self {
        Self { schema: SCHEMA, uid: Uuid::new_v4(), description, created, announced: None }
    }

    pub(crate) fn read(row: &StateRow) -> Result<ReadRow, String> {
        let read: Self =
            serde_json::from_slice(&row.value).map_err(|error| format!("row of project `{}`: {error}", row.key))?;
        if read.schema > SCHEMA {
            return Err(format!(
                "row of project `{}` is of version {}, this host knows up to {SCHEMA}",
                row.key, read.schema
            ));
        }
        Ok(ReadRow { row: read, revision: row.revision })
    }

    pub(crate) fn write(&self, name: &str, revision: u64) -> StateWrite {
        StateWrite {
            key: StateKey::new(PROJECT_KIND, name),
            revision,
            // Strings and numbers always serialize.
            value: Some(serde_json::to_vec(self).unwrap_or_default()),
            holds: None,
            holds_own_event: false,
        }
    }
}
