//! Hostile: calls itself for ever.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

#[expect(unconditional_recursion, reason = "that is the attack")]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    // Something is left to do after the call, so that it cannot become a loop.
    deeper(depth + 1).wrapping_add(frame.iter().sum::<u64>())
}

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        Err(pilothouse_sdk::reject(deeper(0).to_string()))
    }
}

pilothouse_sdk::plugin!(Guest);
