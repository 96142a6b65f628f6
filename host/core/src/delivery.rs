//! The life of one delivery: attempts, waits between them, and how it ends.
//!
//! ```text
//! ready ──claim──► running ──done──────────► done
//!   ▲                │ retry, trap, timeout
//!   └──after a wait──┤
//!                    └─reject, attempts used up──► dead ──redrive──► ready
//! ```
//! The attempt is on disk before the call, so an event that kills the host is counted like any other failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::name::InstallationName;
use crate::time::Timestamp;

/// Identifies a delivery for ever: the same event to the same consumer for the same cause has the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub Uuid);

/// Namespace of delivery ids (a random UUID, fixed for ever).
const DELIVERY_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_1e8c_54b7_4d0a_9a3b_7c25_2f0e_91d4);

impl DeliveryId {
    /// Derives the id; `cause` tells apart several deliveries of one event to one consumer (a wake-up has its number).
    pub fn derive(source: &str, id: &str, consumer: &InstallationName, cause: &str) -> Self {
        let name = [source, id, consumer.as_str(), cause].join("\u{0}");
        Self(Uuid::new_v5(&DELIVERY_NAMESPACE, name.as_bytes()))
    }

    /// Returns the id of the event at position `index` of what this delivery returned.
    pub fn returned_event_id(self, index: usize) -> String {
        Uuid::new_v5(&self.0, index.to_string().as_bytes()).to_string()
    }
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DeliveryId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Why a delivery that belongs to a task is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A subscription matched; there is no task.
    Observed,
    /// The task was triggered.
    Triggered,
    /// The time asked for with `pending` has come.
    WakeUp,
    /// A job that this task started has ended.
    JobEnded,
    /// A task that this task triggered has finished.
    TaskFinished,
    /// A person decided on this task.
    Decided,
}

impl Cause {
    /// Returns the word used in the store, the API and [`DeliveryId::derive`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Triggered => "triggered",
            Self::WakeUp => "wake-up",
            Self::JobEnded => "job-ended",
            Self::TaskFinished => "task-finished",
            Self::Decided => "decided",
        }
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Owed; to be tried when its time has come.
    Ready,
    /// An attempt is under way, or was when the host stopped.
    Running,
    /// Settled by the plugin's outcome.
    Done,
    /// Given up; kept with its reason for a person to redrive.
    Dead,
    /// Its task ended before it could be handled; nothing is owed any more.
    Cancelled,
}

impl DeliveryState {
    /// Returns the word used in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word that [`DeliveryState::as_str`] writes.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ready, Self::Running, Self::Done, Self::Dead, Self::Cancelled].into_iter().find(|it| it.as_str() == word)
    }

    /// Tells whether something is still owed to the delivery.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }
}

/// The kinds of failed attempt: a closed set, used as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The plugin asked for another attempt.
    Retry,
    /// The plugin will never want this event.
    Reject,
    /// The guest trapped: a bug of the plugin.
    Trap,
    /// Over the limit of wall-clock time.
    Timeout,
    /// Over the limit of CPU time.
    Cpu,
    /// Over the limit of memory, tables, handles or copied data.
    Memory,
    /// The outcome broke a rule: an event that is invalid, too large or not listed under `emits`.
    Outcome,
    /// The host failed; not the plugin's fault.
    Host,
    /// The host stopped during the attempt.
    Interrupted,
}

impl FailureKind {
    /// Returns the word used in the store, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Outcome => "outcome",
            Self::Host => "host",
            Self::Interrupted => "interrupted",
        }
    }

    /// Tells whether another attempt can help. A rejected event is never retried: the plugin has read it and does not
    /// want it. A broken outcome is a bug that the same bytes would meet again.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Reject | Self::Outcome)
    }
}

