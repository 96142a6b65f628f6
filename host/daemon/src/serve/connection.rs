//! One connection: HTTP/1 or HTTP/2, with bounds on how long a client may take and how much it may send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Limits;
use crate::http::{HEADER_BYTES_MAX, HEADER_COUNT_MAX, TARGET_BYTES_MAX};

/// Headers and bytes that the parser takes beyond what the API allows, so that a request slightly over the limit gets the
/// API's answer with its explanation; the parser itself answers anything beyond with a bare 431.
const PARSER_SLACK: usize = 2;
/// Requests that one HTTP/2 connection may have open at once; hyper's own bound of resets comes on top.
const STREAMS_MAX: u32 = 128;
/// How often an HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Bytes after which the protocol of a connection is known: the length of HTTP/2's preface.
const PREFACE_BYTES: usize = 24;

/// Waits for a free place, then for a connection.
pub(super) async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Answers are small and clients wait for them.
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// Serves one connection on a task of its own.
pub(super) fn spawn(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    app: Router,
    limits: &Limits,
    graceful: &GracefulShutdown,
) {
    let header_bytes = (HEADER_BYTES_MAX + TARGET_BYTES_MAX) * PARSER_SLACK;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout.0)
        .max_headers(HEADER_COUNT_MAX * PARSER_SLACK)
        .max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    let stream = FirstBytes::new(stream, limits.header_timeout.0);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A client that breaks off or sends no HTTP is its own affair.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "ConnectionError");
        }
        drop(place);
    });
}

/// A stream whose first bytes must come in time.
///
/// hyper's time-out for headers begins when the protocol is known; a client that sends less than HTTP/2's preface would
/// hold its place for ever.
struct FirstBytes {
    stream: TcpStream,
    seen: usize,
    deadline: Pin<Box<Sleep>>,
}

impl FirstBytes {
    fn new(stream: TcpStream, within: Duration) -> Self {
        Self { stream, seen: 0, deadline: Box::pin(sleep_until(Instant::now() + within)) }
    }
}

impl AsyncRead for FirstBytes {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.seen < PREFACE_BYTES {
            self.seen += buf.filled().len().saturating_sub(before);
            if polled.is_pending() && self.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for FirstBytes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
