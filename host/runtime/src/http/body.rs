//! Bodies with a bound on their size and on the wait for their next piece.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

/// A response's body. Holds the request's permit to its end, so that open requests are counted with their bodies.
pub(super) struct ResponseBody {
    inner: reqwest::Body,
    left: u64,
    wait_max: Duration,
    wait: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(inner: reqwest::Body, bytes_max: u64, wait_max: Duration, permit: OwnedSemaphorePermit) -> Self {
        let wait = Box::pin(tokio::time::sleep(wait_max));
        Self { inner, left: bytes_max, wait_max, wait, _permit: permit }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                let Some(left) = self.left.checked_sub(size) else {
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                };
                self.left = left;
                let next = tokio::time::Instant::now() + self.wait_max;
                self.wait.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) if error.is_timeout() => Poll::Ready(Some(Err(Error::HttpResponseTimeout))),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Error::HttpResponseIncomplete))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.wait.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
