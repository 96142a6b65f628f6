//! The program: daemon and command line in one binary. As a library it is what `main.rs` and the tests call.
//!
//! [`config`] says what an operator can set, [`auth`] who may talk to the host, [`http`] is the API, [`engine`] does the
//! work, [`serve`] wires them to a socket, and [`cli`] is a client of the API like any other.
#![forbid(unsafe_code)]

/// Buffers of events go from thread to thread and live for milliseconds, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod auth;
pub mod backup;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod data_dir;
pub mod demo;
pub mod engine;
pub mod git;
pub mod http;
pub mod inbound;
pub mod metrics;
pub mod otlp;
pub mod project;
pub mod push;
pub mod report;
pub mod resources;
pub mod secrets;
pub mod serve;
#[cfg(test)]
mod testing;
