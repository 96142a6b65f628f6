//! Says why a call ended without an answer: which limit, which trap, whose fault, in one line for people.

use std::time::Duration;

use pilothouse_core::delivery::FailureKind;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::call::CallFailure;
use crate::log::{CallLog, escape};
use crate::state::State;

/// Longest reason, in bytes: it stands in lists, logs and events.
const REASON_BYTES_MAX: usize = 2_048;
/// Frames of a backtrace in a reason: the rest is the SDK's and the language's.
const FRAMES_MAX: usize = 5;
/// Longest name of a frame, in bytes.
const FRAME_BYTES_MAX: usize = 120;

/// wasmtime's own words for limits that have no type to match on; `tests` fails when they change.
const MEMORY_TEXTS: [&str; 2] = ["handle limit exceeded", "fuel allocated for hostcalls has been exhausted"];

fn failure(kind: FailureKind, reason: &str) -> CallFailure {
    CallFailure { kind, reason: escape(reason, REASON_BYTES_MAX), retry_after: None }
}

/// The call was over its wall-clock time.
pub(crate) fn timeout(limit: Duration) -> CallFailure {
    failure(FailureKind::Timeout, &format!("stopped: over its limit of {limit:?} of wall-clock time"))
}

/// The host's own code failed.
pub(crate) fn host(reason: &str) -> CallFailure {
    failure(FailureKind::Host, reason)
}

/// Reads what wasmtime says about a call that did not return.
pub(crate) fn classify(error: &wasmtime::Error, state: &State, cpu_limit: Duration) -> CallFailure {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        let reason = format!("stopped: over its limit of {cpu_limit:?} of CPU time{}", frames(error));
        return failure(FailureKind::Cpu, &reason);
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return host("no free slot for the instance, although the call had a permit");
    }
    let cause = error.root_cause().to_string();
    if let Some(text) = over_memory(error, &cause) {
        return failure(FailureKind::Memory, &text);
    }
    // A language's allocator turns a refused growth into a trap of its own; what was refused says more.
    if let Some(refused) = state.limits.refused() {
        return failure(FailureKind::Memory, &format!("stopped after {refused}{}", said(&state.log)));
    }
    let cause = cause.trim_start_matches("wasm trap: ");
    failure(FailureKind::Trap, &format!("trapped: {cause}{}{}", said(&state.log), frames(error)))
}

fn over_memory(error: &wasmtime::Error, cause: &str) -> Option<String> {
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return Some("stopped: too many open resources".to_owned());
    }
    MEMORY_TEXTS.iter().any(|text| cause.contains(text)).then(|| format!("stopped: {cause}"))
}

fn said(log: &CallLog) -> String {
    log.trap_text().map_or_else(String::new, |text| format!(": {text}"))
}

/// Writes the innermost functions, so that a trap without a text says at least where.
fn frames(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let text = backtrace.to_string();
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .map(|(_, name)| escape(name.trim(), FRAME_BYTES_MAX))
        .take(FRAMES_MAX)
        .collect();
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(", called by ")) }
}
