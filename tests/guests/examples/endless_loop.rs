//! Hostile: computes for ever, and asks the host for nothing.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

pilothouse_sdk::plugin!(Guest);
