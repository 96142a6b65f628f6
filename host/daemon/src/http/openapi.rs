//! The API's description, made from the handlers, and kept in `docs/openapi.json`.

use axum::Json;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    approvals, backup, connections, deliveries, evaluations, events, executors, health, inbound, ingest, metrics,
    monitoring, plugins, problems, projects, reports, resources, secrets, sequences, tail, tasks, tokens, upstreams,
};

/// The description of every path.
#[derive(OpenApi)]
#[openapi(
    info(title = "Pilothouse", description = "Events in, deliveries to sandboxed plugins, results out. Errors are `application/problem+json` (RFC 9457)."),
    paths(
        ingest::send, events::list, events::one, events::trace, tail::tail,
        deliveries::list, deliveries::one, deliveries::redrive, tasks::list, tasks::one,
        plugins::upload, plugins::list, plugins::one, plugins::install, plugins::remove,
        connections::list, connections::test, tokens::list, tokens::create, tokens::revoke, backup::create,
        projects::list, projects::create, projects::one, projects::update, projects::problems, projects::delete, projects::stages, projects::services,
        projects::create_service, projects::delete_service, projects::commit, projects::history,
        resources::list, resources::get, resources::put, resources::delete,
        upstreams::get, upstreams::put, upstreams::delete, upstreams::sync, upstreams::webhook, upstreams::conflict,
        upstreams::decide, secrets::list, secrets::put, secrets::delete,
        sequences::trigger, sequences::list, sequences::one, sequences::pause, sequences::resume, sequences::abort,
        sequences::rerun, sequences::figures,
        evaluations::judge, evaluations::list, evaluations::trigger, evaluations::import, evaluations::one,
        evaluations::invalidate,
        monitoring::sync, monitoring::one,
        problems::list, problems::one,
        reports::one, reports::as_page, reports::link, reports::linked,
        approvals::list, approvals::one, approvals::decide,
        executors::list, executors::put, executors::delete, executors::lease,
        inbound::list, inbound::put, inbound::delete, inbound::log, inbound::receive,
        health::healthz, health::readyz, metrics::scrape, openapi,
    ),
    security(("token" = [])),
    modifiers(&Token)
)]
pub struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// Returns this description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "host", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
