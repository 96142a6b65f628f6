//! The end-to-end tests: one binary, because each one links all of wasmtime.
//!
//! The guests are built by `cargo xtask guests`; a test that misses its guest fails and says so.

mod crash;
mod demo;
mod flow;
mod hostile;
mod jobs;
mod languages;
mod program;
mod sdks;
mod start;
mod tasks;
