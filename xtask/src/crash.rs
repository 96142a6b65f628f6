//! The crash tests for longer than CI has time for: `kill -9` at many random points.

use anyhow::Result;

use crate::guests;
use crate::shell::{self, cargo};
use crate::workspace::Workspace;

/// The test that kills the host; reads its number of kills from the environment.
const TEST: &str = "nothing_acknowledged_is_lost_and_nothing_is_done_twice_over_kills_at_random_points";

/// Runs the test with `rounds` kills.
///
/// # Errors
/// The guests do not build, or something that was acknowledged is lost.
pub(crate) fn run(workspace: &Workspace, rounds: u32) -> Result<()> {
    guests::build_all(workspace)?;
    let rounds = rounds.to_string();
    // Not nextest: it would end the test at its time limit.
    let arguments = ["test", "-p", "pilothouse-tests", "--test", "it", TEST, "--", "--nocapture"];
    shell::run(cargo(workspace).args(arguments).env("PILOTHOUSE_CRASH_ROUNDS", rounds))
}
