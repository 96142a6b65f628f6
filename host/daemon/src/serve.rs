//! Wires everything to a socket: [`Host::start`] opens the store and starts the engine, [`Host::run`] serves until it is
//! told to stop, and then drains with a deadline.
//!
//! The caller owns the socket and the signals, so that tests can have their own.

#[cfg(test)]
mod abuse_tests;
mod connection;
mod error;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use pilothouse_runtime::job::{JobsConfig, LocalJobs, SupervisorCommand};
use pilothouse_runtime::{Runtime, RuntimeConfig};
use pilothouse_store::Store;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auth::{TokenText, Tokens};
use crate::config::{Config, Connections};
use crate::data_dir::{CACHE_DIR, COMPONENTS_DIR, JOBS_DIR, OUTPUTS_DIR, REPOSITORIES_DIR, STORE_FILE};
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::{Engine, EngineConfig};
use crate::git::Repositories;
use crate::http::{AppState, Parts, router};
use crate::metrics::Metrics;
use crate::otlp::{Observed, Traces};
use crate::project::shipyards::{KnownProjects, Shipyards};
use crate::project::{self, Projects};
use crate::report::ReportLinks;
use crate::resources::ConfiguredResources;
use crate::secrets::{KEY_FILE, Secrets};
pub use error::{ServeError, bind};

/// Jobs that run at one time; the others wait in the order of their start. A load test takes a machine to itself.
pub const JOBS_CONCURRENT_MAX: usize = 4;
/// Wait after a failed `accept`, which fails again at once while the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a host is started with.
pub struct StartOptions {
    /// The configuration.
    pub config: Arc<Config>,
    /// How the supervisor of a job is started: this very program, in production.
    pub supervisor: SupervisorCommand,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl StartOptions {
    /// Options for production.
    ///
    /// # Errors
    /// The path of this program cannot be found.
    pub fn new(config: Arc<Config>) -> Result<Self, ServeError> {
        let program = std::env::current_exe().map_err(ServeError::Program)?;
        let supervisor = SupervisorCommand { program, arguments: vec!["supervise".to_owned()] };
        Ok(Self { config, supervisor, clock: Arc::new(SystemClock) })
    }
}

/// A host that is ready to serve.
pub struct Host {
    app: AppState,
    engine: Engine,
    store: Arc<dyn Store>,
    connections: Arc<Connections>,
    secrets: Arc<Secrets>,
    resources: Arc<ConfiguredResources>,
    config: Arc<Config>,
    traces: Option<Arc<Traces>>,
    stopping: watch::Sender<bool>,
    /// Stops the looks at upstreams with the host.
    _background: DropGuard,
}

fn jobs_config(data_dir: &Path, supervisor: SupervisorCommand) -> JobsConfig {
    JobsConfig {
        directory: data_dir.join(JOBS_DIR),
        supervisor,
        concurrent_max: JOBS_CONCURRENT_MAX,
        cgroup: pilothouse_runtime::job::delegated_cgroup(),
    }
}

async fn report_links(config: &Config, store: &Arc<dyn Store>, clock: &dyn Clock) -> Result<ReportLinks, ServeError> {
    let base = config.public_url.clone().unwrap_or_else(|| local_base(config.listen));
    Ok(ReportLinks::open(store, clock.now(), &base, config.report_link_age.0).await?)
}

/// The address for links to a host that was given none: people on this machine reach it there.
fn local_base(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return format!("http://localhost:{}", address.port());
    }
    format!("http://{address}")
}

/// A host that has just been started.
pub struct Started {
    /// The host.
    pub host: Host,
    /// The admin token, if this was the first start. It is shown this once.
    pub first_token: Option<TokenText>,
}

/// Changes a running host's configuration; cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    app: AppState,
    engine: Engine,
    connections: Arc<Connections>,
    secrets: Arc<Secrets>,
    resources: Arc<ConfiguredResources>,
}

impl Reloader {
    /// Takes connections with their credentials, job templates and output folders from `config`; all else needs a
    /// restart.
    pub async fn reload(&self, config: &Arc<Config>) {
        self.connections.reload(&config.connections, &self.secrets.of_connections(&config.connections).await);
        self.resources.set_config(Arc::clone(config));
        self.engine.set_job_templates(config.jobs.clone());
        self.app.set_config(Arc::clone(config));
        tracing::info!(connections = config.connections.len(), jobs = config.jobs.len(), "ConfigReloaded");
    }
}

/// How the end of a host went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Whether every request ended by itself.
    pub requests: bool,
    /// Whether every delivery under way ended by itself. One that did not is tried again after the next start.
    pub deliveries: bool,
}

