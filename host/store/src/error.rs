//! Why the store refused or failed.

use crate::Seq;

/// Why the store refused or failed; each variant says what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A precondition of the batch no longer holds: read again and decide again.
    #[error("the batch is out of date: {0}")]
    Conflict(String),
    /// The subscriptions changed since the batch was routed: route again.
    #[error("the batch was routed with subscriptions of generation {routed}, now it is {current}")]
    StaleRouting {
        /// The generation that the batch names.
        routed: u64,
        /// The generation in force.
        current: u64,
    },
    /// The batch itself is over a bound, such as [`crate::Batch::EVENTS_MAX`].
    #[error("the batch is too large: {0}")]
    TooLarge(String),
    /// There is too little free space to take new events; settling deliveries still works. Clears itself.
    #[error("the store is full: {0}")]
    Full(String),
    /// Too many commits are waiting. Try again shortly.
    #[error("the store is busy: {0} commits are waiting")]
    Busy(usize),
    /// A write or sync failed; the store takes no more writes until the host is restarted.
    #[error("the store is read-only since a write failed: {0}")]
    ReadOnly(String),
    /// The commit may or may not be stored; repeating it with the same batch id is safe.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// A row does not match its checksum.
    #[error("event {seq} is damaged: {detail}")]
    Corrupt {
        /// Position of the damaged event.
        seq: Seq,
        /// What does not fit.
        detail: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Opening failed: locked, damaged, truncated, too new, not ours, not writable.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// Reading failed.
    #[error("cannot read the store: {0}")]
    Read(String),
}
