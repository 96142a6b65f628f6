//! Sends one request: policy, then address, then limits.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{self, HeaderMap, HeaderName};
use http_body_util::{BodyDataStream, BodyExt as _};
use pilothouse_core::grant::Network;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody};

use super::body::ResponseBody;
use super::policy::{self, Refusal, Route};
use super::resolve::{AddressClosed, Checked, Lookup, NameUnknown, SystemLookup};
use super::{Egress, connection};
use crate::engine::RuntimeError;

/// Requests of one call that may be open at once, bodies included; each holds a socket of the host.
const OPEN_REQUESTS_MAX: usize = 16;
/// Largest request body, in bytes; a JMeter result or a dashboard, far above what fits in an event.
pub(super) const REQUEST_BODY_BYTES_MAX: usize = 16 << 20;
/// Largest response body, in bytes; a query over a whole test window fits.
pub(super) const RESPONSE_BODY_BYTES_MAX: u64 = 16 << 20;
/// Bodies up to this size are collected and sent with their length: many servers refuse chunks for a small POST.
const WHOLE_BODY_BYTES_MAX: usize = 64 << 10;
/// Longest wait for a connection, so that a dead address does not use up the whole call.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Named to servers that ask for it.
const USER_AGENT: &str = concat!("pilothouse/", env!("CARGO_PKG_VERSION"));

/// What all calls share for outbound HTTP.
pub(crate) struct Clients {
    tls: rustls::ClientConfig,
    /// For connections: their addresses are the operator's word, so sockets may be kept from call to call.
    connections: reqwest::Client,
    lookup: Arc<dyn Lookup>,
}

impl Clients {
    /// Reads the machine's root certificates and makes the shared client.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new() -> Result<Self, RuntimeError> {
        let error = |error: &dyn std::fmt::Display| RuntimeError::Http(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(|it| error(&it))?;
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|it| error(&it))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let connections = builder(&tls).build().map_err(|it| error(&it))?;
        Ok(Self { tls, connections, lookup: Arc::new(SystemLookup) })
    }

    #[cfg(test)]
    pub(crate) fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, ..Self::new().unwrap() }
    }

    /// Makes what the requests of one call use.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        Client { clients: Arc::clone(self), direct: OnceLock::new(), open: Arc::new(Semaphore::new(OPEN_REQUESTS_MAX)) }
    }
}

fn builder(tls: &rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        // A proxy of the environment would make every address check void.
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT_MAX)
        .user_agent(USER_AGENT)
}

/// What the requests of one call use. Sockets of direct requests live as long as the call: a socket that was opened
/// under one installation's grants must never serve another.
pub(crate) struct Client {
    clients: Arc<Clients>,
    direct: OnceLock<reqwest::Client>,
    open: Arc<Semaphore>,
}

impl Client {
    fn direct(&self, networks: &[Network]) -> Result<reqwest::Client, Error> {
        if let Some(client) = self.direct.get() {
            return Ok(client.clone());
        }
        let checked = Checked { lookup: Arc::clone(&self.clients.lookup), networks: networks.to_vec() };
        let client = builder(&self.clients.tls)
            .dns_resolver(checked)
            .build()
            .map_err(|_| Error::InternalError(Some("the host's HTTP client could not be made".to_owned())))?;
        Ok(self.direct.get_or_init(|| client).clone())
    }
}

