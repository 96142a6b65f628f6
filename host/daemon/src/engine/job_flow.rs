//! Jobs and the store: a job is a row committed with the delivery that starts it, and runs only after that commit.

use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{HOST_SOURCE, JOB_FINISHED};
use pilothouse_core::keptn;
use pilothouse_core::name::InstallationName;
use pilothouse_core::scope::Place;
use pilothouse_runtime::job::JobEnded;
use pilothouse_runtime::{JobError, JobRequest, JobStart};
use pilothouse_store::{Batch, EventRow, NewDelivery, Seq, StateKey, StateWrite, StoreError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Inner;
use super::installation::Installation;
use super::plan::{Origin, plan};
use super::settle::InHand;

/// Kind of the state rows that jobs are kept in.
pub(super) const JOB_KIND: &str = "job";
/// How often the end of a job is written again after losing against another commit.
const JOB_END_ATTEMPTS_MAX: u32 = 16;
/// Namespace of job ids (a random UUID, fixed for ever).
const JOB_NAMESPACE: Uuid = Uuid::from_u128(0x3d0c_77e9_12ab_4b58_8f64_ea91_5c3d_a206);

/// A job as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JobRow {
    /// Version of this form.
    schema: u32,
    /// Whose.
    pub(super) installation: InstallationName,
    /// The task that it belongs to.
    pub(super) task: Option<String>,
    /// The delivery that started it.
    delivery: DeliveryId,
    /// The run that it belongs to.
    run: Option<String>,
    /// Project, stage and service of the event that it was started for.
    #[serde(default)]
    place: Place,
    /// Depth of the event that it was started for.
    depth: u32,
    /// What was asked for; dropped when the job has ended.
    request: Option<JobRequest>,
    /// Whether its end was recorded.
    pub(super) ended: bool,
}

/// Derives a job's id: the same key within one task is the same job.
pub(super) fn job_id(installation: &InstallationName, owner: &str, key: &str) -> String {
    let name = [installation.as_str(), owner, key].join("\u{0}");
    Uuid::new_v5(&JOB_NAMESPACE, name.as_bytes()).to_string()
}

impl Inner {
    async fn read_job(&self, id: &str) -> Result<Option<(JobRow, u64)>, StoreError> {
        let Some(row) = self.store.state(&StateKey::new(JOB_KIND, id)).await? else { return Ok(None) };
        let job = serde_json::from_slice(&row.value).map_err(|error| StoreError::Read(format!("job {id}: {error}")))?;
        Ok(Some((job, row.revision)))
    }

    /// Refuses a job that is not the installation's own.
    pub(super) async fn own_job(&self, installation: &InstallationName, id: &str) -> Result<(), JobError> {
        let job = self.read_job(id).await.map_err(|error| JobError::Unavailable(error.to_string()))?;
        match job {
            Some((job, _)) if job.installation == *installation => Ok(()),
            _ => Err(JobError::NotFound),
        }
    }

    /// Adds the rows of jobs that are not there yet; returns what to start after the commit.
    pub(super) async fn add_job_starts(
        &self,
        batch: &mut Batch,
        installation: &Installation,
        in_hand: &InHand,
        event: &EventRow,
        starts: &[JobStart],
    ) -> Result<Vec<JobStart>, StoreError> {
        let mut fresh = Vec::new();
        for start in starts {
            if self.read_job(&start.id).await?.is_some() {
                continue;
            }
            let row = JobRow {
                schema: 1,
                installation: installation.name.clone(),
                task: in_hand.row.task.clone(),
                delivery: in_hand.row.id,
                run: event.run.clone(),
                place: event.place.clone(),
                depth: event.depth,
                request: Some(start.request.clone()),
                ended: false,
            };
            batch.states.push(write(&start.id, 0, &row));
            fresh.push(start.clone());
        }
        Ok(fresh)
    }

    /// Starts jobs whose rows are committed. One that cannot be started ends as lost, so that its plugin is told.
    pub(super) async fn start_jobs(&self, starts: Vec<JobStart>) {
        for start in starts {
            let templates = self.job_templates.load_full();
            let started = match templates.get(&start.request.template) {
                Some(template) => self.jobs.start(&start.id, template, &start.request).await,
                None => Err(JobError::Denied(format!("the job template `{}` is gone", start.request.template))),
            };
            if let Err(error) = started {
                tracing::warn!(job = %start.id, %error, "JobStartError");
                let ended = JobEnded {
                    id: start.id,
                    state: pilothouse_runtime::JobState::Lost,
                    exit_code: None,
                    reason: Some(format!("the job could not be started: {error}")),
                    usage: pilothouse_runtime::job::JobUsage::default(),
                };
                if let Err(error) = self.job_ended(&ended).await {
                    tracing::error!(%error, "JobEndError");
                }
            }
        }
    }

    /// Asks jobs to stop, best effort: the supervisor's own deadline stays.
    pub(super) async fn cancel_jobs(&self, ids: &[String]) {
        for id in ids {
            if let Err(error) = self.jobs.cancel(id).await {
                tracing::warn!(job = %id, %error, "JobCancelError");
            }
        }
    }

