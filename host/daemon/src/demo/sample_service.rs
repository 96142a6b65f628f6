//! The service that is deployed: a shopping cart that answers after some milliseconds, and tells Prometheus about it.
//!
//! A process of its own in one version, `pilothouse demo-service`. Its metrics have the names that Keptn's default queries
//! ask for. A version whose name ends in [`SLOW`] is slow; any other one becomes so by a `POST /degrade`, until it is restarted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use super::error::DemoError;
use crate::cli::CliError;

/// How the name of a version ends that is slow.
pub(super) const SLOW: &str = "-slow";
/// By how much it is, in milliseconds: over the 300 that are promised, and under the 500 that the load test takes.
const SLOW_MS: u64 = 330;

/// Upper bounds of the histogram of response times, in milliseconds.
const BUCKETS_MS: [u64; 8] = [5, 10, 20, 50, 100, 200, 500, 1_000];
/// Shortest time of an answer, in milliseconds.
const BASE_MS: u64 = 4;
/// By how much each of the next answers is slower, in milliseconds, so that percentiles differ.
const STEP_MS: u64 = 5;
/// After how many answers that begins again.
const STEPS: u64 = 5;

/// Runs the service in one version.
#[derive(Debug, Args)]
pub struct ServiceCommand {
    /// The version.
    #[arg(long)]
    version: String,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

impl ServiceCommand {
    /// Runs until it is killed.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn run(self) -> Result<(), CliError> {
        let failed = |error: DemoError| CliError::of(error.exit(), &error);
        let what = format!("the sample service cannot listen on {}", self.listen);
        let listener = TcpListener::bind(self.listen).await.map_err(DemoError::io(what)).map_err(failed)?;
        let service = SampleService(Arc::new(Inner { version: self.version, ..Inner::default() }));
        axum::serve(listener, service.router()).await.map_err(DemoError::io("the sample service")).map_err(failed)
    }
}

/// The service; cheap to clone.
#[derive(Clone, Default)]
struct SampleService(Arc<Inner>);

#[derive(Default)]
struct Inner {
    version: String,
    requests: AtomicU64,
    degraded: AtomicBool,
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
    fn router(self) -> Router {
        Router::new()
            .route("/carts", get(carts))
            .route("/degrade", post(degrade))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .route("/version", get(version))
            .with_state(self)
    }

    /// Returns by how much each answer is slower than it should be, in milliseconds.
    fn delay_ms(&self) -> u64 {
        let slow = self.0.version.ends_with(SLOW) || self.0.degraded.load(Ordering::Relaxed);
        if slow { SLOW_MS } else { 0 }
    }

    /// Takes some time over an answer, and records it.
    async fn answer(&self, status: StatusCode) {
        let started = Instant::now();
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let time = BASE_MS + STEP_MS * (number % STEPS) + self.delay_ms();
        tokio::time::sleep(Duration::from_millis(time)).await;
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

/// Makes the service slow until it is restarted.
async fn degrade(State(service): State<SampleService>) -> StatusCode {
    service.0.degraded.store(true, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

async fn health(State(service): State<SampleService>) -> impl IntoResponse {
    service.answer(StatusCode::OK).await;
    Json(json!({ "status": "ok" }))
}

/// Says which version this is, and how many requests it has answered; this one is not counted.
async fn version(State(service): State<SampleService>) -> impl IntoResponse {
    Json(json!({ "version": service.0.version, "requests": service.0.requests.load(Ordering::Relaxed) }))
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
    }

    #[test]
    fn a_slow_version_is_slow_and_another_one_becomes_so() {
        for (version, expected) in [("1.0.0", 0), ("1.1.0-slow", SLOW_MS)] {
            let service = SampleService(Arc::new(Inner { version: version.to_owned(), ..Inner::default() }));
            assert_eq!(service.delay_ms(), expected, "{version}");
            service.0.degraded.store(true, Ordering::Relaxed);
            assert_eq!(service.delay_ms(), SLOW_MS, "{version}");
        }
    }
}
