//! Runs something in a fresh instance within all limits, and reports what it used however it ended.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::InstallationName;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::call::{CallFailure, Effects, Settings};
use crate::clock::Running;
use crate::failure;
use crate::http::Clients;
use crate::limits;
use crate::log::{CallLog, LogLine};
use crate::plugin::Plugin;
use crate::services::Services;
use crate::state::{Parts, State};

/// Whose instance it is and what it may reach.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) installation: InstallationName,
    pub(crate) settings: Arc<Settings>,
    pub(crate) grants: Arc<EffectiveGrants>,
    pub(crate) services: Arc<dyn Services>,
}

/// What the host brings.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) clients: Arc<Clients>,
    pub(crate) memory_ceiling: u64,
    pub(crate) running: Arc<Running>,
}

/// What came of it.
pub(crate) struct Ran<T> {
    pub(crate) returned: Result<T, CallFailure>,
    pub(crate) effects: Effects,
    pub(crate) log: Vec<LogLine>,
    pub(crate) log_dropped: u64,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) memory_bytes_max: u64,
    pub(crate) emitted: u32,
}

impl<T> Ran<T> {
    /// Makes the report of something that never ran.
    pub(crate) fn failed(failure: CallFailure) -> Self {
        Self {
            returned: Err(failure),
            effects: Effects::default(),
            log: Vec::new(),
            log_dropped: 0,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            memory_bytes_max: 0,
            emitted: 0,
        }
    }
}

/// What the instance is asked to do.
pub(crate) type Work<T> = Box<
    dyn for<'a> FnOnce(
            &'a Plugin,
            &'a mut Store<State>,
            Instance,
            Instant,
        ) -> Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send + 'a>>
        + Send,
>;

/// Instantiates and does `work`, on the threads of `handle`. A panic of the host's own code ends the call and nothing
/// else; a dropped future stops the guest.
pub(crate) async fn run<T: Send + 'static>(
    handle: &tokio::runtime::Handle,
    permit: OwnedSemaphorePermit,
    host: Host,
    plugin: Arc<Plugin>,
    guest: Guest,
    work: Work<T>,
) -> Ran<T> {
    let log = CallLog::new(usize::try_from(guest.grants.limits.log_bytes_max).unwrap_or(usize::MAX));
    let started = Instant::now();
    let running = handle.spawn(bounded(permit, host, plugin, guest, work, log.clone()));
    let guard = AbortOnDrop(running.abort_handle());
    let ran = running.await;
    drop(guard);
    match ran {
        Ok(ran) => ran,
        Err(error) => {
            let text = if error.is_panic() {
                "the host failed during the call (a bug of the host)"
            } else {
                "the host is stopping"
            };
            let (lines, log_dropped) = log.take();
            Ran { log: lines, log_dropped, wall: started.elapsed(), ..Ran::failed(failure::host(text)) }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn bounded<T: Send>(
    permit: OwnedSemaphorePermit,
    host: Host,
    plugin: Arc<Plugin>,
    guest: Guest,
    work: Work<T>,
    log: CallLog,
) -> Ran<T> {
    let limits = guest.grants.limits;
    // Ends with this call, also when the call is dropped.
    let _running = host.running.enter();
    // Armed only now: neither the wait for a permit nor a slow client is charged to the guest.
    let started = Instant::now();
    let deadline = started.checked_add(limits.timeout).unwrap_or(started);
    let state = State::new(Parts {
        installation: guest.installation,
        manifest: Arc::clone(&plugin.manifest),
        settings: &guest.settings,
        grants: guest.grants,
        services: guest.services,
        clients: &host.clients,
        log: log.clone(),
        deadline,
        memory_ceiling: host.memory_ceiling,
    });
    let mut store = match Store::try_new(&host.engine, state) {
        Ok(store) => store,
        Err(error) => return Ran::failed(failure::host(&format!("no memory for the call: {error:#}"))),
    };
    limits::apply(&mut store);
    let call = async {
        let instance = plugin.pre.instantiate_async(&mut store).await?;
        work(&plugin, &mut store, instance, deadline).await
    };
    let returned = tokio::time::timeout(limits.timeout, call).await;
    let wall = started.elapsed();
    let returned = match returned {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure::classify(&error, store.data(), limits.cpu)),
        Err(_) => Err(failure::timeout(limits.timeout)),
    };
    let state = store.into_data();
    let (lines, log_dropped) = log.take();
    let ran = Ran {
        returned,
        cpu: state.limits.cpu(),
        memory_bytes_max: state.limits.memory_peak(),
        emitted: state.emitted,
        effects: Effects {
            key_values: state.writes.into_effects(),
            jobs_started: state.jobs.started,
            jobs_cancelled: state.jobs.cancelled,
        },
        log: lines,
        log_dropped,
        wall,
    };
    // The instance's slot is free again only now that the store is gone.
    drop(permit);
    ran
}
