//! What is kept of a dead letter that retention removed: enough to say what was lost, until somebody has said it.

use pilothouse_core::delivery::{DeliveryId, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::scope::Place;
use serde::{Deserialize, Serialize};

use crate::{DeliveryRow, Seq};

/// Kind of the state rows in which removed dead letters wait to be told. The key is the delivery's id.
///
/// The row is written in the commit that removes the delivery, and is the caller's from then on.
pub const REMOVED_DEAD_LETTER_KIND: &str = "removed-dead-letter";

/// A dead letter that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedDeadLetter {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Who should have handled it.
    pub installation: InstallationName,
    /// Attempts made.
    pub attempts: u32,
    /// What failed last.
    pub kind: Option<FailureKind>,
    /// The reason of the last failure.
    pub reason: Option<String>,
    /// The task that it belonged to.
    pub task: Option<String>,
    /// Position of its event.
    pub seq: Seq,
    /// Source of its event.
    pub source: String,
    /// Id of its event.
    pub id: String,
    /// Type of its event.
    pub ty: String,
    /// Project, stage and service of its event.
    pub place: Place,
    /// Run of its event.
    pub run: Option<String>,
}

/// What is needed of the event.
pub(crate) struct RemovedEvent {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) ty: String,
    pub(crate) place: Place,
    pub(crate) run: Option<String>,
}

impl RemovedDeadLetter {
    pub(crate) fn new(row: &DeliveryRow, event: RemovedEvent) -> Self {
        let RemovedEvent { source, id, ty, place, run } = event;
        Self {
            delivery: row.id,
            installation: row.consumer.clone(),
            attempts: row.attempts,
            kind: row.failure,
            reason: row.reason.clone(),
            task: row.task.clone(),
            seq: row.event,
            source,
            id,
            ty,
            place,
            run,
        }
    }

    /// Writes the value of the state row.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the value of a state row of [`REMOVED_DEAD_LETTER_KIND`].
    ///
    /// # Errors
    /// The bytes are not what this host wrote.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
