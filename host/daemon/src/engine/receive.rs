//! Requests of tools that a plugin makes events of: finding the installation, and what it came to.

use std::sync::Arc;

use pilothouse_core::name::InstallationName;
use pilothouse_runtime::{InboundReceived, InboundRequest, Plugin, ReceiveError};

use super::Engine;
use super::installation::Installation;
use crate::inbound::InboundError;

impl Engine {
    /// Says whether a route may be given to an installation.
    ///
    /// # Errors
    /// There is none of this name, or its plugin does not ask for one.
    pub fn takes_requests(&self, name: &InstallationName) -> Result<(), String> {
        let Some(installation) = self.0.installation(name) else {
            return Err(format!("`{name}` is not installed; `pilothouse plugin list` shows what is"));
        };
        match installation.manifest.inbound {
            Some(_) => Ok(()),
            None => Err(format!("the plugin of `{name}` takes no requests: its manifest has no [inbound]")),
        }
    }

    /// Lets an installation's plugin make events of a request.
    ///
    /// # Errors
    /// It is not there or not loaded, it refuses the request, or it fails.
    pub async fn receive(
        &self,
        name: &InstallationName,
        request: InboundRequest,
    ) -> Result<InboundReceived, InboundError> {
        let (installation, plugin) = self.receiver(name)?;
        let limits = installation.effective.limits;
        let settings = Arc::clone(&installation.settings);
        let report = self.0.runtime.receive(&plugin, name.clone(), settings, limits, request).await;
        for line in &report.log {
            tracing::info!(installation = %name, text = %line.message, "PluginLog");
        }
        report.outcome.map_err(|error| match error {
            ReceiveError::Refused(reason) => InboundError::Unmappable(reason),
            ReceiveError::Failed(_) => InboundError::PluginFailed(format!("`{name}`: {error}")),
        })
    }

    fn receiver(&self, name: &InstallationName) -> Result<(Arc<Installation>, Arc<Plugin>), InboundError> {
        let away = |text: String| InboundError::PluginAway(text);
        let installation = self.0.installation(name);
        let installation = installation.ok_or_else(|| away(format!("`{name}` is not installed any more")))?;
        if installation.row.removal.is_some() {
            return Err(away(format!("`{name}` is being removed")));
        }
        let plugin = installation.plugin.load_full();
        let plugin = plugin.ok_or_else(|| match installation.failure.load_full() {
            Some(failure) => away(format!("`{name}` could not be loaded: {failure}")),
            None => away(format!("`{name}` is not loaded yet; send it again")),
        })?;
        Ok((installation, plugin))
    }
}
