//! What the operator's configuration gives to plugins: connections and output folders, by name.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pilothouse_core::name::{ConnectionName, OutputName};
use pilothouse_runtime::Connection;

use crate::config::{Config, Connections};

/// Resolves the operator's names for the engine; replaced on reload.
#[derive(Debug)]
pub struct ConfiguredResources {
    connections: Arc<Connections>,
    config: ArcSwap<Config>,
}

impl ConfiguredResources {
    /// Makes the resources of a configuration.
    pub fn new(connections: Arc<Connections>, config: Arc<Config>) -> Self {
        Self { connections, config: ArcSwap::new(config) }
    }

    /// Replaces the configuration after a reload.
    pub fn set_config(&self, config: Arc<Config>) {
        self.config.store(config);
    }
}

impl crate::engine::Resources for ConfiguredResources {
    fn connection(&self, name: &ConnectionName) -> Result<Connection, String> {
        let resolved = self.connections.resolved(name).map_err(|error| error.to_string())?;
        Ok(Connection { base_url: resolved.base_url.clone(), headers: resolved.headers.clone() })
    }

    fn output_directory(&self, name: &OutputName) -> Result<PathBuf, String> {
        let config = self.config.load();
        let output = config.outputs.get(name);
        output.map(|output| output.path.clone()).ok_or_else(|| {
            format!("the operator's configuration has no output directory `{name}`: add a table [outputs.{name}]")
        })
    }
}
