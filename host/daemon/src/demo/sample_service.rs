//! The service under test: a shopping cart that answers after some milliseconds, and tells Prometheus about it.
//!
//! Its metrics have the names that Keptn's default queries ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::error::DemoError;

/// Upper bounds of the histogram of response times, in milliseconds.
const BUCKETS_MS: [u64; 8] = [5, 10, 20, 50, 100, 200, 500, 1_000];
/// Shortest time of an answer, in milliseconds.
const BASE_MS: u64 = 4;
/// By how much each of the next answers is slower, in milliseconds, so that percentiles differ.
const STEP_MS: u64 = 5;
/// After how many answers that begins again.
const STEPS: u64 = 5;

/// The service; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct SampleService(Arc<Inner>);

#[derive(Default)]
struct Inner {
    requests: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    /// Answers by status.
    by_status: BTreeMap<u16, u64>,
    /// Answers at or under each bound of [`BUCKETS_MS`].
    buckets: [u64; BUCKETS_MS.len()],
    sum_ms: f64,
    count: u64,
}

impl SampleService {
    /// Starts the service on a free port, and returns its address.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn start(&self) -> Result<SocketAddr, DemoError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("no free port"))?;
        let address = listener.local_addr().map_err(DemoError::io("no address"))?;
        let app = Router::new()
            .route("/carts", get(carts))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    /// Returns how many requests it has answered, those of Prometheus left out.
    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Takes some time over an answer, and records it.
    async fn answer(&self, status: StatusCode) {
        let started = Instant::now();
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(BASE_MS + STEP_MS * (number % STEPS))).await;
        let taken_ms = started.elapsed().as_secs_f64() * 1_000.0;
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        *times.by_status.entry(status.as_u16()).or_default() += 1;
        for (count, bound) in times.buckets.iter_mut().zip(BUCKETS_MS) {
            if taken_ms <= bound as f64 {
                *count += 1;
            }
        }
        times.sum_ms += taken_ms;
        times.count += 1;
    }

    fn metrics_text(&self) -> String {
        let times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from("# TYPE http_requests_total counter\n");
        // Writing to a string does not fail.
        for (status, count) in &times.by_status {
            let _ = writeln!(text, "http_requests_total{{status=\"{status}\"}} {count}");
        }
        text.push_str("# TYPE http_response_time_milliseconds histogram\n");
        for (bound, count) in BUCKETS_MS.iter().zip(times.buckets) {
            let _ = writeln!(text, "http_response_time_milliseconds_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "http_response_time_milliseconds_bucket{{le=\"+Inf\"}} {}", times.count);
        let _ = writeln!(text, "http_response_time_milliseconds_sum {}", times.sum_ms);
        let _ = writeln!(text, "http_response_time_milliseconds_count {}", times.count);
        text
    }
}

async fn carts(State(service): State<SampleService>) -> impl IntoResponse {
    service.answer(StatusCode::OK).await;
    Json(json!({ "items": [{ "name": "rope", "count": 2 }] }))
}

async fn health(State(service): State<SampleService>) -> impl IntoResponse {
    service.answer(StatusCode::OK).await;
    Json(json!({ "status": "ok" }))
}

async fn metrics(State(service): State<SampleService>) -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4")], service.metrics_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_in_the_metrics_that_keptns_default_queries_ask_for() {
        let service = SampleService::default();
        service.answer(StatusCode::OK).await;
        let text = service.metrics_text();
        assert!(text.contains("http_requests_total{status=\"200\"} 1\n"), "{text}");
        assert!(text.contains("http_response_time_milliseconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert_eq!(service.requests(), 1);
    }
}
