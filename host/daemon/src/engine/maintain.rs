//! Work of the background: ends of jobs, and retention, which says by an event which dead letters it removed.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{DELIVERY_REMOVED, HOST_SOURCE, is_host_type};
use pilothouse_core::keptn;
use pilothouse_core::task::Task;
use pilothouse_core::time::Timestamp;
use pilothouse_runtime::job::JobEnded;
use pilothouse_store::{
    Batch, NewEvent, REMOVED_DEAD_LETTER_KIND, RemovedDeadLetter, RetentionPolicy, StateKey, StateWrite, StoreError,
};
use tokio::sync::mpsc;

use super::Inner;
use super::installation::Snapshot;
use super::job_flow::{JOB_KIND, JobRow};
use super::plan::{Origin, TASK_KIND, plan};

/// Time between two rounds of retention; each removes little, so that ingest is not held up.
const RETENTION_PERIOD: Duration = Duration::from_secs(60);
/// Most state rows that one commit of retention removes.
const STATES_PER_COMMIT: usize = 256;

impl Inner {
    /// Records ends of jobs until the host stops.
    pub(super) async fn run_job_ends(self: Arc<Self>, mut ended: mpsc::Receiver<JobEnded>) {
        loop {
            let job = tokio::select! {
                () = self.stopping.cancelled() => return,
                job = ended.recv() => match job { Some(job) => job, None => return },
            };
            // What is not recorded now is sent again at the next start.
            if let Err(error) = self.job_ended(&job).await {
                tracing::error!(job = %job.id, %error, "JobEndError");
            }
        }
    }

    /// Removes what retention allows, in small steps, until the host stops.
    pub(super) async fn run_retention(self: Arc<Self>, policy: RetentionPolicy) {
        loop {
            match self.retain(&policy).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "EventsRemoved"),
                Err(error) => tracing::warn!(%error, "RetentionError"),
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(RETENTION_PERIOD) => {}
            }
        }
    }

    async fn retain(&self, policy: &RetentionPolicy) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let removed = self.store.retain(policy, now).await?;
        self.tell_removed().await?;
        let old = |at: Timestamp| now.since(at) > policy.age;
        self.remove_states(TASK_KIND, |value, updated| {
            old(updated) && Task::from_json(value).is_ok_and(|task| !task.is_open())
        })
        .await?;
        let jobs = self
            .remove_states(JOB_KIND, |value, updated| {
                old(updated) && serde_json::from_slice::<JobRow>(value).is_ok_and(|job| job.ended)
            })
            .await?;
        self.remove_sequences(old).await?;
        for job in jobs {
            if let Err(error) = self.jobs.remove(&job).await {
                tracing::debug!(%job, %error, "JobRemoveError");
            }
        }
        Ok(removed)
    }

    /// Says by an event which dead letters are gone. What is told and what waits to be told change in one commit, so
    /// each is told once.
    async fn tell_removed(&self) -> Result<(), StoreError> {
        loop {
            let rows = self.store.states(REMOVED_DEAD_LETTER_KIND, None, STATES_PER_COMMIT).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(self.clock.now());
            batch.routing = Some(snapshot.generation());
            for row in &rows {
                let removed = RemovedDeadLetter::from_json(&row.value)
                    .map_err(|error| StoreError::Read(format!("removed dead letter {}: {error}", row.key)))?;
                tracing::info!(delivery = %removed.delivery, installation = %removed.installation, "DeadLetterRemoved");
                batch.events.extend(told(&snapshot, &removed, batch.now));
                let key = StateKey::new(REMOVED_DEAD_LETTER_KIND, &row.key);
                let (revision, value, holds) = (row.revision, None, None);
                batch.states.push(StateWrite { key, revision, value, holds, holds_own_event: false });
            }
            match self.commit_and_wake(batch).await {
                // Routed against subscriptions that changed meanwhile: once more.
                Ok(()) | Err(StoreError::StaleRouting { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the state rows of one kind that `is_over` names; returns their keys.
    async fn remove_states(
        &self,
        kind: &'static str,
        is_over: impl Fn(&[u8], Timestamp) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let mut removed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.states(kind, after.as_deref(), STATES_PER_COMMIT).await?;
            let Some(last) = rows.last() else { return Ok(removed) };
            after = Some(last.key.clone());
            let mut batch = Batch::new(self.clock.now());
            for row in rows.iter().filter(|row| is_over(&row.value, row.updated)) {
                batch.states.push(StateWrite {
                    key: StateKey::new(kind, &row.key),
                    revision: row.revision,
                    value: None,
                    holds: None,
                    holds_own_event: false,
                });
                removed.push(row.key.clone());
            }
            if !batch.states.is_empty() {
                self.commit(batch).await?;
            }
        }
    }
}

/// Makes `dev.pilothouse.delivery.removed.v1`; nothing where the delivery was of one of the host's own events.
fn told(snapshot: &Snapshot, removed: &RemovedDeadLetter, now: Timestamp) -> Vec<NewEvent> {
    if is_host_type(&removed.ty) {
        return Vec::new();
    }
    let mut data = serde_json::json!({
        "delivery": removed.delivery.to_string(),
        "installation": removed.installation.as_str(),
        "attempts": removed.attempts,
        "event": { "seq": removed.seq.0, "id": removed.id, "source": removed.source, "type": removed.ty },
    });
    if let Some(members) = data.as_object_mut() {
        let place = &removed.place;
        let optional = [
            ("kind", removed.kind.map(|kind| kind.as_str().to_owned())),
            ("reason", removed.reason.clone()),
            ("project", place.project.clone()),
            ("stage", place.stage.clone()),
            ("service", place.service.clone()),
            ("task", removed.task.clone()),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
        members.extend(given);
    }
    let id = uuid::Uuid::new_v5(&removed.delivery.0, b"removed").to_string();
    let mut builder = EventBuilder::new(id, HOST_SOURCE, DELIVERY_REMOVED).time(Some(now.to_string())).json(&data);
    if let Some(run) = &removed.run {
        builder = builder.extension_str(keptn::RUN_EXTENSION, run);
    }
    let planned = builder.build().and_then(|event| plan(snapshot, event, &Origin::host(None, 0), now));
    match planned {
        Ok(mut planned) => {
            if let Some(first) = planned.first_mut() {
                first.place = removed.place.clone();
            }
            planned
        }
        Err(error) => {
            tracing::error!(delivery = %removed.delivery, %error, "DeadLetterEventError");
            Vec::new()
        }
    }
}
