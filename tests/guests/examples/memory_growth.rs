//! Hostile: grows its one memory, and touches every page, until the host refuses.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome};

/// What is asked for at once.
const STEP_BYTES: usize = 1 << 20;

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut block = Vec::new();
            assert!(block.try_reserve_exact(STEP_BYTES).is_ok(), "refused after {} MiB", blocks.len());
            block.resize(STEP_BYTES, 1);
            blocks.push(std::hint::black_box(block));
        }
    }
}

pilothouse_sdk::plugin!(Guest);
