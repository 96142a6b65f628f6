//! What one call may do: manifest ∩ grant ∩ the operator's ceiling, in the form that is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_core::name::{ConnectionName, OutputName, TemplateName};

use crate::http::{HostRule, Network};

/// What one call may do. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct EffectiveGrants {
    /// Hosts that may be called.
    pub http: Vec<HostRule>,
    /// Networks that host rules may reach although they are private, loopback or link-local.
    pub networks: Vec<Network>,
    /// Connections, from the plugin's name to the operator's.
    pub connections: BTreeMap<ConnectionName, ConnectionName>,
    /// Job templates, from the plugin's name to the operator's.
    pub jobs: BTreeMap<TemplateName, TemplateName>,
    /// Output directories, from the plugin's name to the operator's.
    pub outputs: BTreeMap<OutputName, OutputName>,
    /// Whether key-value state is granted.
    pub keyvalue: bool,
    /// Bounds of the call.
    pub limits: CallLimits,
}

/// The bounds of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Linear memory, summed over all memories of the instance. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// CPU time. Default 1 s.
    pub cpu_max: Duration,
    /// Wall-clock time, waits in host calls included. Default 10 s.
    pub wall_max: Duration,
    /// Log text kept, in bytes. Default 64 KiB.
    pub log_bytes_max: usize,
}

impl Default for CallLimits {
    /// Room for a JavaScript guest and for one slow HTTP request; `wit/handler.wit` promises these numbers.
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            cpu_max: Duration::from_secs(1),
            wall_max: Duration::from_secs(10),
            log_bytes_max: 64 << 10,
        }
    }
}
