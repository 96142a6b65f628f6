//! Who answers a task, and when it ends.
/// Longest time from a task's trigger to its end, unless the executor's manifest says otherwise.
pub const FINISH_TIMEOUT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(3600);
