//! Inbound routes: where tools that speak no CloudEvents send to. The caller is checked, a mapping makes events, and each
//! request leaves a line that says what became of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pilothouse_core::inbound::mapping::{self, Seen};
use pilothouse_core::inbound::{Request, Verification};
use pilothouse_core::name::{InstallationName, SecretName};
use pilothouse_core::right::{Actor, Reach};
use pilothouse_core::time::Timestamp;
use pilothouse_core::yaml::Problem;
use pilothouse_store::{Batch, StateKey, StateRow, StateWrite, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::engine::Engine;
use crate::engine::view::{Accepted, IngestError, Sender};
use crate::secrets::Secrets;

/// Kind of the state rows; the key is the route's name.
const INBOUND_KIND: &str = "inbound";
/// Version of the serialized form.
const SCHEMA: u32 = 1;
/// Most routes.
pub const ROUTES_MAX: usize = 1_000;
/// Longest mapping file, in bytes.
pub const MAPPING_BYTES_MAX: usize = 64 * 1024;
/// Lines of the log. It is kept in memory: strangers must not be able to fill the disk.
pub const LOG_LINES_MAX: usize = 1_000;

/// A route as it is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    schema: u32,
    /// How the caller proves who it is.
    pub verification: Verification,
    /// The stored secret that it proves it with.
    pub secret: SecretName,
    /// The mapping file's text.
    pub mapping: String,
    /// Who set it.
    pub actor: Actor,
    /// When.
    pub updated: Timestamp,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LogLine {
    /// When (RFC 3339).
    pub time: String,
    /// The route.
    pub route: String,
    /// `accepted`, `ignored` (nothing of the mapping fits) or `refused`.
    pub outcome: String,
    /// Why, for people.
    pub reason: String,
    /// Positions of the events that it became.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<u64>,
}

/// Why a request gives no events.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InboundError {
    /// There is no such route.
    #[error("there is no inbound route `{0}`")]
    NotFound(String),
    /// The caller is not believed. What was wrong is in the log.
    #[error("the request is not signed as this route wants it; the host's inbound log says why")]
    NotBelieved(&'static str),
    /// The body is not as the mapping needs it.
    #[error("{0}")]
    Unmappable(String),
    /// A mapping file has errors.
    #[error("the mapping has errors, so nothing was changed")]
    Mapping(Vec<Problem>),
    /// The request to set a route makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The host refuses the events.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The inbound routes of a host.
pub struct Inbound {
    engine: Engine,
    secrets: Arc<Secrets>,
    log: Mutex<VecDeque<LogLine>>,
}

impl Inbound {
    /// Makes the routes of an engine.
    pub fn new(engine: Engine, secrets: Arc<Secrets>) -> Self {
        Self { engine, secrets, log: Mutex::default() }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.engine.store()
    }

    /// Sets a route, or changes it.
    ///
    /// # Errors
    /// The mapping has errors, there is no such secret, or there are too many routes.
    pub async fn set(
        &self,
        name: &InstallationName,
        verification: Verification,
        secret: SecretName,
        mapping: String,
        actor: &Actor,
    ) -> Result<(), InboundError> {
        if mapping.len() > MAPPING_BYTES_MAX {
            return Err(InboundError::Invalid(format!("a mapping has at most {MAPPING_BYTES_MAX} bytes")));
        }
        let (read, problems) = mapping::read(mapping.as_bytes());
        if read.is_none() {
            return Err(InboundError::Mapping(problems));
        }
        let known = self.secrets.list().await.map_err(|error| InboundError::Invalid(error.to_string()))?;
        if !known.iter().any(|view| view.name == secret.as_str()) {
            let text = format!("there is no secret `{secret}`; store it with `pilothouse secret set {secret}`");
            return Err(InboundError::Invalid(text));
        }
        let old = self.row(name).await?;
        if old.is_none() && self.store().states(INBOUND_KIND, None, ROUTES_MAX).await?.len() >= ROUTES_MAX {
            return Err(InboundError::Invalid(format!("there are {ROUTES_MAX} inbound routes already")));
        }
        let updated = self.engine.now();
        let route = Route { schema: SCHEMA, verification, secret, mapping, actor: actor.clone(), updated };
        // Texts and numbers always serialize.
        let value = serde_json::to_vec(&route).unwrap_or_default();
        self.write(name, old.map_or(0, |row| row.revision), Some(value)).await
    }

    /// Removes a route.
    ///
    /// # Errors
    /// There is no such route.
    pub async fn remove(&self, name: &InstallationName) -> Result<(), InboundError> {
        let row = self.row(name).await?.ok_or_else(|| InboundError::NotFound(name.to_string()))?;
        self.write(name, row.revision, None).await
    }

    /// Lists the routes in the order of their names.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn list(&self) -> Result<Vec<(String, Route)>, InboundError> {
        let rows = self.store().states(INBOUND_KIND, None, ROUTES_MAX).await?;
        rows.iter().map(|row| Ok((row.key.clone(), read(row)?))).collect()
    }

    /// Returns what became of the last requests, newest first; of one route, or of all.
    pub fn log(&self, route: Option<&str>, limit: usize) -> Vec<LogLine> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().rev().filter(|line| route.is_none_or(|route| line.route == route)).take(limit).cloned().collect()
    }

    /// Takes a request: checks the caller, makes the events, and accepts them. An empty list means that nothing of the
    /// mapping fits, which is no error: tools send more than anybody asked for.
    ///
    /// # Errors
    /// [`InboundError`]; the log says the same, and more where the caller is not believed.
    pub async fn receive(&self, name: &InstallationName, request: &Request<'_>) -> Result<Vec<Accepted>, InboundError> {
        let received = self.take(name, request).await;
        let (outcome, reason, events) = match &received {
            Ok(accepted) if accepted.is_empty() => ("ignored", "no entry's conditions hold".to_owned(), Vec::new()),
            Ok(accepted) => {
                let count = accepted.iter().filter(|one| one.duplicate).count();
                let known = if count > 0 { format!(", {count} of them known already") } else { String::new() };
                let seqs = accepted.iter().map(|one| one.seq).collect();
                ("accepted", format!("{} events{known}", accepted.len()), seqs)
            }
            // What was wrong is noted already; names that are none must not push real lines out.
            Err(InboundError::NotBelieved(_) | InboundError::NotFound(_)) => return received,
            Err(error) => ("refused", error.to_string(), Vec::new()),
        };
        self.note(name, outcome, reason, events);
        received
    }

    async fn take(&self, name: &InstallationName, request: &Request<'_>) -> Result<Vec<Accepted>, InboundError> {
        let row = self.row(name).await?.ok_or_else(|| InboundError::NotFound(name.to_string()))?;
        let route = read(&row)?;
        let secret = self.secrets.reveal(&route.secret).await.map_err(|error| {
            tracing::error!(route = %name, %error, "InboundSecretError");
            self.note(name, "refused", format!("the route's secret cannot be used: {error}"), Vec::new());
            InboundError::NotBelieved("secret-unusable")
        })?;
        let now = self.engine.now();
        if let Err(refusal) = route.verification.verify(request, secret.trim(), now) {
            tracing::warn!(route = %name, reason = %refusal, "InboundRefused");
            self.note(name, "refused", refusal.to_string(), Vec::new());
            return Err(InboundError::NotBelieved(refusal.code()));
        }
        let body: Value = serde_json::from_slice(request.body)
            .map_err(|error| InboundError::Unmappable(format!("the body is not JSON: {error}")))?;
        let (mapping, problems) = mapping::read(route.mapping.as_bytes());
        let mapping = mapping.ok_or(InboundError::Mapping(problems))?;
        let seen = Seen { body: &body, header: request.header };
        let events =
            mapping.apply(name.as_str(), seen, now).map_err(|error| InboundError::Unmappable(error.to_string()))?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let actor = Actor::from_stored(format!("inbound:{name}"));
        // Who may set a route decides what it triggers.
        let sender = Sender { actor, may_send: Reach::All, may_trigger: Reach::All };
        Ok(self.engine.ingest(events, &sender).await?)
    }

    fn note(&self, name: &InstallationName, outcome: &str, reason: String, events: Vec<u64>) {
        let line = LogLine {
            time: self.engine.now().to_string(),
            route: name.to_string(),
            outcome: outcome.to_owned(),
            reason,
            events,
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }

    async fn row(&self, name: &InstallationName) -> Result<Option<StateRow>, InboundError> {
        Ok(self.store().state(&StateKey::new(INBOUND_KIND, name.as_str())).await?)
    }

    async fn write(&self, name: &InstallationName, revision: u64, value: Option<Vec<u8>>) -> Result<(), InboundError> {
        let key = StateKey::new(INBOUND_KIND, name.as_str());
        let mut batch = Batch::new(self.engine.now());
        batch.states.push(StateWrite { key, revision, value, holds: None, holds_own_event: false });
        self.store().commit(batch).await?;
        Ok(())
    }
}

fn read(row: &StateRow) -> Result<Route, StoreError> {
    let unreadable = |text: String| StoreError::Read(format!("inbound route {}: {text}", row.key));
    let route: Route = serde_json::from_slice(&row.value).map_err(|error| unreadable(error.to_string()))?;
    if route.schema > SCHEMA {
        return Err(unreadable(format!("version {}, this host knows up to {SCHEMA}", route.schema)));
    }
    Ok(route)
}
