//! What lies behind a plugin's imports: one trait that the engine implements, and the types it speaks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pilothouse_core::event::EventBuilder;
use pilothouse_core::name::{ConnectionName, OutputName, TemplateName};
use pilothouse_core::resource::FilePath;

use crate::outputs::{OutputDirectory, OutputError};

/// Provided by the engine for each call, and already narrowed to its installation and project.
///
/// The runtime has checked the grants before it calls any of these. Futures run on the guests' threads and end with
/// the call's time limit: each must be safe to drop.
#[async_trait::async_trait]
pub trait Services: Send + Sync {
    /// Stores the event that the plugin emitted at position `index` of this call. Its type is allowed and it is a valid
    /// event but for `id` and `source`, which the engine sets.
    ///
    /// # Errors
    /// The event is refused, or could not be stored.
    async fn emit(&self, index: u32, event: EventBuilder) -> Result<(), EmitError>;

    /// Reads a committed value; the runtime overlays the call's own writes.
    ///
    /// # Errors
    /// The store could not be read; the text is for the plugin and its operator.
    async fn key_value(&self, key: &str) -> Result<Option<Vec<u8>>, String>;

    /// Lists committed keys in order, at most `limit`, from after `after`.
    ///
    /// # Errors
    /// As for [`Services::key_value`].
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, String>;

    /// Resolves a connection by the operator's name, afresh at each call, so that a reload takes effect.
    ///
    /// # Errors
    /// No such connection, or its credential cannot be read; never says the credential.
    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String>;

    /// Opens an output directory by the operator's name, for the installation that is called.
    ///
    /// # Errors
    /// No such directory in the configuration, or it cannot be used.
    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError>;

    /// Reads a file of the project in hand, at the commit of its run: of one level, or the nearest.
    ///
    /// # Errors
    /// There is no such file, or no project, stage or service in hand.
    async fn resource(&self, level: Option<ResourceLevel>, path: &FilePath) -> Result<Vec<u8>, ResourceError>;

    /// Lists the files of one level whose paths begin with `prefix`, with their sizes in bytes; at most 1,000.
    ///
    /// # Errors
    /// As for [`Services::resource`].
    async fn resources(&self, level: ResourceLevel, prefix: &str) -> Result<Vec<(String, u64)>, ResourceError>;

    /// Lists the services of the project in hand.
    ///
    /// # Errors
    /// As for [`Services::resource`].
    async fn project_services(&self) -> Result<Vec<String>, ResourceError>;

    /// Writes and removes files of the project in hand in one commit, and returns its id; the paths are from the project's root.
    ///
    /// # Errors
    /// No project in hand, a file that is not a valid one, or the disk or the store failed.
    async fn write_resources(&self, changes: Vec<ResourceChange>, message: &str) -> Result<String, ResourceError> {
        let _ = (changes, message);
        Err(ResourceError::Unavailable("there is no project to write to here".to_owned()))
    }

    /// Reads earlier events of the project in hand, the newest first.
    ///
    /// # Errors
    /// No project in hand, or the store could not be read.
    async fn earlier_events(&self, query: LogQuery) -> Result<LogPage, LogError>;

    /// Checks a job request against its template and returns the id that the job will have; starts nothing.
    ///
    /// The id is derived from the installation, the task (or the delivery where there is none) and the idempotency
    /// key, so that a repeat names the same job.
    ///
    /// # Errors
    /// The request does not fit the template, or too many jobs wait.
    async fn prepare_job(&self, request: JobRequest) -> Result<String, JobError>;

    /// Reads the state of one of the installation's own jobs.
    ///
    /// # Errors
    /// [`JobError::NotFound`] also for another installation's job.
    async fn job_status(&self, id: &str) -> Result<JobStatus, JobError>;

