//! Inbound routes: where tools that speak no CloudEvents send to. The caller is checked, a mapping makes events, and each
//! request leaves a line that says what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use pilothouse_core::inbound::mapping::{self, Seen};
use pilothouse_core::inbound::{Request, Verification};
use pilothouse_core::name::{InstallationName, SecretName};
use pilothouse_core::right::{Actor, Reach, Right};
use pilothouse_core::time::Timestamp;
use pilothouse_core::yaml::Problem;
use pilothouse_store::{Batch, StateKey, StateRow, StateWrite, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use http::HeaderMap;
use pilothouse_core::Event;
use pilothouse_core::event::EventBuilder;
use pilothouse_runtime::{InboundDecision, InboundRequest, InboundResponse};
use uuid::Uuid;

use crate::auth::Tokens;
use crate::engine::Engine;
use crate::engine::approval::{DecideError, Verdict};
use crate::engine::view::{Accepted, IngestError, Sender};
use crate::secrets::Secrets;

/// What an actor begins with who came by a route; its name follows.
pub const ACTOR_PREFIX: &str = "inbound:";
/// Kind of the state rows; the key is the route's name.
const INBOUND_KIND: &str = "inbound";
/// Namespace of the ids of events that follow from their content (a random UUID, fixed for ever).
const INBOUND_IDS: Uuid = Uuid::from_u128(0x3d0a_5a1e_9c6b_4f57_8e21_7b0c_44d6_19f3);
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
    /// The mapping file's text; empty where a plugin makes the events.
    pub mapping: String,
    /// The installation whose plugin makes the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<InstallationName>,
    /// Which token a person of the tool stands for, by their id there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actors: BTreeMap<String, String>,
    /// Who set it.
    pub actor: Actor,
    /// When.
    pub updated: Timestamp,
}

/// Most people of one route.
pub const ROUTE_ACTORS_MAX: usize = 1_000;

/// What makes the events of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The text of a mapping file.
    Mapping(String),
    /// An installation's plugin.
    Plugin(InstallationName),
}

/// A request as it came.
pub struct Came<'a> {
    /// What is verified.
    pub presented: Request<'a>,
    /// What stands behind `?`.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// What a request became.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The events; none if nothing was made of it, which is no error: tools send more than anybody asked for.
    pub accepted: Vec<Accepted>,
    /// What the caller is answered, where a plugin says so.
    pub response: Option<InboundResponse>,
    /// How many decisions of people were taken.
    pub decisions: usize,
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
    /// The route's plugin failed.
    #[error("{0}; the host's inbound log and the plugin's author can help")]
    PluginFailed(String),
    /// The route's plugin is not there, or not loaded yet.
    #[error("{0}")]
    PluginAway(String),
    /// Nobody may decide so.
    #[error("{0}")]
    NotAllowed(String),
    /// The decision was not taken.
    #[error(transparent)]
    Decide(#[from] DecideError),
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
    tokens: Arc<Tokens>,
    log: Mutex<VecDeque<LogLine>>,
}