impl Host {
    /// Opens the store, starts the runtime and the engine, and takes up what an earlier host left.
    ///
    /// # Errors
    /// [`ServeError`] names what cannot be used and what to do about it.
    pub async fn start(options: StartOptions) -> Result<Started, ServeError> {
        let StartOptions { config, supervisor, clock } = options;
        let data_dir = &config.data_dir;
        crate::data_dir::create(data_dir).map_err(|error| ServeError::DataDir { path: data_dir.clone(), error })?;
        let store = open_store(&config).await?;
        let key_file = config.secrets_key_file.clone().unwrap_or_else(|| data_dir.join(KEY_FILE));
        let secrets = Arc::new(Secrets::new(Arc::clone(&store), Arc::clone(&clock), key_file)?);
        let texts = secrets.of_connections(&config.connections).await;
        let connections = Arc::new(Connections::read(&config.connections, &texts));
        let resources = Arc::new(ConfiguredResources::new(Arc::clone(&connections), Arc::clone(&config)));
        let metrics = Arc::new(Metrics::default());
        let traces = match config.telemetry.traces_connection.clone() {
            Some(name) => Some(Arc::new(Traces::start(&config.telemetry, name, Arc::clone(&connections))?)),
            None => None,
        };
        let (jobs, jobs_ended) = LocalJobs::new(jobs_config(data_dir, supervisor)).map_err(ServeError::Jobs)?;
        let repositories = Arc::new(Repositories::new(data_dir.join(REPOSITORIES_DIR)));
        let shipyards = Arc::new(Shipyards::new(Arc::clone(&repositories)));
        let known = KnownProjects { store: Arc::clone(&store), shipyards: Arc::clone(&shipyards) };
        let report_links = report_links(&config, &store, clock.as_ref()).await?;
        let engine = Engine::start(EngineConfig {
            store: Arc::clone(&store),
            report_links,
            project_files: Arc::new(known),
            runtime: Arc::new(Runtime::new(runtime_config(&config))?),
            clock: Arc::clone(&clock),
            resources: Arc::clone(&resources) as _,
            jobs: Arc::new(jobs),
            jobs_ended,
            job_templates: config.jobs.clone(),
            telemetry: Arc::new(Observed { metrics: Arc::clone(&metrics), traces: traces.clone() }),
            components_dir: data_dir.join(COMPONENTS_DIR),
            outputs_dir: data_dir.join(OUTPUTS_DIR),
            ceiling: config.ceiling.limits(),
            permits: usize::try_from(config.runtime.instances).unwrap_or(usize::MAX),
            retention: Some(config.retention.policy()),
        })
        .await?;
        let projects = Projects::new(engine.clone(), repositories, shipyards, Arc::clone(&secrets));
        let background = CancellationToken::new();
        let (recovery, stop) = (projects.clone(), background.clone());
        tokio::spawn(async move {
            recovery.announce_all().await;
            project::upstream::worker::run(recovery, stop).await;
        });
        tokio::spawn(project::in_step::run(projects.clone(), config.tools_check.0, background.clone()));
        let tokens = Arc::new(Tokens::open(Arc::clone(&store), Arc::clone(&clock)).await?);
        let first_token = tokens.ensure_admin().await?;
        let (stopping, stopping_rx) = watch::channel(false);
        let app = AppState::new(Parts {
            engine: engine.clone(),
            projects,
            secrets: Arc::clone(&secrets),
            tokens,
            connections: Arc::clone(&connections),
            config: Arc::clone(&config),
            clock,
            metrics,
            stopping: stopping_rx,
        })
        .map_err(ServeError::Client)?;
        let client = crate::client::http_client().map_err(ServeError::Client)?;
        tokio::spawn(crate::push::run(engine.clone(), Arc::clone(&connections), client, background.clone()));
        let _background = background.drop_guard();
        let host = Self { app, engine, store, connections, secrets, resources, config, traces, stopping, _background };
        Ok(Started { host, first_token })
    }

    /// Returns what reloads the configuration while [`Host::run`] has the host.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            app: self.app.clone(),
            engine: self.engine.clone(),
            connections: Arc::clone(&self.connections),
            secrets: Arc::clone(&self.secrets),
            resources: Arc::clone(&self.resources),
        }
    }

    /// Returns the API without a socket.
    pub fn app(&self) -> AppState {
        self.app.clone()
    }

    /// Serves until `shutdown` ends, then lets requests and deliveries in flight end, at most for `drain-timeout`.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Drained {
        let app = router(self.app.clone());
        if let (None, Ok(address)) = (&self.config.public_url, listener.local_addr()) {
            // The port may have been left to the system.
            self.engine.report_links().set_base(&local_base(address));
        }
        let limits = &self.config.limits;
        let places =
            Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS)));
        let graceful = GracefulShutdown::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = connection::accept(&listener, &places) => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, place)) => connection::spawn(stream, place, app.clone(), limits, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "AcceptError");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        // Nobody is let in any more, and a new connection is refused at once instead of waiting in the queue.
        drop(listener);
        self.drain(graceful).await
    }

    async fn drain(self, graceful: GracefulShutdown) -> Drained {
        let deadline = self.config.drain_timeout.0;
        tracing::info!(?deadline, "DrainStarted");
        let _ = self.stopping.send(true);
        let requests = async { tokio::time::timeout(deadline, graceful.shutdown()).await.is_ok() };
        let (requests, deliveries) = tokio::join!(requests, self.engine.drain(deadline));
        self.store.close().await;
        if let Some(traces) = self.traces {
            // What happens without the last spans is said in the log.
            let _ = tokio::task::spawn_blocking(move || traces.shut_down()).await;
        }
        if requests && deliveries {
            tracing::info!("DrainFinished");
        } else {
            tracing::warn!(requests, deliveries, "DrainCutOff");
        }
        Drained { requests, deliveries }
    }
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    let mut store_config = SqliteConfig::new(config.data_dir.join(STORE_FILE));
    store_config.size_bytes_max = config.retention.size_max.0;
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(store_config)).await;
    Ok(Arc::new(opened.map_err(|error| ServeError::Interrupted(error.to_string()))??))
}

fn runtime_config(config: &Config) -> RuntimeConfig {
    let defaults = RuntimeConfig::default();
    let threads = usize::try_from(config.runtime.guest_threads).unwrap_or(0);
    RuntimeConfig {
        instances_max: config.runtime.instances,
        memory_bytes_max: config.ceiling.memory.0,
        cache_dir: Some(config.data_dir.join(CACHE_DIR)),
        guest_threads: if threads == 0 { defaults.guest_threads } else { threads },
    }
}
