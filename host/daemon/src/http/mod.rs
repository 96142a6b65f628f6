//! The HTTP API as a value: [`router`] makes it from an [`AppState`], and tests call it without a socket.
//!
//! Every path but `/healthz`, `/readyz`, push webhooks, inbound requests, links to reports and `OPTIONS` needs a token (`guard`), and each handler asks for
//! the right that it needs. Wire types live here, beside their handlers; the domain's types do not travel.
//!
//! Never here: sockets and signals ([`crate::serve`]), decisions about events ([`crate::engine`]).

pub mod approvals;
mod backup;
mod body;
pub mod connections;
pub mod deliveries;
pub mod evaluations;
pub mod events;
pub mod executors;
mod guard;
pub mod health;
pub mod inbound;
pub mod ingest;
mod metrics;
pub mod monitoring;
mod openapi;
pub mod plugins;
mod problem;
pub mod problems;
pub mod projects;
mod query;
pub mod reports;
pub mod resources;
pub mod secrets;
pub mod sequences;
mod tail;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod upstreams;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use pilothouse_store::Store;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

pub use backup::{BackupBody, BackupMade};
pub use guard::{HEADER_BYTES_MAX, HEADER_COUNT_MAX, OPEN_PATHS, RateLimiter, TARGET_BYTES_MAX};
pub use openapi::Description;
pub use problem::Problem;
pub use tail::{STALL_MAX, TAILS_MAX};

use crate::auth::Tokens;
use crate::config::{Config, Connections};
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::inbound::Inbound;
use crate::metrics::Metrics;
use crate::project::Projects;
use crate::secrets::Secrets;

/// Largest JSON body of the administrative paths: an installation's settings and grants.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Largest JSON body of a commit: two files of the largest size, as Base64.
pub const COMMIT_BODY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// What every handler needs; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    engine: Engine,
    projects: Projects,
    secrets: Arc<Secrets>,
    inbound: Inbound,
    tokens: Arc<Tokens>,
    connections: Arc<Connections>,
    config: ArcSwap<Config>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    rate: RateLimiter,
    tails: Arc<Semaphore>,
    client: reqwest::Client,
    stopping: watch::Receiver<bool>,
}

/// What an [`AppState`] is made of.
pub struct Parts {
    /// Accepts and answers.
    pub engine: Engine,
    /// Projects and their files.
    pub projects: Projects,
    /// Stored secrets.
    pub secrets: Arc<Secrets>,
    /// Who may talk to the host.
    pub tokens: Arc<Tokens>,
    /// Outside endpoints.
    pub connections: Arc<Connections>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Becomes true when the host begins to stop.
    pub stopping: watch::Receiver<bool>,
}

impl AppState {
    /// Puts the parts together.
    ///
    /// # Errors
    /// The HTTP client for tests of connections could not be made: there are no root certificates.
    pub fn new(parts: Parts) -> Result<Self, reqwest::Error> {
        let Parts { engine, projects, secrets, tokens, connections, config, clock, metrics, stopping } = parts;
        let client = crate::client::http_client()?;
        let rate = RateLimiter::new(config.limits.requests_per_second);
        let tails = Arc::new(Semaphore::new(TAILS_MAX));
        let config = ArcSwap::new(config);
        let inbound = Inbound::new(engine.clone(), Arc::clone(&secrets), Arc::clone(&tokens));
        Ok(Self(Arc::new(Inner {
            engine,
            projects,
            secrets,
            inbound,
            tokens,
            connections,
            config,
            clock,
            metrics,
            rate,
            tails,
            client,
            stopping,
        })))
    }

    /// Replaces the configuration after a reload.
    pub fn set_config(&self, config: Arc<Config>) {
        self.0.config.store(config);
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn projects(&self) -> &Projects {
        &self.0.projects
    }

    fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    fn inbound(&self) -> &Inbound {
        &self.0.inbound
    }

    /// Reads the connections' addresses and credentials again, after a secret changed.
    async fn reload_connections(&self) {
        let config = self.config();
        let texts = self.secrets().of_connections(&config.connections).await;
        self.connections().reload(&config.connections, &texts);
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.0.engine.store()
    }

    fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    fn connections(&self) -> &Connections {
        &self.0.connections
    }

    fn config(&self) -> Arc<Config> {
        self.0.config.load_full()
    }

    fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn rate(&self) -> &RateLimiter {
        &self.0.rate
    }

    fn tails(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.tails)
    }

    fn client(&self) -> &reqwest::Client {
        &self.0.client
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.clone()
    }
}

