//! Installing, changing and removing plugins. Every change bumps the generation of the subscriptions in the same commit,
//! so that no event is routed with a list that is no longer true.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pilothouse_core::delivery::{DeliveryState, FailureKind};
use pilothouse_core::grant::{EffectiveGrants, missing_grants};
use pilothouse_core::manifest::Manifest;
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_runtime::{Inspection, Plugin, Runtime, Settings};
use pilothouse_store::{Batch, DeliveryFilter, Settlement, StateKey, StateWrite, StoreError};

use super::Inner;
use super::dispatch::unused;
use super::installation::{INSTALLATION_KIND, Installation, InstallationRow, ROUTING_KIND, Removal, Snapshot};
use super::outside::OutsideExecutor;
use super::settle::InHand;
use super::view::{InstallError, InstallRequest, InstallationView, RemoveError, Waiting};

/// How many waiting deliveries are turned into dead letters at a time when an installation is removed.
const DEAD_LETTERS_PER_ROUND: usize = 200;

impl Inner {
    fn component_path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let plain = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| self.components_dir.join(format!("{hex}.wasm")))
    }

    /// See [`super::Engine::upload`].
    pub(super) async fn upload(&self, wasm: Vec<u8>) -> Result<Inspection, InstallError> {
        let inspection = Runtime::inspect(&wasm).map_err(|error| InstallError::Component(error.to_string()))?;
        let fatal: Vec<String> =
            inspection.problems.iter().filter(|it| it.fatal).map(|it| it.message.clone()).collect();
        if !fatal.is_empty() {
            return Err(InstallError::Invalid(fatal));
        }
        let Some(path) = self.component_path(&inspection.digest) else {
            return Err(InstallError::Io(format!("unusable digest `{}`", inspection.digest)));
        };
        let dir = self.components_dir.clone();
        let written = tokio::task::spawn_blocking(move || write_once(&dir, &path, &wasm)).await;
        match written {
            Ok(Ok(())) => Ok(inspection),
            Ok(Err(error)) => Err(InstallError::Io(error.to_string())),
            Err(error) => Err(InstallError::Io(error.to_string())),
        }
    }

    async fn load(&self, digest: &str) -> Result<Arc<Plugin>, InstallError> {
        let path = self.component_path(digest).ok_or_else(|| InstallError::UnknownComponent(digest.to_owned()))?;
        let wasm = tokio::fs::read(&path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => InstallError::UnknownComponent(digest.to_owned()),
            _ => InstallError::Io(format!("{}: {error}", path.display())),
        })?;
        let plugin = self.runtime.load(wasm).await.map_err(|error| InstallError::Component(error.to_string()))?;
        if plugin.digest() == digest {
            Ok(plugin)
        } else {
            Err(InstallError::Component(format!("the file of component `{digest}` has other bytes; upload it again")))
        }
    }

    /// See [`super::Engine::install`].
    pub(super) async fn install(
        self: &Arc<Self>,
        request: InstallRequest,
        actor: &Actor,
    ) -> Result<InstallationView, InstallError> {
        if self.snapshot.load().executors.contains_key(&request.name) {
            let text = format!("`{}` is the name of an outside executor; choose another one", request.name);
            return Err(InstallError::Invalid(vec![text]));
        }
        if request.name.is_built_in() {
            let text = format!("`{}` is the name of a part of the host; choose another one", request.name);
            return Err(InstallError::Invalid(vec![text]));
        }
        let plugin = self.load(&request.digest).await?;
        let manifest = plugin.manifest().clone();
        let (effective, _notes) = EffectiveGrants::new(&manifest, &request.grants, &self.ceiling)
            .map_err(|error| InstallError::Invalid(vec![chain(&error)]))?;
        let settings = self.check_settings(&plugin, &manifest, &request.settings).await?;
        let _guard = self.install_lock.lock().await;
        let old = self.snapshot.load_full();
        let revision = old.installations.get(&request.name).map_or(0, |it| it.revision);
        let row = InstallationRow {
            schema: 1,
            digest: request.digest,
            settings: request.settings,
            grants: request.grants,
            scope: request.scope,
            actor: actor.as_str().to_owned(),
            installed_at: self.clock.now(),
            removal: None,
        };
        let installation = Arc::new(Installation {
            name: request.name.clone(),
            row,
            revision: revision + 1,
            manifest: Arc::new(manifest),
            effective: Arc::new(effective),
            settings: Arc::new(settings),
            plugin: ArcSwapOption::from(Some(plugin)),
            failure: ArcSwapOption::empty(),
        });
        let mut installations = old.installations.clone();
        installations.insert(request.name.clone(), Arc::clone(&installation));
        self.replace(&old, installations, &request.name, revision, Some(&installation.row)).await?;
        Ok(self.view(&installation))
    }

    async fn check_settings(
        &self,
        plugin: &Arc<Plugin>,
        manifest: &Manifest,
        settings: &serde_json::Value,
    ) -> Result<Settings, InstallError> {
        let Some(object) = settings.as_object() else {
            return Err(InstallError::Invalid(vec!["settings are not a JSON object".to_owned()]));
        };
        match &manifest.settings {
            Some(request) => {
                let validator = jsonschema::validator_for(&request.schema)
                    .map_err(|error| InstallError::Component(format!("the manifest's settings schema: {error}")))?;
                let problems: Vec<String> = validator
                    .iter_errors(settings)
                    .map(|error| format!("settings{}: {}", error.instance_path(), error.masked()))
                    .collect();
                if !problems.is_empty() {
                    return Err(InstallError::Invalid(problems));
                }
            }
            None if !object.is_empty() => {
                return Err(InstallError::Invalid(vec![format!("the plugin `{}` takes no settings", manifest.name)]));
            }
            None => {}
        }
        match self.runtime.validate_settings(plugin, &settings.to_string()).await {
            Ok(()) => Ok(Settings::from_object(object)),
            Err(problems) => {
                let problems = problems.into_iter().map(|it| format!("settings{}: {}", it.path, it.message));
                Err(InstallError::Invalid(problems.collect()))
            }
        }
    }

    /// Commits one changed installation with the next generation, and swaps the snapshot.
    async fn replace(
        self: &Arc<Self>,
        old: &Snapshot,
        installations: BTreeMap<InstallationName, Arc<Installation>>,
        name: &InstallationName,
        revision: u64,
        row: Option<&InstallationRow>,
    ) -> Result<(), StoreError> {
        let value = row.and_then(|row| serde_json::to_vec(row).ok());
        let write = state(INSTALLATION_KIND, name.as_str(), revision, value);
        self.replace_snapshot(old, installations, old.executors.clone(), write).await?;
        self.wake_lane(name);
        Ok(())
    }

    /// Commits one changed row with the next generation of the subscriptions, and swaps the snapshot.
    pub(super) async fn replace_snapshot(
        self: &Arc<Self>,
        old: &Snapshot,
        installations: BTreeMap<InstallationName, Arc<Installation>>,
        executors: BTreeMap<InstallationName, Arc<OutsideExecutor>>,
        write: StateWrite,
    ) -> Result<(), StoreError> {
        let generation = old.generation() + 1;
        let mut batch = Batch::new(self.clock.now());
        batch.set_routing = Some(generation);
        batch.states.push(write);
        let routing = self.store.state(&StateKey::new(ROUTING_KIND, "generation")).await?;
        let value = Some(generation.to_string().into_bytes());
        batch.states.push(state(ROUTING_KIND, "generation", routing.map_or(0, |it| it.revision), value));
        self.commit(batch).await?;
        self.snapshot.store(Arc::new(Snapshot::new(generation, installations, executors)));
        self.refresh_lanes();
        Ok(())
    }

    /// See [`super::Engine::remove`].
    pub(super) async fn remove(
        self: &Arc<Self>,
        name: &InstallationName,
        waiting: Waiting,
        actor: &Actor,
    ) -> Result<(), RemoveError> {
        let not_found = || RemoveError::NotFound(name.to_string());
        let installation = self.installation(name).ok_or_else(not_found)?;
        let open = self.open_deliveries(name).await?;
        if open > 0 && waiting == Waiting::Refuse {
            return Err(RemoveError::Waiting(open));
        }
        let removal = if waiting == Waiting::DeadLetter { Removal::DeadLetter } else { Removal::Drain };
        if installation.row.removal != Some(removal) {
            let _guard = self.install_lock.lock().await;
            self.begin_removal(name, removal, actor).await?;
        }
        // With nothing under way it is gone when this returns.
        if self.try_finish_removal(name).await? {
            return Ok(());
        }
        let (inner, name) = (Arc::clone(self), name.clone());
        // The removal itself waits for what is under way (and, draining, for what waits); it goes on after a restart.
        self.tracker.spawn(async move { inner.finish_removal(name).await });
        Ok(())
    }

    async fn begin_removal(
        self: &Arc<Self>,
        name: &InstallationName,
        removal: Removal,
        actor: &Actor,
    ) -> Result<(), RemoveError> {
        let old = self.snapshot.load_full();
        let Some(current) = old.installations.get(name) else { return Err(RemoveError::NotFound(name.to_string())) };
        let row = InstallationRow { removal: Some(removal), actor: actor.as_str().to_owned(), ..current.row.clone() };
        let removing = Arc::new(Installation {
            name: current.name.clone(),
            row: row.clone(),
            revision: current.revision + 1,
            manifest: Arc::clone(&current.manifest),
            effective: Arc::clone(&current.effective),
            settings: Arc::clone(&current.settings),
            plugin: ArcSwapOption::from(current.plugin.load_full()),
            failure: ArcSwapOption::from(current.failure.load_full()),
        });
        let mut installations = old.installations.clone();
        installations.insert(name.clone(), removing);
        Ok(self.replace(&old, installations, name, current.revision, Some(&row)).await?)
    }

    /// Makes dead letters of what waits.
    async fn give_up_all(&self, installation: &Installation) -> Result<(), StoreError> {
        let reason = format!("the installation `{}` was removed by {}", installation.name, installation.row.actor);
        loop {
            let consumer = Some(installation.name.clone());
            let filter = DeliveryFilter { consumer, state: Some(DeliveryState::Ready), ..DeliveryFilter::default() };
            let page = self.store.deliveries(&filter, None, DEAD_LETTERS_PER_ROUND).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            for row in page.items {
                let dead = Settlement::Dead { kind: FailureKind::Host, reason: reason.clone() };
                let dead = unused(&row, dead);
                let in_hand = InHand { row };
                self.settle_dead(&in_hand, dead, &reason).await?;
            }
        }
    }

    /// Removes a draining installation once nothing is owed to it.
    pub(super) async fn finish_removal(self: Arc<Self>, name: InstallationName) {
        let mut settled = self.settled.subscribe();
        while !self.stopping.is_cancelled() {
            settled.mark_unchanged();
            match self.try_finish_removal(&name).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(installation = %name, %error, "InstallationRemoveError"),
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                _ = settled.changed() => {}
            }
        }
    }

    async fn try_finish_removal(self: &Arc<Self>, name: &InstallationName) -> Result<bool, StoreError> {
        if let Some(installation) = self.installation(name)
            && installation.row.removal == Some(Removal::DeadLetter)
        {
            // Also what an attempt under way at the time of the removal left to be tried again.
            self.give_up_all(&installation).await?;
        }
        if self.open_deliveries(name).await? > 0 {
            return Ok(false);
        }
        let _guard = self.install_lock.lock().await;
        let old = self.snapshot.load_full();
        let Some(current) = old.installations.get(name) else { return Ok(true) };
        if current.row.removal.is_none() {
            // Installed again meanwhile: it stays.
            return Ok(true);
        }
        let mut installations = old.installations.clone();
        installations.remove(name);
        self.replace(&old, installations, name, current.revision, None).await?;
        tracing::info!(installation = %name, "InstallationRemoved");
        Ok(true)
    }

    async fn open_deliveries(&self, name: &InstallationName) -> Result<u64, StoreError> {
        let counts = self.store.delivery_counts().await?;
        Ok(counts.iter().filter(|(of, state, _)| of == name && state.is_open()).map(|(_, _, count)| count).sum())
    }

    /// Reads the installations at start. Components are loaded in the background by [`Inner::load_all`].
    pub(super) async fn read_installations(&self) -> Result<Snapshot, StoreError> {
        let routing = self.store.state(&StateKey::new(ROUTING_KIND, "generation")).await?;
        let generation =
            routing.and_then(|row| String::from_utf8(row.value).ok()).and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut installations = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.states(INSTALLATION_KIND, after.as_deref(), 256).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            for stored in rows {
                match self.read_installation(&stored.key, stored.revision, &stored.value).await {
                    Ok(installation) => {
                        installations.insert(installation.name.clone(), Arc::new(installation));
                    }
                    Err(reason) => tracing::error!(installation = %stored.key, %reason, "InstallationReadError"),
                }
            }
        }
        Ok(Snapshot::new(generation, installations, self.read_executors().await?))
    }

    async fn read_installation(&self, key: &str, revision: u64, value: &[u8]) -> Result<Installation, String> {
        let name = InstallationName::new(key).map_err(|error| error.to_string())?;
        let row: InstallationRow = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let path = self.component_path(&row.digest).ok_or("its digest is unusable")?;
        let wasm = tokio::fs::read(&path).await.map_err(|error| format!("{}: {error}", path.display()))?;
        let inspection = Runtime::inspect(&wasm).map_err(|error| error.to_string())?;
        let (effective, _) =
            EffectiveGrants::new(&inspection.manifest, &row.grants, &self.ceiling).map_err(|error| chain(&error))?;
        let empty = serde_json::Map::new();
        let settings = Settings::from_object(row.settings.as_object().unwrap_or(&empty));
        Ok(Installation {
            name,
            revision,
            manifest: Arc::new(inspection.manifest),
            effective: Arc::new(effective),
            settings: Arc::new(settings),
            plugin: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            row,
        })
    }

    /// Loads every component that is not loaded. One that cannot be stays `failed`, with its reason; the others go on.
    pub(super) async fn load_all(self: Arc<Self>) {
        let snapshot = self.snapshot.load_full();
        for installation in snapshot.installations.values() {
            if installation.plugin.load().is_some() {
                continue;
            }
            match self.load(&installation.row.digest).await {
                Ok(plugin) => installation.plugin.store(Some(plugin)),
                Err(error) => {
                    tracing::error!(installation = %installation.name, %error, "InstallationLoadError");
                    installation.failure.store(Some(Arc::new(error.to_string())));
                }
            }
            self.wake_lane(&installation.name);
        }
    }

    /// Describes an installation for the API.
    pub(super) fn view(&self, installation: &Installation) -> InstallationView {
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let running =
            lanes.get(&installation.name).map_or(0, |lane| lane.running.load(std::sync::atomic::Ordering::Relaxed));
        drop(lanes);
        let failure = installation.failure.load_full().map(|reason| reason.to_string());
        let state = match (&failure, installation.row.removal.is_some(), installation.plugin.load().is_some()) {
            (Some(_), _, _) => "failed",
            (None, true, _) => "draining",
            (None, false, true) => "active",
            (None, false, false) => "loading",
        };
        let manifest = &installation.manifest;
        let limits = &installation.effective.limits;
        let words = [
            ("memory", pilothouse_core::quantity::ByteSize(limits.memory_bytes_max).to_string()),
            ("cpu", pilothouse_core::quantity::Span(limits.cpu).to_string()),
            ("timeout", pilothouse_core::quantity::Span(limits.timeout).to_string()),
            ("concurrency", limits.concurrency.to_string()),
            ("attempts", limits.attempts_max.to_string()),
            ("log", pilothouse_core::quantity::ByteSize(limits.log_bytes_max).to_string()),
        ];
        InstallationView {
            name: installation.name.to_string(),
            plugin: manifest.name.to_string(),
            version: manifest.version.clone(),
            digest: installation.row.digest.clone(),
            state: state.to_owned(),
            reason: failure,
            tasks: manifest.tasks.iter().map(|task| task.name.to_string()).collect(),
            observes: manifest
                .subscriptions
                .iter()
                .filter_map(|request| serde_json::to_string(&request.filter).ok())
                .collect(),
            emits: manifest.emits.clone(),
            settings: installation.row.settings.clone(),
            grants: installation.row.grants.clone(),
            scope: installation.row.scope.clone(),
            missing: missing_grants(manifest, &installation.row.grants),
            limits: words.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            running,
        }
    }
}

fn state(kind: &'static str, key: &str, revision: u64, value: Option<Vec<u8>>) -> StateWrite {
    StateWrite { key: StateKey::new(kind, key), revision, value, holds: None, holds_own_event: false }
}

/// Writes an error with its causes as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes the component under its digest, unless it is there with the same length.
fn write_once(dir: &std::path::Path, path: &std::path::Path, wasm: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    if path.metadata().is_ok_and(|it| it.len() == wasm.len() as u64) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(wasm)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(dir)?.sync_all()
}
