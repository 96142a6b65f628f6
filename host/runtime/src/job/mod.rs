//! Work that cannot run inside wasm: the operator's job templates, and who runs them.
//!
//! A plugin names a template and gives parameters and files; [`JobTemplate`] checks them and makes the command line,
//! which never comes from the plugin. [`LocalJobs`] runs jobs on this machine, each under a supervisor process of its own
//! ([`supervise`]) that outlives the host. A remote runner would be another [`JobRunner`].
//!
//! A job runs as the host's own user, with that user's files in reach: a supervisor bounds what a job uses, not what it
//! may read. For a program that runs what it is given (JMeter does), let the template call a sandbox such as `bwrap`.
//!
//! Never here: who may start which job, WIT types, events.

mod cgroup;
mod directory;
mod launch;
mod local;
mod pattern;
mod process;
mod stream;
mod supervisor;
mod template;
mod usage;

#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::io::AsyncRead;

use crate::services::{JobError, JobRequest, JobState, JobStatus};

pub use cgroup::delegated_cgroup;
pub use local::{JOBS_OPEN_MAX, JobsConfig, LocalJobs, SupervisorCommand};
pub use supervisor::supervise;
pub use template::{
    FileRules, JobLimits, JobTemplate, PARAMETER_BYTES_MAX, ParameterRule, PreparedJob, TemplateProblem,
};

/// The environment variable by which every process of a job can be told: its value is the path of the job's directory,
/// which ends with the job's id. Not the id alone: another host on this machine may have a job of the same id.
pub const JOB_VARIABLE: &str = "PILOTHOUSE_JOB";

/// An artifact, read from its beginning to where it ended when it was opened.
pub type Artifact = Box<dyn AsyncRead + Send + Unpin>;

/// The end of a job. Sent again after a restart of the host until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnded {
    /// The job.
    pub id: String,
    /// How it ended; never waiting or running.
    pub state: JobState,
    /// Its exit code, if it ended by itself and not by a signal.
    pub exit_code: Option<i32>,
    /// One line for people; nothing for a success.
    pub reason: Option<String>,
    /// What it used.
    pub usage: JobUsage,
}

/// What a job used, and what bounded it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct JobUsage {
    /// Time from its start to its end.
    pub wall: Duration,
    /// CPU time of all of its processes that were waited for.
    pub cpu: Duration,
    /// Most memory in use: by all of its processes together as sampled, or by the largest one if that is more.
    pub memory_bytes_max: u64,
    /// Most processes and threads at one time, as sampled.
    pub processes_max: u64,
    /// Bytes of standard output beyond the limit, which were dropped.
    pub stdout_dropped_bytes: u64,
    /// Bytes of standard error beyond the limit, which were dropped.
    pub stderr_dropped_bytes: u64,
    /// `cgroup v2` or `rlimits`: what bounded memory and processes. Empty where the job did not start.
    pub limiter: String,
}

/// Runs jobs. Ids are the caller's, and each names one job for ever.
#[async_trait::async_trait]
pub trait JobRunner: Send + Sync {
    /// Checks the request, the program and the room for one more job; starts nothing.
    ///
    /// # Errors
    /// [`JobError::Invalid`] names the parameter or file at fault; [`JobError::QuotaExceeded`] if too many jobs wait;
    /// [`JobError::Unavailable`] if the template's program is not installed.
    fn prepare(&self, template: &JobTemplate, request: &JobRequest) -> Result<(), JobError>;

    /// Starts the job, or lets it wait for a free place. A repeat with the same id changes nothing.
    ///
    /// # Errors
    /// The request does not fit the template, or the job could not be stored. Whatever goes wrong after that is the
    /// job's end.
    async fn start(&self, id: &str, template: &JobTemplate, request: &JobRequest) -> Result<(), JobError>;

    /// Reads where the job stands.
    ///
    /// # Errors
    /// No such job, or its directory cannot be read.
    async fn status(&self, id: &str) -> Result<JobStatus, JobError>;

    /// Asks the job to stop; its end comes as [`JobState::Cancelled`]. Nothing happens to a job that has ended.
    ///
    /// # Errors
    /// No such job, or its directory cannot be written.
    async fn cancel(&self, id: &str) -> Result<(), JobError>;

    /// Opens what there is by now of `stdout`, `stderr` or one of the template's artifacts.
    ///
    /// # Errors
    /// [`JobError::NotFound`] also for a link, a directory and anything else that is not a regular file.
    async fn open(&self, id: &str, artifact: &str) -> Result<Artifact, JobError>;

    /// Takes up the jobs that an earlier host left. Called once, before any other function.
    ///
    /// Jobs that run are watched again, jobs that wait start, and each end that was not acknowledged is sent again.
    ///
    /// # Errors
    /// The jobs' directory cannot be read.
    async fn adopt(&self) -> Result<Vec<(String, JobState)>, JobError>;

    /// Notes that the end of the job is recorded elsewhere: it is not sent again.
    ///
    /// # Errors
    /// No such job, or its directory cannot be written.
    async fn acknowledge(&self, id: &str) -> Result<(), JobError>;

    /// Removes an ended job with its artifacts. A repeat changes nothing.
    ///
    /// # Errors
    /// The job has not ended ([`JobError::Invalid`]), or its directory cannot be removed.
    async fn remove(&self, id: &str) -> Result<(), JobError>;
}
