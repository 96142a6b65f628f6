//! When to look at which upstream: now and then, and at once when somebody says that something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilothouse_core::name::ProjectName;
use pilothouse_core::right::Actor;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::row::{UPSTREAM_KIND, UpstreamRow};
use crate::project::Projects;

/// Most looks at one time; each is one `git` process or two.
const LOOKS_MAX: usize = 4;
/// First wait after a failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// Longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Which upstream is looked at when.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<ProjectName, Instant>,
    running: BTreeSet<ProjectName>,
}

impl Schedule {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at once.
    pub(crate) fn wake(&self, project: &ProjectName) {
        self.state().due.insert(project.clone(), Instant::now());
        self.changed.notify_one();
    }

    pub(crate) fn forget(&self, project: &ProjectName) {
        self.state().due.remove(project);
    }

    /// Sets the next look, unless an earlier one was asked for meanwhile.
    fn ended(&self, project: &ProjectName, next: Option<Duration>) {
        let mut state = self.state();
        state.running.remove(project);
        if let Some(next) = next {
            state.due.entry(project.clone()).or_insert_with(|| Instant::now() + next);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes what is due; returns when the next is.
    fn take(&self) -> (Vec<ProjectName>, Option<Instant>) {
        let mut state = self.state();
        let now = Instant::now();
        let State { due, running } = &mut *state;
        let ready: Vec<ProjectName> = due
            .iter()
            .filter(|(name, at)| **at <= now && !running.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &ready {
            due.remove(name);
            running.insert(name.clone());
        }
        let next = due.iter().filter(|(name, _)| !running.contains(*name)).map(|(_, at)| *at).min();
        (ready, next)
    }
}

/// Looks at upstreams until the host stops.
pub async fn run(projects: Projects, stopping: CancellationToken) {
    let mut after: Option<String> = None;
    loop {
        match projects.store().states(UPSTREAM_KIND, after.as_deref(), 1_000).await {
            Ok(rows) => {
                let Some(last) = rows.last() else { break };
                after = Some(last.key.clone());
                for name in rows.iter().filter_map(|row| ProjectName::new(&row.key).ok()) {
                    projects.0.upstreams.schedule.wake(&name);
                }
            }
            Err(error) => {
                tracing::error!(%error, "UpstreamListError");
                break;
            }
        }
    }
    let places = Arc::new(Semaphore::new(LOOKS_MAX));
    loop {
        let (ready, next) = projects.0.upstreams.schedule.take();
        for name in ready {
            let (projects, places, stopping) = (projects.clone(), Arc::clone(&places), stopping.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = look(&projects, &name, &places) => {}
                }
            });
        }
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = projects.0.upstreams.schedule.changed.notified() => {}
            () = wait => {}
        }
    }
}

async fn look(projects: &Projects, name: &ProjectName, places: &Semaphore) {
    let Ok(_place) = places.acquire().await else { return };
    projects.look_now(name, &Actor::host()).await;
    let next = match projects.upstream(name).await {
        Ok(Some(read)) => Some(wait_after(&read.row)),
        Ok(None) => None,
        Err(_) => Some(RETRY_MAX),
    };
    projects.0.upstreams.schedule.ended(name, next);
}

fn wait_after(row: &UpstreamRow) -> Duration {
    match row.failures {
        0 => row.config.interval.0,
        failures => RETRY_FIRST.saturating_mul(1 << failures.min(10).saturating_sub(1)).min(RETRY_MAX),
    }
}
