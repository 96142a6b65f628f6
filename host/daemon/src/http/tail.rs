//! `GET /v1/events/tail`: the log as it grows, by server-sent events.
//!
//! Each reader reads the log at its own pace, so that a slow one costs one page of memory. One that takes nothing for
//! [`STALL_MAX`] is cut off with a reason, and can go on later where it stopped (`Last-Event-ID`).

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use pilothouse_core::right::Right;
use pilothouse_store::{EventFilter, EventRow, Seq};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::AppState;
use super::events::{EventParameters, EventView};
use super::problem::Problem;
use super::query::Parameters;
use crate::auth::Identity;

/// Most tails open at once: each holds a connection and a page of events.
pub const TAILS_MAX: usize = 64;
/// Longest time that a reader may take nothing while there is something for it.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// How often an idle tail says that it is alive, and checks that its token still is; proxies cut silence at 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events read from the log at a time; at 1 MiB each this bounds the memory of one reader.
const PAGE_EVENTS: usize = 16;
/// Pieces that wait for the reader, besides what the connection buffers.
const QUEUE_LENGTH: usize = 4;

/// Streams events as they are accepted; with `Last-Event-ID`, first all that came after it.
#[utoipa::path(get, path = "/v1/events/tail", tag = "events", params(EventParameters,
    ("Last-Event-ID" = Option<u64>, Header, description = "Position after which to begin; the newest when absent.")),
    responses((status = 200, description = "Server-sent events: `id` is the position, `data` an EventView. An event named `end` says why the stream ends.", content_type = "text/event-stream", body = super::events::EventView),
        (status = 503, description = "Too many tails are open.", body = Problem)))]
pub(super) async fn tail(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    identity.require(Right::Read)?;
    let filter = parameters.filter(&identity)?;
    let permit = state.tails().try_acquire_owned().map_err(|_| {
        let mut problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "tails-exhausted",
            format!("{TAILS_MAX} tails are open already"),
        );
        problem.retry_after = Some(10);
        problem
    })?;
    let after = match headers.get("last-event-id") {
        None => *state.store().head().borrow(),
        Some(id) => id.to_str().ok().and_then(|id| id.parse().ok()).map(Seq).ok_or_else(|| {
            Problem::bad_request("parameter-invalid", "`Last-Event-ID` is a position in the log, a whole number")
        })?,
    };
    let (pieces_tx, pieces_rx) = mpsc::channel(QUEUE_LENGTH);
    let (end_tx, end_rx) = mpsc::channel(1);
    let with_data = parameters.data.unwrap_or(true);
    tokio::spawn(async move {
        let tail = Tail { state, token: identity.token, filter, with_data, pieces: pieces_tx };
        let reason = tail.run(after).await;
        // The reader gets what is queued first, then this.
        let _ = end_tx.send(piece_end(reason)).await;
        drop(permit);
    });
    let stream =
        ReceiverStream::new(pieces_rx).chain(ReceiverStream::new(end_rx)).map(Ok::<_, std::convert::Infallible>);
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

struct Tail {
    state: AppState,
    token: std::sync::Arc<str>,
    filter: EventFilter,
    with_data: bool,
    pieces: mpsc::Sender<Bytes>,
}

impl Tail {
    /// Sends events until something ends the stream, and returns what.
    async fn run(&self, mut after: Seq) -> &'static str {
        let mut head = self.state.store().head();
        let mut stopping = self.state.stopping();
        if !self.send(Bytes::from_static(b": connected\n\n")).await {
            return "the reader took nothing for too long";
        }
        loop {
            head.mark_unchanged();
            if !self.state.tokens().is_valid(&self.token) {
                return "the token is no longer valid";
            }
            match self.send_after(after).await {
                Ok(position) if position == after => {}
                Ok(position) => {
                    after = position;
                    continue;
                }
                Err(reason) => return reason,
            }
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return "the host is stopping" },
                () = stopped(&mut stopping) => return "the host is stopping",
                () = self.pieces.closed() => return "the reader is gone",
                () = tokio::time::sleep(KEEP_ALIVE) => if !self.send(Bytes::from_static(b": alive\n\n")).await {
                    return "the reader took nothing for too long; go on with Last-Event-ID";
                },
            }
        }
    }

    /// Sends one page; returns the position that was reached.
    async fn send_after(&self, after: Seq) -> Result<Seq, &'static str> {
        let rows = self.state.store().read_log(Seq(after.0.saturating_add(1)), PAGE_EVENTS).await;
        let rows = rows.map_err(|error| {
            tracing::error!(%error, "TailReadError");
            "the log cannot be read"
        })?;
        let mut reached = after;
        for row in rows {
            reached = row.seq;
            if !matches(&self.filter, &row) {
                continue;
            }
            let view = EventView::new(&row, self.with_data).map_err(|_| "an event cannot be shown")?;
            if !self.send(piece(&view)).await {
                return Err("the reader took nothing for too long; go on with Last-Event-ID");
            }
        }
        Ok(reached)
    }

    async fn send(&self, piece: Bytes) -> bool {
        self.pieces.send_timeout(piece, STALL_MAX).await.is_ok()
    }
}

/// Waits until the host begins to stop; for ever, if it ends without saying so.
async fn stopped(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells whether a row passes the filter; the same rules as in a listing.
fn matches(filter: &EventFilter, row: &EventRow) -> bool {
    let same = |asked: &Option<String>, value: Option<&str>| asked.as_deref().is_none_or(|asked| value == Some(asked));
    let ty = filter.ty.as_deref().is_none_or(|asked| match asked.strip_suffix('*') {
        Some(prefix) => row.event.ty().starts_with(prefix),
        None => row.event.ty() == asked,
    });
    ty && same(&filter.source, Some(row.event.source()))
        && same(&filter.id, Some(row.event.id()))
        && same(&filter.subject, row.event.subject())
        && same(&filter.run, row.run.as_deref())
        && same(&filter.triggered_id, row.triggered_id.as_deref())
        && same(&filter.project, row.place.project.as_deref())
        && same(&filter.stage, row.place.stage.as_deref())
        && same(&filter.service, row.place.service.as_deref())
        && filter.caused_by.is_none_or(|asked| row.caused_by == Some(asked))
        && filter.since.is_none_or(|since| row.accepted >= since)
        && filter.until.is_none_or(|until| row.accepted < until)
}

/// Writes one server-sent event. Line breaks in the JSON stand between its tokens, so that a space is as good.
fn piece(view: &EventView) -> Bytes {
    let json = serde_json::to_string(view).unwrap_or_default().replace(['\r', '\n'], " ");
    let mut text = String::with_capacity(json.len() + 32);
    let _ = write!(text, "id: {}\ndata: {json}\n\n", view.seq);
    text.into()
}

fn piece_end(reason: &str) -> Bytes {
    format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n").into()
}
