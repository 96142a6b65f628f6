//! How the API says no: `application/problem+json` (RFC 9457) with a word for programs in `code`.
//!
//! What the client sees and what the log keeps are two texts: [`Problem::internal`] gives the client a reference only.
//! Never here: event data, secrets, paths of this machine.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use pilothouse_core::event::{EventError, EventErrorKind};
use pilothouse_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::view::{IngestError, InstallError, RedriveError, RemoveError};

/// Media type of every refusal.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which a full store is worth another try: retention and the operator need some time.
const RETRY_AFTER_FULL: u32 = 30;
/// Seconds after which a busy store is worth another try: the queue of the writer drains in well under one.
const RETRY_AFTER_BUSY: u32 = 1;
/// Seconds after which a host that stops or must be restarted is worth another try.
const RETRY_AFTER_RESTART: u32 = 10;

/// A refusal as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `/problems/<code>`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A word for programs; never renamed.
    pub code: String,
    /// A sentence for people: what is wrong, and what to do.
    pub detail: String,
    /// The attribute of the event that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Position in the batch, from 0, of the event that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The limit that was exceeded, in the unit that `detail` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// All problems, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Names this one occurrence in the host's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Seconds to wait before trying again; also the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retry-after")]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Makes a refusal.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            ty: format!("/problems/{code}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            attribute: None,
            index: None,
            limit: None,
            errors: Vec::new(),
            instance: None,
            retry_after: None,
        }
    }

    /// 400: the request is wrong.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404: there is no such thing, or the token may not see it.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 403: the token lacks a right.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "right-missing", detail)
    }

    /// 413: over a limit of bytes.
    pub fn too_large(what: &str, limit: u64) -> Self {
        let mut problem = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("{what} is over the limit of {limit} bytes"),
        );
        problem.limit = Some(limit);
        problem
    }

    /// 500: a bug or a damaged disk. The log gets `internal`, the client a reference to it.
    pub fn internal(internal: &dyn std::fmt::Display) -> Self {
        let reference = uuid::Uuid::new_v4();
        tracing::error!(%reference, error = %internal, "InternalError");
        let detail = "the host failed; its log says why under the reference in `instance`";
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
        problem.instance = Some(format!("urn:uuid:{reference}"));
        problem
    }

    fn unavailable(code: &str, detail: &str, seconds: u32) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retry_after = Some(seconds);
        problem
    }

    /// 429: too many requests of one token.
    pub fn too_many_requests(seconds: u32, per_second: u32) -> Self {
        let detail = format!("this token may send {per_second} requests per second (`requests-per-second`)");
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail);
        problem.retry_after = Some(seconds);
        problem
    }

    /// Adds the list of everything that is wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<String>) -> Self {
        self.errors = errors;
        self
    }

    /// Names the position in the batch.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A struct of strings and numbers always serializes.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip, identity"));
        }
        response
    }
}

/// Answers a method that a path does not know. The router adds `Allow`; `TRACE` and its like get here too.
pub(super) async fn method_not_allowed() -> Response {
    let detail = "this path does not take the method; `Allow` lists those that it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail).into_response()
}

/// Answers a path that does not exist.
pub(super) async fn path_not_found() -> Problem {
    Problem::not_found("there is nothing at this path; /v1/openapi.json lists every path")
}

/// Puts OPTIONS into `Allow`.
pub(super) fn allow(methods: &'static str) -> (http::HeaderName, HeaderValue) {
    (ALLOW, HeaderValue::from_static(methods))
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        let status = match error.kind {
            EventErrorKind::Invalid => StatusCode::BAD_REQUEST,
            EventErrorKind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            EventErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let mut problem = Self::new(status, error.code, error.message);
        problem.attribute = error.attribute;
        problem.index = error.index;
        problem
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full(_) => Self::unavailable(
                "store-full",
                "the log has no room for new events; the operator finds the reason in /readyz and `pilothouse doctor`",
                RETRY_AFTER_FULL,
            ),
            StoreError::Busy(_) | StoreError::Conflict(_) | StoreError::StaleRouting { .. } => {
                Self::unavailable("store-busy", "too much is being written at this moment; try again", RETRY_AFTER_BUSY)
            }
            StoreError::ReadOnly(internal) => {
                tracing::error!(error = %internal, "StoreReadOnly");
                let detail = "a write to the disk failed, so the log takes nothing more until the host is restarted";
                Self::unavailable("store-read-only", detail, RETRY_AFTER_RESTART)
            }
            StoreError::Closed => Self::unavailable("stopping", "the host is stopping", RETRY_AFTER_RESTART),
            StoreError::Unknown(internal) => {
                tracing::error!(error = %internal, "CommitUnknown");
                let detail = "it is not known whether the event was stored; send it again with the same id and source";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", detail)
            }
            StoreError::TooLarge(detail) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large", detail),
            StoreError::Corrupt { .. } | StoreError::Open(_) | StoreError::Read(_) => Self::internal(&error),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Forbidden { code, message, index } => {
                Self::new(StatusCode::FORBIDDEN, code, message).at(index)
            }
            IngestError::Refused { code, message, index } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).at(index)
            }
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        let text = error.to_string();
        match error {
            InstallError::UnknownComponent(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "component-unknown", text),
            InstallError::Component(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "component-invalid", text),
            InstallError::Invalid(problems) => {
                let detail = "the settings or grants do not fit the plugin; `errors` lists every problem";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "installation-invalid", detail).with_errors(problems)
            }
            InstallError::Store(error) => error.into(),
            InstallError::Io(internal) => Self::internal(&internal),
        }
    }
}

impl From<RemoveError> for Problem {
    fn from(error: RemoveError) -> Self {
        let text = error.to_string();
        match error {
            RemoveError::NotFound(_) => Self::not_found(text),
            RemoveError::Waiting(_) => Self::new(StatusCode::CONFLICT, "deliveries-waiting", text),
            RemoveError::Store(error) => error.into(),
        }
    }
}

impl From<RedriveError> for Problem {
    fn from(error: RedriveError) -> Self {
        let text = error.to_string();
        match error {
            RedriveError::NotFound(_) => Self::not_found(text),
            RedriveError::Refused(_) => Self::new(StatusCode::CONFLICT, "redrive-refused", text),
            RedriveError::Store(error) => error.into(),
        }
    }
}

impl From<crate::auth::TokenError> for Problem {
    fn from(error: crate::auth::TokenError) -> Self {
        use crate::auth::TokenError;
        let text = error.to_string();
        match error {
            TokenError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "token-invalid", text),
            TokenError::Exists(_) => Self::new(StatusCode::CONFLICT, "token-exists", text),
            TokenError::NotFound(_) => Self::not_found(text),
            TokenError::LastAdmin(_) => Self::new(StatusCode::CONFLICT, "token-last-admin", text),
            TokenError::Store(error) => error.into(),
        }
    }
}
