//! What lies behind a plugin's imports during one call, narrowed to its installation and to the project of the event in
//! hand.

use std::path::PathBuf;
use std::sync::Arc;

use pilothouse_core::delivery::DeliveryId;
use pilothouse_core::event::EventBuilder;
use pilothouse_core::keptn::COMMIT_EXTENSION;
use pilothouse_core::name::{ConnectionName, OutputName, ServiceName, StageName};
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::right::Actor;
use pilothouse_runtime::outputs::{OutputDirectory, OutputError};
use pilothouse_runtime::{
    Connection, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery, ResourceChange, ResourceError,
    ResourceLevel, Services,
};
use pilothouse_store::{Batch, EventFilter, EventRow, StoreError};
use tokio::io::AsyncRead;

use super::Inner;
use super::installation::Installation;
use super::job_flow::job_id;
use super::plan::plan;
use super::settle::{EventMaker, InHand};
use super::task_flow::TaskInHand;

/// Most files of one listing.
const RESOURCE_ENTRIES_MAX: usize = 1_000;
/// How often an emitted event that was routed against subscriptions which changed meanwhile is routed again.
const EMIT_ATTEMPTS_MAX: u32 = 16;

/// Resolves the operator's names; the configuration behind it may be reloaded at any time.
pub trait Resources: Send + Sync + 'static {
    /// Returns the address and credentials of a connection, read afresh.
    ///
    /// # Errors
    /// No such connection, or its credential cannot be read; never says the credential.
    fn connection(&self, name: &ConnectionName) -> Result<Connection, String>;

    /// Returns an output directory.
    ///
    /// # Errors
    /// No such directory in the configuration.
    fn output_directory(&self, name: &OutputName) -> Result<PathBuf, String>;
}

/// Writes files of projects for plugins.
#[async_trait::async_trait]
pub trait ProjectWriter: Send + Sync {
    /// Writes and removes files in one commit upon the newest one, tells of it by an event, and returns its id.
    ///
    /// # Errors
    /// No such project, a file that is not a valid one, or the disk or the store failed.
    async fn write(
        &self,
        project: &str,
        changes: Vec<ResourceChange>,
        message: &str,
        actor: &Actor,
    ) -> Result<String, ResourceError>;
}

/// The services of one call.
pub(super) struct CallServices {
    inner: Arc<Inner>,
    installation: Arc<Installation>,
    in_hand: InHand,
    event: EventRow,
    task: Option<TaskInHand>,
    scope: String,
}

impl CallServices {
    pub(super) fn new(
        inner: Arc<Inner>,
        installation: Arc<Installation>,
        in_hand: InHand,
        event: EventRow,
        task: Option<TaskInHand>,
    ) -> Self {
        let scope = scope(&event, task.as_ref());
        Self { inner, installation, in_hand, event, task, scope }
    }
}

impl CallServices {
    /// Returns the project in hand, and the stage and the service, where there is one.
    fn place(&self) -> Result<(String, Option<StageName>, Option<ServiceName>), ResourceError> {
        let place = self.task.as_ref().map_or(&self.event.place, |task| &task.task.place);
        let missing = || ResourceError::Invalid("the event in hand belongs to no project".to_owned());
        let project = place.project.clone().ok_or_else(missing)?;
        let stage = place.stage.as_deref().and_then(|name| StageName::new(name).ok());
        let service = place.service.as_deref().and_then(|name| ServiceName::new(name).ok());
        Ok((project, stage, service))
    }

    /// Returns the commit of the run in hand: what the task's trigger says, else the event.
    fn commit(&self) -> Option<&str> {
        let event = self.task.as_ref().map_or(&self.event.event, |task| &task.trigger.event);
        event.extension_str(COMMIT_EXTENSION).filter(|commit| !commit.is_empty())
    }
}

fn folder(
    level: ResourceLevel,
    stage: Option<StageName>,
    service: Option<ServiceName>,
) -> Result<Folder, ResourceError> {
    let needed = |what: &str| ResourceError::Invalid(format!("the event in hand belongs to no {what}"));
    let of_stage = || stage.clone().map(Some).ok_or_else(|| needed("stage"));
    let of_service = || service.clone().map(Some).ok_or_else(|| needed("service"));
    Ok(match level {
        ResourceLevel::Project => Folder { stage: None, service: None },
        ResourceLevel::Stage => Folder { stage: of_stage()?, service: None },
        ResourceLevel::Service => Folder { stage: None, service: of_service()? },
        ResourceLevel::ServiceInStage => Folder { stage: of_stage()?, service: of_service()? },
    })
}

/// Returns the scope of key-value state: the project of the task in hand, else of the event.
pub(super) fn scope(event: &EventRow, task: Option<&TaskInHand>) -> String {
    let place = task.map_or(&event.place, |task| &task.task.place);
    place.project.clone().unwrap_or_default()
}

