//! `POST /v1/events`: structured, binary and batched mode in, sequence numbers out.
//!
//! A 202 means that the event and its deliveries are on disk. Choices where the specification leaves one are listed in
//! `docs/http-api.md`.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode, header};
use pilothouse_core::Event;
use pilothouse_core::event::http::{Mode, detect, parse_binary};
use pilothouse_core::event::{EventError, code, json};
use pilothouse_core::right::Right;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::body::{self, Bounds};
use super::problem::{self, Problem};
use super::query::Parameters;
use crate::auth::Identity;
use crate::engine::view::{Accepted, Match, Sender};

/// How much longer than the event itself its JSON form may be: quoting of control characters and base64 at worst double
/// what people really send.
const QUOTING_FACTOR: u64 = 2;

/// Requests per minute that the host takes from a WebHook sender which asks; the limit per token still holds.
const WEBHOOK_RATE: &str = "*";

/// What a request to send events may ask for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct SendParameters {
    /// `1` or `true`: store nothing, and say who would get the events.
    pub dryrun: Option<String>,
}

/// The answer to events that were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SendAnswer {
    /// How many events are new in the log.
    pub accepted: usize,
    /// How many were in the log already.
    pub duplicates: usize,
    /// Position in the log of each event, in the order sent.
    pub seq: Vec<u64>,
    /// The same with all that is known of each event.
    pub events: Vec<Accepted>,
}

/// The answer to a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DryRunAnswer {
    /// One entry for each event, in the order sent.
    pub events: Vec<DryRunEvent>,
}

/// Who would get one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DryRunEvent {
    /// Its id.
    pub id: String,
    /// How many deliveries would follow.
    pub deliveries: usize,
    /// Each subscription, with the reason why it would or would not get the event.
    pub subscriptions: Vec<Match>,
}

/// Sends one event or a batch, all or none.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", params(SendParameters),
    request_body(
        description = "One event in structured mode, a batch of them, or any data in binary mode with `ce-` headers.",
        content((Object = "application/cloudevents+json"), (Object = "application/cloudevents-batch+json"), (String = "*/*"))
    ),
    responses(
        (status = 202, description = "Durable: the events and what follows from them are on disk.", body = SendAnswer),
        (status = 200, description = "Dry run: nothing was stored.", body = DryRunAnswer),
        (status = 400, description = "A CloudEvent, but not a valid one.", body = Problem),
        (status = 403, description = "The token may not send this event.", body = Problem),
        (status = 408, description = "The body came too slowly.", body = Problem),
        (status = 413, description = "Too large, or too many events.", body = Problem),
        (status = 415, description = "No CloudEvent, or in a format or encoding that is not understood.", body = Problem),
        (status = 422, description = "Valid, but a rule of this host refuses it.", body = Problem),
        (status = 503, description = "The log takes nothing now; try again later.", body = Problem),
        (status = 504, description = "Unknown whether it was stored; send it again with the same id.", body = Problem),
    )
)]
pub(super) async fn send(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<SendParameters>,
    request: Request,
) -> Result<Response, Problem> {
    if !identity.may(Right::Ingest) && !identity.may(Right::Task) {
        identity.require(Right::Ingest)?;
    }
    let (parts, body) = request.into_parts();
    let is_dry = is_set(parameters.dryrun.as_deref())?;
    let (mode, events) =
        read_events(&state, &parts.headers, body).await.inspect_err(|problem| state.metrics().refused(problem))?;
    accept(&state, identity, events, is_dry).await.map_err(|mut problem| {
        // Only a batch has positions.
        problem.index = problem.index.filter(|_| mode == Mode::Batch);
        problem
    })
}

