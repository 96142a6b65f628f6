//! `pilothouse:plugin/jobs`: long work from the operator's templates.
//!
//! Starts and cancels are only noted; the engine carries them out once the delivery is committed.

use std::time::Duration;

use pilothouse_core::name::TemplateName;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::DynInputStream;
use wasmtime_wasi::p2::pipe::AsyncReadStream;

use crate::bindings::pilothouse::plugin::jobs::{self, Error, JobRequest, JobStatus, State as WitState};
use crate::services::{self, JobError, JobStart, JobState};
use crate::state::State;

/// Jobs that one call may start.
const STARTS_MAX: usize = 16;
/// Jobs that one call may cancel.
const CANCELS_MAX: usize = 256;
/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// What a call wants done once it is committed.
#[derive(Default)]
pub(crate) struct Requested {
    pub(crate) started: Vec<JobStart>,
    pub(crate) cancelled: Vec<String>,
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Denied(text) => Self::Denied(text),
            JobError::NotFound => Self::NotFound,
            JobError::Invalid(text) => Self::Invalid(text),
            JobError::QuotaExceeded => Self::QuotaExceeded,
            JobError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl State {
    async fn start_job(&mut self, request: JobRequest) -> Result<String, Error> {
        let name = TemplateName::new(&request.template_name).map_err(|error| Error::Invalid(error.to_string()))?;
        let Some(template) = self.grants.jobs.get(&name).cloned() else {
            let text = format!(
                "denied: job template `{name}`: add {name} = \"<the operator's template>\" under [jobs] in the grants \
                 of `{}`",
                self.installation
            );
            self.log.remark(&text);
            return Err(Error::Denied(text));
        };
        if request.idempotency_key.is_empty() || request.idempotency_key.len() > KEY_BYTES_MAX {
            return Err(Error::Invalid(format!("the idempotency key has 1 to {KEY_BYTES_MAX} bytes")));
        }
        if self.jobs.started.len() >= STARTS_MAX {
            return Err(Error::QuotaExceeded);
        }
        let count = request.parameters.len();
        let request = services::JobRequest {
            template,
            parameters: request.parameters.into_iter().collect(),
            files: request
                .files
                .into_iter()
                .map(|file| services::JobFile { name: file.name, content: file.content })
                .collect(),
            idempotency_key: request.idempotency_key,
            timeout: request.timeout_ms.map(Duration::from_millis),
        };
        if request.parameters.len() != count {
            return Err(Error::Invalid("a parameter stands there twice".to_owned()));
        }
        let id = self.services.prepare_job(request.clone()).await?;
        if !self.jobs.started.iter().any(|start| start.id == id) {
            self.jobs.started.push(JobStart { id: id.clone(), request });
        }
        Ok(id)
    }

    async fn job_status(&mut self, id: &str) -> Result<JobStatus, Error> {
        // A job of this very call does not exist yet for anybody else.
        if self.jobs.started.iter().any(|start| start.id == id) {
            return match self.services.job_status(id).await {
                Ok(status) => Ok(status.into()),
                Err(JobError::NotFound) => {
                    Ok(JobStatus { state: WitState::Waiting, exit_code: None, artifacts: Vec::new() })
                }
                Err(error) => Err(error.into()),
            };
        }
        Ok(self.services.job_status(id).await?.into())
    }

    async fn cancel_job(&mut self, id: String) -> Result<(), Error> {
        if self.jobs.cancelled.len() >= CANCELS_MAX {
            return Err(Error::QuotaExceeded);
        }
        // Asked first, so that a wrong id is the plugin's to see and not the engine's.
        self.job_status(&id).await?;
        if !self.jobs.cancelled.contains(&id) {
            self.jobs.cancelled.push(id);
        }
        Ok(())
    }
}

impl From<services::JobStatus> for JobStatus {
    fn from(status: services::JobStatus) -> Self {
        Self {
            state: match status.state {
                JobState::Waiting => WitState::Waiting,
                JobState::Running => WitState::Running,
                JobState::Succeeded => WitState::Succeeded,
                JobState::Failed => WitState::Failed,
                JobState::TimedOut => WitState::TimedOut,
                JobState::Cancelled => WitState::Cancelled,
                JobState::Lost => WitState::Lost,
            },
            exit_code: status.exit_code,
            artifacts: status.artifacts,
        }
    }
}

impl jobs::Host for State {
    async fn start(&mut self, request: JobRequest) -> wasmtime::Result<Result<String, Error>> {
        Ok(self.start_job(request).await)
    }

    async fn status(&mut self, id: String) -> wasmtime::Result<Result<JobStatus, Error>> {
        Ok(self.job_status(&id).await)
    }

    async fn cancel(&mut self, id: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.cancel_job(id).await)
    }

    async fn open(
        &mut self,
        id: String,
        artifact: String,
    ) -> wasmtime::Result<Result<Resource<DynInputStream>, Error>> {
        match self.services.open_artifact(&id, &artifact).await {
            Ok(reader) => {
                let stream: DynInputStream = Box::new(AsyncReadStream::new(reader));
                Ok(Ok(self.table.push(stream)?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    jobs::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
