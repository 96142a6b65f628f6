//! Handing tasks to outside executors: for a time, after which others of the same executor get them again.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::delivery::{DeliveryId, DeliveryState, FailureKind, RetryPolicy, Verdict, after_failure};
use pilothouse_core::name::InstallationName;
use pilothouse_core::quantity::Span;
use pilothouse_core::right::Actor;
use pilothouse_core::time::Timestamp;
use pilothouse_store::{Batch, DeliveryRow, Settlement, StoreError, TimerWrite};

use super::super::Inner;
use super::super::dispatch::unused;
use super::super::settle::InHand;
use super::{ExecutorError, LEASE_MAX, LEASE_MIN, LEASE_TIMER, LEASES_PER_REQUEST_MAX, LeaseView, OutsideExecutor};

/// Longest time that a request waits for something to do.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks while a request waits; a wake-up comes earlier.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Returns the name of the timer that ends a lease.
fn lease_timer(delivery: DeliveryId, attempt: u32) -> String {
    format!("{LEASE_TIMER}{delivery}/{attempt}")
}

impl Inner {
    /// Returns an outside executor, for the holder of its token.
    pub(super) fn own_executor(
        &self,
        name: &InstallationName,
        actor: &Actor,
    ) -> Result<Arc<OutsideExecutor>, ExecutorError> {
        let snapshot = self.snapshot.load();
        let known = snapshot.executors.get(name).ok_or_else(|| ExecutorError::NotFound(name.to_string()))?;
        if known.row.owner != *actor {
            let owner = known.row.owner.as_str().to_owned();
            return Err(ExecutorError::NotYours { name: name.to_string(), owner });
        }
        Ok(Arc::clone(known))
    }

    /// See [`crate::engine::Engine::lease`].
    pub(in super::super) async fn lease(
        &self,
        name: &InstallationName,
        count: usize,
        lease: Duration,
        wait: Duration,
        actor: &Actor,
    ) -> Result<Vec<LeaseView>, ExecutorError> {
        if !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
            let text = format!("a lease is from {} to {}", Span(LEASE_MIN), Span(LEASE_MAX));
            return Err(ExecutorError::Invalid(text));
        }
        let count = count.clamp(1, LEASES_PER_REQUEST_MAX);
        let until = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        loop {
            // Looked up each time: it may be removed, or given to another token, while the request waits.
            self.own_executor(name, actor)?;
            self.seen.note(name, self.clock.now());
            let leased = self.lease_now(name, count, lease).await?;
            let now = tokio::time::Instant::now();
            if !leased.is_empty() || now >= until || self.stopping.is_cancelled() {
                return Ok(leased);
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = self.outside_wake.notified() => {}
                () = tokio::time::sleep_until(until.min(now + LOOK_INTERVAL)) => {}
            }
        }
    }

    async fn lease_now(
        &self,
        name: &InstallationName,
        count: usize,
        lease: Duration,
    ) -> Result<Vec<LeaseView>, ExecutorError> {
        let now = self.clock.now();
        let mut leased = Vec::new();
        for row in self.store.ready_deliveries(name, 0, now, count).await? {
            let due = self.clock.now().after(lease);
            let timer = TimerWrite::Set { name: lease_timer(row.id, row.attempts + 1), due, payload: Vec::new() };
            // `None`: another request was faster, or the task has ended.
            if self
                .claim_rows(RetryPolicy::default().attempts_max, std::slice::from_ref(&row), vec![timer])
                .await?
                .is_none()
            {
                continue;
            }
            self.seen.lease_begun(row.id, lease);
            let Some(event) = self.store.event(row.event).await? else { continue };
            leased.push(LeaseView::new(&row, &event, due));
        }
        Ok(leased)
    }

    /// Gives back a task that an executor does not take now.
    pub(in super::super) async fn refuse_lease(
        &self,
        name: &InstallationName,
        leased: &LeaseView,
        reason: String,
    ) -> Result<(), StoreError> {
        self.seen.lease_over(leased.delivery);
        self.seen.note_error(name, reason.clone());
        let mut batch = Batch::new(self.clock.now());
        batch.timers.push(TimerWrite::Clear { name: lease_timer(leased.delivery, leased.attempt) });
        let row = self.store.delivery(leased.delivery).await?;
        match row.filter(|row| row.state == DeliveryState::Running && row.attempts == leased.attempt) {
            Some(row) => self.give_back(row, FailureKind::Retry, reason, batch).await,
            // It was answered, or its task ended.
            None => self.commit_and_wake(batch).await,
        }
    }

    /// Gives back what an executor did not answer in time.
    pub(in super::super) async fn lease_ended(&self, rest: &str, timer: &str) -> Result<(), StoreError> {
        let mut batch = Batch::new(self.clock.now());
        batch.timers.push(TimerWrite::Clear { name: timer.to_owned() });
        let parsed =
            rest.split_once('/').and_then(|(id, attempt)| Some((id.parse().ok()?, attempt.parse::<u32>().ok()?)));
        let row = match parsed {
            Some((id, attempt)) => {
                let row = self.store.delivery(DeliveryId(id)).await?;
                row.filter(|row| row.state == DeliveryState::Running && row.attempts == attempt)
            }
            None => None,
        };
        let Some(row) = row else { return self.commit_and_wake(batch).await };
        self.seen.lease_over(row.id);
        let reason = format!("`{}` did not answer within its lease", row.consumer);
        self.seen.note_error(&row.consumer, reason.clone());
        self.give_back(row, FailureKind::Timeout, reason, batch).await
    }

    /// Puts a delivery back, or gives it up after too many attempts.
    async fn give_back(
        &self,
        row: DeliveryRow,
        kind: FailureKind,
        reason: String,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let policy = RetryPolicy::default();
        match after_failure(&policy, kind, row.attempts, None, self.jitter(), batch.now) {
            Verdict::RetryAt(due) => {
                batch.settled.push(unused(&row, Settlement::Retry { due, kind, reason }));
                self.commit_and_wake(batch).await
            }
            Verdict::Dead => {
                // The timer goes in a commit of its own: if it is lost, the next firing finds nothing to do.
                let dead = unused(&row, Settlement::Dead { kind, reason: reason.clone() });
                self.settle_dead(&InHand { row }, dead, &reason).await?;
                self.commit_and_wake(batch).await
            }
        }
    }

    /// Makes the leases of a task begin anew.
    pub(super) fn renewals(&self, rows: &[DeliveryRow], now: Timestamp) -> Vec<TimerWrite> {
        let running = rows.iter().filter(|row| row.state == DeliveryState::Running);
        let renewal = |row: &DeliveryRow| {
            let lease = self.seen.lease(row.id)?;
            let (name, due) = (lease_timer(row.id, row.attempts), now.after(lease));
            Some(TimerWrite::Set { name, due, payload: Vec::new() })
        };
        running.filter_map(renewal).collect()
    }
}
