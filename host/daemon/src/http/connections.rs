//! Connections: their names and how they sign in, and whether the other end answers. Never an address that is secret,
//! never a credential.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use pilothouse_core::name::ConnectionName;
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::problem::Problem;
use crate::auth::Identity;

/// Longest time that a test of a connection takes: what a person waits for at a terminal.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, without its secrets.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConnectionView {
    /// Its name.
    pub name: String,
    /// Its address, unless that is itself a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How the host signs in: `none`, `bearer`, `basic` or `header`.
    pub auth: String,
    /// Why it cannot be used, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// All connections.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    /// In the order of their names.
    pub items: Vec<ConnectionView>,
}

/// What a test of a connection found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConnectionTest {
    /// Whether anything answered.
    pub reachable: bool,
    /// The HTTP status that it answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What that means, for people.
    pub message: String,
}

/// Lists the connections.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", responses((status = 200, body = ConnectionList)))]
pub(super) async fn list(State(state): State<AppState>, identity: Identity) -> Result<Json<ConnectionList>, Problem> {
    identity.require(Right::Read)?;
    let config = state.config();
    let items = config.connections.iter().map(|(name, entry)| ConnectionView {
        name: name.to_string(),
        url: entry.url.clone(),
        auth: entry.auth.as_str().to_owned(),
        problem: state.connections().resolved(name).err().map(|error| error.to_string()),
    });
    Ok(Json(ConnectionList { items: items.collect() }))
}

/// Sends one GET to a connection's address, signed in, and says what came back.
#[utoipa::path(post, path = "/v1/connections/{name}/test", tag = "connections", params(("name" = String, Path, description = "The connection's name.")),
    responses((status = 200, body = ConnectionTest), (status = 404, body = Problem)))]
pub(super) async fn test(
    State(state): State<AppState>,
    identity: Identity,
    Path(name): Path<String>,
) -> Result<Json<ConnectionTest>, Problem> {
    identity.require_everywhere(Right::Operate)?;
    let name = ConnectionName::new(&name).map_err(|error| Problem::bad_request("name-invalid", error.to_string()))?;
    let connection = match state.connections().resolved(&name) {
        Ok(connection) => connection,
        Err(crate::config::ConnectionError::Unknown(_)) => {
            return Err(Problem::not_found("there is no such connection"));
        }
        Err(error) => return Ok(Json(ConnectionTest { reachable: false, status: None, message: error.to_string() })),
    };
    let headers = connection.headers.iter().cloned().collect();
    let request = state.client().get(&connection.base_url).headers(headers).timeout(TEST_TIMEOUT);
    let test = match request.send().await {
        Ok(answer) => answered(answer.status()),
        // The error's own text holds the address, which may be a secret.
        Err(error) => ConnectionTest { reachable: false, status: None, message: unreachable_reason(&error).to_owned() },
    };
    Ok(Json(test))
}

fn answered(status: http::StatusCode) -> ConnectionTest {
    let message = match status.as_u16() {
        401 | 403 => "it answers, and refuses the credential",
        300..=399 => "it answers with a redirect, which is never followed; set the address that it leads to",
        500..=599 => "it answers that it has a problem of its own",
        _ => "it answers",
    };
    ConnectionTest { reachable: true, status: Some(status.as_u16()), message: message.to_owned() }
}

fn unreachable_reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "nothing answered in time"
    } else if error.is_connect() {
        "no connection could be made: the name is unknown, nothing listens there, or TLS failed"
    } else {
        "the request failed"
    }
}
