//! What a plugin author implements.
//!
//! Never here: anything that the host or the bindings do.

use crate::{Context, Event, Failure, Outcome, Received, Request};

/// Something wrong with the settings, for the operator who wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer into the settings document.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// Makes a problem at a JSON Pointer (empty for the whole document).
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// A plugin. Each call has a fresh instance: nothing in memory survives, and several instances may run at the same time.
pub trait Handler {
    /// Handles one event; called once per attempt.
    ///
    /// What is returned is committed all or none, together with key-value writes and starts of jobs; [`Context::emit`],
    /// HTTP requests and outputs happen at least once. The host stops a call that is over its CPU time (1 s by
    /// default), wall-clock time (10 s) or memory (64 MiB).
    ///
    /// # Errors
    /// The host tries again later, or makes a dead letter, as the failure says.
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure>;

    /// Checks what a JSON Schema cannot, at install and on each change of settings, with nothing granted.
    ///
    /// `settings` is JSON that has passed the manifest's schema. Called only with `plugin!(MyPlugin, settings)`.
    fn validate(settings: &str) -> Vec<Problem> {
        let _ = settings;
        Vec::new()
    }

    /// Makes events of a request that a tool sent to the route which the operator gave to this installation.
    ///
    /// The host has verified the caller. Nothing is granted but the settings and the log, and five seconds of time. Called
    /// only with `plugin!(MyPlugin, inbound)`; the manifest says `[inbound]`.
    ///
    /// # Errors
    /// What is wrong with the request, for the caller, who gets it with 422.
    fn receive(request: Request) -> Result<Received, String> {
        let _ = request;
        Err("this plugin takes no requests".to_owned())
    }
}
