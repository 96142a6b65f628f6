//! What a plugin finds behind its imports in `plugin run`: memory for state, the configuration for connections and
//! outputs, and no jobs.

use std::sync::{Mutex, PoisonError};

use pilothouse_core::event::EventBuilder;
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName};
use pilothouse_core::resource::FilePath;
use pilothouse_runtime::outputs::{OutputDirectory, OutputError};
use pilothouse_runtime::{
    Connection, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery, ResourceError, ResourceLevel,
    Services,
};
use tempfile::TempDir;
use tokio::io::AsyncRead;

use crate::engine::Resources as _;
use crate::resources::ConfiguredResources;

/// Services of one local run.
pub(super) struct LocalServices {
    resources: ConfiguredResources,
    installation: InstallationName,
    /// Where it stands which files of an output folder are the plugin's; forgotten after the run.
    ledger: TempDir,
    emitted: Mutex<Vec<EventBuilder>>,
}

impl LocalServices {
    /// Makes the services for one run of `installation`.
    pub(super) fn new(resources: ConfiguredResources, installation: InstallationName) -> std::io::Result<Self> {
        Ok(Self { resources, installation, ledger: TempDir::new()?, emitted: Mutex::default() })
    }

    /// Returns what the plugin emitted as progress.
    pub(super) fn emitted(&self) -> Vec<EventBuilder> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn no_jobs() -> JobError {
    JobError::Unavailable(
        "`plugin run` runs no jobs; install the plugin on a host, or use pilothouse-testing".to_owned(),
    )
}

fn no_files() -> ResourceError {
    ResourceError::Unavailable(
        "`plugin run` has no project; install the plugin on a host, or use pilothouse-testing".to_owned(),
    )
}

#[async_trait::async_trait]
impl Services for LocalServices {
    async fn emit(&self, _index: u32, event: EventBuilder) -> Result<(), EmitError> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Ok(())
    }

    async fn key_value(&self, _key: &str) -> Result<Option<Vec<u8>>, String> {
        // A single run begins without state; its own writes are laid over this by the runtime.
        Ok(None)
    }

    async fn keys(&self, _after: Option<&str>, _limit: usize) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String> {
        self.resources.connection(operator_name)
    }

    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        let root = self.resources.output_directory(operator_name).map_err(OutputError::Unavailable)?;
        OutputDirectory::new(&root, &self.ledger.path().join(operator_name.as_str()), self.installation.clone())
    }

    async fn resource(&self, _level: Option<ResourceLevel>, _path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        Err(no_files())
    }

    async fn resources(&self, _level: ResourceLevel, _prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        Err(no_files())
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        Err(no_files())
    }

    async fn earlier_events(&self, _query: LogQuery) -> Result<LogPage, LogError> {
        Ok(LogPage::default())
    }

    async fn prepare_job(&self, _request: JobRequest) -> Result<String, JobError> {
        Err(no_jobs())
    }

    async fn job_status(&self, _id: &str) -> Result<JobStatus, JobError> {
        Err(JobError::NotFound)
    }

    async fn open_artifact(&self, _id: &str, _artifact: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>, JobError> {
        Err(JobError::NotFound)
    }
}
