//! Timers: the ends of tasks and the wake-ups that executors asked for.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::name::InstallationName;
use pilothouse_core::task::Input;
use pilothouse_store::{Batch, NewDelivery, StoreError, TimerRow, TimerWrite};

use super::Inner;
use super::outside::LEASE_TIMER;
use super::sequencer::SEQUENCE_TIMER;

/// Most timers that are handled in one round.
const TIMERS_PER_ROUND_MAX: usize = 256;
/// Longest sleep between two looks. Due times are wall clock: after a jump of the clock timers fire this soon.
const TIMER_SLEEP_MAX: Duration = Duration::from_secs(5);

impl Inner {
    /// Fires timers until the host stops.
    pub(super) async fn run_timers(self: Arc<Self>) {
        while !self.stopping.is_cancelled() {
            let wait = match self.fire_due().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "TimerError");
                    TIMER_SLEEP_MAX
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = self.timers_changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Fires what is due; returns how long nothing more is.
    async fn fire_due(&self) -> Result<Duration, StoreError> {
        loop {
            let now = self.clock.now();
            let (due, next) = self.store.due_timers(now, TIMERS_PER_ROUND_MAX).await?;
            if due.is_empty() {
                return Ok(next.map_or(TIMER_SLEEP_MAX, |next| next.since(now).min(TIMER_SLEEP_MAX)));
            }
            for timer in due {
                match self.fire(&timer).await {
                    // Somebody settled the task at the same moment; the next round looks again.
                    Ok(()) | Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn fire(&self, timer: &TimerRow) -> Result<(), StoreError> {
        if let Some(task) = timer.name.strip_prefix("finish/") {
            return self.time_out_task(task, &timer.name, Input::TimedOut).await;
        }
        if let Some(task) = timer.name.strip_prefix("start/") {
            return self.time_out_task(task, &timer.name, Input::StartTimedOut).await;
        }
        if let Some(rest) = timer.name.strip_prefix(LEASE_TIMER) {
            return self.lease_ended(rest, &timer.name).await;
        }
        if let Some(execution) = timer.name.strip_prefix(SEQUENCE_TIMER).and_then(|id| id.parse().ok()) {
            return self.wake_execution(execution, &timer.name).await;
        }
        if let Some((installation, task)) = timer.name.strip_prefix("wake/").and_then(|rest| rest.split_once('/'))
            && let Ok(installation) = InstallationName::new(installation)
        {
            return self.wake_executor(&installation, task, timer).await;
        }
        tracing::error!(timer = %timer.name, "TimerNameError");
        let mut batch = Batch::new(self.clock.now());
        batch.timers.push(TimerWrite::Clear { name: timer.name.clone() });
        self.commit_and_wake(batch).await
    }

    /// Delivers the task's trigger again.
    async fn wake_executor(
        &self,
        installation: &InstallationName,
        task: &str,
        timer: &TimerRow,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(self.clock.now());
        batch.timers.push(TimerWrite::Clear { name: timer.name.clone() });
        if let Some(in_hand) = self.read_task(task).await?
            && in_hand.task.is_open()
        {
            let trigger = &in_hand.trigger.event;
            // The due time tells wake-ups of one executor apart.
            let cause = format!("{} {}", Cause::WakeUp.as_str(), timer.due.as_millis());
            batch.deliveries.push(NewDelivery {
                id: DeliveryId::derive(trigger.source(), trigger.id(), installation, &cause),
                event: in_hand.trigger.seq,
                consumer: installation.clone(),
                cause: Cause::WakeUp,
                task: Some(task.to_owned()),
                order_key: None,
                due: batch.now,
                dead: None,
            });
        }
        self.commit_and_wake(batch).await
    }
}
