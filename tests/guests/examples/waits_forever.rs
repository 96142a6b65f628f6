//! Hostile: never returns from a call of the host.
#![forbid(unsafe_code)]

use pilothouse_sdk::bindings::wasi::clocks::monotonic_clock;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

/// A hundred years.
const AGES_NANOSECONDS: u64 = 3_155_760_000_000_000_000;

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        monotonic_clock::subscribe_duration(AGES_NANOSECONDS).block();
        Ok(Outcome::none())
    }
}

pilothouse_sdk::plugin!(Guest);