/// The paths of evaluations and of the tools that SLOs drive.
fn judging() -> Router<AppState> {
    Router::new()
        .route("/v1/evaluate", post(evaluations::judge))
        .route("/v1/evaluations", get(evaluations::list).post(evaluations::trigger))
        .route("/v1/evaluations/import", post(evaluations::import))
        .route("/v1/evaluations/{id}", get(evaluations::one))
        .route("/v1/evaluations/{id}/invalidate", post(evaluations::invalidate))
        .route("/v1/reports/{id}", get(reports::one))
        .route("/v1/reports/{id}/page", get(reports::as_page))
        .route("/v1/reports/{id}/link", post(reports::link))
        .route("/reports/{id}", get(reports::linked))
        .route("/v1/problems", get(problems::list))
        .route("/v1/problems/{id}", get(problems::one))
        .route("/v1/monitoring", post(monitoring::sync))
        .route("/v1/monitoring/{id}", get(monitoring::one))
}

/// Makes the whole API.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/v1/events", get(events::list).post(ingest::send).options(ingest::options))
        .route("/v1/events/tail", get(tail::tail))
        .route("/v1/events/{seq}", get(events::one))
        .route("/v1/events/{seq}/trace", get(events::trace))
        .route("/v1/deliveries", get(deliveries::list))
        .route("/v1/deliveries/{id}", get(deliveries::one))
        .route("/v1/deliveries/{id}/redrive", post(deliveries::redrive))
        .route("/v1/tasks", get(tasks::list))
        .route("/v1/tasks/{id}", get(tasks::one))
        .route("/v1/plugins", post(plugins::upload))
        .route("/v1/installations", get(plugins::list))
        .route("/v1/installations/{name}", get(plugins::one).put(plugins::install).delete(plugins::remove))
        .route("/v1/connections", get(connections::list))
        .route("/v1/connections/{name}/test", post(connections::test))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{name}", delete(tokens::revoke))
        .route(
            "/v1/projects",
            get(projects::list).post(projects::create).layer(DefaultBodyLimit::max(COMMIT_BODY_BYTES_MAX)),
        )
        .route("/v1/projects/{project}", get(projects::one).patch(projects::update).delete(projects::delete))
        .route("/v1/projects/{project}/problems", get(projects::problems))
        .route("/v1/projects/{project}/stages", get(projects::stages))
        .route("/v1/projects/{project}/services", get(projects::services).post(projects::create_service))
        .route("/v1/projects/{project}/services/{service}", delete(projects::delete_service))
        .route(
            "/v1/projects/{project}/commits",
            get(projects::history).post(projects::commit).layer(DefaultBodyLimit::max(COMMIT_BODY_BYTES_MAX)),
        )
        .route("/v1/projects/{project}/resources", get(resources::list))
        .route(
            "/v1/projects/{project}/resources/{*path}",
            get(resources::get).put(resources::put).delete(resources::delete),
        )
        .route("/v1/projects/{project}/upstream", get(upstreams::get).put(upstreams::put).delete(upstreams::delete))
        .route("/v1/projects/{project}/upstream/sync", post(upstreams::sync))
        .route("/v1/projects/{project}/upstream/webhook", post(upstreams::webhook))
        .route("/v1/projects/{project}/conflict", get(upstreams::conflict).post(upstreams::decide))
        .route("/v1/projects/{project}/figures", get(sequences::figures))
        .route("/v1/sequences", get(sequences::list).post(sequences::trigger))
        .route("/v1/sequences/{id}", get(sequences::one))
        .route("/v1/sequences/{id}/pause", post(sequences::pause))
        .route("/v1/sequences/{id}/resume", post(sequences::resume))
        .route("/v1/sequences/{id}/abort", post(sequences::abort))
        .route("/v1/sequences/{id}/rerun", post(sequences::rerun))
        .merge(judging())
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{id}", get(approvals::one).post(approvals::decide))
        .route("/v1/executors", get(executors::list))
        .route("/v1/executors/{name}", put(executors::put).delete(executors::delete))
        .route("/v1/executors/{name}/lease", post(executors::lease))
        .route("/v1/inbound", get(inbound::list))
        .route("/v1/inbound/{name}", post(inbound::receive).put(inbound::put).delete(inbound::delete))
        .route("/v1/inbound/{name}/{*rest}", post(inbound::receive_below))
        .route("/v1/inbound-log", get(inbound::log))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::put).delete(secrets::delete))
        .route("/v1/backup", post(backup::create))
        .route("/v1/openapi.json", get(openapi::openapi))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::scrape))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::path_not_found)
        .layer(DefaultBodyLimit::max(JSON_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state)
}

/// A bug in a handler ends one request and not the host. The panic's text stays in the log.
fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> axum::response::Response {
    axum::response::IntoResponse::into_response(Problem::internal(&"a handler panicked"))
}