    /// Opens what there is by now of an artifact of one of the installation's own jobs.
    ///
    /// # Errors
    /// No such job or artifact, or it cannot be read.
    async fn open_artifact(
        &self,
        id: &str,
        artifact: &str,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError>;
}

/// Whose files of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceLevel {
    /// The project's own.
    Project,
    /// The stage's.
    Stage,
    /// The service's, in every stage.
    Service,
    /// The service's in the stage.
    ServiceInStage,
}

/// A file of a project to write, or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceChange {
    /// Its path from the project's root.
    pub path: FilePath,
    /// The new content; `None` removes the file.
    pub content: Option<Vec<u8>>,
}

/// Why a file of a project cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Not granted; the text names the grant that would allow it.
    #[error("{0}")]
    Denied(String),
    /// There is no such file.
    #[error("no such file")]
    NotFound,
    /// There is no project, stage or service in hand.
    #[error("{0}")]
    Invalid(String),
    /// It could not be read; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Which earlier events a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The exact type.
    pub ty: String,
    /// Only of this stage.
    pub stage: Option<String>,
    /// Only of this service.
    pub service: Option<String>,
    /// Only of this run.
    pub run: Option<String>,
    /// Only before this position.
    pub before: Option<u64>,
    /// Most events; from 1 to [`LOG_EVENTS_MAX`].
    pub limit: usize,
}

/// Most events of a page of the log: what a comparison takes at most.
pub const LOG_EVENTS_MAX: usize = 100;

/// Earlier events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogPage {
    /// Each with its position, the newest first.
    pub events: Vec<(u64, pilothouse_core::Event)>,
    /// Where the next page begins.
    pub next: Option<u64>,
}

/// Why earlier events cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not granted; the text names the grant that would allow it.
    #[error("{0}")]
    Denied(String),
    /// There is no project in hand.
    #[error("{0}")]
    Invalid(String),
    /// They could not be read; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Why an event that a plugin emits is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Not a valid event, or over a limit of the engine.
    #[error("{0}")]
    Invalid(String),
    /// Could not be stored now.
    #[error("{0}")]
    Unavailable(String),
}

/// Where a connection leads and what the host adds on the way.
#[derive(Clone)]
pub struct Connection {
    /// `http` or `https`, host, optional port and a base path beneath which every request goes.
    ///
    /// The address is the operator's own word, so it is not checked against private networks.
    pub base_url: String,
    /// Headers that the host sets, credentials among them; each replaces what the guest set.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

impl fmt::Debug for Connection {
    /// Leaves out the header values and whatever the URL holds beyond its origin: both may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Connection").field("headers", &names).finish_non_exhaustive()
    }
}

/// A job that a plugin asks for.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobRequest {
    /// The template, by the operator's name.
    pub template: TemplateName,
    /// Values of the parameters that the template declares.
    pub parameters: BTreeMap<String, String>,
    /// Input files.
    pub files: Vec<JobFile>,
    /// The plugin's key: the same key within one task is the same job.
    pub idempotency_key: String,
    /// The longest the job may run, if shorter than the template's limit.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for JobRequest {
    /// Leaves out parameter values and contents: they come from event data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRequest")
            .field("template", &self.template)
            .field("parameters", &self.parameters.keys().collect::<Vec<_>>())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// An input file of a job.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobFile {
    /// A relative path of plain names.
    pub name: String,
    /// The bytes.
    #[serde(with = "content")]
    pub content: Vec<u8>,
}

/// A job to start once the delivery is committed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobStart {
    /// The id that [`Services::prepare_job`] gave.
    pub id: String,
    /// The request as checked.
    pub request: JobRequest,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Not started yet.
    Waiting,
    /// Under way.
    Running,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended in another way.
    Failed,
    /// Stopped at its time limit.
    TimedOut,
    /// Stopped on request.
    Cancelled,
    /// Its supervisor died; nobody knows.
    Lost,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// Where it stands.
    pub state: JobState,
    /// Its exit code, once it ended by itself.
    pub exit_code: Option<i32>,
    /// Names for [`Services::open_artifact`].
    pub artifacts: Vec<String>,
}