    /// Marks the jobs of an ended task; returns those to cancel after the commit.
    pub(super) async fn cancel_jobs_of_task(&self, batch: &mut Batch, task: &str) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        for (id, job, revision) in self.open_jobs().await? {
            let already = batch.states.iter().any(|write| write.key.kind == JOB_KIND && write.key.key == id);
            if job.task.as_deref() == Some(task) && !already {
                // Its end is not delivered: the task is over.
                batch.states.push(write(&id, revision, &JobRow { ended: true, request: None, ..job }));
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Lists the jobs whose end is not recorded. There are at most as many as the runner takes.
    async fn open_jobs(&self) -> Result<Vec<(String, JobRow, u64)>, StoreError> {
        let mut open = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.states(JOB_KIND, after.as_deref(), 256).await?;
            let Some(last) = rows.last() else { return Ok(open) };
            after = Some(last.key.clone());
            for row in rows {
                match serde_json::from_slice::<JobRow>(&row.value) {
                    Ok(job) if !job.ended => open.push((row.key, job, row.revision)),
                    Ok(_) => {}
                    Err(error) => tracing::error!(job = %row.key, %error, "JobRowError"),
                }
            }
        }
    }

    /// Takes up the jobs of an earlier host: the runner's own, and those committed but not yet started.
    pub(super) async fn adopt_jobs(&self) -> Result<(), StoreError> {
        let known = match self.jobs.adopt().await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "JobAdoptError");
                return Ok(());
            }
        };
        for (id, job, _) in self.open_jobs().await? {
            if known.iter().any(|(known, _)| *known == id) {
                continue;
            }
            let Some(request) = job.request else { continue };
            self.start_jobs(vec![JobStart { id, request }]).await;
        }
        Ok(())
    }

    /// Records the end of a job and delivers it to the plugin that started it.
    pub(super) async fn job_ended(&self, ended: &JobEnded) -> Result<(), StoreError> {
        for _ in 0..JOB_END_ATTEMPTS_MAX {
            let Some((job, revision)) = self.read_job(&ended.id).await? else { break };
            if job.ended {
                break;
            }
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(self.clock.now());
            batch.routing = Some(snapshot.generation());
            let Some(event) = self.job_event(&job, ended, batch.now).await else { break };
            let told = NewDelivery {
                id: DeliveryId::derive(event.source(), event.id(), &job.installation, Cause::JobEnded.as_str()),
                event: Seq(0),
                consumer: job.installation.clone(),
                cause: Cause::JobEnded,
                task: job.task.clone(),
                order_key: None,
                due: batch.now,
                dead: None,
            };
            match plan(&snapshot, event, &Origin::host(Some(job.delivery), job.depth), batch.now) {
                Ok(mut planned) => {
                    if let Some(first) = planned.first_mut() {
                        first.place = job.place.clone();
                        first.deliveries.push(told);
                    }
                    batch.events.extend(planned);
                }
                Err(error) => tracing::error!(job = %ended.id, %error, "JobEventError"),
            }
            batch.states.push(write(&ended.id, revision, &JobRow { ended: true, request: None, ..job }));
            match self.commit_and_wake(batch).await {
                Ok(()) => break,
                Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Err(error) = self.jobs.acknowledge(&ended.id).await {
            tracing::debug!(job = %ended.id, %error, "JobAcknowledgeError");
        }
        Ok(())
    }

    /// Makes `dev.pilothouse.job.finished.v1`.
    async fn job_event(
        &self,
        job: &JobRow,
        ended: &JobEnded,
        now: pilothouse_core::time::Timestamp,
    ) -> Option<pilothouse_core::Event> {
        let artifacts = self.jobs.status(&ended.id).await.map(|status| status.artifacts).unwrap_or_default();
        let mut data = serde_json::json!({
            "job": ended.id,
            "installation": job.installation.as_str(),
            "state": ended.state,
            "artifacts": artifacts,
            "wall-ms": u64::try_from(ended.usage.wall.as_millis()).unwrap_or(u64::MAX),
            "cpu-ms": u64::try_from(ended.usage.cpu.as_millis()).unwrap_or(u64::MAX),
            "memory-bytes-max": ended.usage.memory_bytes_max,
        });
        if let Some(members) = data.as_object_mut() {
            let template = job.request.as_ref().map(|request| request.template.to_string());
            let words = [("template", template), ("task", job.task.clone()), ("reason", ended.reason.clone())];
            for (name, value) in words {
                if let Some(value) = value {
                    members.insert(name.to_owned(), value.into());
                }
            }
            if let Some(code) = ended.exit_code {
                members.insert("exit-code".to_owned(), code.into());
            }
        }
        let id = Uuid::new_v5(&JOB_NAMESPACE, format!("ended {}", ended.id).as_bytes()).to_string();
        let mut builder = EventBuilder::new(id, HOST_SOURCE, JOB_FINISHED).time(Some(now.to_string())).json(&data);
        if let Some(run) = &job.run {
            builder = builder.extension_str(keptn::RUN_EXTENSION, run);
        }
        if let Some(task) = &job.task {
            builder = builder.extension_str(keptn::TRIGGERED_ID_EXTENSION, task);
        }
        builder.build().map_err(|error| tracing::error!(job = %ended.id, %error, "JobEventError")).ok()
    }
}

fn write(id: &str, revision: u64, row: &JobRow) -> StateWrite {
    StateWrite {
        key: StateKey::new(JOB_KIND, id),
        revision,
        value: serde_json::to_vec(row).ok(),
        holds: None,
        holds_own_event: false,
    }
}
