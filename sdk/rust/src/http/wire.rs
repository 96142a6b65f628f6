//! Sends one request over `wasi:http` and reads the response, within bounds.
//!
//! Never here: anything that a native test could reach.

use super::{Error, Request, Response};
use crate::jobs::STREAM_CHUNK_BYTES;
use crate::shim::bindings::wasi::http::outgoing_handler;
use crate::shim::bindings::wasi::http::types::{
    ErrorCode, Fields, HeaderError, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use crate::shim::bindings::wasi::io::streams::StreamError;

/// Most that `blocking-write-and-flush` takes at once, by its definition in `wasi:io`.
const WRITE_CHUNK_BYTES: usize = 4096;

pub(super) fn send(request: Request) -> Result<Response, Error> {
    let outgoing = head(&request)?;
    let options = options(&request)?;
    let body = outgoing.body().map_err(|()| Error::Invalid("no body can be sent".to_owned()))?;
    let pending = outgoing_handler::handle(outgoing, Some(options)).map_err(error)?;
    let sent = write(body, &request.body);
    pending.subscribe().block();
    // A peer may answer before it has read the body (413, say): its answer tells more than the broken pipe.
    let response = match pending.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(error(code)),
        Some(Err(())) | None => return Err(Error::Unavailable("the host lost the response".to_owned())),
    };
    if response.status() < 300 {
        sent?;
    }
    read(&response, request.body_bytes_max)
}

fn head(request: &Request) -> Result<OutgoingRequest, Error> {
    let invalid = |what: &str| Error::Invalid(what.to_owned());
    let (scheme, rest) = match request.url.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        _ => return Err(invalid("the URL must start with `http://` or `https://`")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };

    let fields: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let fields = Fields::from_list(&fields).map_err(|error| match error {
        HeaderError::Forbidden => invalid("a header field that only the host may set"),
        HeaderError::InvalidSyntax | HeaderError::Immutable => invalid("a header field that is not valid"),
    })?;
    if !fields.has("content-length") {
        // Without it the host would have to send in chunks, which some APIs refuse. A host that forbids it sets it itself.
        let _ = fields.set("content-length", &[request.body.len().to_string().into_bytes()]);
    }
    let outgoing = OutgoingRequest::new(fields);
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| invalid("the method is not valid"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("the scheme is not valid"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| invalid("the host in the URL is not valid"))?;
    outgoing.set_path_with_query(Some(&path)).map_err(|()| invalid("the path in the URL is not valid"))?;
    Ok(outgoing)
}

fn options(request: &Request) -> Result<RequestOptions, Error> {
    let options = RequestOptions::new();
    if let Some(timeout) = request.timeout {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        options
            .set_connect_timeout(Some(nanoseconds))
            .and_then(|()| options.set_first_byte_timeout(Some(nanoseconds)))
            .and_then(|()| options.set_between_bytes_timeout(Some(nanoseconds)))
            .map_err(|()| Error::Invalid("the host takes no time-out".to_owned()))?;
    }
    Ok(options)
}

fn write(body: OutgoingBody, content: &[u8]) -> Result<(), Error> {
    if !content.is_empty() {
        let stream = body.write().map_err(|()| Error::Unavailable("the host took no body".to_owned()))?;
        for chunk in content.chunks(WRITE_CHUNK_BYTES) {
            stream.blocking_write_and_flush(chunk).map_err(|error| Error::Unavailable(describe(&error)))?;
        }
    }
    OutgoingBody::finish(body, None).map_err(error)
}

fn read(response: &IncomingResponse, limit: usize) -> Result<Response, Error> {
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let lost = |()| Error::Unavailable("the host lost the response body".to_owned());
    let incoming: IncomingBody = response.consume().map_err(lost)?;
    let stream = incoming.stream().map_err(lost)?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(STREAM_CHUNK_BYTES) {
            Ok(bytes) if body.len() + bytes.len() > limit => return Err(Error::BodyTooLarge(limit)),
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(Error::Unavailable(describe(&error))),
        }
    }
    Ok(Response { status: response.status(), headers, body })
}

fn describe(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "the connection was closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// Sorts the host's reasons by what the plugin should do about them.
fn error(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::Denied("the address is not granted".to_owned()),
        ErrorCode::DestinationIpProhibited => {
            Error::Denied("the address is private, loopback or link-local, and not granted".to_owned())
        }
        ErrorCode::ConfigurationError => Error::Denied("no such connection".to_owned()),
        // The only codes with room for a text: the host puts the missing grant there.
        ErrorCode::InternalError(Some(text)) if text.contains("grant") => Error::Denied(text),
        ErrorCode::InternalError(text) => Error::Unavailable(text.unwrap_or_else(|| "the host failed".to_owned())),
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => Error::Timeout,
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_) => Error::Invalid(name(&code)),
        other => Error::Unavailable(name(&other)),
    }
}

/// Returns the code's name without what it carries.
fn name(code: &ErrorCode) -> String {
    let text = format!("{code:?}");
    let end = text.find(['(', ' ']).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().trim_start_matches("ErrorCode::").to_owned()
}
