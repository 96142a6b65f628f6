//! What happens with events: accepting and routing, delivering, settling, tasks, jobs and timers.
//!
//! The rules are in `pilothouse-core`; this module reads the store, asks the rules, and commits what they say. Every
//! change is one [`pilothouse_store::Batch`]. Start at [`Engine::ingest`] (what comes in) and `dispatch` (what goes out).
//!
//! Never here: HTTP, command line, configuration files.

pub mod approval;
pub mod clock;
mod dispatch;
pub mod evaluations;
mod ingest;
mod install;
mod installation;
mod job_flow;
mod log;
mod maintain;
pub mod monitoring;
pub mod outside;
mod plan;
pub mod problems;
mod receive;
mod recent;
mod reports;
pub mod sequencer;
mod services;
mod settle;
mod span;
mod start;
mod task_flow;
pub mod telemetry;
mod timer;
mod trace;
pub mod view;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use pilothouse_core::Event;
use pilothouse_core::delivery::{DeliveryId, DeliveryState};
use pilothouse_core::grant::Ceiling;
use pilothouse_core::name::{ConnectionName, InstallationName, TemplateName};
use pilothouse_core::right::Actor;
use pilothouse_core::sequence::Command;
use pilothouse_core::time::Timestamp;
use pilothouse_runtime::Runtime;
use pilothouse_runtime::job::{JobRunner, JobTemplate};
use pilothouse_store::{
    Batch, Committed, EventRow, NewEvent, Precondition, Seq, Settlement, Store, StoreError, TimerWrite,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use services::{ProjectWriter, Resources};
pub use start::{EngineConfig, EngineError};
use view::{
    Accepted, IngestError, InstallError, InstallRequest, InstallationView, Match, RedriveError, RemoveError, Sender,
    TaskView, Trace, Waiting,
};

/// Most nodes in one trace, so that one request cannot read the whole log.
pub const TRACE_NODES_MAX: usize = 500;
/// How often a commit is repeated while the store is busy or its answer was lost. Each wait is 20 ms longer.
const COMMIT_ATTEMPTS_MAX: u64 = 50;

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    runtime: Arc<Runtime>,
    clock: Arc<dyn clock::Clock>,
    resources: Arc<dyn Resources>,
    jobs: Arc<dyn JobRunner>,
    job_templates: ArcSwap<BTreeMap<TemplateName, JobTemplate>>,
    telemetry: Arc<dyn telemetry::Telemetry>,
    components_dir: PathBuf,
    outputs_dir: PathBuf,
    ceiling: Ceiling,
    snapshot: ArcSwap<installation::Snapshot>,
    recent: recent::Recent,
    /// One installation changes at a time.
    install_lock: tokio::sync::Mutex<()>,
    lanes: Mutex<HashMap<InstallationName, dispatch::Lane>>,
    permits: Arc<Semaphore>,
    permits_max: usize,
    timers_changed: Notify,
    sequencer: sequencer::Sequencer,
    seen: outside::Seen,
    /// Something may be owed to an outside executor.
    report_links: crate::report::ReportLinks,
    project_writer: OnceLock<Box<dyn ProjectWriter>>,
    outside_wake: Notify,
    /// Bumped whenever deliveries were settled.
    settled: watch::Sender<u64>,
    jitter_state: AtomicU64,
    stopping: CancellationToken,
    tracker: TaskTracker,
}

impl Engine {
    /// Returns the store, for reads.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Accepts events durably, all or none, and makes the deliveries that follow from them.
    ///
    /// # Errors
    /// [`IngestError`] says who is at fault; nothing is stored then (but see [`StoreError::Unknown`]).
    pub async fn ingest(&self, events: Vec<Event>, sender: &Sender) -> Result<Vec<Accepted>, IngestError> {
        self.0.ingest(events, sender).await
    }

    /// Tells who would get the event, without storing anything.
    ///
    /// # Errors
    /// The same refusals as [`Engine::ingest`].
    pub fn dry_run(&self, event: &Event, sender: &Sender) -> Result<Vec<Match>, IngestError> {
        self.0.dry_run(event, sender)
    }

