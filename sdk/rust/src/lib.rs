//! Write a Pilothouse plugin in Rust.
//!
//! A plugin is a crate of type `["cdylib", "rlib"]` with a `plugin.toml` (its manifest) beside its `Cargo.toml`, built
//! by `cargo build --target wasm32-wasip2`:
//!
//! ```
//! use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, log};
//!
//! struct Greeter;
//!
//! impl Handler for Greeter {
//!     fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
//!         log::info!("attempt {} at {}", ctx.attempt(), event.id);
//!         let greeting = Event::builder("com.example.greeted.v1").json(&"hello")?.build();
//!         Ok(Outcome::none().event(greeting))
//!     }
//! }
//! # // A doc test has no `plugin.toml`, so the macro is tested by `examples/hello.rs`.
//! ```
//! and `pilothouse_sdk::plugin!(Greeter);` at the end.
//!
//! The crate compiles natively as well, so that `cargo test` reaches a plugin's logic: make a [`Context`] with
//! [`Context::fixed`]. What only the host can answer (settings, HTTP, jobs …) then returns an error and never panics; test
//! that part with `pilothouse-testing`, which runs the built component.
//!
//! Never here: rules of the host. What a plugin may do is decided by the host at each call.

#[cfg(feature = "cloudevents")]
mod cloud_event;
mod context;
mod event;
pub mod event_log;
mod export;
mod failure;
mod handler;
pub mod http;
mod inbound;
pub mod jobs;
pub mod key_value;
pub mod log;
mod outcome;
pub mod outputs;
pub mod resources;
mod settings;
mod shim;

/// Reads a project's files, and judges values by an SLO, exactly as the host does.
#[cfg(feature = "files")]
pub use pilothouse_files as files;

pub use context::{Cause, Context, EmitError, FixedContext, Task};
pub use event::{AttributeValue, Data, Event, EventBuilder};
pub use failure::{Failure, reject, retry};
pub use handler::{Handler, Problem};
pub use inbound::{Received, Request};
pub use outcome::{Answer, Finished, Outcome, TaskResult, TaskStatus};
pub use settings::{settings, settings_text};
pub use shim::{bindings, inbound_bindings, settings_bindings};

#[doc(hidden)]
pub use export::{__handle, __receive, __validate};
#[doc(hidden)]
pub use wit_bindgen::rt as __rt;

/// Whether this code runs inside a component, with a host to call.
///
/// A constant, so that the branch costs nothing. Natively the imports do not exist, and calling one would panic.
pub(crate) const INSIDE_COMPONENT: bool = cfg!(target_arch = "wasm32");

/// What host calls answer in a native build.
pub(crate) const OUTSIDE: &str = "not inside a component: test this with `pilothouse-testing`";
