//! What lies behind the plugin's imports in a test: memory, folders, and what the test says.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pilothouse_core::Event;
use pilothouse_core::event::EventBuilder;
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName};
use pilothouse_core::resource::FilePath;
use pilothouse_runtime::outputs::{OutputDirectory, OutputError};
use pilothouse_runtime::{
    Connection, Effects, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery, ResourceError,
    ResourceLevel, Services,
};

use crate::job::{JobResult, Known, StartedJob};

/// How a test ends jobs.
pub(crate) type Jobs = Box<dyn FnMut(&JobRequest) -> JobResult + Send>;

/// What survives between the deliveries of one test.
pub(crate) struct World {
    pub(crate) key_values: BTreeMap<String, Vec<u8>>,
    pub(crate) jobs: BTreeMap<String, Known>,
    /// Files of the project, by level and path.
    pub(crate) resources: BTreeMap<(&'static str, String), Vec<u8>>,
    pub(crate) log: Vec<Event>,
    pub(crate) script: Jobs,
}

impl World {
    pub(crate) fn new() -> Self {
        let unscripted = |_: &JobRequest| JobResult::refused(JobError::Invalid("the test has no `job`".to_owned()));
        Self {
            key_values: BTreeMap::new(),
            jobs: BTreeMap::new(),
            resources: BTreeMap::new(),
            log: Vec::new(),
            script: Box::new(unscripted),
        }
    }

    /// Does what a host does when it commits a delivery, and returns the jobs that now start.
    pub(crate) fn commit(&mut self, effects: Effects) -> Vec<StartedJob> {
        for (key, value) in effects.key_values {
            match value {
                Some(value) => self.key_values.insert(key, value),
                None => self.key_values.remove(&key),
            };
        }
        for id in &effects.jobs_cancelled {
            if let Some(known) = self.jobs.get_mut(id) {
                known.result = JobResult {
                    files: known.result.files.clone(),
                    ..JobResult::ended(pilothouse_runtime::JobState::Cancelled)
                };
            }
        }
        let mut started = Vec::new();
        for start in effects.jobs_started {
            if let Some(known) = self.jobs.get_mut(&start.id)
                && !std::mem::replace(&mut known.started, true)
            {
                started.push(StartedJob { id: start.id, request: start.request });
            }
        }
        // What a failed call prepared was never started.
        self.jobs.retain(|_, known| known.started);
        started
    }
}

/// Levels in the order of a look-up.
const LEVELS: [ResourceLevel; 4] =
    [ResourceLevel::ServiceInStage, ResourceLevel::Service, ResourceLevel::Stage, ResourceLevel::Project];

pub(crate) fn level_name(level: ResourceLevel) -> &'static str {
    match level {
        ResourceLevel::Project => "project",
        ResourceLevel::Stage => "stage",
        ResourceLevel::Service => "service",
        ResourceLevel::ServiceInStage => "service-in-stage",
    }
}

/// Provided to one call.
pub(crate) struct TestServices {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) installation: InstallationName,
    /// Where every connection leads.
    pub(crate) base_url: String,
    /// Folder that holds the output directories.
    pub(crate) folder: PathBuf,
    /// The task, or the delivery where there is none: what idempotency keys of jobs are relative to.
    pub(crate) job_owner: String,
    pub(crate) emitted: Mutex<Vec<EventBuilder>>,
}

impl TestServices {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Services for TestServices {
    async fn emit(&self, _index: u32, event: EventBuilder) -> Result<(), EmitError> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Ok(())
    }

    async fn key_value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.world().key_values.get(key).cloned())
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, String> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .world()
            .key_values
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, _)| key.clone())
            .take(limit)
            .collect())
    }

    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String> {
        Ok(Connection { base_url: format!("{}/{operator_name}", self.base_url), headers: Vec::new() })
    }

    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        let (root, state) = (self.folder.join("outputs").join(operator_name.as_str()), self.folder.join("state"));
        for folder in [&root, &state] {
            std::fs::create_dir_all(folder).map_err(|error| OutputError::Unavailable(error.to_string()))?;
        }
        OutputDirectory::new(&root, &state, self.installation.clone())
    }

    async fn resource(&self, level: Option<ResourceLevel>, path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        let world = self.world();
        let levels = level.map_or_else(|| LEVELS.to_vec(), |level| vec![level]);
        let found = levels.into_iter().find_map(|level| world.resources.get(&(level_name(level), path.to_string())));
        found.cloned().ok_or(ResourceError::NotFound)
    }

    async fn resources(&self, level: ResourceLevel, prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        let world = self.world();
        let of_level =
            world.resources.iter().filter(|((of, path), _)| *of == level_name(level) && path.starts_with(prefix));
        let entry = |((_, path), content): (&(&str, String), &Vec<u8>)| {
            (path.clone(), u64::try_from(content.len()).unwrap_or(u64::MAX))
        };
        Ok(of_level.map(entry).collect())
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        let world = self.world();
        // A path of the project's level names its service, as in a project.
        let of = |path: &str| {
            let rest = path.strip_prefix("stages/").and_then(|rest| Some(rest.split_once('/')?.1)).unwrap_or(path);
            rest.strip_prefix("services/").and_then(|rest| Some(rest.split_once('/')?.0.to_owned()))
        };
        let mut names: Vec<String> = world.resources.keys().filter_map(|(_, path)| of(path)).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn earlier_events(&self, query: LogQuery) -> Result<LogPage, LogError> {
        let world = self.world();
        let positions =
            world.log.iter().enumerate().filter_map(|(index, event)| Some((u64::try_from(index).ok()?, event)));
        let wanted = |(position, event): &(u64, &Event)| {
            event.ty() == query.ty && query.before.is_none_or(|before| *position < before)
        };
        let found: Vec<(u64, Event)> =
            positions.filter(wanted).map(|(position, event)| (position, event.clone())).collect();
        let events: Vec<(u64, Event)> = found.into_iter().rev().take(query.limit).collect();
        let next = events.last().map(|(position, _)| *position).filter(|position| *position > 0);
        Ok(LogPage { events, next })
    }

    async fn prepare_job(&self, request: JobRequest) -> Result<String, JobError> {
        let name = format!("{}\u{0}{}", self.job_owner, request.idempotency_key);
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string();
        let mut world = self.world();
        if !world.jobs.contains_key(&id) {
            let result = (world.script)(&request);
            if let Some(refusal) = result.refusal {
                return Err(refusal);
            }
            world.jobs.insert(id.clone(), Known { request, result, started: false });
        }
        Ok(id)
    }

    async fn job_status(&self, id: &str) -> Result<JobStatus, JobError> {
        self.world().jobs.get(id).map(|known| known.result.status(known.started)).ok_or(JobError::NotFound)
    }

    async fn open_artifact(
        &self,
        id: &str,
        artifact: &str,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError> {
        let world = self.world();
        let known = world.jobs.get(id).filter(|known| known.started).ok_or(JobError::NotFound)?;
        let content = match known.result.files.get(artifact) {
            Some(content) => content.clone(),
            None if matches!(artifact, "stdout" | "stderr") => Vec::new(),
            None => return Err(JobError::NotFound),
        };
        Ok(Box::new(std::io::Cursor::new(content)))
    }
}