impl Inbound {
    /// Makes the routes of an engine.
    pub fn new(engine: Engine, secrets: Arc<Secrets>, tokens: Arc<Tokens>) -> Self {
        Self { engine, secrets, tokens, log: Mutex::default() }
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
        maker: Maker,
        actors: BTreeMap<String, String>,
        actor: &Actor,
    ) -> Result<(), InboundError> {
        self.check(&maker)?;
        if actors.len() > ROUTE_ACTORS_MAX {
            return Err(InboundError::Invalid(format!("a route has at most {ROUTE_ACTORS_MAX} people")));
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
        let (mapping, plugin) = match maker {
            Maker::Mapping(mapping) => (mapping, None),
            Maker::Plugin(plugin) => (String::new(), Some(plugin)),
        };
        let route =
            Route { schema: SCHEMA, verification, secret, mapping, plugin, actors, actor: actor.clone(), updated };
        // Texts and numbers always serialize.
        let value = serde_json::to_vec(&route).unwrap_or_default();
        self.write(name, old.map_or(0, |row| row.revision), Some(value)).await
    }

    fn check(&self, maker: &Maker) -> Result<(), InboundError> {
        match maker {
            Maker::Mapping(mapping) if mapping.len() > MAPPING_BYTES_MAX => {
                Err(InboundError::Invalid(format!("a mapping has at most {MAPPING_BYTES_MAX} bytes")))
            }
            Maker::Mapping(mapping) => match mapping::read(mapping.as_bytes()) {
                (Some(_), _) => Ok(()),
                (None, problems) => Err(InboundError::Mapping(problems)),
            },
            Maker::Plugin(plugin) => self.engine.takes_requests(plugin).map_err(InboundError::Invalid),
        }
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

    /// Takes a request: checks the caller, makes the events, and accepts them.
    ///
    /// # Errors
    /// [`InboundError`]; the log says the same, and more where the caller is not believed.
    pub async fn receive(&self, name: &InstallationName, came: &Came<'_>) -> Result<Answer, InboundError> {
        let received = self.take(name, came).await;
        let (outcome, reason, events) = match &received {
            Ok(Answer { decisions, accepted, .. }) if *decisions > 0 => {
                let seqs = accepted.iter().map(|one| one.seq).collect();
                ("accepted", format!("{decisions} decisions, {} events", accepted.len()), seqs)
            }
            Ok(Answer { accepted, response: Some(_), .. }) if accepted.is_empty() => {
                ("ignored", "the plugin answered it".to_owned(), Vec::new())
            }
            Ok(Answer { accepted, .. }) if accepted.is_empty() => {
                ("ignored", "no entry's conditions hold, or the plugin made nothing of it".to_owned(), Vec::new())
            }
            Ok(Answer { accepted, .. }) => {
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

    async fn take(&self, name: &InstallationName, came: &Came<'_>) -> Result<Answer, InboundError> {
        let request = &came.presented;
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
        let mut decisions = 0;
        let (events, response) = match &route.plugin {
            None => (mapped(name, &route, request, now)?, None),
            Some(plugin) => {
                let received = self.engine.receive(plugin, handed(&route, came)).await?;
                for decision in &received.decisions {
                    self.decide(name, &route, decision).await?;
                    decisions += 1;
                }
                (named(received.events, plugin, now)?, received.response)
            }
        };
        if events.is_empty() {
            return Ok(Answer { accepted: Vec::new(), response, decisions });
        }
        let actor = Actor::from_stored(format!("{ACTOR_PREFIX}{name}"));
        // Who may set a route decides what it triggers.
        let sender = Sender { actor, may_send: Reach::All, may_trigger: Reach::All };
        Ok(Answer { accepted: self.engine.ingest(events, &sender).await?, response, decisions })
    }

    /// Records what a person decided, in the name of the token that they stand for.
    async fn decide(
        &self,
        name: &InstallationName,
        route: &Route,
        decision: &InboundDecision,
    ) -> Result<(), InboundError> {
        let user: String = decision.user.chars().filter(|c| !c.is_control()).take(80).collect();
        let not_allowed = |why: String| InboundError::NotAllowed(why);
        let token = route.actors.get(&decision.user).ok_or_else(|| {
            not_allowed(format!(
                "`{user}` stands for nobody here; say who it is with `pilothouse inbound set {name} … --actor {user}=TOKEN`"
            ))
        })?;
        let holder = self.tokens.holder(token).ok_or_else(|| {
            not_allowed(format!("`{user}` stands for the token `{token}`, which is not there, or has expired"))
        })?;
        let found = self.engine.approval(&decision.approval).await?;
        let may = |project: Option<&str>| holder.may_in(Right::Approve, project);
        let found = found.filter(|found| may(found.project.as_deref())).ok_or_else(|| {
            not_allowed(format!(
                "there is no such approval, or the token `{token}` has not the right `approve` in its project"
            ))
        })?;
        let verdict = if decision.approve { Verdict::Approve } else { Verdict::Decline };
        Ok(self.engine.decide(&found.id, verdict, decision.comment.trim(), &holder.actor).await?)
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

/// Makes events by the route's mapping.
fn mapped(
    name: &InstallationName,
    route: &Route,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Vec<Event>, InboundError> {
    let body: Value = serde_json::from_slice(request.body)
        .map_err(|error| InboundError::Unmappable(format!("the body is not JSON: {error}")))?;
    let (mapping, problems) = mapping::read(route.mapping.as_bytes());
    let mapping = mapping.ok_or(InboundError::Mapping(problems))?;
    let seen = Seen { body: &body, header: request.header };
    mapping.apply(name.as_str(), seen, now).map_err(|error| InboundError::Unmappable(error.to_string()))
}

/// Makes what a plugin is handed: the request without what proves the caller.
fn handed(route: &Route, came: &Came<'_>) -> InboundRequest {
    let proofs = route.verification.proofs();
    let headers = came.headers.iter().filter(|(name, _)| !proofs.contains(&name.as_str()));
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    InboundRequest {
        method: "POST".to_owned(),
        path: route.verification.path_without_proof(came.presented.path).to_owned(),
        query: came.query.to_owned(),
        headers: headers.collect(),
        body: came.presented.body.to_vec(),
    }
}

/// Gives each event of a plugin its source, its time, and an id that follows from its content where it has none.
fn named(events: Vec<EventBuilder>, plugin: &InstallationName, now: Timestamp) -> Result<Vec<Event>, InboundError> {
    let source = format!("/plugins/{plugin}");
    let built = events.into_iter().map(|builder| {
        let builder = builder.source(source.clone());
        let failed = |error: pilothouse_core::event::EventError| InboundError::PluginFailed(error.to_string());
        let named = if builder.has_id() {
            builder
        } else {
            let content = builder.clone().id("content").build().map_err(failed)?;
            let id = Uuid::new_v5(&INBOUND_IDS, &pilothouse_core::event::json::to_vec(&content));
            builder.id(id.to_string())
        };
        named.time_or(now.to_string()).build().map_err(failed)
    });
    built.collect()
}

fn read(row: &StateRow) -> Result<Route, StoreError> {
    let unreadable = |text: String| StoreError::Read(format!("inbound route {}: {text}", row.key));
    let route: Route = serde_json::from_slice(&row.value).map_err(|error| unreadable(error.to_string()))?;
    if route.schema > SCHEMA {
        return Err(unreadable(format!("version {}, this host knows up to {SCHEMA}", route.schema)));
    }
    Ok(route)
}
