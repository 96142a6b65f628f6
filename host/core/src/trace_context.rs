//! W3C Trace Context: which span an event belongs to, and the spans that the host adds.
//!
//! The host's span ids derive from what they are about (an event's identity, a delivery and its attempt), so nothing has
//! to be stored or passed on for an attempt after a restart to find its parent. An event that names no trace is in the
//! trace of its run, so that everything of one run is seen together.
//!
//! Sources: Trace Context Level 1 (`traceparent`), CloudEvents extension "Distributed Tracing" 1.0.

use std::fmt;

use uuid::Uuid;

use crate::delivery::DeliveryId;
use crate::event::Event;

/// The extension attribute that carries a trace context.
pub const TRACEPARENT_EXTENSION: &str = "traceparent";

/// Namespace of derived trace and span ids (a random UUID, fixed for ever).
const TRACE_NAMESPACE: Uuid = Uuid::from_u128(0x5e0d_7b36_91c4_4a0e_8f2d_6c83_0b1a_94e7);
/// Length of a version-00 `traceparent`.
const TRACEPARENT_LENGTH: usize = 55;

/// One span and the trace it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: [u8; 16],
    /// The span; never zero.
    pub span_id: [u8; 8],
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` if it is malformed, in which case Trace Context §3.2.2 says to begin a new trace.
    ///
    /// A version above 00 may be longer; what is known of it is read.
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.get(..TRACEPARENT_LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_longer = text.len() > TRACEPARENT_LENGTH;
        let goes_on = text.as_bytes().get(TRACEPARENT_LENGTH) == Some(&b'-');
        if version == "ff" || parts.next().is_some() || (is_longer && (version == "00" || !goes_on)) {
            return None;
        }
        let [_] = bytes::<1>(version)?;
        let [flags] = bytes::<1>(flags)?;
        let (trace_id, span_id) = (bytes::<16>(trace)?, bytes::<8>(span)?);
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// Returns the context of the span in which the host takes `event` in from outside: a child of what the event names.
    pub fn of_ingest(event: &Event, run: Option<&str>) -> Self {
        let (trace_id, sampled) = trace_of(event, run);
        let name = ["ingest", event.source(), event.id()].join("\u{0}");
        Self { trace_id, span_id: span_id(&Uuid::new_v5(&TRACE_NAMESPACE, name.as_bytes())), sampled }
    }

    /// Returns the context of the span of one attempt to deliver `event`.
    pub fn of_attempt(event: &Event, run: Option<&str>, delivery: DeliveryId, attempt: u32) -> Self {
        let (trace_id, sampled) = trace_of(event, run);
        let name = format!("attempt {attempt}");
        Self { trace_id, span_id: span_id(&Uuid::new_v5(&delivery.0, name.as_bytes())), sampled }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"));
        f.write_str("00-")?;
        hex(f, &self.trace_id)?;
        f.write_str("-")?;
        hex(f, &self.span_id)?;
        write!(f, "-{:02x}", u8::from(self.sampled))
    }
}

/// Returns the span that `event` names as its own, if it names one.
pub fn parent(event: &Event) -> Option<TraceContext> {
    event.extension_str(TRACEPARENT_EXTENSION).and_then(TraceContext::parse)
}

/// Returns the trace of `event`: the one that it names, else that of its run, else one of its own.
fn trace_of(event: &Event, run: Option<&str>) -> ([u8; 16], bool) {
    if let Some(parent) = parent(event) {
        return (parent.trace_id, parent.sampled);
    }
    let derived = |name: &str| *Uuid::new_v5(&TRACE_NAMESPACE, name.as_bytes()).as_bytes();
    let trace_id = match run {
        // Keptn's contexts are UUIDs, and a trace that can be looked up by the run is worth most.
        Some(run) => {
            Uuid::parse_str(run).ok().filter(|id| !id.is_nil()).map_or_else(|| derived(run), |id| *id.as_bytes())
        }
        None => derived(&[event.source(), event.id()].join("\u{0}")),
    };
    (trace_id, true)
}

fn span_id(name: &Uuid) -> [u8; 8] {
    // The first half of a version 5 UUID holds the version's four bits, so it is never zero.
    let mut id = [0; 8];
    id.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
    id
}

/// Reads lower-case hexadecimal digits, as Trace Context demands.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Cause;
    use crate::event::EventBuilder;
    use crate::name::InstallationName;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event(traceparent: Option<&str>) -> Event {
        let builder = EventBuilder::new("1", "/s", "t");
        match traceparent {
            Some(text) => builder.extension_str(TRACEPARENT_EXTENSION, text).build().unwrap(),
            None => builder.build().unwrap(),
        }
    }

    #[test]
    fn a_traceparent_is_read_and_written_back_as_it_was() {
        for text in [GIVEN, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"] {
            assert_eq!(TraceContext::parse(text).unwrap().to_string(), text);
        }
        let later = format!("cc{}-what-comes", GIVEN.get(2..).unwrap());
        assert!(TraceContext::parse(&later).unwrap().sampled);
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        let zeros = "00000000000000000000000000000000";
        for text in [
            "",
            "malformed",
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00-", "ff-", 1),
            &GIVEN.replacen("4bf92f3577b34da6a3ce929d0e0e4736", zeros, 1),
            &GIVEN.replacen("00f067aa0ba902b7", "0000000000000000", 1),
            &format!("{GIVEN}-more"),
            &format!("cc{}x", GIVEN.get(2..).unwrap()),
            &GIVEN.replace('-', "_"),
            "00-ä00000000000000000000000000000000-00f067aa0ba902b7-0",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_hosts_spans_are_in_the_trace_that_the_event_names_and_as_sampled_as_it() {
        let delivery = DeliveryId::derive("/s", "1", &InstallationName::new("a").unwrap(), Cause::Observed.as_str());
        for (text, sampled) in [(GIVEN, true), (&*GIVEN.replace("-01", "-00"), false)] {
            let (event, named) = (event(Some(text)), TraceContext::parse(text).unwrap());
            let spans = [
                TraceContext::of_ingest(&event, Some("run")),
                TraceContext::of_attempt(&event, Some("run"), delivery, 1),
                TraceContext::of_attempt(&event, Some("run"), delivery, 2),
            ];
            for span in spans {
                assert_eq!((span.trace_id, span.sampled), (named.trace_id, sampled));
                assert_ne!(span.span_id, named.span_id);
            }
            assert_ne!(spans[0].span_id, spans[1].span_id);
            assert_ne!(spans[1].span_id, spans[2].span_id);
        }
    }

    #[test]
    fn an_event_without_a_trace_is_in_the_trace_of_its_run() {
        let run = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
        let of = |run: Option<&str>| TraceContext::of_ingest(&event(None), run);
        assert!(of(Some(run)).to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_eq!(of(Some("a")).trace_id, of(Some("a")).trace_id);
        assert_ne!(of(Some("a")).trace_id, of(Some("b")).trace_id);
        assert_ne!(of(None).trace_id, [0; 16]);
        assert_ne!(of(Some("00000000-0000-0000-0000-000000000000")).trace_id, [0; 16]);
    }
}