    /// Tells the story of one event; `None` if there is no such event.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn trace(&self, seq: Seq) -> Result<Option<Trace>, StoreError> {
        self.0.trace(seq).await
    }

    /// Puts a dead letter back to be delivered again.
    ///
    /// # Errors
    /// [`RedriveError`] says why it cannot be.
    pub async fn redrive(&self, id: DeliveryId, actor: &Actor) -> Result<(), RedriveError> {
        self.0.redrive(id, actor).await
    }

    /// Keeps an uploaded component, and tells what it is.
    ///
    /// # Errors
    /// The component is not a plugin, or could not be written.
    pub async fn upload(&self, wasm: Vec<u8>) -> Result<pilothouse_runtime::Inspection, InstallError> {
        self.0.upload(wasm).await
    }

    /// Installs a plugin, or replaces an installation of the same name (calls in flight end on the old one).
    ///
    /// # Errors
    /// [`InstallError`] with every problem found.
    pub async fn install(&self, request: InstallRequest, actor: &Actor) -> Result<InstallationView, InstallError> {
        self.0.install(request, actor).await
    }

    /// Removes an installation. It takes no new events from now on, and is gone once nothing is owed to it.
    /// # Errors
    /// [`RemoveError`] says what is in the way.
    pub async fn remove(&self, name: &InstallationName, waiting: Waiting, actor: &Actor) -> Result<(), RemoveError> {
        self.0.remove(name, waiting, actor).await
    }

    /// Lists the installations in the order of their names.
    pub fn installations(&self) -> Vec<InstallationView> {
        self.0.snapshot.load().installations.values().map(|installation| self.0.view(installation)).collect()
    }

    /// Returns one task.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn task(&self, id: &str) -> Result<Option<TaskView>, StoreError> {
        self.0.task_view(id).await
    }

    /// Lists tasks in the order of their ids, after `after`; `open_only` leaves out the ended ones.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn tasks(&self, after: Option<&str>, limit: usize, open_only: bool) -> Result<Vec<TaskView>, StoreError> {
        self.0.task_views(after, limit, open_only).await
    }

    /// Stores events that the host makes in its own name because of `actor`, together with state rows; all or none. An event
    /// that is in the log already is absorbed.
    ///
    /// # Errors
    /// The store refused: [`StoreError::Conflict`] if a state row changed meanwhile.
    pub async fn record(
        &self,
        events: Vec<Event>,
        states: Vec<pilothouse_store::StateWrite>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        self.0.record(events, states, actor).await
    }

    /// Lists sequences, newest first, after `after` of the page before.
    /// # Errors
    /// The store could not be read.
    pub async fn sequences(
        &self,
        filter: &sequencer::SequenceFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<sequencer::SequencePage, StoreError> {
        self.0.sequence_page(filter, after, limit).await
    }

    /// Returns one sequence, with what it waits for; `None` if there is no such one.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn sequence(&self, id: Uuid) -> Result<Option<sequencer::SequenceView>, StoreError> {
        self.0.sequence_view(id).await
    }

    /// Gives an order to a sequence; returns the sequence that it is about in the end, a new one for a run once more.
    ///
    /// # Errors
    /// There is no such sequence, or the order makes no sense where it stands.
    pub async fn order(
        &self,
        id: Uuid,
        command: Command,
        actor: &Actor,
        reason: &str,
    ) -> Result<Uuid, sequencer::OrderError> {
        self.0.order(id, command, actor, reason).await
    }

    /// Works out the figures of a project's sequences that were triggered in a time.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn figures(
        &self,
        project: &str,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<sequencer::Figures, StoreError> {
        self.0.figures(project, since, until).await
    }

    /// Registers an outside executor, or changes one.
    ///
    /// # Errors
    /// The name is a plugin's, or a task is not as it must be.
    pub async fn register_executor(
        &self,
        registration: outside::Registration,
        actor: &Actor,
    ) -> Result<(), outside::ExecutorError> {
        self.0.register_executor(registration, actor).await
    }

    /// Removes an outside executor; what it has not answered is errored.
    ///
    /// # Errors
    /// There is no such executor.
    pub async fn remove_executor(&self, name: &InstallationName, actor: &Actor) -> Result<(), outside::ExecutorError> {
        self.0.remove_executor(name, actor).await
    }

    /// Lists the executors: plugins, then outside clients.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn executors(&self) -> Result<Vec<outside::ExecutorView>, StoreError> {
        self.0.executor_views().await
    }

    /// Tells whether a plugin or an outside executor could do a task in a stage of a project.
    pub fn executes(&self, task: &str, project: &str, stage: &str) -> bool {
        self.0.snapshot.load().subscriptions.executes(task, project, stage)
    }

    /// Returns the outside executors that tasks are sent to: the name, whose it is, and the connection.
    pub fn pushed_executors(&self) -> Vec<(InstallationName, Actor, ConnectionName)> {
        let snapshot = self.0.snapshot.load();
        let pushed = snapshot.executors.iter().filter_map(|(name, executor)| {
            Some((name.clone(), executor.row.owner.clone(), executor.row.push.clone()?))
        });
        pushed.collect()
    }

    /// Gives back a task that an outside executor does not take now; it is handed out again later.
    ///
    /// # Errors
    /// The store refused.
    pub async fn refuse_lease(
        &self,
        name: &InstallationName,
        leased: &outside::LeaseView,
        reason: String,
    ) -> Result<(), StoreError> {
        self.0.refuse_lease(name, leased, reason).await
    }

    /// Hands tasks to an outside executor, at most `count`, for the time of a lease; waits for one, at most `wait`.
    ///
    /// # Errors
    /// There is no such executor, or it is another token's.
    pub async fn lease(
        &self,
        name: &InstallationName,
        count: usize,
        lease: std::time::Duration,
        wait: std::time::Duration,
        actor: &Actor,
    ) -> Result<Vec<outside::LeaseView>, outside::ExecutorError> {
        self.0.lease(name, count, lease, wait, actor).await
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Replaces the operator's job templates after a reload of the configuration.
    pub fn set_job_templates(&self, templates: BTreeMap<TemplateName, JobTemplate>) {
        self.0.job_templates.store(Arc::new(templates));
    }

    /// Stops claiming deliveries and waits for what is under way, at most `deadline`; returns whether all ended.
    pub async fn drain(&self, deadline: std::time::Duration) -> bool {
        self.0.stopping.cancel();
        self.0.tracker.close();
        tokio::time::timeout(deadline, self.0.tracker.wait()).await.is_ok()
    }
}

