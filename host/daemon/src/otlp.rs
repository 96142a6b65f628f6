//! Traces to an OpenTelemetry collector, by OTLP over HTTP with Protobuf, in the background.
//!
//! Where and how to sign in is a connection of the configuration, like everything else that this host reaches. A
//! collector that is slow or gone costs spans, never an event: the queue is bounded, and what does not fit is dropped
//! and said in the log.
//!
//! Sources: OTLP 1.x ("OTLP/HTTP"), OpenTelemetry's semantic conventions for CloudEvents.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use pilothouse_core::name::ConnectionName;
use pilothouse_core::trace_context::TraceContext;
use pilothouse_runtime::CallReport;
use tokio::runtime::Handle;

use crate::config::{Connections, TelemetrySection};
use crate::engine::telemetry::{DeliveryEnded, Span, SpanKind, SpanValue, Telemetry};
use crate::metrics::Metrics;

/// Spans that wait to be sent; about 2 MiB. Beyond it the newest are dropped.
const QUEUE_SPANS_MAX: usize = 4_096;
/// Spans of one request; a collector takes at least 4 MiB.
const REQUEST_SPANS_MAX: usize = 512;
/// Longest time that a span waits for others to be sent with.
const SEND_INTERVAL: Duration = Duration::from_secs(2);
/// Longest time for one request, repeats included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that the last spans get when the host stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a collector takes traces, below its base address (OTLP/HTTP "Request").
const TRACES_PATH: &str = "/v1/traces";
/// Largest answer that is read: a partial success says its reason in a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends spans to a collector.
pub struct Traces {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    /// Of 100 traces that begin here, how many are sent.
    sample_percent: u8,
}

impl Traces {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// OpenTelemetry's variables of the environment contradict what this host does, or there is no HTTP client.
    pub fn start(
        section: &TelemetrySection,
        connection: ConnectionName,
        connections: Arc<Connections>,
    ) -> Result<Self, TracesError> {
        let client = crate::client::http_client().map_err(TracesError::Client)?;
        let collector = Collector { client, connection, connections, handle: Handle::current() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(REQUEST_TIMEOUT)
            // Only its path counts: the connection has the address, which may change on reload.
            .with_endpoint(format!("http://connection.internal{TRACES_PATH}"))
            .with_http_client(collector)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_max_export_batch_size(REQUEST_SPANS_MAX)
            .with_scheduled_delay(SEND_INTERVAL)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = env!("CARGO_PKG_VERSION");
        // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read too, and what stands here wins.
        let resource = Resource::builder()
            .with_service_name(section.service_name.clone())
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("pilothouse").with_version(version).build();
        Ok(Self { processor, scope, sample_percent: section.sample_percent.min(100) })
    }

    fn export(&self, span: Span) {
        if !is_sent(&span.context, self.sample_percent) {
            return;
        }
        let begun =
            SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(span.begun.as_millis()).unwrap_or_default());
        let attribute = |(name, value): (&'static str, SpanValue)| match value {
            SpanValue::Text(text) => KeyValue::new(name, text),
            SpanValue::Integer(number) => KeyValue::new(name, number),
        };
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(span.context.trace_id),
                SpanId::from_bytes(span.context.span_id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: span.kind == SpanKind::Server,
            span_kind: match span.kind {
                SpanKind::Server => opentelemetry::trace::SpanKind::Server,
                SpanKind::Consumer => opentelemetry::trace::SpanKind::Consumer,
            },
            name: span.name.into(),
            start_time: begun,
            end_time: begun + span.elapsed,
            attributes: span.attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.failure.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Sends what waits, at most for a few seconds. Blocks; not for a thread of the runtime.
    pub fn shut_down(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "TracesShutdownError");
        }
    }
}

/// A trace that begins here is chosen by its id, so that all of its spans are chosen or none.
fn is_sent(context: &TraceContext, percent: u8) -> bool {
    let [.., last, _] = context.trace_id;
    let [.., lowest] = context.trace_id;
    let place = u32::from(u16::from_be_bytes([last, lowest])) * 100 / (u32::from(u16::MAX) + 1);
    context.sampled && place < u32::from(percent)
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// There is no HTTP client.
    #[error("the HTTP client for traces could not be made")]
    Client(#[source] reqwest::Error),
    /// The exporter refused its settings.
    #[error("traces cannot be sent; look at the environment's variables that begin with `OTEL_`")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends the exporter's requests through a connection, which is read afresh each time.
struct Collector {
    client: reqwest::Client,
    connection: ConnectionName,
    connections: Arc<Connections>,
    handle: Handle,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let connection = self.connections.resolved(&self.connection)?;
        let (parts, body) = request.into_parts();
        let url = format!("{}{TRACES_PATH}", connection.base_url.trim_end_matches('/'));
        let mut sent = self.client.post(url).timeout(REQUEST_TIMEOUT).headers(parts.headers);
        for (name, value) in &connection.headers {
            sent = sent.header(name, value);
        }
        // The exporter's thread knows no runtime; the host's does the work.
        let exchange = self.handle.spawn(async move {
            // The address may be a secret, so it stays out of the error.
            let answer = sent.body(body).send().await.map_err(reqwest::Error::without_url)?;
            let status = answer.status();
            let mut body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
            body.truncate(ANSWER_BYTES_MAX);
            let mut response = http::Response::new(body);
            *response.status_mut() = status;
            Ok::<_, reqwest::Error>(response)
        });
        Ok(exchange.await??)
    }
}

/// Counts, and traces where the configuration asks for it.
pub struct Observed {
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// The traces.
    pub traces: Option<Arc<Traces>>,
}

impl Telemetry for Observed {
    fn call_ended(&self, installation: &str, report: &CallReport) {
        self.metrics.call_ended(installation, report);
    }

    fn delivery_ended(&self, ended: &DeliveryEnded<'_>) {
        self.metrics.delivery_ended(ended);
    }

    fn traces(&self) -> bool {
        self.traces.is_some()
    }

    fn span_ended(&self, span: Span) {
        if let Some(traces) = &self.traces {
            traces.export(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_traces_that_is_sent_is_about_what_was_asked_for() {
        let context = |number: u16, sampled| TraceContext {
            trace_id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &number.to_be_bytes()).into_bytes(),
            span_id: [1; 8],
            sampled,
        };
        let sent = |percent| (0..2_000).filter(|number| is_sent(&context(*number, true), percent)).count();
        assert_eq!((sent(0), sent(100)), (0, 2_000));
        assert!((400..600).contains(&sent(25)), "{}", sent(25));
        assert!(!is_sent(&context(1, false), 100), "who began the trace does not record it");
    }
}
