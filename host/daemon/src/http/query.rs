//! Query parameters and JSON bodies, refused with a suggestion when a name is unknown.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Query parameters of a known form; an unknown name is refused, because a filter that is ignored shows too much.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = error.to_string();
                let text = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
                Err(Problem::bad_request("parameter-invalid", suggest(text)))
            }
        }
    }
}

/// A JSON body of a known form.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let detail = "send the body with Content-Type `application/json`";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "json-needed", detail))
            }
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is too large"))
            }
            Err(JsonRejection::JsonDataError(error)) => {
                Err(Problem::bad_request("body-invalid", suggest(&error.body_text())))
            }
            Err(_) => Err(Problem::bad_request("json-invalid", "the body is not valid JSON")),
        }
    }
}

/// Adds "did you mean" to serde's text about an unknown name.
fn suggest(text: &str) -> String {
    let mut quoted = text.split('`').skip(1).step_by(2);
    let hint = match (text.contains("unknown field") || text.contains("unknown variant"), quoted.next()) {
        (true, Some(word)) => pilothouse_core::suggest::nearest(word, quoted),
        _ => None,
    };
    match hint {
        Some(nearest) => format!("{text}; did you mean `{nearest}`?"),
        None => text.to_owned(),
    }
}
