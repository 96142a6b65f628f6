//! What the engine tells whoever measures: one trait, implemented by the metrics and by the export of traces.

use std::time::Duration;

use pilothouse_core::delivery::FailureKind;
use pilothouse_core::time::Timestamp;
use pilothouse_core::trace_context::TraceContext;
use pilothouse_runtime::CallReport;

/// The end of one attempt, settlement included.
pub struct DeliveryEnded<'a> {
    /// The installation.
    pub installation: &'a str,
    /// What failed; `None` for a success.
    pub failure: Option<FailureKind>,
    /// From the start of the call to the end of the commit.
    pub elapsed: Duration,
}

/// What happened, from when to when, and because of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Itself and its trace.
    pub context: TraceContext,
    /// The span that it follows from.
    pub parent: Option<[u8; 8]>,
    /// What happened, of few different values.
    pub name: String,
    /// Whose work it is.
    pub kind: SpanKind,
    /// When it began.
    pub begun: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// What it is about, by OpenTelemetry's names where there is one. Never event data.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// What failed; `None` for a success.
    pub failure: Option<&'static str>,
}

/// Whose work a span is, in OpenTelemetry's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The host took an event in.
    Server,
    /// An installation handled an event.
    Consumer,
}

/// The value of an attribute of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Counts what happens. Calls must not block.
pub trait Telemetry: Send + Sync + 'static {
    /// A call of a plugin ended.
    fn call_ended(&self, installation: &str, report: &CallReport);

    /// An attempt was settled.
    fn delivery_ended(&self, ended: &DeliveryEnded<'_>);

    /// Tells whether spans are wanted. Only then does what a plugin sends carry the span of its call.
    fn traces(&self) -> bool {
        false
    }

    /// A span ended. Called only where [`Telemetry::traces`] says so.
    fn span_ended(&self, _span: Span) {}
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn call_ended(&self, _installation: &str, _report: &CallReport) {}
    fn delivery_ended(&self, _ended: &DeliveryEnded<'_>) {}
}
