//! Who is called next: one lane per installation, each with its own concurrency, under one host-wide number of permits.
//!
//! A lane reads deliveries that are due from the store, claims some in one commit (so that the attempt is on disk before
//! the call), and runs each as a task of its own. A permit is taken before the claim. What a lane has in memory is a
//! bounded read-ahead; everything else waits on disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pilothouse_core::delivery::{Cause, DeliveryId, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::task::Input;
use pilothouse_store::{Attempt, Batch, DeliveryRow, Settled, Settlement, StoreError, TimerWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinSet;

use super::Inner;
use super::installation::Installation;
use super::settle::InHand;
use super::task_flow::StepError;

/// Most deliveries of one installation that are read ahead of their calls.
const READ_AHEAD_MAX: usize = 256;
/// Longest sleep of a lane. Due times are wall clock: after a jump of the clock a lane looks again this soon.
const LANE_SLEEP_MAX: Duration = Duration::from_secs(5);
/// Wait after a failed read or commit of the store, so that a broken store does not spin the lanes.
const STORE_ERROR_WAIT: Duration = Duration::from_millis(500);

/// The handle of one installation's lane.
pub(super) struct Lane {
    /// Wakes the lane: something may be due.
    pub(super) notify: Arc<Notify>,
    /// Deliveries under way.
    pub(super) running: Arc<AtomicUsize>,
}

/// What a lane knows between its rounds.
struct LaneState {
    name: InstallationName,
    buffer: VecDeque<DeliveryRow>,
    /// Keys of ordered delivery that are taken: by a call under way, or by a delivery that waits for its next attempt.
    keys: HashMap<String, DeliveryId>,
    calls: JoinSet<Finished>,
}

/// How a call left its delivery.
pub(super) struct Finished {
    pub(super) delivery: DeliveryId,
    pub(super) order_key: Option<String>,
    /// Whether it will be tried again, so that its key stays taken.
    pub(super) retried: bool,
}

/// A claimed delivery, ready to be called.
struct Claimed {
    row: DeliveryRow,
    permit: OwnedSemaphorePermit,
}

impl Inner {
    /// Starts a lane for each installation that has none, and wakes those of the rest.
    pub(super) fn refresh_lanes(self: &Arc<Self>) {
        let snapshot = self.snapshot.load();
        let mut lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for name in snapshot.installations.keys() {
            if let Some(lane) = lanes.get(name) {
                lane.notify.notify_one();
                continue;
            }
            let (notify, running) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
            lanes.insert(name.clone(), Lane { notify: Arc::clone(&notify), running: Arc::clone(&running) });
            let (inner, name) = (Arc::clone(self), name.clone());
            self.tracker.spawn(async move { inner.run_lane(name, notify, running).await });
        }
    }

    /// Wakes the lane of `name`: something may be due.
    pub(super) fn wake_lane(&self, name: &InstallationName) {
        if name.is_built_in() {
            self.sequencer.wake.notify_one();
            return;
        }
        if self.snapshot.load().executors.contains_key(name) {
            self.outside_wake.notify_waiters();
            return;
        }
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lane) = lanes.get(name) {
            lane.notify.notify_one();
        }
    }

    /// Runs until the installation is gone and nothing of it is under way, or the host stops.
    async fn run_lane(self: Arc<Self>, name: InstallationName, notify: Arc<Notify>, running: Arc<AtomicUsize>) {
        let mut lane =
            LaneState { name: name.clone(), buffer: VecDeque::new(), keys: HashMap::new(), calls: JoinSet::new() };
        while !self.stopping.is_cancelled() {
            while let Some(done) = lane.calls.try_join_next() {
                lane.finish(done);
            }
            running.store(lane.calls.len(), Ordering::Relaxed);
            let Some(installation) = self.installation(&name) else {
                if lane.calls.is_empty() {
                    break;
                }
                if let Some(done) = lane.calls.join_next().await {
                    lane.finish(done);
                }
                continue;
            };
            let wait = match self.lane_round(&mut lane, &installation).await {
                Ok(Round::Again) => continue,
                Ok(Round::Wait(wait)) => wait,
                Err(error) => {
                    tracing::warn!(installation = %name, %error, "LaneStoreError");
                    STORE_ERROR_WAIT
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = notify.notified() => {}
                () = tokio::time::sleep(wait) => {}
                Some(done) = lane.calls.join_next(), if !lane.calls.is_empty() => lane.finish(done),
            }
        }
        // What is under way is given the drain's time; the process ends after it, and the attempts count as interrupted.
        while let Some(done) = lane.calls.join_next().await {
            lane.finish(done);
        }
        running.store(0, Ordering::Relaxed);
        let mut lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.installation(&name).is_none() {
            lanes.remove(&name);
        }
    }

    /// One look at what can be started.
    async fn lane_round(
        self: &Arc<Self>,
        lane: &mut LaneState,
        installation: &Arc<Installation>,
    ) -> Result<Round, StoreError> {
        if installation.plugin.load().is_none() {
            return Ok(Round::Wait(LANE_SLEEP_MAX));
        }
        let concurrency = usize::try_from(installation.effective.limits.concurrency).unwrap_or(usize::MAX);
        // One installation holds at most half of the host's permits, so that a slow one cannot starve the rest.
        let free = concurrency.min(self.permits_max.div_ceil(2)).max(1).saturating_sub(lane.calls.len());
        if free == 0 {
            return Ok(Round::Wait(LANE_SLEEP_MAX));
        }
        let now = self.clock.now();
        let mut picked = lane.pick(free);
        if picked.is_empty() {
            let ready = self.store.ready_deliveries(&lane.name, 0, now, READ_AHEAD_MAX).await?;
            lane.buffer = ready.into();
            picked = lane.pick(free);
        }
        if picked.is_empty() {
            let due = self.store.next_due(&lane.name, now).await?;
            let wait = due.map_or(LANE_SLEEP_MAX, |due| due.since(now).min(LANE_SLEEP_MAX));
            return Ok(Round::Wait(wait.max(Duration::from_millis(1))));
        }
        let mut permits = Vec::with_capacity(picked.len());
        let Ok(first) = Arc::clone(&self.permits).acquire_owned().await else { return Err(StoreError::Closed) };
        permits.push(first);
        while permits.len() < picked.len() {
            match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(permit) => permits.push(permit),
                Err(_) => break,
            }
        }
        for row in picked.split_off(permits.len()).into_iter().rev() {
            lane.release(&row);
            lane.buffer.push_front(row);
        }
        for claimed in self.claim(lane, installation, picked, permits).await? {
            let (inner, installation) = (Arc::clone(self), Arc::clone(installation));
            lane.calls.spawn(async move {
                let finished = inner.deliver(installation, claimed.row).await;
                drop(claimed.permit);
                finished
            });
        }
        Ok(Round::Again)
    }

    /// Puts the attempts on disk. All in one commit; if one of them is out of date, each by itself.
    async fn claim(
        &self,
        lane: &mut LaneState,
        installation: &Installation,
        picked: Vec<DeliveryRow>,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Vec<Claimed>, StoreError> {
        let pairs: Vec<(DeliveryRow, OwnedSemaphorePermit)> = picked.into_iter().zip(permits).collect();
        let rows: Vec<DeliveryRow> = pairs.iter().map(|(row, _)| row.clone()).collect();
        let attempts_max = installation.retry_policy().attempts_max;
        if self.claim_rows(attempts_max, &rows, Vec::new()).await?.is_some() {
            return Ok(pairs.into_iter().map(|(row, permit)| Claimed { row: begun(row), permit }).collect());
        }
        let mut claimed = Vec::new();
        for (row, permit) in pairs {
            match self.claim_rows(attempts_max, std::slice::from_ref(&row), Vec::new()).await? {
                Some(()) => claimed.push(Claimed { row: begun(row), permit }),
                None => lane.release(&row),
            }
        }
        lane.buffer.clear();
        Ok(claimed)
    }

    /// Commits the attempts, with `.started` where it is an executor's first. `None`: something was out of date.
    pub(super) async fn claim_rows(
        &self,
        attempts_max: u32,
        rows: &[DeliveryRow],
        timers: Vec<TimerWrite>,
    ) -> Result<Option<()>, StoreError> {
        let snapshot = self.snapshot.load_full();
        let mut batch = Batch::new(self.clock.now());
        batch.timers = timers;
        for row in rows {
            if row.attempts >= attempts_max {
                // Only a host that stopped in the middle leaves a ready delivery with all its attempts used.
                return self.give_up_interrupted(row).await.map(|()| None);
            }
            batch.attempts.push(Attempt { delivery: row.id, attempts_before: row.attempts });
            let (Some(task), Cause::Triggered | Cause::WakeUp) = (&row.task, row.cause) else { continue };
            let Some(mut in_hand) = self.read_task(task).await? else { continue };
            let input = Input::Started { installation: row.consumer.clone() };
            match self.step_task(&mut batch, &snapshot, &mut in_hand, input, Some(row.id)).await {
                Ok(()) => {}
                Err(StepError::Refused(refusal)) => {
                    return self.cancel(row, &refusal.to_string()).await.map(|()| None);
                }
                Err(StepError::Store(error)) => return Err(error),
                Err(StepError::Event(error)) => tracing::error!(task, %error, "TaskStartedError"),
            }
        }
        match self.commit_and_wake(batch).await {
            Ok(()) => Ok(Some(())),
            Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn cancel(&self, row: &DeliveryRow, reason: &str) -> Result<(), StoreError> {
        let mut batch = Batch::new(self.clock.now());
        let settlement = Settlement::Cancelled { reason: reason.to_owned() };
        batch.settled.push(unused(row, settlement));
        match self.commit_and_wake(batch).await {
            Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn give_up_interrupted(&self, row: &DeliveryRow) -> Result<(), StoreError> {
        let reason =
            format!("the host stopped during the last of {} attempts; the event may be what stops it", row.attempts);
        let in_hand = InHand { row: row.clone() };
        let settled = unused(row, Settlement::Dead { kind: FailureKind::Interrupted, reason: reason.clone() });
        self.settle_dead(&in_hand, settled, &reason).await
    }
}

/// What a lane does after a round.
enum Round {
    Again,
    Wait(Duration),
}

/// A settlement of a delivery that no call was made for.
pub(super) fn unused(row: &DeliveryRow, settlement: Settlement) -> Settled {
    let attempt = row.attempts;
    Settled { delivery: row.id, attempt, settlement, log: Vec::new(), cpu_us: 0, wall_us: 0, memory_bytes_max: 0 }
}

fn begun(mut row: DeliveryRow) -> DeliveryRow {
    row.attempts += 1;
    row
}

impl LaneState {
    /// Takes up to `free` deliveries whose key is not taken by another, in log order.
    fn pick(&mut self, free: usize) -> Vec<DeliveryRow> {
        let mut picked = Vec::new();
        let mut rest = VecDeque::with_capacity(self.buffer.len());
        while let Some(row) = self.buffer.pop_front() {
            let taken =
                row.order_key.as_ref().and_then(|key| self.keys.get(key)).is_some_and(|holder| *holder != row.id);
            if picked.len() < free && !taken {
                if let Some(key) = &row.order_key {
                    self.keys.insert(key.clone(), row.id);
                }
                picked.push(row);
            } else {
                rest.push_back(row);
            }
        }
        self.buffer = rest;
        picked
    }

    /// Gives the key of a delivery back that was picked and not called.
    fn release(&mut self, row: &DeliveryRow) {
        if let Some(key) = &row.order_key
            && self.keys.get(key) == Some(&row.id)
        {
            self.keys.remove(key);
        }
    }

    fn finish(&mut self, done: Result<Finished, tokio::task::JoinError>) {
        match done {
            Ok(Finished { retried: true, .. }) => {}
            Ok(Finished { delivery, order_key: Some(key), .. }) => {
                if self.keys.get(&key) == Some(&delivery) {
                    self.keys.remove(&key);
                }
            }
            Ok(Finished { order_key: None, .. }) => {}
            // The delivery stays `running` on disk and is recovered at the next start; its key stays taken till then.
            Err(error) => tracing::error!(installation = %self.name, %error, "DeliveryPanicError"),
        }
    }
}
