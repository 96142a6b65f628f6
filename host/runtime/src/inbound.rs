//! Requests of tools that send no CloudEvents: a plugin's optional export `inbound` makes events of them.
//!
//! The guest is granted nothing but its settings: what a stranger's request starts is decided by what subscribes to the
//! events. Never here: who may send, and what becomes of the events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_core::event::EventBuilder;
use pilothouse_core::grant::{EffectiveGrants, Limits};
use pilothouse_core::name::InstallationName;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::bindings::exports::pilothouse::plugin::inbound as wit;
use crate::call::{CallFailure, Settings};
use crate::log::{LogLine, escape};
use crate::outcome;
use crate::plugin::Plugin;
use crate::run::{Guest, Work};
use crate::runtime::Runtime;
use crate::services::NoServices;
use crate::state::State;

/// Wall-clock time of one request: a tool waits for the answer, most for ten seconds.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest body of a response, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Most decisions of one request: a person decides one thing at a time.
const DECISIONS_MAX: usize = 10;
/// Longest comment of a decision, in bytes.
const COMMENT_BYTES_MAX: usize = 4_096;
/// Longest reason for a refusal, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest content type of a response.
const CONTENT_TYPE_BYTES_MAX: usize = 200;

/// A request whose caller has been verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundRequest {
    /// Its method.
    pub method: String,
    /// What stands behind the route's name.
    pub path: String,
    /// What stands behind `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundResponse {
    /// From 200 to 299.
    pub status: u16,
    /// Its content type.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// What a person decided in a tool about an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundDecision {
    /// Id of the approval.
    pub approval: String,
    /// Whether it is approved, else declined.
    pub approve: bool,
    /// Why.
    pub comment: String,
    /// Who, as the tool knows them.
    pub user: String,
}

/// What a request becomes.
#[derive(Clone, Debug)]
pub struct InboundReceived {
    /// Events of types that the manifest's `emits` lists, each of which makes a valid event.
    pub events: Vec<EventBuilder>,
    /// The answer, if it is not the host's own.
    pub response: Option<InboundResponse>,
    /// What people decided.
    pub decisions: Vec<InboundDecision>,
}

/// Why a request became nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The plugin says what is wrong with the request.
    #[error("{0}")]
    Refused(String),
    /// The plugin failed: a trap, a limit, something returned that it may not return.
    #[error("the plugin failed: {}", .0.reason)]
    Failed(CallFailure),
}

/// What came of a request, with what the plugin logged.
#[derive(Debug)]
pub struct ReceiveReport {
    /// The outcome.
    pub outcome: Result<InboundReceived, ReceiveError>,
    /// The plugin's log.
    pub log: Vec<LogLine>,
}

impl Runtime {
    /// Lets a plugin make events of a request, in a fresh instance, within five seconds. A plugin without the export
    /// refuses every request.
    pub async fn receive(
        &self,
        plugin: &Arc<Plugin>,
        installation: InstallationName,
        settings: Arc<Settings>,
        limits: Limits,
        request: InboundRequest,
    ) -> ReceiveReport {
        if !plugin.receives_requests() {
            let reason = format!("`{}` takes no requests", plugin.manifest().name.as_str());
            return ReceiveReport { outcome: Err(ReceiveError::Refused(reason)), log: Vec::new() };
        }
        let limits = Limits { timeout: limits.timeout.min(RECEIVE_TIMEOUT), ..limits };
        let grants = Arc::new(EffectiveGrants { limits, ..EffectiveGrants::default() });
        let guest = Guest { installation, settings, grants, services: Arc::new(NoServices) };
        let (ran, _) = self.run(plugin, guest, receive(request)).await;
        let outcome = match ran.returned {
            Ok(Some(Ok(received))) => check(received, plugin).map_err(ReceiveError::Failed),
            Ok(Some(Err(reason))) => Err(ReceiveError::Refused(escape(&reason, REASON_BYTES_MAX))),
            Ok(None) => Err(ReceiveError::Refused("it takes no requests".to_owned())),
            Err(failure) => Err(ReceiveError::Failed(failure)),
        };
        ReceiveReport { outcome, log: ran.log }
    }
}

fn check(received: wit::Received, plugin: &Plugin) -> Result<InboundReceived, CallFailure> {
    let events = outcome::check_events(received.events, plugin.manifest(), outcome::RECEIVED_EVENTS_MAX)
        .map_err(outcome::broken)?;
    let response = received.response.map(check_response).transpose().map_err(outcome::broken)?;
    let decisions = check_decisions(received.decisions).map_err(outcome::broken)?;
    Ok(InboundReceived { events, response, decisions })
}

fn check_decisions(decisions: Vec<wit::Decision>) -> Result<Vec<InboundDecision>, String> {
    if decisions.len() > DECISIONS_MAX {
        return Err(format!("{} decisions are returned, at most {DECISIONS_MAX} are taken", decisions.len()));
    }
    let check = |decision: wit::Decision| {
        let wit::Decision { approval, approve, comment, user } = decision;
        if comment.len() > COMMENT_BYTES_MAX || comment.contains('\0') {
            return Err(format!("a comment has over {COMMENT_BYTES_MAX} bytes, or a zero byte"));
        }
        Ok(InboundDecision { approval, approve, comment, user })
    };
    decisions.into_iter().map(check).collect()
}

fn check_response(response: wit::Response) -> Result<InboundResponse, String> {
    let wit::Response { status, content_type, body } = response;
    if !(200..300).contains(&status) {
        return Err(format!("the response's status is {status}; one from 200 to 299 is accepted"));
    }
    if body.len() > RESPONSE_BYTES_MAX {
        return Err(format!("the response has {} bytes; at most {RESPONSE_BYTES_MAX} are accepted", body.len()));
    }
    let is_visible = content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_visible || content_type.is_empty() || content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err("the response's content type is none".to_owned());
    }
    Ok(InboundResponse { status, content_type, body })
}

fn receive(request: InboundRequest) -> Work<Option<Result<wit::Received, String>>> {
    Box::new(move |plugin: &Plugin, store: &mut Store<State>, instance: Instance, _: Instant| {
        Box::pin(async move {
            let Some(indices) = &plugin.inbound else { return Ok(None) };
            let guest = indices.load(&mut *store, &instance)?;
            let InboundRequest { method, path, query, headers, body } = request;
            let request = wit::Request { method, path, query, headers, body };
            guest.call_receive(store, &request).await.map(Some)
        })
    })
}
