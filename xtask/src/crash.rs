//! The crash tests for longer than CI has time for: `kill -9` at many random points, and many random histories of
//! sequences, with a restart after each decision.

use anyhow::Result;

use crate::guests;
use crate::shell::{self, cargo};
use crate::workspace::Workspace;

/// The test that kills the host; reads its number of kills from the environment.
const TEST: &str = "nothing_acknowledged_is_lost_and_nothing_is_done_twice_over_kills_at_random_points";

/// The test that kills the host while sequences run; reads their number from the environment.
const SEQUENCES_TEST: &str = "a_host_that_is_killed_again_and_again_ends_every_sequence_as_it_would_have_ended";
/// Sequences that run while the host is killed.
const SEQUENCES: &str = "100";
/// The property test of the sequencer; reads the number of histories from the environment.
const HISTORIES_TEST: &str = "no_history_hangs_ends_twice_or_depends_on_a_restart";
/// Histories that it draws.
const HISTORIES: &str = "100000";

/// Runs the tests, the first with `rounds` kills.
///
/// # Errors
/// The guests do not build, something that was acknowledged is lost, or a history ends as it must not.
pub(crate) fn run(workspace: &Workspace, rounds: u32) -> Result<()> {
    guests::build_all(workspace)?;
    let rounds = rounds.to_string();
    // Not nextest: it would end the test at its time limit.
    let arguments = ["test", "-p", "pilothouse-tests", "--test", "it", TEST, "--", "--nocapture"];
    shell::run(cargo(workspace).args(arguments).env("PILOTHOUSE_CRASH_ROUNDS", rounds))?;
    let arguments = ["test", "-p", "pilothouse-tests", "--test", "it", SEQUENCES_TEST, "--", "--nocapture"];
    shell::run(cargo(workspace).args(arguments).env("PILOTHOUSE_CRASH_SEQUENCES", SEQUENCES))?;
    // Optimized: it does nothing but decide.
    let arguments = ["test", "--release", "-p", "pilothouse-core", "--lib", HISTORIES_TEST, "--", "--nocapture"];
    shell::run(cargo(workspace).args(arguments).env("PILOTHOUSE_HISTORIES", HISTORIES))
}
