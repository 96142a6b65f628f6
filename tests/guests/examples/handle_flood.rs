//! Hostile: makes handles of the host until it refuses, and gives none back.
#![forbid(unsafe_code)]

use pilothouse_sdk::bindings::wasi::clocks::monotonic_clock;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

/// An hour: no handle is ready before the call ends.
const HOUR_NANOSECONDS: u64 = 3_600_000_000_000;

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        loop {
            std::mem::forget(monotonic_clock::subscribe_duration(HOUR_NANOSECONDS));
        }
    }
}

pilothouse_sdk::plugin!(Guest);
