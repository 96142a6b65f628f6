//! The host of a test: one plugin, loaded once, with what the test gives it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pilothouse_core::event::EventBuilder;
use pilothouse_core::grant::{Ceiling, EffectiveGrants, Grants};
use pilothouse_core::host_event::{HOST_SOURCE, JOB_FINISHED, plugin_source};
use pilothouse_core::manifest::Manifest;
use pilothouse_core::name::InstallationName;
use pilothouse_core::{Event, keptn};
use pilothouse_runtime::{Call, CallContext, JobRequest, Plugin, ResourceLevel, Runtime, RuntimeConfig, Settings};

use crate::delivery::event_id;
use crate::job::JobResult;
use crate::server::{self, Exchange, HttpRequest, HttpResponse};
use crate::services::{TestServices, World, level_name};
use crate::{Delivered, Delivery, TestError};

/// Calls at once: a test makes one, and a component with several memories counts several times.
const INSTANCES_MAX: u32 = 8;

/// Runs one plugin for a test.
pub struct TestHost {
    // Before the tokio runtime, which it must not outlive.
    runtime: Arc<Runtime>,
    plugin: Arc<Plugin>,
    installation: InstallationName,
    settings: Arc<Settings>,
    grants: Arc<EffectiveGrants>,
    world: Arc<Mutex<World>>,
    exchange: Arc<Exchange>,
    base_url: String,
    folder: tempfile::TempDir,
    tokio: Background,
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost").field("installation", &self.installation).finish_non_exhaustive()
    }
}

impl TestHost {
    /// Loads a component from a file. Compiling takes a tenth of a second for a plugin in Rust, and ten for one that brings
    /// an interpreter.
    ///
    /// # Errors
    /// There is no such file, or it is not a plugin.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TestError> {
        let path = path.as_ref();
        let wasm = std::fs::read(path).map_err(|error| TestError::Read { path: path.to_owned(), error })?;
        Self::from_bytes(wasm)
    }

    /// Loads a component.
    ///
    /// # Errors
    /// It is not a plugin.
    pub fn from_bytes(wasm: Vec<u8>) -> Result<Self, TestError> {
        let tokio = Background::new()?;
        let config = RuntimeConfig { instances_max: INSTANCES_MAX, guest_threads: 1, ..RuntimeConfig::default() };
        let runtime = Arc::new(Runtime::new(config)?);
        let loading = Arc::clone(&runtime);
        let plugin = tokio.block_on(async move { loading.load(wasm).await })?;
        let installation = InstallationName::new(plugin.manifest().name.as_str())?;
        let exchange = Arc::new(Exchange::new());
        let address = tokio.block_on(server::start(Arc::clone(&exchange)))?;
        let grants = effective(plugin.manifest(), &everything(plugin.manifest()))?;
        Ok(Self {
            runtime,
            plugin,
            installation,
            settings: Arc::new(Settings::none()),
            grants,
            world: Arc::new(Mutex::new(World::new())),
            exchange,
            base_url: format!("http://{address}"),
            folder: tempfile::tempdir()?,
            tokio,
        })
    }

    /// Returns the plugin's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.plugin.manifest()
    }

    pub(crate) fn installation(&self) -> &InstallationName {
        &self.installation
    }

    /// Sets the settings, an object; asks the plugin whether it accepts them, as a host does at install. The manifest's
    /// schema is not applied.
    ///
    /// # Errors
    /// Not an object, or the plugin refuses them.
    pub fn settings(mut self, settings: &serde_json::Value) -> Result<Self, TestError> {
        let object = settings.as_object().ok_or(TestError::SettingsNotAnObject)?;
        let settings = Arc::new(Settings::from_object(object));
        let (runtime, plugin, document) =
            (Arc::clone(&self.runtime), Arc::clone(&self.plugin), settings.document.clone());
        self.tokio
            .block_on(async move { runtime.validate_settings(&plugin, &document).await })
            .map_err(TestError::SettingsRefused)?;
        self.settings = settings;
        Ok(self)
    }

    /// Replaces the grants by those of a grants file's text (TOML); an empty text grants nothing.
    ///
    /// # Errors
    /// Not as a grants file is.
    pub fn grants(mut self, toml: &str) -> Result<Self, TestError> {
        let grants: Grants = toml::from_str(toml).map_err(|error| TestError::Grants(error.to_string()))?;
        self.grants = effective(self.plugin.manifest(), &grants)?;
        Ok(self)
    }

    /// Says how requests through connections are answered; without, with status 501.
    ///
    /// Assert in [`Delivered::requests`] rather than in the closure: it runs on another thread, and a panic there is a broken
    /// connection to the plugin.
    #[must_use]
    pub fn respond(self, responder: impl FnMut(&HttpRequest) -> HttpResponse + Send + 'static) -> Self {
        self.exchange.set(Box::new(responder));
        self
    }

    /// Says how jobs end; without, every job is refused.
    ///
    /// A job ends as soon as the delivery that started it is done: get its event by [`TestHost::job_event`].
    #[must_use]
    pub fn job(self, script: impl FnMut(&JobRequest) -> JobResult + Send + 'static) -> Self {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).script = Box::new(script);
        self
    }

    /// Sets a value of the plugin's key-value state.
    #[must_use]
    pub fn key_value(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).key_values.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a file of the project that every event is taken to belong to.
    #[must_use]
    pub fn resource(self, level: ResourceLevel, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let key = (level_name(level), path.to_owned());
        self.world.lock().unwrap_or_else(PoisonError::into_inner).resources.insert(key, content.into());
        self
    }

    /// Adds an earlier event of the project, newer than those added before.
    #[must_use]
    pub fn earlier_event(self, event: Event) -> Self {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).log.push(event);
        self
    }

    /// Returns the folder that stands for an output directory, by the name that was granted.
    pub fn output_directory(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("outputs").join(name)
    }

    /// Delivers an event as a host would: as a task's trigger if the manifest has that task, else as one that is observed.
    ///
    /// # Errors
    /// The test is wrong; what the plugin does wrong is in [`Delivered::failure`].
    pub fn deliver(&self, event: Event) -> Result<Delivered, TestError> {
        self.delivery(event).deliver()
    }

    /// Starts to describe a delivery with more than an event.
    pub fn delivery(&self, event: Event) -> Delivery<'_> {
        Delivery::new(self, event)
    }

    /// Makes the event that tells of the end of a job, to be delivered with [`crate::Cause::JobEnded`].
    ///
    /// # Errors
    /// No such job was started.
    pub fn job_event(&self, id: &str) -> Result<Event, TestError> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || TestError::JobUnknown(id.to_owned());
        let known = world.jobs.get(id).filter(|known| known.started).ok_or_else(unknown)?;
        let status = known.result.status(true);
        let mut data = serde_json::json!({
            "job": id,
            "installation": self.installation.as_str(),
            "state": status.state,
            "template": known.request.template.as_str(),
            "artifacts": status.artifacts,
        });
        if let (Some(code), Some(members)) = (status.exit_code, data.as_object_mut()) {
            members.insert("exit-code".to_owned(), code.into());
        }
        Ok(EventBuilder::new(event_id(&format!("ended {id}")), HOST_SOURCE, JOB_FINISHED).json(&data).build()?)
    }

    pub(crate) fn call(&self, context: CallContext, event: Event) -> Result<Delivered, TestError> {
        let services = Arc::new(TestServices {
            world: Arc::clone(&self.world),
            installation: self.installation.clone(),
            base_url: self.base_url.clone(),
            folder: self.folder.path().to_owned(),
            job_owner: context
                .task
                .as_ref()
                .map_or_else(|| context.delivery.to_string(), |task| task.triggered_id.clone()),
            emitted: Mutex::default(),
        });
        let delivery = context.delivery;
        let run = context.run.clone();
        let call = Call {
            context,
            event,
            settings: Arc::clone(&self.settings),
            grants: Arc::clone(&self.grants),
            services: Arc::clone(&services) as Arc<dyn pilothouse_runtime::Services>,
        };
        let (runtime, plugin) = (Arc::clone(&self.runtime), Arc::clone(&self.plugin));
        let report = self.tokio.block_on(async move { runtime.call(&plugin, call).await });

        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = world.commit(report.effects);
        let mut invalid = Vec::new();
        let mut made = |kind: &str, events: Vec<EventBuilder>| {
            let mut valid = Vec::new();
            for (index, event) in events.into_iter().enumerate() {
                let id = match kind {
                    "returned" => delivery.returned_event_id(index),
                    _ => event_id(&format!("{delivery} {kind} {index}")),
                };
                let mut event = event.id(id).source(plugin_source(&self.installation));
                if let Some(run) = &run {
                    event = event.extension_str(keptn::RUN_EXTENSION, run);
                }
                match event.build() {
                    Ok(event) => valid.push(event),
                    Err(error) => invalid.push(error),
                }
            }
            valid
        };
        let emitted = std::mem::take(&mut *services.emitted.lock().unwrap_or_else(PoisonError::into_inner));
        let emitted = made("emitted", emitted);
        let (failure, events, answer) = match report.outcome {
            Ok(outcome) => (None, made("returned", outcome.events), outcome.answer),
            Err(failure) => (Some(failure), Vec::new(), None),
        };
        Ok(Delivered {
            failure,
            events,
            invalid,
            answer,
            emitted,
            log: report.log,
            requests: self.exchange.take(),
            jobs,
            key_values: world.key_values.clone(),
            cpu: report.cpu,
            wall: report.wall,
            memory_bytes_max: report.memory_bytes_max,
        })
    }
}

