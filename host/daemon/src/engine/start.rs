//! Starting the engine: what it is made of, and what an earlier host left to do.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use pilothouse_core::grant::Ceiling;
use pilothouse_core::name::TemplateName;
use pilothouse_runtime::Runtime;
use pilothouse_runtime::job::{JobEnded, JobRunner, JobTemplate};
use pilothouse_store::{RetentionPolicy, Store, StoreError};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::installation::Snapshot;
use super::sequencer::{ProjectSource, Sequencer};
use super::services::Resources;
use super::telemetry::Telemetry;
use super::{Engine, Inner};
use crate::report::ReportLinks;

/// What the engine is made of.
pub struct EngineConfig {
    /// The durable log.
    pub store: Arc<dyn Store>,
    /// Runs plugins.
    pub runtime: Arc<Runtime>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Resolves connections and output directories.
    pub resources: Arc<dyn Resources>,
    /// Reads the files of projects.
    pub project_files: Arc<dyn ProjectSource>,
    /// Runs jobs.
    pub jobs: Arc<dyn JobRunner>,
    /// Ends of jobs, from the runner.
    pub jobs_ended: mpsc::Receiver<JobEnded>,
    /// The operator's job templates.
    pub job_templates: BTreeMap<TemplateName, JobTemplate>,
    /// Counts what happens.
    pub telemetry: Arc<dyn Telemetry>,
    /// Where uploaded components are kept; made if it is not there.
    pub components_dir: PathBuf,
    /// Where the host notes which file in an output directory is whose; a folder of the host's own.
    pub outputs_dir: PathBuf,
    /// What no grant goes beyond.
    pub ceiling: Ceiling,
    /// Most calls under way at once; no more than the runtime has instances.
    pub permits: usize,
    /// Makes links to reports.
    pub report_links: ReportLinks,
    /// What is kept how long; `None` keeps everything.
    pub retention: Option<RetentionPolicy>,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store could not be read or written.
    #[error("the store refused at start")]
    Store(#[from] StoreError),
    /// The folder for components could not be made.
    #[error("cannot make the folder for components `{path}`")]
    Components {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

impl Engine {
    /// Reads the installations, takes up what an earlier host left, and starts to deliver.
    ///
    /// # Errors
    /// The store or the data folder cannot be used. A plugin that cannot be loaded is no error: it is shown as `failed`.
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        std::fs::create_dir_all(&config.components_dir)
            .map_err(|error| EngineError::Components { path: config.components_dir.clone(), error })?;
        let (settled, _) = watch::channel(0);
        let now = config.clock.now();
        let permits = config.permits.max(1);
        let inner = Arc::new(Inner {
            store: config.store,
            runtime: config.runtime,
            clock: config.clock,
            resources: config.resources,
            jobs: config.jobs,
            job_templates: ArcSwap::from_pointee(config.job_templates),
            telemetry: config.telemetry,
            recent: super::recent::Recent::default(),
            components_dir: config.components_dir,
            outputs_dir: config.outputs_dir,
            ceiling: config.ceiling,
            snapshot: ArcSwap::from_pointee(Snapshot::new(0, BTreeMap::new(), BTreeMap::new())),
            install_lock: tokio::sync::Mutex::new(()),
            lanes: Mutex::new(HashMap::new()),
            permits: Arc::new(Semaphore::new(permits)),
            permits_max: permits,
            timers_changed: Notify::new(),
            sequencer: Sequencer::new(config.project_files),
            seen: super::outside::Seen::default(),
            outside_wake: Notify::new(),
            report_links: config.report_links,
            project_writer: std::sync::OnceLock::new(),
            settled,
            jitter_state: AtomicU64::new(now.as_millis().unsigned_abs()),
            stopping: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        let snapshot = inner.read_installations().await?;
        let draining: Vec<_> =
            snapshot.installations.values().filter(|it| it.row.removal.is_some()).map(|it| it.name.clone()).collect();
        inner.snapshot.store(Arc::new(snapshot));
        let interrupted = inner.store.recover_running(now).await?;
        if !interrupted.is_empty() {
            tracing::info!(count = interrupted.len(), "InterruptedDeliveriesRecovered");
        }
        inner.adopt_jobs().await?;
        inner.refresh_lanes();
        inner.tracker.spawn(Arc::clone(&inner).load_all());
        inner.tracker.spawn(Arc::clone(&inner).run_timers());
        inner.tracker.spawn(Arc::clone(&inner).run_sequencer());
        inner.tracker.spawn(Arc::clone(&inner).run_job_ends(config.jobs_ended));
        if let Some(policy) = config.retention {
            inner.tracker.spawn(Arc::clone(&inner).run_retention(policy));
        }
        for name in draining {
            inner.tracker.spawn(Arc::clone(&inner).finish_removal(name));
        }
        Ok(Self(inner))
    }

    /// Says who writes files of projects for plugins; the first one counts.
    pub fn set_project_writer(&self, writer: Box<dyn super::ProjectWriter>) {
        let _ = self.0.project_writer.set(writer);
    }
}
