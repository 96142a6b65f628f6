//! The door: builds the engine, loads plugins, makes calls.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::delivery::FailureKind;

use crate::call::{Call, CallFailure, CallReport, Effects};
use crate::engine::{RuntimeConfig, RuntimeError};
use crate::inspect::Inspection;
use crate::plugin::{LoadError, Plugin};

/// What a plugin finds wrong with a settings document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer into the document; empty for the whole of it.
    pub path: String,
    /// What is wrong, for the operator.
    pub message: String,
}

/// Runs plugins. One per process.
pub struct Runtime {}

impl Runtime {
    /// Builds the engine, starts its clock and the guests' threads.
    ///
    /// # Errors
    /// The configuration does not fit the machine, or the cache folder is not the host's alone.
    pub fn new(_config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Ok(Self {})
    }

    /// Reads what a component is and asks for; runs no code of it.
    ///
    /// # Errors
    /// The bytes are not a component with one readable manifest.
    pub fn inspect(_wasm: &[u8]) -> Result<Inspection, LoadError> {
        Err(LoadError::Host("not written yet".to_owned()))
    }

    /// Compiles a component, or takes it from the code cache, links it and starts it once. Takes seconds; one at a
    /// time.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, wasm: Vec<u8>) -> Result<Arc<Plugin>, LoadError> {
        Self::inspect(&wasm).map(|inspection| Arc::new(Plugin { inspection }))
    }

    /// Runs one attempt in a fresh instance. Always comes back within the call's limits, with what happened.
    ///
    /// Dropping the future stops the guest.
    pub async fn call(&self, _plugin: &Arc<Plugin>, _call: Call) -> CallReport {
        CallReport {
            outcome: Err(CallFailure {
                kind: FailureKind::Host,
                reason: "not written yet".to_owned(),
                retry_after: None,
            }),
            effects: Effects::default(),
            log: Vec::new(),
            log_dropped: 0,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            memory_bytes_max: 0,
            started_after: Duration::ZERO,
            emitted: 0,
        }
    }

    /// Asks the plugin whether it accepts a settings document; with nothing granted, within one second. A plugin
    /// without the export accepts everything.
    ///
    /// # Errors
    /// What the plugin finds wrong; a trap or a timeout is one problem with an empty path.
    pub async fn validate_settings(&self, _plugin: &Arc<Plugin>, _document: &str) -> Result<(), Vec<Problem>> {
        Ok(())
    }
}
