//! Runs plugins: WebAssembly components in sandboxes, one fresh instance per call, with nothing but what was granted.
//!
//! [`Runtime`] is the door. [`Runtime::inspect`] reads a component without running it, [`Runtime::load`] compiles it
//! once, [`Runtime::call`] runs one attempt of one delivery and always comes back with a [`CallReport`]. What a guest
//! may reach outside goes through [`Services`], which the engine provides.
//!
//! Never here: an HTTP server, the layout of the data directory, configuration files, the store.

mod bindings;
mod cache;
mod call;
mod clock;
mod config;
mod delivery;
mod embed;
mod engine;
mod event;
mod event_log;
mod failure;
mod granted_outputs;
mod http;
mod inbound;
mod inspect;
pub mod job;
mod jobs;
mod key_value;
mod limits;
mod log;
mod logging;
mod outcome;
pub mod outputs;
mod plugin;
mod resources;
mod run;
mod runtime;
mod services;
mod state;
#[cfg(test)]
mod tests;

pub use call::{Call, CallContext, CallFailure, CallReport, Effects, Outcome, Settings, TaskInfo};
pub use embed::embed_manifest;
#[doc(hidden)]
pub use engine::pooled_settings;
pub use engine::{RuntimeConfig, RuntimeError};
pub use inbound::{
    InboundDecision, InboundReceived, InboundRequest, InboundResponse, RESPONSE_BYTES_MAX, ReceiveError, ReceiveReport,
};
pub use inspect::{COMPONENT_BYTES_MAX, Inspection, InspectionProblem};
pub use log::{LOG_LINE_BYTES_MAX, LogLevel, LogLine};
pub use plugin::{LoadError, Plugin};
pub use runtime::{Problem, Runtime};
pub use services::{
    Connection, EmitError, JobError, JobFile, JobRequest, JobStart, JobState, JobStatus, LOG_EVENTS_MAX, LogError,
    LogPage, LogQuery, ResourceChange, ResourceError, ResourceLevel, Services,
};
