//! The door: builds the engine, loads plugins, makes calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_core::Event;
use pilothouse_core::grant::{EffectiveGrants, Limits};
use pilothouse_core::name::{InstallationName, NameError};
use tokio::sync::Semaphore;
use wasmtime::Store;
use wasmtime::component::{Instance, Linker, Resource};

use crate::bindings::exports::pilothouse::plugin::handler::Outcome as Returned;
use crate::bindings::pilothouse::plugin::delivery::Failure;
use crate::cache::Cache;
use crate::call::{Call, CallContext, CallReport, Effects, Settings};
use crate::clock::Clock;
use crate::delivery::Context;
use crate::engine::{self, RuntimeConfig, RuntimeError};
use crate::http::Clients;
use crate::inspect::{self, Inspection};
use crate::log::escape;
use crate::plugin::{self, LoadError, Plugin};
use crate::run::{self, Guest, Host, Ran, Work};
use crate::services::NoServices;
use crate::state::{self, State};
use crate::{event, failure, outcome};

/// Wall-clock time of a check of settings: a person waits for it.
const VALIDATE_TIMEOUT: Duration = Duration::from_secs(1);
/// Problems of a settings document that are passed on: nobody reads more at once.
const PROBLEMS_MAX: usize = 100;
/// Longest text of a problem, in bytes.
const PROBLEM_BYTES_MAX: usize = 1_024;

/// What a plugin finds wrong with a settings document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer into the document; empty for the whole of it.
    pub path: String,
    /// What is wrong, for the operator.
    pub message: String,
}

/// Runs plugins. One per process, for it holds the threads, the pool and the clock that all plugins share.
pub struct Runtime {
    pub(crate) host: Host,
    pub(crate) linker: Arc<Linker<State>>,
    cache: Arc<Option<Cache>>,
    /// Taken only when the runtime is dropped.
    guests: Option<tokio::runtime::Runtime>,
    compiling: Arc<Semaphore>,
    permits: Arc<Semaphore>,
    permits_max: u32,
    _clock: Clock,
}

