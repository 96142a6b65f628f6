//! What an operator gives a plugin. Effective = manifest ∩ grant ∩ the operator's ceiling, at each call.
//!
//! [`Grants`] is the file as written, [`EffectiveGrants`] what the runtime enforces, and [`missing_grants`] what an
//! installation still lacks. Absence always means none.

mod effective;
mod host_rule;
mod limits;
mod network;

pub use effective::{EffectiveGrants, GrantError, missing_grants};
pub use host_rule::{HostRule, HostRuleError, Scheme};
pub use limits::{Ceiling, LIMITS_DEFAULT, Limits};
pub use network::{Network, NetworkError};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::filter::DataMatch;
use crate::manifest::LimitsRequest;
use crate::name::{ConnectionName, OutputName, TaskName, TemplateName};
use crate::quantity::Span;

/// The grants of one installation, as in its grants file (TOML) and in the API (JSON).
///
/// An absent table and an empty one mean none. Maps go from the plugin's own name for a thing, as in its manifest, to
/// the operator's name for it, as in the configuration; a plugin installed twice can so have two channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Grants {
    /// Rules `scheme://host[:port]`, each one also asked for in the manifest or narrower than one that is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Networks in CIDR form (`10.0.0.0/8`, `127.0.0.1/32`) that `http` rules may reach although they are private,
    /// loopback or link-local. Never implied by a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Connections, by the plugin's name for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<ConnectionName, ConnectionName>,
    /// Tasks that a plugin executes which takes any (`any-task` in its manifest).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskName, TaskGrant>,
    /// Job templates, by the plugin's name for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<TemplateName, TemplateName>,
    /// Output directories, by the plugin's name for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<OutputName, OutputName>,
    /// Whether the plugin may keep state between deliveries.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keyvalue: bool,
    /// Whether the plugin may read the files of the project that an event in hand belongs to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resources: bool,
    /// Whether the plugin may write files of that project, below the folders that its manifest lists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resources_write: bool,
    /// Whether the plugin may read earlier events of the project that an event in hand belongs to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub event_log: bool,
    /// Limits that replace what the manifest asks for; the operator's ceiling still holds.
    pub limits: LimitsRequest,
}

/// A task that a plugin is to execute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TaskGrant {
    /// JSON pointers into the trigger's `data`, each with the values accepted, so that of several executors of one task the
    /// meant one is bound.
    #[serde(rename = "match", skip_serializing_if = "DataMatch::is_empty")]
    pub data_match: DataMatch,
    /// Longest time from the trigger to the answer. Default [`crate::task::FINISH_TIMEOUT_DEFAULT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timeout: Option<Span>,
}
