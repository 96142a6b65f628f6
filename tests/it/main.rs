//! The end-to-end tests: one binary, because each one links all of wasmtime.
//!
//! The guests are built by `cargo xtask guests`; a test that misses its guest fails and says so.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of it is tests; clippy sees that of functions marked as tests alone"
)]

mod approvals;
mod crash;
mod dashboards;
mod demo;
mod evaluation;
mod evaluation_events;
mod executors;
mod flow;
mod hostile;
mod inbound_plugin;
mod jmeter_project;
mod job_plugin;
mod jobs;
mod keptn_import;
mod languages;
mod monitoring;
mod monitoring_remote;
mod new_plugin;
mod pipelines;
mod plugins;
mod program;
mod questions;
mod remediation;
mod sdks;
mod sequences;
mod slack_buttons;
mod start;
mod tasks;
mod traces;
mod tutorial;
mod upstream;
mod upstream_ssh;
mod webhook_plugin;
