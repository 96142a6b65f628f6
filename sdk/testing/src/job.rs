//! Jobs as a test scripts them: they end at once, as the test says.

use std::collections::BTreeMap;

use pilothouse_runtime::{JobRequest, JobState, JobStatus};

/// How a scripted job ends.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The exit code: `Some` for a job that ended by itself.
    pub exit: Option<i32>,
    /// The state at its end.
    pub state: JobState,
    /// Artifacts by name; `stdout` and `stderr` are there in any case.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Why the request is refused, if it is: no job is started then.
    pub refusal: Option<pilothouse_runtime::JobError>,
}

impl JobResult {
    /// A job that exits with a code.
    pub fn exit(code: i32) -> Self {
        let state = if code == 0 { JobState::Succeeded } else { JobState::Failed };
        Self { exit: Some(code), state, files: BTreeMap::new(), refusal: None }
    }

    /// A job that ends in another way: timed out, cancelled, lost. A state that is no end is kept: the job goes on.
    pub fn ended(state: JobState) -> Self {
        Self { exit: None, state, files: BTreeMap::new(), refusal: None }
    }

    /// A request that is refused, as a template would.
    pub fn refused(error: pilothouse_runtime::JobError) -> Self {
        Self { refusal: Some(error), ..Self::ended(JobState::Cancelled) }
    }

    /// Adds an artifact; `stdout` and `stderr` are names too.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), content.into());
        self
    }

    pub(crate) fn status(&self, started: bool) -> JobStatus {
        let mut artifacts = vec!["stdout".to_owned(), "stderr".to_owned()];
        artifacts.extend(self.files.keys().filter(|name| !matches!(name.as_str(), "stdout" | "stderr")).cloned());
        if !started {
            return JobStatus { state: JobState::Waiting, exit_code: None, artifacts: Vec::new() };
        }
        JobStatus { state: self.state, exit_code: self.exit, artifacts }
    }
}

/// A job that the plugin started, once its delivery was committed.
#[derive(Clone, Debug)]
pub struct StartedJob {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub request: JobRequest,
}

/// A job that the test knows.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) request: JobRequest,
    pub(crate) result: JobResult,
    /// Whether the delivery that asked for it was committed.
    pub(crate) started: bool,
}