impl Runtime {
    /// Builds the engine, starts its clock and the guests' threads.
    ///
    /// # Errors
    /// The configuration does not fit the machine, or the cache folder is not the host's alone.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Self::with_clients(config, Clients::new()?)
    }

    pub(crate) fn with_clients(config: RuntimeConfig, clients: Clients) -> Result<Self, RuntimeError> {
        let engine = engine::build(&config)?;
        let mut linker = Linker::new(&engine);
        state::link(&mut linker).map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let clock = Clock::start(&engine)?;
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.guest_threads.max(1))
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(RuntimeError::Threads)?;
        let permits_max = config.instances_max.max(1);
        Ok(Self {
            host: Host {
                engine,
                clients: Arc::new(clients),
                memory_ceiling: config.memory_bytes_max,
                running: Arc::clone(&clock.running),
            },
            linker: Arc::new(linker),
            cache: Arc::new(config.cache_dir.as_deref().map(Cache::open).transpose()?),
            guests: Some(guests),
            compiling: Arc::new(Semaphore::new(1)),
            permits: Arc::new(Semaphore::new(usize::try_from(permits_max).unwrap_or(Semaphore::MAX_PERMITS))),
            permits_max,
            _clock: clock,
        })
    }

    /// Reads what a component is and asks for; runs no code of it. Takes tenths of a second for large components.
    ///
    /// # Errors
    /// The bytes are not a component with one readable manifest.
    pub fn inspect(wasm: &[u8]) -> Result<Inspection, LoadError> {
        inspect::inspect(wasm)
    }

    /// Compiles a component, or takes it from the code cache, links it and starts it once. Takes seconds; one at a
    /// time, for compiling uses all processors.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, wasm: Vec<u8>) -> Result<Arc<Plugin>, LoadError> {
        let stopping = || LoadError::Host("the host is stopping".to_owned());
        let handle = self.guests.as_ref().ok_or_else(stopping)?.handle();
        let turn = Arc::clone(&self.compiling).acquire_owned().await.map_err(|_| stopping())?;
        let (engine, linker, cache) = (self.host.engine.clone(), Arc::clone(&self.linker), Arc::clone(&self.cache));
        let prepared = handle
            .spawn_blocking(move || {
                // Held to the end of the work, also when nobody waits for it any more.
                let _turn = turn;
                plugin::prepare(&engine, &linker, cache.as_ref().as_ref(), &wasm)
            })
            .await
            .map_err(|_| LoadError::Host("the host failed to compile the component".to_owned()))?;
        let plugin = Arc::new(prepared?);
        if plugin.permits > self.permits_max {
            let (needs, has) = (plugin.permits, self.permits_max);
            return Err(LoadError::Unfit(format!("it has {needs} memories, and the host is set up for {has} in all")));
        }
        // With what a call could have at most: whether it starts within an installation's limits is seen at its calls.
        let limits = Limits { memory_bytes_max: self.host.memory_ceiling, ..Limits::default() };
        let guest = inert(&plugin, limits, Settings::none()).map_err(|error| LoadError::Manifest(error.to_string()))?;
        let (ran, _) = self.run(&plugin, guest, start_only()).await;
        ran.returned.map(|()| plugin).map_err(|failure| LoadError::Start(failure.reason))
    }

    /// Runs one attempt in a fresh instance. Always comes back within the call's limits, with what happened.
    ///
    /// Waits for a place first, see [`RuntimeConfig::instances_max`]. Dropping the future stops the guest.
    pub async fn call(&self, plugin: &Arc<Plugin>, call: Call) -> CallReport {
        let has_task = call.context.task.is_some();
        let Call { context, event, settings, grants, services } = call;
        let guest = Guest { installation: context.installation.clone(), settings, grants, services };
        let (ran, started_after) = self.run(plugin, guest, handle(context, event)).await;
        let outcome = ran.returned.and_then(|returned| outcome::check(returned, plugin.manifest(), has_task));
        let effects = if outcome.is_ok() { ran.effects } else { Effects::default() };
        CallReport {
            outcome,
            effects,
            log: ran.log,
            log_dropped: ran.log_dropped,
            cpu: ran.cpu,
            wall: ran.wall,
            memory_bytes_max: ran.memory_bytes_max,
            started_after,
            emitted: ran.emitted,
        }
    }

    /// Asks the plugin whether it accepts a settings document; with nothing granted, within one second. A plugin
    /// without the export accepts everything.
    ///
    /// # Errors
    /// What the plugin finds wrong; a trap or a timeout is one problem with an empty path.
    pub async fn validate_settings(&self, plugin: &Arc<Plugin>, document: &str) -> Result<(), Vec<Problem>> {
        if !plugin.validates_settings() {
            return Ok(());
        }
        let limits = Limits { timeout: VALIDATE_TIMEOUT, ..Limits::default() };
        let whole = |message: String| vec![Problem { path: String::new(), message }];
        let object = serde_json::from_str(document)
            .map_err(|error| whole(format!("the settings are not a JSON object: {error}")))?;
        let guest = inert(plugin, limits, Settings::from_object(&object)).map_err(|error| whole(error.to_string()))?;
        let (ran, _) = self.run(plugin, guest, validate(document.to_owned())).await;
        match ran.returned {
            Ok(problems) if problems.is_empty() => Ok(()),
            Ok(problems) => Err(problems),
            Err(failure) => Err(whole(format!("the plugin could not check the settings: {}", failure.reason))),
        }
    }

    /// Runs `work` once there is a place, and says how long that took.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        plugin: &Arc<Plugin>,
        guest: Guest,
        work: Work<T>,
    ) -> (Ran<T>, Duration) {
        let waiting = Instant::now();
        let permits = Arc::clone(&self.permits).acquire_many_owned(plugin.permits).await;
        let started_after = waiting.elapsed();
        let ran = match (permits, &self.guests) {
            (Ok(permit), Some(guests)) => {
                run::run(guests.handle(), permit, self.host.clone(), Arc::clone(plugin), guest, work).await
            }
            _ => Ran::failed(failure::host("the host is stopping")),
        };
        (ran, started_after)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(guests) = self.guests.take() {
            // Not the plain drop, which would block a thread of the caller's runtime.
            guests.shutdown_background();
        }
    }
}

/// Makes a guest that nothing is granted to.
fn inert(plugin: &Plugin, limits: Limits, settings: Settings) -> Result<Guest, NameError> {
    Ok(Guest {
        // Told to nobody: a call without grants has no denial that could name it but the plugin's own log.
        installation: InstallationName::new(plugin.manifest().name.as_str())?,
        settings: Arc::new(settings),
        grants: Arc::new(EffectiveGrants { limits, ..EffectiveGrants::default() }),
        services: Arc::new(NoServices),
    })
}

fn start_only() -> Work<()> {
    Box::new(|_, _, _, _| Box::pin(async { Ok(()) }))
}

fn handle(context: CallContext, event: Event) -> Work<Result<Returned, Failure>> {
    Box::new(move |plugin: &Plugin, store: &mut Store<State>, instance: Instance, deadline: Instant| {
        Box::pin(async move {
            let guest = plugin.handler.load(&mut *store, &instance)?;
            let lent = store.data_mut().table.push(Context { call: context, deadline })?;
            let event = event::to_guest(&event);
            guest.call_handle(store, Resource::new_borrow(lent.rep()), &event).await
        })
    })
}

fn validate(document: String) -> Work<Vec<Problem>> {
    Box::new(move |plugin: &Plugin, store: &mut Store<State>, instance: Instance, _: Instant| {
        Box::pin(async move {
            let Some(indices) = &plugin.settings else { return Ok(Vec::new()) };
            let guest = indices.load(&mut *store, &instance)?;
            let problems = guest.call_validate(store, &document).await?.err().unwrap_or_default();
            let text = |text: &str| escape(text, PROBLEM_BYTES_MAX);
            Ok(problems
                .iter()
                .take(PROBLEMS_MAX)
                .map(|problem| Problem { path: text(&problem.path), message: text(&problem.message) })
                .collect())
        })
    })
}
