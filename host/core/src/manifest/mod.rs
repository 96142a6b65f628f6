//! What a plugin says about itself: the TOML document in the component's custom section `pilothouse:manifest`.
//!
//! `wit/README.md` has one canonical example with every key. [`Manifest::parse`] is the only way in: it reports every
//! problem at once, with its line.

mod check;
mod read;

pub use read::{ManifestError, ManifestProblem};

use serde::{Deserialize, Serialize};

use crate::filter::{DataMatch, Filter};
use crate::name::{ConnectionName, OutputName, PluginName, TaskName, TemplateName};
use crate::quantity::{ByteSize, Span};

/// The component's custom section that holds the manifest.
pub const MANIFEST_SECTION: &str = "pilothouse:manifest";
/// Largest manifest, in bytes. The bundled ones are under 8 KiB.
pub const MANIFEST_SIZE_BYTES_MAX: usize = 256 * 1024;

/// A plugin's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name.
    pub name: PluginName,
    /// Its version (semver).
    pub version: String,
    /// One sentence: what it does.
    pub description: String,
    /// SPDX licence expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Types of the events that it sends besides `.started` and `.finished`; a trailing `*` stands for any rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emits: Vec<String>,
    /// Tasks that it executes.
    #[serde(default, rename = "task", skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskRequest>,
    /// That it executes whatever tasks the operator names in the grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_task: Option<ReasonRequest>,
    /// Events that it observes.
    #[serde(default, rename = "subscribe", skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<SubscriptionRequest>,
    /// Order of deliveries: `none` (default) or `key`.
    #[serde(default)]
    pub order: Order,
    /// Settings and their JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsRequest>,
    /// Outbound HTTP asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpRequest>,
    /// Connections asked for.
    #[serde(default, rename = "connection", skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<NamedRequest<ConnectionName>>,
    /// That it uses whatever connections the operator names in the grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_connection: Option<ReasonRequest>,
    /// Job templates asked for.
    #[serde(default, rename = "job", skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<NamedRequest<TemplateName>>,
    /// That it uses whatever job templates the operator names in the grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_job: Option<ReasonRequest>,
    /// Output directories asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<NamedRequest<OutputName>>,
    /// Key-value state asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyvalue: Option<ReasonRequest>,
    /// The project's files asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesRequest>,
    /// Earlier events of the project asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<ReasonRequest>,
    /// That it makes events of a tool's requests, where the operator gives it a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<ReasonRequest>,
    /// Limits that it would like.
    #[serde(default)]
    pub limits: LimitsRequest,
}

/// The files of projects that the plugin reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResourcesRequest {
    /// Why; the operator reads it.
    pub reason: String,
    /// Folders whose files it writes, such as `grafana/`, in the folder of any level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
}

/// A task that the plugin executes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TaskRequest {
    /// The task's name.
    pub name: TaskName,
    /// JSON pointers into the trigger's `data`, each with the values accepted.
    #[serde(default, rename = "match", skip_serializing_if = "DataMatch::is_empty")]
    pub data_match: DataMatch,
    /// Longest time from the trigger to the answer. Default [`crate::task::FINISH_TIMEOUT_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timeout: Option<Span>,
}

/// Events that the plugin observes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SubscriptionRequest {
    /// CloudEvents filter, such as `{ exact = { type = "…" } }`.
    pub filter: Filter,
    /// JSON pointers into `data`, each with the values accepted.
    #[serde(default, rename = "match", skip_serializing_if = "DataMatch::is_empty")]
    pub data_match: DataMatch,
    /// Whether the plugin also gets the events that it sent itself. Default no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_events: bool,
}

/// Order of the deliveries to an installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// They start in log order and run side by side.
    #[default]
    None,
    /// One in flight per key: project/stage/service, else `partitionkey`, else `subject`.
    Key,
}

/// The settings that the plugin takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SettingsRequest {
    /// JSON Schema (2020-12) of the settings document, an object.
    pub schema: serde_json::Value,
}

/// Outbound HTTP asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpRequest {
    /// Rules `scheme://host[:port]`; host may start with `*.`.
    pub hosts: Vec<String>,
    /// Why, for the operator.
    pub reason: String,
}

/// A thing asked for by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamedRequest<N> {
    /// The plugin's name for it.
    pub name: N,
    /// Why, for the operator.
    pub reason: String,
    /// Whether the plugin does useful work without it. Default no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A thing asked for that needs no name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why, for the operator.
    pub reason: String,
}

/// Limits asked for, or granted; each one absent means the host's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LimitsRequest {
    /// Linear memory, summed over all memories of an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// CPU time of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Wall-clock time of one call, waits included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Deliveries handled at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Attempts of one delivery, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Log text kept of one call, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<ByteSize>,
}