/// Why a job cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Not granted; the text names the grant that would allow it.
    #[error("{0}")]
    Denied(String),
    /// No such job or artifact.
    #[error("no such job or artifact")]
    NotFound,
    /// The request does not fit the template; the text says which part.
    #[error("{0}")]
    Invalid(String),
    /// Too many jobs.
    #[error("too many jobs")]
    QuotaExceeded,
    /// The runner failed; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// What lies behind the imports of a component that is only tried or asked about its settings: nothing.
pub(crate) struct NoServices;

const NOTHING: &str = "nothing is granted in this call";

#[async_trait::async_trait]
impl Services for NoServices {
    async fn emit(&self, _index: u32, _event: EventBuilder) -> Result<(), EmitError> {
        Err(EmitError::Unavailable(NOTHING.to_owned()))
    }

    async fn key_value(&self, _key: &str) -> Result<Option<Vec<u8>>, String> {
        Err(NOTHING.to_owned())
    }

    async fn keys(&self, _after: Option<&str>, _limit: usize) -> Result<Vec<String>, String> {
        Err(NOTHING.to_owned())
    }

    fn connection(&self, _operator_name: &ConnectionName) -> Result<Connection, String> {
        Err(NOTHING.to_owned())
    }

    fn output_directory(&self, _operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        Err(OutputError::Unavailable(NOTHING.to_owned()))
    }

    async fn resource(&self, _level: Option<ResourceLevel>, _path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        Err(ResourceError::Unavailable(NOTHING.to_owned()))
    }

    async fn resources(&self, _level: ResourceLevel, _prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        Err(ResourceError::Unavailable(NOTHING.to_owned()))
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        Err(ResourceError::Unavailable(NOTHING.to_owned()))
    }

    async fn earlier_events(&self, _query: LogQuery) -> Result<LogPage, LogError> {
        Err(LogError::Unavailable(NOTHING.to_owned()))
    }

    async fn prepare_job(&self, _request: JobRequest) -> Result<String, JobError> {
        Err(JobError::Unavailable(NOTHING.to_owned()))
    }

    async fn job_status(&self, _id: &str) -> Result<JobStatus, JobError> {
        Err(JobError::Unavailable(NOTHING.to_owned()))
    }

    async fn open_artifact(
        &self,
        _id: &str,
        _artifact: &str,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError> {
        Err(JobError::Unavailable(NOTHING.to_owned()))
    }
}

/// Content in the stored form of a job: Base64, which is a third larger than the bytes. An array of numbers, as it was at
/// first, is read too.
mod content {
    use std::fmt;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(content: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(content))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_any(Content)
    }

    struct Content;

    impl<'de> Visitor<'de> for Content {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Base64, or an array of bytes")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD.decode(text).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<u8>, A::Error> {
            let mut content = Vec::new();
            while let Some(byte) = array.next_element::<u64>()? {
                content.push(u8::try_from(byte).map_err(A::Error::custom)?);
            }
            Ok(content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::JobFile;

    #[test]
    fn the_content_of_a_file_is_stored_as_base64_and_read_from_the_first_form_too() {
        let file = JobFile { name: "a".to_owned(), content: vec![0, 255, 16] };
        let stored = serde_json::to_string(&file).unwrap();
        assert_eq!(stored, r#"{"name":"a","content":"AP8Q"}"#);
        for text in [stored.as_str(), r#"{"name":"a","content":[0,255,16]}"#] {
            assert!(serde_json::from_str::<JobFile>(text).unwrap() == file, "{text}");
        }
        for wrong in [r#"{"name":"a","content":"%"}"#, r#"{"name":"a","content":[256]}"#, r#"{"name":"a","content":5}"#]
        {
            assert!(serde_json::from_str::<JobFile>(wrong).is_err(), "{wrong}");
        }
    }
}