async fn accept(state: &AppState, identity: Identity, events: Vec<Event>, is_dry: bool) -> Result<Response, Problem> {
    check_expiry(&events, state.clock().now())?;
    let (may_send, may_trigger) = (identity.reach(Right::Ingest), identity.reach(Right::Task));
    let sender = Sender { may_send, may_trigger, actor: identity.actor };
    if is_dry {
        return dry_run(state, &events, &sender);
    }
    // An empty batch is allowed by the specification, and nothing has to become durable.
    let accepted = if events.is_empty() { Vec::new() } else { state.engine().ingest(events, &sender).await? };
    let duplicates = accepted.iter().filter(|event| event.duplicate).count();
    let answer = SendAnswer {
        accepted: accepted.len() - duplicates,
        duplicates,
        seq: accepted.iter().map(|event| event.seq).collect(),
        events: accepted,
    };
    state.metrics().received(&answer);
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn is_set(dryrun: Option<&str>) -> Result<bool, Problem> {
    match dryrun {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true" | "") => Ok(true),
        Some(_) => Err(Problem::bad_request("parameter-invalid", "`dryrun` is 1 or 0")),
    }
}

fn dry_run(state: &AppState, events: &[Event], sender: &Sender) -> Result<Response, Problem> {
    let run = |event: &Event| {
        let subscriptions = state.engine().dry_run(event, sender)?;
        let deliveries = subscriptions.iter().filter(|subscription| subscription.matched).count();
        Ok(DryRunEvent { id: event.id().to_owned(), deliveries, subscriptions })
    };
    let events = events.iter().map(run).collect::<Result<_, Problem>>()?;
    Ok(Json(DryRunAnswer { events }).into_response())
}

async fn read_events(
    state: &AppState,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<(Mode, Vec<Event>), Problem> {
    let limits = &state.config().limits;
    let mode = detect(content_type(headers)?, headers.keys().any(|name| name.as_str().starts_with("ce-")))?;
    let bytes_max = match mode {
        Mode::Batch => limits.batch_size_max.0,
        Mode::Structured | Mode::Binary => limits.event_size_max.0.saturating_mul(QUOTING_FACTOR),
    };
    let bounds = Bounds { bytes_max, idle: limits.header_timeout.0, total: limits.body_timeout.0 };
    let body = body::read(headers, body, bounds).await?;
    let events = match mode {
        Mode::Batch => json::parse_batch(&body, usize::try_from(limits.batch_events_max).unwrap_or(usize::MAX)),
        Mode::Structured => json::parse(&body).map(|event| vec![event]),
        Mode::Binary => {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            parse_binary(headers, &body).map(|event| vec![event])
        }
    };
    let events = events.map_err(|error| with_limit(error, limits))?;
    for (index, event) in events.iter().enumerate() {
        if u64::try_from(event.size_bytes()).unwrap_or(u64::MAX) > limits.event_size_max.0 {
            let mut problem = Problem::too_large("the event", limits.event_size_max.0);
            problem.code = code::EVENT_TOO_LARGE.to_owned();
            problem.ty = format!("/problems/{}", code::EVENT_TOO_LARGE);
            problem.index = (mode == Mode::Batch).then_some(index);
            return Err(problem);
        }
    }
    Ok((mode, events))
}

fn with_limit(error: EventError, limits: &crate::config::Limits) -> Problem {
    let limit = match error.code {
        code::BATCH_TOO_LARGE => Some(u64::from(limits.batch_events_max)),
        code::EVENT_TOO_LARGE => Some(limits.event_size_max.0),
        _ => None,
    };
    let mut problem = Problem::from(error);
    problem.limit = limit;
    problem
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        let mut problem = Problem::bad_request(code::ATTRIBUTE_TWICE, "the header `content-type` is given twice");
        problem.attribute = Some("datacontenttype".to_owned());
        return Err(problem);
    }
    // What is not ASCII is no media type that decides a mode; the codec refuses it with its own words.
    Ok(first.and_then(|value| value.to_str().ok()))
}

/// The extension attribute after which an event is of no use to anyone (CloudEvents extension "Expiry Time").
const EXPIRY_EXTENSION: &str = "expirytime";

/// Refuses what would be stored only to be ignored. A value that is no time is an extension like any other.
fn check_expiry(events: &[Event], now: Timestamp) -> Result<(), Problem> {
    let expired = |event: &Event| {
        event.extension_str(EXPIRY_EXTENSION).and_then(Timestamp::parse_rfc3339).is_some_and(|expiry| expiry <= now)
    };
    let Some(index) = events.iter().position(expired) else { return Ok(()) };
    let detail = "the event has expired: its `expirytime` is in the past";
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event-expired", detail).at(index);
    problem.attribute = Some(EXPIRY_EXTENSION.to_owned());
    Err(problem)
}

/// Answers the handshake of the CloudEvents WebHook specification (§4): consent, and the methods that there are.
///
/// Consent opens nothing: each delivery still needs a token.
pub(super) async fn options(headers: HeaderMap) -> Response {
    let mut response = (StatusCode::OK, [problem::allow("GET, HEAD, POST, OPTIONS")]).into_response();
    let answer = response.headers_mut();
    answer.insert(
        HeaderName::from_static("accept"),
        http::HeaderValue::from_static("application/cloudevents+json, application/cloudevents-batch+json"),
    );
    if let Some(origin) = headers.get("webhook-request-origin") {
        answer.insert(HeaderName::from_static("webhook-allowed-origin"), origin.clone());
        if headers.contains_key("webhook-request-rate") {
            answer
                .insert(HeaderName::from_static("webhook-allowed-rate"), http::HeaderValue::from_static(WEBHOOK_RATE));
        }
    }
    response
}
