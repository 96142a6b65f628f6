//! Handing tasks to outside executors that are pushed to: each `.triggered` event is sent to a connection's address, and the
//! executor answers later, with events of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pilothouse_core::name::{ConnectionName, InstallationName};
use pilothouse_core::right::Actor;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Connections;
use crate::engine::Engine;
use crate::engine::outside::{ExecutorError, LeaseView};

/// Time between two looks at which executors there are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// For how long a task is the executor's after it was sent; telling of progress begins it anew.
const LEASE: Duration = Duration::from_secs(600);
/// How long a look for something to send waits.
const WAIT: Duration = Duration::from_secs(20);
/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after an executor's tasks could not be read.
const ERROR_WAIT: Duration = Duration::from_secs(1);

/// What the pushes need.
#[derive(Clone)]
struct Pushing {
    engine: Engine,
    connections: Arc<Connections>,
    client: reqwest::Client,
    stopping: CancellationToken,
}

/// Sends to executors until the host stops.
pub async fn run(engine: Engine, connections: Arc<Connections>, client: reqwest::Client, stopping: CancellationToken) {
    let pushing = Pushing { engine, connections, client, stopping };
    let mut running: HashMap<InstallationName, JoinHandle<()>> = HashMap::new();
    while !pushing.stopping.is_cancelled() {
        running.retain(|_, task| !task.is_finished());
        for (name, owner, _) in pushing.engine.pushed_executors() {
            running.entry(name.clone()).or_insert_with(|| tokio::spawn(pushing.clone().push_to(name, owner)));
        }
        tokio::select! {
            () = pushing.stopping.cancelled() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

impl Pushing {
    /// Sends one executor its tasks, one at a time, until it is removed or changed.
    async fn push_to(self, name: InstallationName, owner: Actor) {
        while !self.stopping.is_cancelled() {
            let known =
                self.engine.pushed_executors().into_iter().find(|(known, of, _)| *known == name && *of == owner);
            let Some((_, _, connection)) = known else { return };
            match self.engine.lease(&name, 1, LEASE, WAIT, &owner).await {
                Ok(leased) => {
                    for task in leased {
                        self.send(&name, &connection, &task).await;
                    }
                }
                Err(ExecutorError::NotFound(_) | ExecutorError::NotYours { .. }) => return,
                Err(error) => {
                    tracing::warn!(executor = %name, %error, "ExecutorPushError");
                    tokio::time::sleep(ERROR_WAIT).await;
                }
            }
        }
    }

    async fn send(&self, name: &InstallationName, connection: &ConnectionName, task: &LeaseView) {
        let reason = match self.request(connection, task).await {
            Ok(status) if status.is_success() => return,
            Ok(status) => format!("`{connection}` answered with status {status}"),
            Err(reason) => reason,
        };
        tracing::warn!(executor = %name, task = %task.task, %reason, "ExecutorPushRefused");
        if let Err(error) = self.engine.refuse_lease(name, task, reason).await {
            tracing::error!(executor = %name, %error, "ExecutorPushGiveBackError");
        }
    }

    async fn request(&self, connection: &ConnectionName, task: &LeaseView) -> Result<StatusCode, String> {
        let resolved = self.connections.resolved(connection).map_err(|error| error.to_string())?;
        let request = self
            .client
            .post(&resolved.base_url)
            .headers(resolved.headers.iter().cloned().collect())
            .header(http::header::CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
            .timeout(REQUEST_TIMEOUT)
            .body(task.event.to_string());
        // The error's own text holds the address, which may be a secret.
        let answer = request.send().await.map_err(|error| {
            let what = if error.is_timeout() { "did not answer in time" } else { "could not be reached" };
            format!("`{connection}` {what}")
        })?;
        Ok(answer.status())
    }
}
