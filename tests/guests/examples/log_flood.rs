//! Hostile: logs far more than is kept, with terminal escapes, on every way that leads into the log.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, log};

/// Clears the screen, renames the window, and moves up to overwrite what stands there.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[1A\r\nfake line \u{202e}";
/// Far more than any log limit holds: with its 16 KiB per turn this is 32 MiB.
const TURNS: usize = 2_000;

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let long = "x".repeat(4 << 10);
        for turn in 0..TURNS {
            log::info!("{ESCAPES} {turn} {long}");
            log::write(log::Level::Critical, ESCAPES, &long);
            println!("{ESCAPES} {turn} {long}");
            eprintln!("{ESCAPES} {turn} {long}");
        }
        Ok(Outcome::none())
    }
}

pilothouse_sdk::plugin!(Guest);
