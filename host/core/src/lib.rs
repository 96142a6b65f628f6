//! The rules of Pilothouse's domain: what an event is, who gets it, what a task is, what a plugin may do.
//!
//! Everything here is a function of its arguments. Time and ids are passed in; nothing reads a clock, a file or a
//! socket, and nothing is asynchronous. Start at [`event`] (what comes in), [`subscription`] (who gets it),
//! [`delivery`] (what becomes of it) and [`task`] (who answers).
//!
//! Never here: I/O, threads, SQL, HTTP servers, wasmtime.
#![forbid(unsafe_code)]

pub mod alertmanager;
pub mod delivery;
pub mod event;
pub mod files;
pub mod filter;
pub mod grant;
pub mod host_event;
pub mod inbound;
pub mod keptn;
pub mod keptn_import;
pub mod manifest;
pub mod openslo;
pub mod resource;
pub mod right;
pub mod scope;
pub mod sequence;
pub mod subscription;
pub mod task;
pub mod time;
pub mod trace_context;

pub use event::Event;
pub use pilothouse_files::{name, quantity, shipyard, suggest, yaml};
