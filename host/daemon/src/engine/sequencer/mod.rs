//! Sequences and the store: reading what a decision needs, and committing what it says.
//!
//! One decider, in the order of the log: it takes the deliveries to the built-in consumer `sequencer` and the timers of
//! executions, asks [`pilothouse_core::sequence::decide`], and commits the outcome of up to `INPUTS_PER_COMMIT` of them
//! at once, settled deliveries included. What is lost with a crash is decided again, from the same rows, to the same end.
//!
//! Never here: rules about sequences.

mod act;
mod follow;
mod index;
mod input;
mod order;
mod rows;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pilothouse_core::delivery::FailureKind;
use pilothouse_core::name::InstallationName;
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::sequence::{Input, Resolved};
use pilothouse_runtime::ResourceError;
use pilothouse_store::{Batch, DeliveryRow, Settlement, StoreError, TimerWrite};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Inner;
use super::dispatch::unused;
pub use index::{Figures, SequenceFilter, StageFigures};
pub use order::OrderError;
use rows::Loaded;
pub(crate) use view::state_from_word;
pub use view::{SequencePage, SequenceSummary, SequenceView, StepView, TaskRunView};

/// Prefix of the timers of executions.
pub(super) const SEQUENCE_TIMER: &str = "seq/";
/// Most inputs that one commit settles; what a burst waits for is a sync of the disk.
const INPUTS_PER_COMMIT: usize = 256;
/// Most events of one commit, beyond which no further input is added to it.
const EVENTS_PER_COMMIT: usize = 1_024;
/// How often a commit that lost against another one is worked out anew. Losing needs the end of a task that is cancelled,
/// or an install, at the same moment each time.
const ATTEMPTS_MAX: u32 = 32;
/// Longest sleep between two looks.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Wait after a failed read or commit.
const STORE_ERROR_WAIT: Duration = Duration::from_millis(500);

/// Reads the files of projects.
#[async_trait]
pub trait ProjectSource: Send + Sync {
    /// Returns the shipyard of a project at a commit, or at the present one; or why it cannot be had, for people.
    ///
    /// # Errors
    /// The store could not be read: it is asked again later.
    async fn shipyard(&self, project: &str, commit: Option<&str>) -> Result<Resolved, StoreError>;

    /// Reads a file of a project at a commit, or at the present one: from the first of the folders that has it.
    ///
    /// # Errors
    /// [`ResourceError`] says who is at fault.
    async fn file(
        &self,
        project: &str,
        commit: Option<&str>,
        folders: &[Folder],
        path: &FilePath,
    ) -> Result<Vec<u8>, ResourceError>;

    /// Lists the files of a folder whose paths in it begin with `prefix`, with their sizes; at most `limit`.
    ///
    /// # Errors
    /// As for [`ProjectSource::file`].
    async fn files(
        &self,
        project: &str,
        commit: Option<&str>,
        folder: &Folder,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ResourceError>;

    /// Lists the services of a project at a commit, or at the present one, in order.
    ///
    /// # Errors
    /// As for [`ProjectSource::file`].
    async fn services(&self, project: &str, commit: Option<&str>) -> Result<Vec<String>, ResourceError>;
}

/// A host without projects: no sequence begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProjects;

#[async_trait]
impl ProjectSource for NoProjects {
    async fn shipyard(&self, project: &str, _: Option<&str>) -> Result<Resolved, StoreError> {
        Ok(Err(format!("there is no project `{project}`")))
    }

    async fn file(&self, _: &str, _: Option<&str>, _: &[Folder], _: &FilePath) -> Result<Vec<u8>, ResourceError> {
        Err(ResourceError::NotFound)
    }

    async fn files(
        &self,
        _: &str,
        _: Option<&str>,
        _: &Folder,
        _: &str,
        _: usize,
    ) -> Result<Vec<(String, u64)>, ResourceError> {
        Ok(Vec::new())
    }

