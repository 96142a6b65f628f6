//! What must hold for any bytes from outside: one function per parser, each a fuzz target of the same name.
//!
//! A function asserts a property of what was accepted, and that a refusal is an error and not a panic. Parsers that need the
//! sandbox's engine are not here, because instrumenting it takes longer than it finds: a component is read by wasmtime's own
//! fuzzed parser, and the host's reading of its sections is tested with damaged ones in `host/runtime`.
#![forbid(unsafe_code)]

mod event;
mod gate;
mod grant;
mod plugin;
mod project;

pub use event::{batch, binary, structured, traceparent};
pub use gate::{alertmanager, evaluation, openslo};
pub use grant::{filter, grants, manifest, rules};
pub use plugin::{jtl, sli, slo, workload};
pub use project::{executor_files, keptn_import, mapping, path, project_files, shipyard};
