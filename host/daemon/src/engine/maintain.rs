//! Work of the background: ends of jobs, and retention.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::task::Task;
use pilothouse_runtime::job::JobEnded;
use pilothouse_store::{Batch, RetentionPolicy, StateKey, StateWrite, StoreError};
use tokio::sync::mpsc;

use super::Inner;
use super::job_flow::{JOB_KIND, JobRow};
use super::plan::TASK_KIND;

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
        let old = |at: pilothouse_core::time::Timestamp| now.since(at) > policy.age;
        self.remove_states(TASK_KIND, |value, updated| {
            old(updated) && Task::from_json(value).is_ok_and(|task| !task.is_open())
        })
        .await?;
        let jobs = self
            .remove_states(JOB_KIND, |value, updated| {
                old(updated) && serde_json::from_slice::<JobRow>(value).is_ok_and(|job| job.ended)
            })
            .await?;
        for job in jobs {
            if let Err(error) = self.jobs.remove(&job).await {
                tracing::debug!(%job, %error, "JobRemoveError");
            }
        }
        Ok(removed)
    }

    /// Removes the state rows of one kind that `is_over` names; returns their keys.
    async fn remove_states(
        &self,
        kind: &'static str,
        is_over: impl Fn(&[u8], pilothouse_core::time::Timestamp) -> bool,
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
