//! Events: the JSON format, batches, HTTP's binary mode, and trace contexts.

use pilothouse_core::Event;
use pilothouse_core::event::http::{parse_binary, to_binary};
use pilothouse_core::event::json;
use pilothouse_core::trace_context::TraceContext;

/// Most events that a batch may have here.
const BATCH_EVENTS_MAX: usize = 8;

/// An accepted event is read back as it was written, in the JSON format and in binary mode.
pub fn structured(bytes: &[u8]) {
    if let Ok(event) = json::parse(bytes) {
        same_again(&event);
    }
}

/// A batch holds what its events are one by one, and no more of them than allowed.
pub fn batch(bytes: &[u8]) {
    let Ok(events) = json::parse_batch(bytes, BATCH_EVENTS_MAX) else { return };
    assert!(events.len() <= BATCH_EVENTS_MAX);
    events.iter().for_each(same_again);
    let again = json::parse_batch(&json::batch_to_vec(&events), BATCH_EVENTS_MAX);
    assert_eq!(again.as_deref(), Ok(&*events));
}

/// Headers, one per line with a colon between, then an empty line, then the body.
pub fn binary(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &[][..]),
    };
    let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
    });
    if let Ok(event) = parse_binary(headers, body) {
        same_again(&event);
    }
}

/// A trace context that is understood is written back as it was, but for what later versions add.
pub fn traceparent(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(context) = TraceContext::parse(text) {
        let written = context.to_string();
        assert_eq!(TraceContext::parse(&written), Some(context));
        assert_eq!(written.get(3..52), text.get(3..52));
    }
}

fn same_again(event: &Event) {
    let written = json::to_vec(event);
    let again = json::parse(&written);
    assert_eq!(again.as_ref(), Ok(event), "{}", String::from_utf8_lossy(&written));
    assert_eq!(json::to_vec(event), written, "the same event is written the same");
    let (headers, body) = to_binary(event);
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    match parse_binary(pairs, &body) {
        // Binary mode has one form for text and for bytes; the attributes and the bytes are the same.
        Ok(again) => {
            assert_eq!((again.id(), again.source(), again.ty()), (event.id(), event.source(), event.ty()));
            let bytes = |event: &Event| event.data().map(|data| data.as_bytes().to_vec()).unwrap_or_default();
            assert_eq!(bytes(&again), bytes(event));
        }
        Err(error) => panic!("{error:?} of {headers:?}, from {}", String::from_utf8_lossy(&written)),
    }
}
