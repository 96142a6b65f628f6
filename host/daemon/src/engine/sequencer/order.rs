//! Orders of people to sequences: an event with their name on it, which the sequencer decides about.

use std::time::Duration;

use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{HOST_SOURCE, SEQUENCE_ORDERED};
use pilothouse_core::keptn::RUN_EXTENSION;
use pilothouse_core::right::Actor;
use pilothouse_core::sequence::{Command, Execution};
use pilothouse_store::{StateKey, StoreError};
use serde_json::json;
use uuid::Uuid;

use super::super::Inner;
use super::rows::SEQUENCE_KIND;

/// Longest wait for the decision; the order itself is on disk then, whatever comes.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Why an order was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such sequence.
    #[error("there is no sequence `{0}`")]
    NotFound(Uuid),
    /// It makes no sense where the sequence stands.
    #[error("{0}")]
    Refused(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Inner {
    pub(super) async fn read_execution(&self, id: Uuid) -> Result<Option<Execution>, StoreError> {
        let row = self.store.state(&StateKey::new(SEQUENCE_KIND, id.to_string())).await?;
        let read = row.as_ref().map(|row| Execution::from_json(&row.value)).transpose();
        read.map_err(|error| StoreError::Read(format!("sequence {id}: {error}")))
    }

    /// See [`crate::engine::Engine::order`]. Returns the execution that the order is about in the end: a new one for a
    /// run once more.
    pub(in super::super) async fn order(
        &self,
        id: Uuid,
        command: Command,
        actor: &Actor,
        reason: &str,
    ) -> Result<Uuid, OrderError> {
        let execution = self.read_execution(id).await?.ok_or(OrderError::NotFound(id))?;
        check(&execution, command).map_err(OrderError::Refused)?;
        let key = &execution.key;
        let event_id = Uuid::new_v4().to_string();
        let data = json!({
            "execution": id, "command": command, "actor": actor.as_str(), "reason": reason,
            "project": key.project, "stage": key.stage, "service": key.service,
        });
        let event = EventBuilder::new(&event_id, HOST_SOURCE, SEQUENCE_ORDERED)
            .time(Some(self.clock.now().to_string()))
            .extension_str(RUN_EXTENSION, &execution.run)
            .json(&data)
            .build()
            .map_err(|error| OrderError::Refused(format!("the order cannot be recorded: {error}")))?;
        let mut settled = self.settled.subscribe();
        self.record(vec![event], Vec::new(), actor).await?;
        let target = match command {
            Command::Rerun | Command::RerunFromFailed => Uuid::new_v5(&id, event_id.as_bytes()),
            _ => id,
        };
        let decided = async {
            loop {
                settled.mark_unchanged();
                let now = self.read_execution(target).await?;
                if now.is_some_and(|now| is_done(&now, command)) || settled.changed().await.is_err() {
                    return Ok::<(), StoreError>(());
                }
            }
        };
        // An order that another one overtook is decided too; what came of it is seen in the sequence.
        match tokio::time::timeout(WAIT_MAX, decided).await {
            Ok(result) => result?,
            Err(_) => tracing::warn!(execution = %id, "SequenceOrderSlow"),
        }
        Ok(target)
    }
}

fn check(execution: &Execution, command: Command) -> Result<(), String> {
    let name = execution.name();
    match (command, &execution.end, &execution.paused) {
        (Command::Pause | Command::Resume | Command::Abort, Some(end), _) => {
            Err(format!("`{name}` has ended already: {} at {}", end.result.as_str(), end.at))
        }
        (Command::Pause, None, Some(pause)) => Err(format!("`{name}` is paused already, by {}", pause.actor.as_str())),
        (Command::Resume, None, None) => Err(format!("`{name}` is not paused")),
        (Command::Rerun | Command::RerunFromFailed, None, _) => {
            Err(format!("`{name}` has not ended; abort it first, or wait for its end"))
        }
        (Command::Rerun | Command::RerunFromFailed, Some(_), _) if execution.definition.steps.is_empty() => {
            Err(format!("`{name}` never began, so there is nothing to run once more; trigger it again"))
        }
        _ => Ok(()),
    }
}

fn is_done(execution: &Execution, command: Command) -> bool {
    match command {
        Command::Pause => execution.paused.is_some() || execution.end.is_some(),
        Command::Resume => execution.paused.is_none(),
        Command::Abort => execution.end.is_some(),
        Command::Rerun | Command::RerunFromFailed => true,
    }
}