impl Inner {
    /// Commits a batch; repeats it while the store is busy or the outcome is unknown, which the batch's id makes safe.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let mut attempt = 0;
        loop {
            let result = self.store.commit(batch.clone()).await;
            match result {
                Err(StoreError::Busy(_) | StoreError::Unknown(_))
                    if attempt < COMMIT_ATTEMPTS_MAX && !batch.is_ingest() =>
                {
                    attempt += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(20 * attempt)).await;
                }
                result => return result,
            }
        }
    }

    /// Commits a batch and wakes whoever has something to do because of it.
    async fn commit_and_wake(&self, batch: Batch) -> Result<(), StoreError> {
        let consumers: Vec<InstallationName> = batch.deliveries.iter().map(|it| it.consumer.clone()).collect();
        let events = batch.events.clone();
        let timers = batch.timers.iter().any(|timer| matches!(timer, TimerWrite::Set { .. }));
        let settled = !batch.settled.is_empty();
        let now = batch.now;
        let committed = self.commit(batch).await?;
        self.keep_owed(&events, &committed, now);
        self.wake_for(&events);
        for consumer in consumers {
            self.wake_lane(&consumer);
        }
        if timers {
            self.timers_changed.notify_one();
        }
        if settled {
            self.settled.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(())
    }

    /// Keeps those of the committed events at hand that are owed to somebody.
    fn keep_owed(&self, events: &[NewEvent], committed: &Committed, now: Timestamp) {
        for (new, outcome) in events.iter().zip(&committed.events) {
            if new.deliveries.is_empty() || outcome.duplicate {
                continue;
            }
            self.recent.keep(EventRow {
                seq: outcome.seq,
                event: new.event.clone(),
                accepted: now,
                place: new.place.clone(),
                run: new.run.clone(),
                triggered_id: new.triggered_id.clone(),
                actor: new.actor.clone(),
                caused_by: new.caused_by,
                depth: new.depth,
            });
        }
    }

    /// Wakes the lanes and timers that new events concern.
    fn wake_for(&self, events: &[NewEvent]) {
        let mut woken: Vec<&InstallationName> =
            events.iter().flat_map(|event| event.deliveries.iter().map(|it| &it.consumer)).collect();
        woken.sort_unstable();
        woken.dedup();
        for consumer in woken {
            self.wake_lane(consumer);
        }
        if events.iter().any(|event| !event.timers.is_empty()) {
            self.timers_changed.notify_one();
        }
    }

    /// Stores an event that the host makes in its own name.
    async fn commit_host_event(
        &self,
        event: Event,
        caused_by: Option<DeliveryId>,
        preconditions: Vec<Precondition>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot.load_full();
        let mut batch = Batch::new(self.clock.now());
        batch.routing = Some(snapshot.generation());
        batch.preconditions = preconditions;
        let origin = plan::Origin::host(caused_by, 0);
        match plan::plan(&snapshot, event, &origin, batch.now) {
            Ok(planned) => batch.events = planned,
            Err(error) => return Err(StoreError::TooLarge(error.to_string())),
        }
        self.commit_and_wake(batch).await
    }

    /// See [`Engine::record`].
    async fn record(
        &self,
        events: Vec<Event>,
        states: Vec<pilothouse_store::StateWrite>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        loop {
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(self.clock.now());
            batch.routing = Some(snapshot.generation());
            batch.states.clone_from(&states);
            let origin = plan::Origin { actor: actor.clone(), ..plan::Origin::host(None, 0) };
            for event in &events {
                let planned = plan::plan(&snapshot, event.clone(), &origin, batch.now);
                batch.events.extend(planned.map_err(|error| StoreError::TooLarge(error.to_string()))?);
            }
            match self.commit_and_wake(batch).await {
                Err(StoreError::StaleRouting { .. }) => {}
                result => return result,
            }
        }
    }

    async fn redrive(&self, id: DeliveryId, actor: &Actor) -> Result<(), RedriveError> {
        let Some(row) = self.store.delivery(id).await? else { return Err(RedriveError::NotFound(id.to_string())) };
        let refused = |text: String| Err(RedriveError::Refused(text));
        if row.state != DeliveryState::Dead {
            return refused(format!("the delivery is {}, only dead letters can be redriven", row.state.as_str()));
        }
        let known =
            self.installation(&row.consumer).is_some() || self.snapshot.load().executors.contains_key(&row.consumer);
        if !known && !row.consumer.is_built_in() {
            return refused(format!(
                "`{}` is not installed any more; install it under the same name first",
                row.consumer
            ));
        }
        if let Some(task) = &row.task
            && let Some(view) = self.task_view(task).await?
            && view.state == "ended"
        {
            return refused(format!(
                "its task `{}` has ended: {}; trigger the task again instead",
                view.name, view.reason
            ));
        }
        let mut batch = Batch::new(self.clock.now());
        let settlement = Settlement::Redriven { actor: actor.clone(), due: batch.now };
        batch.settled.push(dispatch::unused(&row, settlement));
        match self.commit_and_wake(batch).await {
            Ok(()) => {
                self.wake_lane(&row.consumer);
                Ok(())
            }
            Err(StoreError::Conflict(_)) => refused("the delivery changed at the same moment; look again".to_owned()),
            Err(error) => Err(error.into()),
        }
    }

    /// Draws a factor from 0.5 to 1.5 for the wait before the next attempt. Spreading is all it is for, so a counter
    /// through a mixing function does (SplitMix64, public domain).
    fn jitter(&self) -> f64 {
        let mut mixed = self.jitter_state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        0.5 + unit
    }
}
