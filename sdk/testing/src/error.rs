//! What can go wrong in a test before the plugin gets to run.

use std::path::PathBuf;

use pilothouse_core::event::EventError;
use pilothouse_core::grant::GrantError;
use pilothouse_core::name::NameError;
use pilothouse_runtime::{LoadError, Problem, RuntimeError};

/// Why a test host cannot do what a test asks. What the plugin does wrong is in [`crate::Delivered`].
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The component cannot be read: it is not built yet, or elsewhere.
    #[error("failed to read component `{}`; build it with `cargo build --target wasm32-wasip2`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The component is not a plugin.
    #[error("failed to load the component")]
    Load(#[from] LoadError),
    /// The runtime does not start on this machine.
    #[error("failed to start the runtime")]
    Runtime(#[from] RuntimeError),
    /// A server, a folder or a thread of the test could not be made.
    #[error("failed to set up the test")]
    Io(#[from] std::io::Error),
    /// The grants given to the test are not TOML as a grants file has it.
    #[error("the grants cannot be read: {0}")]
    Grants(String),
    /// The grants given to the test, or the rules in the manifest, are not valid.
    #[error("the grants are not valid")]
    GrantRule(#[from] GrantError),
    /// A name given to the test is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The settings given to the test are not a JSON object.
    #[error("settings are a JSON object")]
    SettingsNotAnObject,
    /// The plugin does not accept the settings given to the test.
    #[error("the plugin refuses the settings: {0:?}")]
    SettingsRefused(Vec<Problem>),
    /// No job of that id was started.
    #[error("no job `{0}` was started")]
    JobUnknown(String),
    /// An event of the test's own is not valid.
    #[error("the event is not valid")]
    Event(#[from] EventError),
}
