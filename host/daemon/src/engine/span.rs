//! The spans of what the engine does: an event that is taken in, and each attempt to deliver one.

use std::time::Duration;

use pilothouse_core::Event;
use pilothouse_core::delivery::FailureKind;
use pilothouse_core::host_event::HOST_SOURCE;
use pilothouse_core::time::Timestamp;
use pilothouse_core::trace_context::{self, TraceContext};
use pilothouse_store::{DeliveryRow, EventRow};

use super::telemetry::{Span, SpanKind, SpanValue};

/// Returns the context of the span of the attempt in hand.
pub(super) fn attempt_context(event: &EventRow, delivery: &DeliveryRow) -> TraceContext {
    TraceContext::of_attempt(&event.event, event.run.as_deref(), delivery.id, delivery.attempts)
}

/// Makes the span of an event that came in from outside.
pub(super) fn ingested(event: &Event, run: Option<&str>, seq: u64, begun: Timestamp, elapsed: Duration) -> Span {
    Span {
        context: TraceContext::of_ingest(event, run),
        parent: trace_context::parent(event).map(|parent| parent.span_id),
        name: format!("ingest {}", event.ty()),
        kind: SpanKind::Server,
        begun,
        elapsed,
        attributes: of_event(event, run, seq),
        failure: None,
    }
}

/// Makes the span of one attempt, settlement included.
pub(super) fn attempted(
    event: &EventRow,
    delivery: &DeliveryRow,
    failure: Option<FailureKind>,
    begun: Timestamp,
    elapsed: Duration,
) -> Span {
    let run = event.run.as_deref();
    let mut attributes = of_event(&event.event, run, event.seq.0);
    attributes.extend([
        ("pilothouse.installation", SpanValue::from(delivery.consumer.as_str())),
        ("pilothouse.delivery", SpanValue::Text(delivery.id.to_string())),
        ("pilothouse.attempt", SpanValue::from(u64::from(delivery.attempts))),
    ]);
    if let Some(task) = &delivery.task {
        attributes.push(("pilothouse.task", SpanValue::from(task.as_str())));
    }
    Span {
        context: attempt_context(event, delivery),
        parent: parent_of_attempt(event),
        name: format!("deliver {}", delivery.consumer),
        kind: SpanKind::Consumer,
        begun,
        elapsed,
        attributes,
        failure: failure.map(FailureKind::as_str),
    }
}

/// An event from outside was taken in by a span of the host; all others name the span of the call that made them.
fn parent_of_attempt(event: &EventRow) -> Option<[u8; 8]> {
    if event.caused_by.is_none() && event.event.source() != HOST_SOURCE {
        return Some(TraceContext::of_ingest(&event.event, event.run.as_deref()).span_id);
    }
    trace_context::parent(&event.event).map(|parent| parent.span_id)
}

/// The attributes that OpenTelemetry names for CloudEvents, and what finds the event in this host.
fn of_event(event: &Event, run: Option<&str>, seq: u64) -> Vec<(&'static str, SpanValue)> {
    let mut attributes = vec![
        ("cloudevents.event_id", SpanValue::from(event.id())),
        ("cloudevents.event_source", SpanValue::from(event.source())),
        ("cloudevents.event_spec_version", SpanValue::from("1.0")),
        ("cloudevents.event_type", SpanValue::from(event.ty())),
        ("pilothouse.seq", SpanValue::from(seq)),
    ];
    let optional = [("cloudevents.event_subject", event.subject()), ("pilothouse.run", run)];
    attributes.extend(optional.into_iter().filter_map(|(name, value)| Some((name, SpanValue::from(value?)))));
    attributes
}
