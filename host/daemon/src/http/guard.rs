//! What stands before every handler: bounds on the request line and headers, the token, the rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use pilothouse_core::right::{Reach, Right};

use super::AppState;
use super::problem::Problem;
use crate::auth::Identity;

/// Most headers of a request: the 64 extension attributes of an event, its core attributes, and what proxies add.
pub const HEADER_COUNT_MAX: usize = 100;
/// Largest sum of header names and values, in bytes; events with more in their attributes go in structured mode.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Longest request target, in bytes: a listing with every filter is under 2 KiB.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Paths that need no token.
pub const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// How many requests in a burst, as a multiple of the rate per second: a client that restarts sends what it kept.
const BURST_FACTOR: f64 = 2.0;
/// Buckets kept before the full ones are dropped; one bucket is under 100 bytes.
const BUCKETS_MAX: usize = 10_000;

/// Lets a request through that is small enough, has a token and keeps to its rate.
pub(super) async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Some(problem) = oversized(&request) {
        return problem.into_response();
    }
    let path = request.uri().path();
    let is_open = request.method() == Method::OPTIONS || OPEN_PATHS.contains(&path);
    if is_push_webhook(path) || is_inbound(request.method(), path) || is_report_link(request.method(), path) {
        // Its signature is checked by its handler; until then it has the rate of one token.
        // What comes after a route's name may be a secret, and is anybody's to choose.
        // (Links to reports have one rate together: their ids are anybody's to guess.)
        let route: String =
            path.splitn(5, '/').take(if path.starts_with("/reports/") { 2 } else { 4 }).collect::<Vec<_>>().join("/");
        if let Err(problem) = state.rate().take(&route.as_str().into(), Instant::now()) {
            return problem.into_response();
        }
    } else if !is_open {
        let identity = match bearer(&request).and_then(|token| state.tokens().identify(token)) {
            Some(identity) => identity,
            None => return unauthorized(&request).into_response(),
        };
        if let Err(problem) = state.rate().take(&identity.token, Instant::now()) {
            return problem.into_response();
        }
        request.extensions_mut().insert(identity);
    }
    next.run(request).await
}

/// Whether a path is the one that a Git server tells of pushes: `/v1/projects/<project>/upstream/webhook`.
fn is_push_webhook(path: &str) -> bool {
    let project = path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/upstream/webhook"));
    project.is_some_and(|project| !project.is_empty() && !project.contains('/'))
}

/// Whether a request is a tool's, to an inbound route.
fn is_inbound(method: &Method, path: &str) -> bool {
    method == Method::POST && path.strip_prefix("/v1/inbound/").is_some_and(|rest| !rest.is_empty())
}

/// Whether a request opens a report by a link.
fn is_report_link(method: &Method, path: &str) -> bool {
    method == Method::GET && path.strip_prefix("/reports/").is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

fn oversized(request: &Request) -> Option<Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        let detail = format!("the request target is over {TARGET_BYTES_MAX} bytes");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "target-too-long", detail));
    }
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if request.headers().len() > HEADER_COUNT_MAX || bytes > HEADER_BYTES_MAX {
        let detail = format!(
            "more than {HEADER_COUNT_MAX} headers, or over {HEADER_BYTES_MAX} bytes of them; send the event in structured mode"
        );
        return Some(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", detail));
    }
    None
}

fn bearer(request: &Request) -> Option<&str> {
    let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(request: &Request) -> Problem {
    // Never says which part is wrong, and never repeats what was sent.
    let detail = if request.headers().contains_key(http::header::AUTHORIZATION) {
        "the token is unknown, revoked or expired"
    } else {
        "send `Authorization: Bearer <token>`; `pilothouse token create` makes one"
    };
    Problem::new(StatusCode::UNAUTHORIZED, "token-needed", detail)
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(StatusCode::UNAUTHORIZED, "token-needed", "send `Authorization: Bearer <token>`");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

impl Identity {
    /// Refuses whoever does not have the right.
    ///
    /// # Errors
    /// 403, with the right that is missing.
    pub fn require(&self, right: Right) -> Result<(), Problem> {
        if self.may(right) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the token does not have the right `{}`", right.as_str())))
    }

    /// Refuses whoever does not have the right for all projects, for what belongs to none of them.
    ///
    /// # Errors
    /// 403, with the right that is missing or where it ends.
    pub fn require_everywhere(&self, right: Right) -> Result<(), Problem> {
        self.require(right)?;
        match self.reach(right) {
            Reach::All => Ok(()),
            reach => Err(Problem::forbidden(format!(
                "the token has the right `{}` for {reach} only, and this is for all",
                right.as_str()
            ))),
        }
    }
}

/// A token bucket per token: bounds the requests per second of each holder.
#[derive(Debug)]
pub struct RateLimiter {
    per_second: u32,
    buckets: Mutex<HashMap<std::sync::Arc<str>, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl RateLimiter {
    /// Makes a limiter; 0 requests per second means no limit.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes one request from the bucket of `token`.
    ///
    /// # Errors
    /// 429 with the seconds until there is one again.
    pub(super) fn take(&self, token: &std::sync::Arc<str>, now: Instant) -> Result<(), Problem> {
        if self.per_second == 0 {
            return Ok(());
        }
        let (rate, size) = (f64::from(self.per_second), f64::from(self.per_second) * BURST_FACTOR);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let refill =
            |bucket: &Bucket| (bucket.left + now.saturating_duration_since(bucket.at).as_secs_f64() * rate).min(size);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| refill(bucket) < size);
        }
        let bucket = buckets.entry(token.clone()).or_insert(Bucket { left: size, at: now });
        *bucket = Bucket { left: refill(bucket), at: now };
        if bucket.left < 1.0 {
            return Err(Problem::too_many_requests(1, self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}
