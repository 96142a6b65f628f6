//! What the engine tells the HTTP API: plain data, ready to be written as JSON.

use std::collections::BTreeMap;

use pilothouse_core::grant::Grants;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::{Actor, Reach};
use pilothouse_core::scope::Scope;
use serde::Serialize;
use utoipa::ToSchema;

/// Who sends events from outside, and what the sender may do.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Stored with what is sent.
    pub actor: Actor,
    /// Where the sender may send events (right `ingest`).
    pub may_send: Reach,
    /// Where the sender may send `<task>.triggered` (right `task`).
    pub may_trigger: Reach,
}

/// What became of one event that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Accepted {
    /// Its id.
    pub id: String,
    /// Its position in the log; of the first one, for a duplicate.
    pub seq: u64,
    /// The run it belongs to, given or derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Whether the same source and id was accepted before.
    pub duplicate: bool,
    /// Whether it was accepted before with other attributes or data; the first one stays.
    pub mismatch: bool,
    /// How many deliveries follow from it; 0 for a duplicate.
    pub deliveries: usize,
    /// What may have been meant, when nobody gets the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Why an event from outside is refused although it is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The sender may not send this event: 403.
    #[error("{message}")]
    Forbidden {
        /// A word for programs.
        code: &'static str,
        /// For people, with what would allow it.
        message: String,
        /// Position in the batch.
        index: usize,
    },
    /// A rule of the host refuses it: 422.
    #[error("{message}")]
    Refused {
        /// A word for programs.
        code: &'static str,
        /// For people.
        message: String,
        /// Position in the batch.
        index: usize,
    },
    /// The store refused or failed: 503 or 504.
    #[error(transparent)]
    Store(#[from] pilothouse_store::StoreError),
}

/// Why a subscriber does or does not get an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Match {
    /// The installation.
    pub installation: String,
    /// Whether it gets the event.
    pub matched: bool,
    /// In words.
    pub reason: String,
}

/// The story of one event: for each subscription why it did or did not get it, and the tree of causes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Trace {
    /// Position of the event asked for.
    pub seq: u64,
    /// By the subscriptions of today; deliveries below say what really happened.
    pub subscriptions: Vec<Match>,
    /// The first cause of it all, with everything that followed. The event asked for is one of the nodes.
    pub root: TraceEvent,
    /// Whether the tree was cut at [`crate::engine::TRACE_NODES_MAX`] nodes.
    pub truncated: bool,
}

/// One event of a trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceEvent {
    /// Its position.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its source.
    pub source: String,
    /// When it was accepted (RFC 3339).
    pub accepted: String,
    /// Who caused it.
    pub actor: String,
    /// `result` and `message` of its data, where it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What was made of it.
    pub deliveries: Vec<TraceDelivery>,
    /// Events that the host made because of it, without a delivery in between.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub followed_by: Vec<TraceEvent>,
}

/// One delivery of a trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceDelivery {
    /// Its id.
    pub id: String,
    /// Who gets it.
    pub installation: String,
    /// Why it was made.
    pub cause: String,
    /// Where it stands.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Why it stands there: the last failure, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Events that came out of it.
    #[schema(no_recursion)]
    pub events: Vec<TraceEvent>,
}

/// A task as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TaskView {
    /// The id of its `.triggered` event.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The run it belongs to.
    pub run: String,
    /// Project, stage and service, where the trigger names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `open` or `ended`.
    pub state: String,
    /// The result of an ended task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it ended so, or what it waits for.
    pub reason: String,
    /// Position of the `.triggered` event.
    pub triggered: u64,
    /// When it ends at the latest (RFC 3339).
    pub finish_by: String,
    /// Each bound executor and where it stands, in words.
    pub executors: BTreeMap<String, String>,
}

/// A request to install a plugin, or to change an installation.
#[derive(Clone, Debug)]
pub struct InstallRequest {
    /// Under which name.
    pub name: InstallationName,
    /// Digest of an uploaded component (`sha256:…`).
    pub digest: String,
    /// Settings document, a JSON object.
    pub settings: serde_json::Value,
    /// What is granted.
    pub grants: Grants,
    /// Where it applies.
    pub scope: Scope,
}

/// Why a plugin was not installed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InstallError {
    /// No such component was uploaded.
    #[error("no component with digest `{0}` was uploaded; send it to /v1/plugins first")]
    UnknownComponent(String),
    /// The component cannot be used; the plugin's fault.
    #[error("{0}")]
    Component(String),
    /// Settings or grants do not fit the manifest; the operator's fault. One entry per problem.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] pilothouse_store::StoreError),
    /// The component could not be written to the data folder.
    #[error("cannot keep the component: {0}")]
    Io(String),
}

/// What to do with the deliveries that wait for an installation that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Refuse to remove while anything waits.
    Refuse,
    /// Take no new events, handle what waits, then remove.
    Drain,
    /// Make dead letters of them.
    DeadLetter,
}

/// Why an installation was not removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoveError {
    /// No installation of that name.
    #[error("no plugin is installed as `{0}`")]
    NotFound(String),
    /// Deliveries wait and the request does not say what shall become of them.
    #[error("{0} deliveries wait for it: say `drain` to handle them first, or `dead-letter` to give them up")]
    Waiting(u64),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] pilothouse_store::StoreError),
}

/// Why a delivery was not redriven.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedriveError {
    /// No delivery with that id.
    #[error("no delivery `{0}`")]
    NotFound(String),
    /// It is not a dead letter, its task has ended, or its consumer is gone; says which.
    #[error("{0}")]
    Refused(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] pilothouse_store::StoreError),
}

/// An installation as the API shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InstallationView {
    /// Its name.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Digest of the component.
    pub digest: String,
    /// `active`, `draining` or `failed`.
    pub state: String,
    /// Why it failed, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tasks that it executes.
    pub tasks: Vec<String>,
    /// What it observes, in words.
    pub observes: Vec<String>,
    /// Types that it sends.
    pub emits: Vec<String>,
    /// Settings. Secrets never stand here: they are in connections.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
    /// What is granted.
    #[schema(value_type = Object)]
    pub grants: Grants,
    /// Where it applies.
    #[schema(value_type = Object)]
    pub scope: Scope,
    /// What it asks for and was not given, each with the line that would grant it.
    pub missing: Vec<String>,
    /// Limits in force, in words.
    pub limits: BTreeMap<String, String>,
    /// Deliveries under way at this moment.
    pub running: usize,
}