/// How often and how late a failed delivery is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts altogether, the first included. Default 5; at least 1.
    pub attempts_max: u32,
    /// Wait before the second attempt, in milliseconds. Default 1,000.
    pub backoff_initial_ms: u64,
    /// Longest wait, also for what a plugin asks, in milliseconds. Default 3,600,000 (one hour).
    pub backoff_max_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts_max: 5, backoff_initial_ms: 1_000, backoff_max_ms: 3_600_000 }
    }
}

/// What becomes of a delivery whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Dead letter.
    Dead,
}

/// Decides what becomes of a delivery whose attempt number `attempt` (from 1) failed.
///
/// The wait doubles from `backoff_initial_ms` to `backoff_max_ms` and is multiplied by `jitter`, a number from 0.5 to
/// 1.5 that the caller draws, so that deliveries which failed together do not come back together. A wait that the
/// plugin asked for is a lower bound, itself capped by `backoff_max_ms`.
pub fn after_failure(
    policy: &RetryPolicy,
    kind: FailureKind,
    attempt: u32,
    asked: Option<Duration>,
    jitter: f64,
    now: Timestamp,
) -> Verdict {
    if !kind.is_retryable() || attempt >= policy.attempts_max {
        return Verdict::Dead;
    }
    let doublings = attempt.saturating_sub(1).min(63);
    let base = policy.backoff_initial_ms.saturating_mul(1_u64 << doublings).min(policy.backoff_max_ms);
    let jittered = Duration::from_millis(base).mul_f64(jitter.clamp(0.5, 1.5));
    let cap = Duration::from_millis(policy.backoff_max_ms);
    Verdict::RetryAt(now.after(jittered.max(asked.unwrap_or_default()).min(cap)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn wait(attempt: u32, asked: Option<u64>, jitter: f64) -> Option<u64> {
        let policy = RetryPolicy { attempts_max: 20, backoff_initial_ms: 100, backoff_max_ms: 1_000 };
        match after_failure(&policy, FailureKind::Retry, attempt, asked.map(Duration::from_millis), jitter, NOW) {
            Verdict::RetryAt(at) => Some(u64::try_from(at.since(NOW).as_millis()).unwrap()),
            Verdict::Dead => None,
        }
    }

    #[test]
    fn the_wait_doubles_up_to_the_cap() {
        assert_eq!(
            [1, 2, 3, 4, 5, 19].map(|attempt| wait(attempt, None, 1.0)),
            [100, 200, 400, 800, 1_000, 1_000].map(Some)
        );
        assert_eq!(wait(20, None, 1.0), None);
    }

    #[test]
    fn jitter_scales_the_wait_and_stays_in_its_range() {
        assert_eq!(wait(1, None, 0.5), Some(50));
        assert_eq!(wait(1, None, 1.5), Some(150));
        assert_eq!(wait(1, None, 99.0), Some(150));
    }

    #[test]
    fn a_wait_that_the_plugin_asks_for_is_a_lower_bound_under_the_cap() {
        assert_eq!(wait(1, Some(700), 1.0), Some(700));
        assert_eq!(wait(4, Some(1), 1.0), Some(800));
        assert_eq!(wait(1, Some(9_999), 1.0), Some(1_000));
    }

    #[test]
    fn a_rejected_event_is_not_retried() {
        let verdict = after_failure(&RetryPolicy::default(), FailureKind::Reject, 1, None, 1.0, NOW);
        assert_eq!(verdict, Verdict::Dead);
    }

    #[test]
    fn the_same_delivery_has_the_same_id_and_its_parts_do_not_run_together() {
        let jmeter = InstallationName::new("jmeter").unwrap();
        let id = |source, event| DeliveryId::derive(source, event, &jmeter, "observed");
        assert_eq!(id("/ci", "1"), id("/ci", "1"));
        assert_ne!(id("/ci", "11"), id("/ci1", "1"));
        assert_ne!(id("/ci", "1").returned_event_id(0), id("/ci", "1").returned_event_id(1));
    }
}
