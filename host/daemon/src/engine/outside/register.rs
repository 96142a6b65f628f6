//! Registering and removing outside executors: like an installation, a change of the subscriptions in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_core::delivery::{DeliveryState, FailureKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_store::{DeliveryFilter, Settlement, StateKey, StateWrite, StoreError};

use super::super::Inner;
use super::super::dispatch::unused;
use super::super::settle::InHand;
use super::{EXECUTOR_KIND, ExecutorError, ExecutorRow, OutsideExecutor, Registration, SCHEMA};

/// Most tasks of one executor.
const TASKS_MAX: usize = 64;
/// Deliveries that are given up at a time when an executor is removed.
const DELIVERIES_PER_ROUND: usize = 200;

impl Inner {
    /// Reads the outside executors at start.
    pub(in super::super) async fn read_executors(
        &self,
    ) -> Result<BTreeMap<InstallationName, Arc<OutsideExecutor>>, StoreError> {
        let mut executors = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.states(EXECUTOR_KIND, after.as_deref(), 256).await?;
            let Some(last) = rows.last() else { return Ok(executors) };
            after = Some(last.key.clone());
            for stored in rows {
                let read = serde_json::from_slice::<ExecutorRow>(&stored.value).map_err(|error| error.to_string());
                let known = read.and_then(|row| {
                    let name = InstallationName::new(&stored.key).map_err(|error| error.to_string())?;
                    let newer = || format!("version {}, this host knows up to {SCHEMA}", row.schema);
                    if row.schema > SCHEMA { Err(newer()) } else { Ok((name, row)) }
                });
                match known {
                    Ok((name, row)) => {
                        let executor = OutsideExecutor { name: name.clone(), revision: stored.revision, row };
                        executors.insert(name, Arc::new(executor));
                    }
                    Err(reason) => tracing::error!(executor = %stored.key, %reason, "ExecutorReadError"),
                }
            }
        }
    }

    /// See [`crate::engine::Engine::register_executor`].
    pub(in super::super) async fn register_executor(
        self: &Arc<Self>,
        registration: Registration,
        actor: &Actor,
    ) -> Result<(), ExecutorError> {
        let Registration { name, tasks, scope, owner, push } = registration;
        if tasks.is_empty() || tasks.len() > TASKS_MAX {
            return Err(ExecutorError::Invalid(format!("name 1 to {TASKS_MAX} tasks")));
        }
        for (task, grant) in &tasks {
            let check = grant.data_match.check();
            check.map_err(|error| ExecutorError::Invalid(format!("task `{task}`: {error}")))?;
            if grant.finish_timeout.is_some_and(|span| span.0.is_zero()) {
                return Err(ExecutorError::Invalid(format!("task `{task}`: `finish-timeout` is zero")));
            }
        }
        let _guard = self.install_lock.lock().await;
        let old = self.snapshot.load_full();
        if name.is_built_in() || old.installations.contains_key(&name) {
            return Err(ExecutorError::Taken(name.to_string()));
        }
        let revision = old.executors.get(&name).map_or(0, |known| known.revision);
        let registered = self.clock.now();
        let row = ExecutorRow { schema: SCHEMA, tasks, scope, owner, push, registered_by: actor.clone(), registered };
        let value = serde_json::to_vec(&row).ok();
        let mut executors = old.executors.clone();
        let executor = OutsideExecutor { name: name.clone(), revision: revision + 1, row };
        executors.insert(name.clone(), Arc::new(executor));
        let write = write(&name, revision, value);
        self.replace_snapshot(&old, old.installations.clone(), executors, write).await?;
        tracing::info!(executor = %name, actor = actor.as_str(), "ExecutorRegistered");
        Ok(())
    }

    /// See [`crate::engine::Engine::remove_executor`].
    pub(in super::super) async fn remove_executor(
        self: &Arc<Self>,
        name: &InstallationName,
        actor: &Actor,
    ) -> Result<(), ExecutorError> {
        {
            let _guard = self.install_lock.lock().await;
            let old = self.snapshot.load_full();
            let known = old.executors.get(name).ok_or_else(|| ExecutorError::NotFound(name.to_string()))?;
            let mut executors = old.executors.clone();
            executors.remove(name);
            let write = write(name, known.revision, None);
            self.replace_snapshot(&old, old.installations.clone(), executors, write).await?;
        }
        self.seen.forget(name);
        tracing::info!(executor = %name, actor = actor.as_str(), "ExecutorRemoved");
        let reason = format!("the outside executor `{name}` was removed by {}", actor.as_str());
        for state in [DeliveryState::Ready, DeliveryState::Running] {
            loop {
                let filter =
                    DeliveryFilter { consumer: Some(name.clone()), state: Some(state), ..DeliveryFilter::default() };
                let page = self.store.deliveries(&filter, None, DELIVERIES_PER_ROUND).await?;
                if page.items.is_empty() {
                    break;
                }
                for row in page.items {
                    let dead = unused(&row, Settlement::Dead { kind: FailureKind::Host, reason: reason.clone() });
                    self.settle_dead(&InHand { row }, dead, &reason).await?;
                }
            }
        }
        Ok(())
    }
}

fn write(name: &InstallationName, revision: u64, value: Option<Vec<u8>>) -> StateWrite {
    StateWrite {
        key: StateKey::new(EXECUTOR_KIND, name.as_str()),
        revision,
        value,
        holds: None,
        holds_own_event: false,
    }
}