fn effective(manifest: &Manifest, grants: &Grants) -> Result<Arc<EffectiveGrants>, TestError> {
    Ok(Arc::new(EffectiveGrants::new(manifest, grants, &Ceiling::default())?.0))
}

/// Grants all that the manifest asks for, under the plugin's own names.
fn everything(manifest: &Manifest) -> Grants {
    Grants {
        http: manifest.http.iter().flat_map(|request| request.hosts.clone()).collect(),
        connections: manifest.connections.iter().map(|it| (it.name.clone(), it.name.clone())).collect(),
        jobs: manifest.jobs.iter().map(|it| (it.name.clone(), it.name.clone())).collect(),
        outputs: manifest.outputs.iter().map(|it| (it.name.clone(), it.name.clone())).collect(),
        keyvalue: manifest.keyvalue.is_some(),
        resources: manifest.resources.is_some(),
        resources_write: manifest.resources.as_ref().is_some_and(|one| !one.write.is_empty()),
        event_log: manifest.event_log.is_some(),
        ..Grants::default()
    }
}

/// A tokio runtime that a test can wait on from anywhere.
struct Background(Option<tokio::runtime::Runtime>);

impl Background {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a future to its end, also on a thread of another tokio runtime, where waiting directly would panic.
    fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        if let Some(runtime) = &self.0 {
            runtime.spawn(async move { sender.send(future.await) });
        }
        #[expect(clippy::expect_used, reason = "only a panic in the runtime under test gets here; a test may panic")]
        receiver.recv().expect("the runtime ends every call")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Not the plain drop, which panics on a thread of another tokio runtime.
            runtime.shutdown_background();
        }
    }
}
