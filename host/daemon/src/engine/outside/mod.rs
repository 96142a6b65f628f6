//! Outside executors: clients of the API that do a task's work, without a plugin.
//!
//! One is registered under a name, for tasks, and for the token that it signs in with (`register`). It fetches what is
//! owed to it with a lease (`lease`), and answers with events (`answer`). Bound, timed and ended are its tasks like
//! those of plugins.

mod answer;
mod lease;
mod register;
pub mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pilothouse_core::delivery::DeliveryId;
use pilothouse_core::grant::TaskGrant;
use pilothouse_core::manifest::Order;
use pilothouse_core::name::{ConnectionName, InstallationName, TaskName};
use pilothouse_core::right::Actor;
use pilothouse_core::scope::Scope;
use pilothouse_core::subscription::{Subscriber, SubscriberKind};
use pilothouse_core::task::FINISH_TIMEOUT_DEFAULT;
use pilothouse_core::time::Timestamp;
use pilothouse_store::StoreError;
use serde::{Deserialize, Serialize};

pub use view::{ExecutorView, LeaseView, TaskMatch};

/// Kind of the state rows of outside executors; the key is the name.
pub(super) const EXECUTOR_KIND: &str = "executor";
/// Version of the serialized form.
const SCHEMA: u32 = 1;
/// Shortest lease.
pub const LEASE_MIN: Duration = Duration::from_secs(1);
/// Longest lease. Longer work renews it by telling of its progress.
pub const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// Most tasks that are handed out at once.
pub const LEASES_PER_REQUEST_MAX: usize = 100;
/// Prefix of the timers that end leases.
pub(super) const LEASE_TIMER: &str = "lease/";

/// An outside executor as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ExecutorRow {
    schema: u32,
    /// What it executes.
    pub(super) tasks: BTreeMap<TaskName, TaskGrant>,
    /// Where.
    pub(super) scope: Scope,
    /// Whose answers count: the token that it signs in with.
    pub(super) owner: Actor,
    /// The connection that its tasks are sent to; it fetches them itself when absent.
    #[serde(default)]
    pub(super) push: Option<ConnectionName>,
    /// Who registered it.
    pub(super) registered_by: Actor,
    /// When.
    pub(super) registered: Timestamp,
}

/// An outside executor, with the revision of its row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OutsideExecutor {
    pub(super) name: InstallationName,
    pub(super) revision: u64,
    pub(super) row: ExecutorRow,
}

impl OutsideExecutor {
    /// Returns what it is handed.
    pub(super) fn subscribers(&self) -> Vec<Subscriber> {
        let executor = |(task, grant): (&TaskName, &TaskGrant)| Subscriber {
            installation: self.name.clone(),
            kind: SubscriberKind::Executor {
                task: task.clone(),
                data_match: grant.data_match.clone(),
                finish_timeout: grant.finish_timeout.map_or(FINISH_TIMEOUT_DEFAULT, |span| span.0),
            },
            scope: self.row.scope.clone(),
            order: Order::None,
        };
        self.row.tasks.iter().map(executor).collect()
    }
}

/// A registration as the API takes it.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Under which name.
    pub name: InstallationName,
    /// What it executes.
    pub tasks: BTreeMap<TaskName, TaskGrant>,
    /// Where.
    pub scope: Scope,
    /// Whose answers count.
    pub owner: Actor,
    /// The connection that its tasks are sent to; it fetches them itself when absent.
    pub push: Option<ConnectionName>,
}

/// Why an outside executor is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecutorError {
    /// There is no such executor.
    #[error("there is no outside executor `{0}`; `pilothouse executor list` shows them")]
    NotFound(String),
    /// The name is taken by a plugin.
    #[error("`{0}` is the name of an installation; choose another one")]
    Taken(String),
    /// Somebody else's.
    #[error("the outside executor `{name}` is for the token of {owner}")]
    NotYours {
        /// The executor.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When each outside executor was last heard of, what went wrong last, and how long its leases are; since the host started.
/// A restart gives all leases back, so nothing of this needs to be on disk.
#[derive(Debug, Default)]
pub(super) struct Seen {
    executors: Mutex<HashMap<InstallationName, SeenOne>>,
    leases: Mutex<HashMap<DeliveryId, Duration>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SeenOne {
    pub(super) at: Option<Timestamp>,
    pub(super) error: Option<String>,
}

impl Seen {
    pub(super) fn lease_begun(&self, delivery: DeliveryId, lease: Duration) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery, lease);
    }

    pub(super) fn lease(&self, delivery: DeliveryId) -> Option<Duration> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(&delivery).copied()
    }

    pub(super) fn lease_over(&self, delivery: DeliveryId) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).remove(&delivery);
    }

    pub(super) fn note(&self, name: &InstallationName, at: Timestamp) {
        let mut seen = self.executors.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(name.clone()).or_default().at = Some(at);
    }

    pub(super) fn note_error(&self, name: &InstallationName, error: String) {
        let mut seen = self.executors.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(name.clone()).or_default().error = Some(error);
    }

    pub(super) fn get(&self, name: &InstallationName) -> SeenOne {
        self.executors.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    pub(super) fn forget(&self, name: &InstallationName) {
        self.executors.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
