//! Installed plugins: the stored row, the loaded form, and the immutable snapshot that events are routed with.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pilothouse_core::delivery::RetryPolicy;
use pilothouse_core::grant::{EffectiveGrants, Grants};
use pilothouse_core::manifest::Manifest;
use pilothouse_core::name::InstallationName;
use pilothouse_core::scope::Scope;
use pilothouse_core::subscription::{Subscriber, Subscriptions};
use pilothouse_core::time::Timestamp;
use pilothouse_runtime::{Plugin, Settings};
use serde::{Deserialize, Serialize};

use super::outside::OutsideExecutor;

/// Kind of the state rows that installations are kept in.
pub(super) const INSTALLATION_KIND: &str = "installation";
/// Kind of the one state row with the generation of the subscriptions.
pub(super) const ROUTING_KIND: &str = "routing";

/// An installation as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct InstallationRow {
    /// Version of this form.
    pub(super) schema: u32,
    /// Digest of the component.
    pub(super) digest: String,
    /// Settings document.
    pub(super) settings: serde_json::Value,
    /// What is granted.
    pub(super) grants: Grants,
    /// Where it applies.
    pub(super) scope: Scope,
    /// Who installed it.
    pub(super) actor: String,
    /// When.
    pub(super) installed_at: Timestamp,
    /// Set while it is being removed: it takes no new events.
    pub(super) removal: Option<Removal>,
}

/// What becomes of the deliveries that wait for an installation which is being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Removal {
    /// They are handled first.
    Drain,
    /// They become dead letters.
    DeadLetter,
}

/// An installation, ready to be called.
pub(super) struct Installation {
    /// Its name.
    pub(super) name: InstallationName,
    /// As stored.
    pub(super) row: InstallationRow,
    /// Revision of the stored row.
    pub(super) revision: u64,
    /// From the component.
    pub(super) manifest: Arc<Manifest>,
    /// Manifest ∩ grant ∩ ceiling.
    pub(super) effective: Arc<EffectiveGrants>,
    /// As the plugin sees them.
    pub(super) settings: Arc<Settings>,
    /// The compiled component; empty until it is loaded.
    pub(super) plugin: ArcSwapOption<Plugin>,
    /// Why it could not be loaded. Its deliveries wait.
    pub(super) failure: ArcSwapOption<String>,
}

impl Installation {
    /// Returns how its failed deliveries are tried again.
    pub(super) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy { attempts_max: self.effective.limits.attempts_max.max(1), ..RetryPolicy::default() }
    }

    /// Returns what it subscribes to; nothing while it drains.
    fn subscribers(&self) -> Vec<Subscriber> {
        if self.row.removal.is_some() {
            return Vec::new();
        }
        Subscriber::of_plugin(&self.manifest, &self.row.grants, &self.name, &self.row.scope)
    }
}

/// The installations and their subscriptions at one generation. Never changed, only replaced.
pub(super) struct Snapshot {
    /// What events are routed with.
    pub(super) subscriptions: Subscriptions,
    /// Installations by name.
    pub(super) installations: BTreeMap<InstallationName, Arc<Installation>>,
    /// Outside executors by name.
    pub(super) executors: BTreeMap<InstallationName, Arc<OutsideExecutor>>,
}

impl Snapshot {
    /// Makes a snapshot.
    pub(super) fn new(
        generation: u64,
        installations: BTreeMap<InstallationName, Arc<Installation>>,
        executors: BTreeMap<InstallationName, Arc<OutsideExecutor>>,
    ) -> Self {
        let plugins = installations.values().flat_map(|installation| installation.subscribers());
        let subscribers = plugins.chain(executors.values().flat_map(|executor| executor.subscribers())).collect();
        Self { subscriptions: Subscriptions::new(generation, subscribers), installations, executors }
    }

    /// Returns the generation.
    pub(super) fn generation(&self) -> u64 {
        self.subscriptions.generation()
    }
}
