//! Counts deliveries in its key-value state, and reports the count; with the data `"trap"` it traps after the write.
#![forbid(unsafe_code)]

use pilothouse_guests::{mode, report};
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, key_value};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, event: Event) -> Result<Outcome, Failure> {
        let stored = key_value::get("count")?.unwrap_or_default();
        let count = String::from_utf8_lossy(&stored).parse::<u64>().unwrap_or_default() + 1;
        key_value::set("count", count.to_string())?;
        assert!(mode(&event) != "trap", "told to trap after the write");
        let read_back = key_value::get("count")?.map(|it| String::from_utf8_lossy(&it).into_owned());
        report(&serde_json::json!({ "count": count, "read-back": read_back, "keys": key_value::keys()? }))
    }
}

pilothouse_sdk::plugin!(Guest);
