//! Outbound HTTP (`wasi:http/outgoing-handler`): denied unless granted, by name and by address.

mod address;
mod rule;

pub use address::{Network, NetworkError};
pub use rule::{HostRule, HostRuleError};