#[async_trait::async_trait]
impl Services for CallServices {
    async fn emit(&self, index: u32, event: EventBuilder) -> Result<(), EmitError> {
        // The content is part of the id: an attempt that is repeated sends the same progress again, which is absorbed, or
        // other progress, which is new.
        let draft = event
            .clone()
            .id("draft")
            .source("/draft")
            .build()
            .map_err(|error| EmitError::Invalid(error.to_string()))?;
        let mut name = format!("emit {index} ").into_bytes();
        name.extend(draft.content_digest());
        let id = uuid::Uuid::new_v5(&self.in_hand.row.id.0, &name).to_string();
        let unavailable = |error: StoreError| EmitError::Unavailable(error.to_string());
        for _ in 0..EMIT_ATTEMPTS_MAX {
            let snapshot = self.inner.snapshot.load_full();
            let mut batch = Batch::new(self.inner.clock.now());
            batch.routing = Some(snapshot.generation());
            let maker = EventMaker {
                installation: &self.installation.name,
                in_hand: &self.in_hand,
                cause: &self.event,
                task: self.task.as_ref(),
                traceparent: self.inner.traceparent(&self.event, &self.in_hand),
                now: batch.now,
            };
            let (made, origin) = maker.make(event.clone(), id.clone()).map_err(EmitError::Invalid)?;
            let planned =
                plan(&snapshot, made, &origin, batch.now).map_err(|error| EmitError::Invalid(error.to_string()))?;
            batch.events = planned;
            match self.inner.commit_and_wake(batch).await {
                Ok(()) => return Ok(()),
                Err(StoreError::StaleRouting { .. }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(EmitError::Unavailable("the subscriptions change all the time".to_owned()))
    }

    async fn key_value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let value = self.inner.store.key_value(&self.installation.name, &self.scope, key).await;
        value.map_err(|error| error.to_string())
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, String> {
        let keys = self.inner.store.keys(&self.installation.name, &self.scope, after, limit).await;
        keys.map_err(|error| error.to_string())
    }

    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String> {
        self.inner.resources.connection(operator_name)
    }

    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        let root = self.inner.resources.output_directory(operator_name).map_err(OutputError::Unavailable)?;
        let ledger = self.inner.outputs_dir.join(operator_name.as_str());
        OutputDirectory::new(&root, &ledger, self.installation.name.clone())
    }

    async fn resource(&self, level: Option<ResourceLevel>, path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        let (project, stage, service) = self.place()?;
        let folders = match level {
            None => Folder { stage, service }.lookup(),
            Some(level) => vec![folder(level, stage, service)?],
        };
        self.inner.sequencer.projects.file(&project, self.commit(), &folders, path).await
    }

    async fn resources(&self, level: ResourceLevel, prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        let (project, stage, service) = self.place()?;
        let folder = folder(level, stage, service)?;
        let projects = &self.inner.sequencer.projects;
        projects.files(&project, self.commit(), &folder, prefix, RESOURCE_ENTRIES_MAX).await
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        let (project, _, _) = self.place()?;
        self.inner.sequencer.projects.services(&project, self.commit()).await
    }

    async fn write_resources(&self, changes: Vec<ResourceChange>, message: &str) -> Result<String, ResourceError> {
        let (project, _, _) = self.place()?;
        let unavailable = || ResourceError::Unavailable("the host has no projects to write to yet".to_owned());
        let writer = self.inner.project_writer.get().ok_or_else(unavailable)?;
        let message = format!("{message}\n\nDelivery: {}", self.in_hand.row.id);
        writer.write(&project, changes, message.trim_start(), &Actor::plugin(&self.installation.name)).await
    }

    async fn earlier_events(&self, query: LogQuery) -> Result<LogPage, LogError> {
        let place = self.task.as_ref().map_or(&self.event.place, |task| &task.task.place);
        let missing = || LogError::Invalid("the event in hand belongs to no project".to_owned());
        let filter = EventFilter {
            ty: Some(query.ty),
            project: Some(place.project.clone().ok_or_else(missing)?),
            stage: query.stage,
            service: query.service,
            run: query.run,
            ..EventFilter::default()
        };
        let page = self.inner.store.events(&filter, query.before, query.limit).await;
        let page = page.map_err(|error| LogError::Unavailable(error.to_string()))?;
        let events = page.items.into_iter().map(|row| (row.seq.0, row.event)).collect();
        Ok(LogPage { events, next: page.next })
    }

    async fn prepare_job(&self, request: JobRequest) -> Result<String, JobError> {
        let templates = self.inner.job_templates.load();
        let Some(template) = templates.get(&request.template) else {
            return Err(JobError::Denied(format!(
                "the operator's configuration has no job template `{0}`: add a table [jobs.{0}]",
                request.template
            )));
        };
        self.inner.jobs.prepare(template, &request)?;
        let delivery: DeliveryId = self.in_hand.row.id;
        let owner = self.task.as_ref().map_or_else(|| delivery.to_string(), |task| task.task.id.clone());
        Ok(job_id(&self.installation.name, &owner, &request.idempotency_key))
    }

    async fn job_status(&self, id: &str) -> Result<JobStatus, JobError> {
        self.inner.own_job(&self.installation.name, id).await?;
        self.inner.jobs.status(id).await
    }

    async fn open_artifact(&self, id: &str, artifact: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>, JobError> {
        self.inner.own_job(&self.installation.name, id).await?;
        self.inner.jobs.open(id, artifact).await
    }
}
