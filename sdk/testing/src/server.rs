//! The server that every connection of a test leads to.
//!
//! A real one on the loopback interface, so that what is tested is what runs: the runtime's own HTTP client and rules.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request that the plugin made through a connection, as it arrived.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The connection, by the plugin's name for it.
    pub connection: String,
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Path and query beneath the connection's address.
    pub path: String,
    /// Header fields in order, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Returns the first header field of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// Parses the body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a test answers.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Makes an empty answer.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Makes an answer with JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status).header("content-type", "application/json").body(value.to_string())
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// How a test answers requests.
pub(crate) type Responder = Box<dyn FnMut(&HttpRequest) -> HttpResponse + Send>;

/// What the server shares with the test.
pub(crate) struct Exchange {
    responder: Mutex<Responder>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        // Not 200: a plugin that calls a connection which the test forgot should not believe that all is well.
        let responder: Responder = Box::new(|_| HttpResponse::new(501).body("the test has no `respond`"));
        Self { responder: Mutex::new(responder), requests: Mutex::default() }
    }

    pub(crate) fn set(&self, responder: Responder) {
        *self.responder.lock().unwrap_or_else(PoisonError::into_inner) = responder;
    }

    /// Takes the requests made since the last time.
    pub(crate) fn take(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|it| it.to_bytes().to_vec()).unwrap_or_default();
        let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        // The connection's address is `/<connection>` on this server.
        let path = path.trim_start_matches('/');
        let (connection, rest) = path.split_at(path.find(['/', '?']).unwrap_or(path.len()));
        let request = HttpRequest {
            connection: connection.to_owned(),
            method: parts.method.to_string(),
            path: if rest.is_empty() { "/".to_owned() } else { rest.to_owned() },
            headers: parts
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
                .collect(),
            body,
        };
        // Recorded first: a closure that panics (an assertion, say) takes only the answer with it.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let response = (self.responder.lock().unwrap_or_else(PoisonError::into_inner))(&request);
        let mut builder = hyper::Response::builder().status(response.status);
        for (name, value) in &response.headers {
            builder = builder.header(name, value);
        }
        builder.body(Full::new(response.body.into())).unwrap_or_else(|_| {
            let mut broken = hyper::Response::new(Full::new("the test's response is not valid HTTP".into()));
            *broken.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            broken
        })
    }
}

/// Starts the server on a port of the system's choice; it ends with the tokio runtime that this is called on.
///
/// # Errors
/// The system has no port.
pub(crate) async fn start(exchange: Arc<Exchange>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let exchange = Arc::clone(&exchange);
            let service = service_fn(move |request| {
                let exchange = Arc::clone(&exchange);
                async move { Ok::<_, Infallible>(exchange.answer(request).await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}
