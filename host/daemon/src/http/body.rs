//! Reads a request's body under bounds of size and time, and undoes gzip under the same bound.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;

/// Bounds of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes, on the wire and after decompression.
    pub(super) bytes_max: u64,
    /// Longest silence between two pieces.
    pub(super) idle: Duration,
    /// Longest time altogether.
    pub(super) total: Duration,
}

/// Returns a header's value; `None` if it is not there, not text, or there twice.
pub(super) fn single_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Reads the whole body.
///
/// # Errors
/// 400 for a body that breaks off or is not the gzip that it claims, 408 for a slow one, 413 for one over the limit,
/// 415 for another encoding.
pub(super) async fn read(headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Bytes, Problem> {
    let encoding = encoding(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bounds.bytes_max) {
        return Err(Problem::too_large("the body", bounds.bytes_max));
    }
    let bytes = collect(body, bounds).await?;
    match encoding {
        Encoding::Identity => Ok(bytes),
        Encoding::Gzip => gunzip(bytes, bounds.bytes_max).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

/// One layer of gzip is understood. Two of them only serve to hide a bomb.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = match (values.next().map(|value| value.to_str().unwrap_or_default().trim()), values.next()) {
        (None, _) => Some(Encoding::Identity),
        (Some(name), None) if name.eq_ignore_ascii_case("identity") || name.is_empty() => Some(Encoding::Identity),
        (Some(name), None) if name.eq_ignore_ascii_case("gzip") => Some(Encoding::Gzip),
        _ => None,
    };
    encoding.ok_or_else(|| {
        let detail = "the Content-Encoding is not understood; send gzip, once, or none";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding-unsupported", detail)
    })
}

async fn collect(mut body: Body, bounds: Bounds) -> Result<Bytes, Problem> {
    let end = Instant::now() + bounds.total;
    let mut collected = BytesMut::new();
    loop {
        let deadline = end.min(Instant::now() + bounds.idle);
        let Ok(frame) = timeout_at(deadline, body.frame()).await else {
            let detail = format!(
                "the body came too slowly: at most {:?} between two pieces and {:?} altogether",
                bounds.idle, bounds.total
            );
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
        };
        let Some(frame) = frame else { return Ok(collected.freeze()) };
        let frame = frame.map_err(|_| {
            Problem::bad_request("body-incomplete", "the body broke off, or its length is not what the headers say")
        })?;
        if let Ok(data) = frame.into_data() {
            let length = u64::try_from(collected.len() + data.len()).unwrap_or(u64::MAX);
            if length > bounds.bytes_max {
                return Err(Problem::too_large("the body", bounds.bytes_max));
            }
            collected.extend_from_slice(&data);
        }
    }
}

/// Decompresses off the event loop: a megabyte takes milliseconds.
async fn gunzip(bytes: Bytes, bytes_max: u64) -> Result<Bytes, Problem> {
    let task = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        // One byte more than allowed tells that there is more; a bomb is never unpacked further.
        let mut reader = flate2::read::MultiGzDecoder::new(bytes.as_ref()).take(bytes_max.saturating_add(1));
        reader.read_to_end(&mut out).map(|_| out)
    });
    match task.await {
        Ok(Ok(out)) if u64::try_from(out.len()).is_ok_and(|length| length <= bytes_max) => Ok(out.into()),
        Ok(Ok(_)) => Err(Problem::too_large("the decompressed body", bytes_max)),
        Ok(Err(_)) => Err(Problem::bad_request("gzip-invalid", "the body is not valid gzip, or it breaks off")),
        Err(error) => Err(Problem::internal(&error)),
    }
}