    async fn services(&self, _: &str, _: Option<&str>) -> Result<Vec<String>, ResourceError> {
        Ok(Vec::new())
    }
}

/// What the sequencer keeps beside the store.
pub(super) struct Sequencer {
    /// Something may be owed to it.
    pub(super) wake: Notify,
    /// One decision at a time.
    decider: tokio::sync::Mutex<()>,
    pub(super) projects: Arc<dyn ProjectSource>,
}

impl Sequencer {
    pub(super) fn new(projects: Arc<dyn ProjectSource>) -> Self {
        Self { wake: Notify::new(), decider: tokio::sync::Mutex::new(()), projects }
    }
}

/// Why there is no decision about an input.
#[derive(Debug)]
enum InputError {
    /// What it is about is damaged; trying again would not help.
    Unreadable(String),
    /// The store could not be read.
    Store(StoreError),
}

impl From<StoreError> for InputError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What to commit, and what to do afterwards.
struct Draft {
    batch: Batch,
    loaded: Loaded,
    /// Jobs of cancelled tasks, to be stopped once the commit is on disk.
    jobs: Vec<String>,
}

impl Inner {
    /// Decides about sequences until the host stops.
    pub(super) async fn run_sequencer(self: Arc<Self>) {
        while !self.stopping.is_cancelled() {
            let wait = match self.decide_ready().await {
                Ok(true) => continue,
                Ok(false) => SLEEP_MAX,
                Err(error) => {
                    tracing::warn!(%error, "SequencerError");
                    STORE_ERROR_WAIT
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = self.sequencer.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Decides about what is owed to the sequencer; returns whether there was anything.
    async fn decide_ready(&self) -> Result<bool, StoreError> {
        let _decider = self.sequencer.decider.lock().await;
        let name = InstallationName::sequencer();
        let ready = self.store.ready_deliveries(&name, 0, self.clock.now(), INPUTS_PER_COMMIT).await?;
        let mut rest = ready.as_slice();
        while !rest.is_empty() {
            let taken = self.decide_some(rest).await?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(!ready.is_empty())
    }

    /// Decides about some of the deliveries, from the first on, and commits; returns about how many.
    async fn decide_some(&self, ready: &[DeliveryRow]) -> Result<usize, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut draft = self.draft();
            let mut taken = 0;
            for row in ready {
                if draft.batch.events.len() > EVENTS_PER_COMMIT {
                    break;
                }
                let settlement = match self.input_of(row).await {
                    Ok(None) => Settlement::Handled,
                    Ok(Some(input)) => match self.decide_input(&mut draft, &input, taken == 0).await {
                        Ok(true) => Settlement::Handled,
                        // It cancels a task that this very commit may trigger: that comes first.
                        Ok(false) => break,
                        Err(InputError::Unreadable(reason)) => unreadable(reason),
                        Err(InputError::Store(error)) => return Err(error),
                    },
                    Err(InputError::Unreadable(reason)) => unreadable(reason),
                    Err(InputError::Store(error)) => return Err(error),
                };
                if let Settlement::Dead { reason, .. } = &settlement {
                    tracing::error!(delivery = %row.id, %reason, "SequenceInputError");
                }
                draft.batch.settled.push(unused(row, settlement));
                taken += 1;
            }
            if self.commit_draft(draft).await? {
                return Ok(taken);
            }
        }
        Err(StoreError::Conflict("decisions about sequences lose against other commits all the time".to_owned()))
    }

    /// Decides about an execution whose time has come.
    pub(super) async fn wake_execution(&self, execution: Uuid, timer: &str) -> Result<(), StoreError> {
        let _decider = self.sequencer.decider.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let mut draft = self.draft();
            draft.batch.timers.push(TimerWrite::Clear { name: timer.to_owned() });
            match self.decide_input(&mut draft, &Input::Woken { execution }, true).await {
                Ok(_) => {}
                Err(InputError::Unreadable(reason)) => tracing::error!(%execution, %reason, "SequenceInputError"),
                Err(InputError::Store(error)) => return Err(error),
            }
            if self.commit_draft(draft).await? {
                return Ok(());
            }
        }
        Err(StoreError::Conflict("decisions about sequences lose against other commits all the time".to_owned()))
    }

    fn draft(&self) -> Draft {
        Draft { batch: Batch::new(self.clock.now()), loaded: Loaded::default(), jobs: Vec::new() }
    }

    /// Commits what was decided; `false` if it must be decided anew, because of another commit.
    async fn commit_draft(&self, mut draft: Draft) -> Result<bool, StoreError> {
        draft.loaded.write(&mut draft.batch);
        match self.commit_and_wake(draft.batch).await {
            Ok(()) => {
                self.cancel_jobs(&draft.jobs).await;
                Ok(true)
            }
            Err(StoreError::Conflict(reason)) => {
                tracing::debug!(%reason, "SequenceDecisionAgain");
                Ok(false)
            }
            Err(StoreError::StaleRouting { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What cannot be read is not tried for ever: it becomes a dead letter, and what comes after it goes on.
fn unreadable(reason: String) -> Settlement {
    Settlement::Dead { kind: FailureKind::Host, reason }
}
