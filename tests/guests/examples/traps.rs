//! Traps at each call, after a line on standard error.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        panic!("this guest always traps")
    }
}

pilothouse_sdk::plugin!(Guest);
