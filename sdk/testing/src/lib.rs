//! Runs a plugin's component in a test, on the runtime that the host uses, without a host.
//!
//! ```no_run
//! use pilothouse_testing::{HttpResponse, TestHost, event};
//!
//! let host = TestHost::load("target/wasm32-wasip2/plugin/my_plugin.wasm")?
//!     .settings(&serde_json::json!({ "channel": "#builds" }))?
//!     .respond(|request| {
//!         assert_eq!(request.connection, "slack");
//!         HttpResponse::new(200)
//!     });
//! let delivered = host.deliver(event("com.example.build.finished.v1", &serde_json::json!({ "ok": true })))?;
//! assert_eq!(delivered.requests.len(), 1);
//! # Ok::<(), pilothouse_testing::TestError>(())
//! ```
//!
//! What the plugin asks for in its manifest is granted, unless [`TestHost::grants`] says otherwise. Connections lead to a
//! server of the test on the loopback interface, which answers by the closure given to [`TestHost::respond`]; jobs end at
//! once as [`TestHost::job`] says; output directories are folders that go with the test. Key-value state lives as long as the
//! [`TestHost`].
//!
//! All is synchronous and also works inside an asynchronous test. Never here: routing, retries, timers. A delivery is made
//! when the test makes it.

mod delivered;
mod delivery;
mod error;
mod host;
mod job;
mod server;
mod services;
#[cfg(test)]
mod tests;

pub use delivered::Delivered;
pub use delivery::Delivery;
pub use error::TestError;
pub use host::TestHost;
pub use job::{JobResult, StartedJob};
pub use server::{HttpRequest, HttpResponse};

pub use pilothouse_core::delivery::{Cause, FailureKind};
pub use pilothouse_core::event::{AttributeValue, Data, EventBuilder};
pub use pilothouse_core::task::{Answer, Finished, TaskResult, TaskStatus};
pub use pilothouse_core::{Event, manifest::Manifest};
pub use pilothouse_runtime::{
    CallFailure, JobError, JobRequest, JobState, LogLevel, LogLine, Problem, ResourceLevel, embed_manifest,
};

/// Makes an event to deliver, with JSON data, the id `1` and the source `/test`.
///
/// A `type` that is no CloudEvents type is replaced by `invalid`, which no plugin expects; use [`EventBuilder`] for more.
pub fn event(ty: &str, data: &serde_json::Value) -> Event {
    let with_type = |ty: &str| EventBuilder::new("1", "/test", ty).json(data).build();
    match with_type(ty).or_else(|_| with_type("invalid")) {
        Ok(event) => event,
        Err(_) => unreachable_event(),
    }
}

/// Stands for what cannot be: an event of constants that is not valid.
#[expect(clippy::panic, reason = "only tests call this crate, and there is nothing sensible to go on with")]
fn unreachable_event() -> Event {
    panic!("the data nests too deep for an event")
}