/// Sends a request and returns the response with its body still to come.
///
/// # Errors
/// Denied, unreachable, or over a limit. Denials are also remarked in the call's log with the grant that would help.
pub(super) async fn send(
    egress: &Egress,
    request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<http::Response<WasiBody>, Error> {
    let (mut parts, body) = request.into_parts();
    clean(&mut parts.headers);
    let refused = |text: &str| {
        egress.log.remark(text);
        Error::HttpRequestDenied
    };
    let route = policy::route(&parts.method, &parts.uri, &egress.grants, &egress.installation);
    let (client, url, origin) = match route {
        Ok(Route::Direct(url)) => {
            let origin = policy::origin(&url);
            (egress.client.direct(&egress.grants.networks)?, url, origin)
        }
        Ok(Route::Connection { operator_name, plugin_name }) => {
            let unusable = |why: &str| refused(&format!("connection `{plugin_name}` cannot be used: {why}"));
            let connection = egress.services.connection(&operator_name).map_err(|why| unusable(&why))?;
            let url = connection::url(&connection, &parts.uri).map_err(unusable)?;
            connection::headers(&connection, &mut parts.headers);
            (egress.client.clients.connections.clone(), url, format!("connection `{plugin_name}`"))
        }
        Err(Refusal::Denied(text)) => return Err(refused(&text)),
        Err(Refusal::Malformed(text)) => return Err(refused(&format!("refused: a request: {text}"))),
    };
    let permit = Arc::clone(&egress.client.open).try_acquire_owned().map_err(|_| {
        egress.log.remark(&format!("refused: a call may have {OPEN_REQUESTS_MAX} requests open"));
        Error::ConnectionLimitReached
    })?;

    let remaining = egress.deadline.saturating_duration_since(Instant::now());
    let capped = |asked: Option<Duration>| asked.unwrap_or(remaining).min(remaining);
    let head_max = capped(options.connect_timeout).saturating_add(capped(options.first_byte_timeout)).min(remaining);
    let wait_max = capped(options.between_bytes_timeout);

    let method = parts.method.clone();
    let sending = async {
        let body = outgoing(body).await?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = body;
        client.execute(request).await.map_err(|error| failed(egress, method.as_str(), &origin, &error))
    };
    let response = tokio::time::timeout(head_max, sending).await.map_err(|_| Error::ConnectionReadTimeout)??;
    if response.content_length().is_some_and(|length| length > RESPONSE_BODY_BYTES_MAX) {
        return Err(Error::HttpResponseBodySize(response.content_length()));
    }
    let mut response: http::Response<reqwest::Body> = response.into();
    clean(response.headers_mut());
    Ok(response.map(|body| ResponseBody::new(body, RESPONSE_BODY_BYTES_MAX, wait_max, permit).boxed_unsync()))
}

/// Removes what belongs to one hop, and `host`, which follows from the URL that was checked.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let hop = [header::TE, header::TRAILER, header::EXPECT];
    for name in named.iter().chain(&DEFAULT_FORBIDDEN_HEADERS).chain(&hop) {
        headers.remove(name);
    }
}

/// Makes the body to send: whole if it is small, else as a stream that ends in an error at the limit.
async fn outgoing(body: WasiBody) -> Result<Option<reqwest::Body>, Error> {
    let mut stream = BodyDataStream::new(body);
    let mut start = BytesMut::new();
    while start.len() <= WHOLE_BODY_BYTES_MAX {
        match stream.next().await {
            Some(piece) => start.extend_from_slice(&piece?),
            None if start.is_empty() => return Ok(None),
            None => return Ok(Some(start.freeze().into())),
        }
    }
    let mut left = REQUEST_BODY_BYTES_MAX;
    let first = futures_util::stream::iter([Ok::<Bytes, Error>(start.freeze())]);
    let bounded = first.chain(stream).map(move |piece| {
        let piece = piece.map_err(|error| std::io::Error::other(error.to_string()))?;
        left = left.checked_sub(piece.len()).ok_or_else(|| std::io::Error::other(BodyTooLarge))?;
        Ok::<Bytes, std::io::Error>(piece)
    });
    Ok(Some(reqwest::Body::wrap_stream(bounded)))
}

/// A request's body is over its limit.
#[derive(Debug, thiserror::Error)]
#[error("the request's body has more than {REQUEST_BODY_BYTES_MAX} bytes")]
struct BodyTooLarge;

/// Finds the cause of a failed request. The text for the guest never holds the URL: for a connection it may be secret.
fn failed(egress: &Egress, method: &str, origin: &str, error: &reqwest::Error) -> Error {
    if let Some(closed) = cause::<AddressClosed>(error) {
        let text = policy::address_denied(method, origin, closed.address, closed.word, &egress.installation);
        egress.log.remark(&text);
        return Error::HttpRequestDenied;
    }
    if cause::<BodyTooLarge>(error).is_some() {
        return Error::HttpRequestBodySize(None);
    }
    let mapped = if cause::<NameUnknown>(error).is_some() {
        Error::DnsError { rcode: Some("the name does not resolve".to_owned()), info_code: None }
    } else if error.is_connect() && error.is_timeout() {
        Error::ConnectionTimeout
    } else if let Some(tls) = cause::<rustls::Error>(error) {
        match tls {
            rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        }
    } else if error.is_connect() {
        Error::ConnectionRefused
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else {
        Error::HttpProtocolError
    };
    egress.log.remark(&format!("failed: {method} {origin}: {mapped}"));
    mapped
}

/// Looks for an error of type `E` among the causes, also inside of `std::io::Error`, which hides what it wraps.
fn cause<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
