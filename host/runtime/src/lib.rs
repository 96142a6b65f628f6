//! Runs plugins: WebAssembly components in sandboxes, one fresh instance per call, with nothing but what was granted.
//!
//! [`Runtime`] is the door. [`Runtime::inspect`] reads a component without running it, [`Runtime::load`] compiles it
//! once, [`Runtime::call`] runs one attempt of one delivery and always comes back with a [`CallReport`]. What a guest
//! may reach outside goes through [`Services`], which the engine provides.
//!
//! Never here: an HTTP server, the layout of the data directory, configuration files, the store.

mod call;
mod engine;
mod grant;
mod http;
mod inspect;
mod log;
mod plugin;
mod runtime;
mod services;

pub use call::{Call, CallContext, CallFailure, CallReport, Effects, Outcome, Settings, TaskInfo};
pub use engine::{RuntimeConfig, RuntimeError};
pub use grant::{CallLimits, EffectiveGrants};
pub use http::{HostRule, HostRuleError, Network, NetworkError};
pub use inspect::{Inspection, InspectionProblem};
pub use log::{LOG_LINE_BYTES_MAX, LogLevel, LogLine};
pub use plugin::{LoadError, Plugin};
pub use runtime::{Problem, Runtime};
pub use services::{Connection, EmitError, JobError, JobFile, JobRequest, JobStart, JobState, JobStatus, Services};
