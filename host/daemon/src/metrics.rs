//! What is counted, and how it is written in Prometheus's text format (OpenMetrics 1.0).
//!
//! Labels come from closed sets and from installation names, never from events, so that a stranger cannot make series.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::name::InstallationName;
use pilothouse_runtime::CallReport;
use pilothouse_store::{StoreStatus, Times};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine::telemetry::{DeliveryEnded, Telemetry};
use crate::http::Problem;
use crate::http::ingest::SendAnswer;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByInstallation {
    installation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    installation: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: String,
}

type Seconds = Counter<f64, AtomicU64>;
type Memory = Gauge<i64, AtomicI64>;
type Latencies = Family<ByInstallation, Histogram, fn() -> Histogram>;

/// From 1 ms to 65 s in steps of two: a fresh sandbox takes under one, a slow tool a minute.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

/// All that the host counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events_received: Counter,
    events_duplicate: Counter,
    requests_refused: Family<ByCode, Counter>,
    deliveries: Family<ByOutcome, Counter>,
    latencies: Latencies,
    calls: Family<ByInstallation, Counter>,
    cpu_seconds: Family<ByInstallation, Seconds>,
    memory_bytes_max: Family<ByInstallation, Memory>,
    log_lines_dropped: Family<ByInstallation, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("pilothouse"),
            events_received: Counter::default(),
            events_duplicate: Counter::default(),
            requests_refused: Family::default(),
            deliveries: Family::default(),
            latencies: Family::new_with_constructor(latency_histogram),
            calls: Family::default(),
            cpu_seconds: Family::default(),
            memory_bytes_max: Family::default(),
            log_lines_dropped: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("events_received", "Events accepted into the log", self.events_received.clone());
        registry.register("events_duplicate", "Events that were in the log already", self.events_duplicate.clone());
        registry.register(
            "requests_refused",
            "Requests with events that were refused, by code",
            self.requests_refused.clone(),
        );
        registry.register(
            "deliveries",
            "Attempts that ended, by outcome: done, or the kind of failure",
            self.deliveries.clone(),
        );
        registry.register(
            "delivery_seconds",
            "Time from the start of a call to the end of its commit",
            self.latencies.clone(),
        );
        registry.register("plugin_calls", "Calls of a plugin", self.calls.clone());
        registry.register("plugin_cpu_seconds", "CPU time used by a plugin", self.cpu_seconds.clone());
        registry.register(
            "plugin_memory_bytes_max",
            "Highest peak of linear memory of one call",
            self.memory_bytes_max.clone(),
        );
        registry.register(
            "plugin_log_lines_dropped",
            "Log lines beyond a plugin's limit",
            self.log_lines_dropped.clone(),
        );
    }

    /// Counts events that were accepted.
    pub(crate) fn received(&self, answer: &SendAnswer) {
        self.events_received.inc_by(u64::try_from(answer.accepted).unwrap_or(u64::MAX));
        self.events_duplicate.inc_by(u64::try_from(answer.duplicates).unwrap_or(u64::MAX));
    }

    /// Counts a request that was refused before it reached the engine.
    pub(crate) fn refused(&self, problem: &Problem) {
        self.requests_refused.get_or_create(&ByCode { code: problem.code.clone() }).inc();
    }

    /// Writes everything, together with what the store says of itself.
    ///
    /// # Errors
    /// Never in practice: writing into memory does not fail.
    pub fn write(
        &self,
        status: &StoreStatus,
        counts: &[(InstallationName, DeliveryState, u64)],
    ) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        write_queues(&mut text, counts)?;
        write_store(&mut text, status)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Telemetry for Metrics {
    fn call_ended(&self, installation: &str, report: &CallReport) {
        let labels = ByInstallation { installation: installation.to_owned() };
        self.calls.get_or_create(&labels).inc();
        self.cpu_seconds.get_or_create(&labels).inc_by(report.cpu.as_secs_f64());
        self.log_lines_dropped.get_or_create(&labels).inc_by(report.log_dropped);
        let peak = i64::try_from(report.memory_bytes_max).unwrap_or(i64::MAX);
        self.memory_bytes_max.get_or_create(&labels).inner().fetch_max(peak, Ordering::Relaxed);
    }

    fn delivery_ended(&self, ended: &DeliveryEnded<'_>) {
        let installation = ended.installation.to_owned();
        let outcome = ended.failure.map_or("done", |kind| kind.as_str());
        self.deliveries.get_or_create(&ByOutcome { installation: installation.clone(), outcome }).inc();
        self.latencies.get_or_create(&ByInstallation { installation }).observe(ended.elapsed.as_secs_f64());
    }
}

fn write_queues(text: &mut String, counts: &[(InstallationName, DeliveryState, u64)]) -> std::fmt::Result {
    writeln!(text, "# HELP pilothouse_queue_deliveries Deliveries in the store, by state.")?;
    writeln!(text, "# TYPE pilothouse_queue_deliveries gauge")?;
    for (installation, state, count) in counts {
        let state = state.as_str();
        writeln!(text, "pilothouse_queue_deliveries{{installation=\"{installation}\",state=\"{state}\"}} {count}")?;
    }
    Ok(())
}

fn write_store(text: &mut String, status: &StoreStatus) -> std::fmt::Result {
    let gauges = [
        ("store_head", "Position of the newest event", status.head),
        ("store_tail", "Position of the oldest event kept", status.tail),
        ("store_size_bytes", "Size of the store on disk", status.size_bytes),
        ("store_free_bytes", "Free space where the store is", status.free_bytes),
        ("store_refusing", "1 while new events are refused", u64::from(status.refusing.is_some())),
    ];
    for (name, help, value) in gauges {
        writeln!(text, "# HELP pilothouse_{name} {help}.\n# TYPE pilothouse_{name} gauge\npilothouse_{name} {value}")?;
    }
    writeln!(text, "# HELP pilothouse_store_batches Batches in the commits.\n# TYPE pilothouse_store_batches counter")?;
    writeln!(text, "pilothouse_store_batches_total {}", status.batches)?;
    write_times(text, "store_append_seconds", "Time of one commit to write its rows", &status.append, status.commits)?;
    write_times(text, "store_fsync_seconds", "Time of one commit to reach the disk", &status.sync, status.commits)
}

fn write_times(text: &mut String, name: &str, help: &str, times: &Times, count: u64) -> std::fmt::Result {
    let name = format!("pilothouse_{name}");
    writeln!(text, "# HELP {name} {help}.\n# TYPE {name} histogram")?;
    let mut below = 0;
    for (bound, count) in times.buckets.iter().filter(|(bound, _)| *bound < f64::MAX) {
        below += count;
        writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}")?;
    }
    writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
    writeln!(text, "{name}_sum {}\n{name}_count {count}", times.seconds)
}
