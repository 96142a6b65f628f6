//! A loaded plugin, and the way there: inspect, compile or read from the cache, link, instantiate once.

use pilothouse_core::manifest::Manifest;

use crate::inspect::Inspection;

/// A component that is compiled, linked and known to start. Shared by all calls.
pub struct Plugin {
    pub(crate) inspection: Inspection,
}

impl Plugin {
    /// Returns what the component says about itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.inspection.manifest
    }

    /// Returns `sha256:` and the hex digest of the component's bytes.
    pub fn digest(&self) -> &str {
        &self.inspection.digest
    }
}

/// Why a component cannot be loaded. All but [`LoadError::Host`] are the component's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not a component that can be read.
    #[error("this is not a plugin: {0}")]
    NotAComponent(String),
    /// Over the limit of size.
    #[error("the component has {size} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// No manifest, several, or one that cannot be read.
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    /// Imports or exports do not fit this host or the manifest.
    #[error("the plugin does not fit this host: {0}")]
    Unfit(String),
    /// It does not compile, or not within the host's limits.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// It does not start.
    #[error("the component does not start: {0}")]
    Start(String),
    /// The host failed.
    #[error("{0}")]
    Host(String),
}
