//! Everything that CI runs, in one command: what is quick comes first, and the first failure ends the run.
//!
//! Each step says its minutes. The last line of a good run is `N passed, 0 failed`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::guests;
use crate::setup::{self, Purpose};
use crate::shell::{self, cargo};
use crate::tidy;
use crate::workspace::Workspace;

/// One step of the run.
struct Step {
    name: &'static str,
    run: fn(&Workspace, &mut Tally) -> Result<()>,
}

/// Tests counted so far.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
}

/// The steps, the quick ones first.
const STEPS: [Step; 9] = [
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: |workspace, _| tidy::run(workspace) },
    Step { name: "setup", run: |workspace, _| setup::run(workspace, Purpose::Test) },
    Step { name: "deny", run: deny },
    Step { name: "guests", run: |workspace, _| guests::build_all(workspace) },
    Step { name: "clippy", run: clippy },
    Step { name: "rustdoc", run: rustdoc },
    Step { name: "doc tests", run: doc_tests },
    Step { name: "tests", run: all_tests },
];

/// Crates whose documentation holds examples that must compile; the others are internal.
const DOCUMENTED_CRATES: [&str; 2] = ["pilothouse-core", "pilothouse-sdk"];

/// Runs all steps.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut tally = Tally::default();
    let mut times = Vec::new();
    for step in &STEPS {
        println!("\n== {}", step.name);
        let start = Instant::now();
        let result = (step.run)(workspace, &mut tally);
        let time = start.elapsed();
        println!("== {}: {} min", step.name, minutes(time));
        times.push((step.name, time));
        result.with_context(|| format!("step `{}` failed", step.name))?;
    }
    println!("\nminutes");
    for (name, time) in &times {
        println!("  {name:<10} {:>6}", minutes(*time));
    }
    println!("  {:<10} {:>6}", "all", minutes(times.iter().map(|(_, time)| *time).sum()));
    println!("\n{} passed, 0 failed", tally.passed);
    Ok(())
}

fn minutes(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() / 60.0)
}

fn fmt(workspace: &Workspace, _: &mut Tally) -> Result<()> {
    shell::run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    for own in ["tests/guests/Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let own = workspace.root().join(own);
        shell::run(cargo(workspace).args(["fmt", "--all", "--check", "--manifest-path"]).arg(own))?;
    }
    Ok(())
}

/// Checks licences, bans and sources; and advisories where their database can be reached.
fn deny(workspace: &Workspace, _: &mut Tally) -> Result<()> {
    if !shell::succeeds(cargo(workspace).args(["deny", "--version"])) {
        println!("deny: cargo-deny is not installed, so licences and advisories are not checked here");
        println!("deny: `cargo install --locked cargo-deny` adds it");
        return Ok(());
    }
    shell::run(cargo(workspace).args(["deny", "check", "bans", "licenses", "sources"]))?;
    if shell::succeeds(cargo(workspace).args(["deny", "fetch", "db"])) {
        return shell::run(cargo(workspace).args(["deny", "check", "advisories"]));
    }
    println!("deny: the advisory database cannot be reached from here, so advisories are not checked");
    Ok(())
}

fn clippy(workspace: &Workspace, _: &mut Tally) -> Result<()> {
    shell::run(cargo(workspace).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn rustdoc(workspace: &Workspace, _: &mut Tally) -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    shell::run(cargo(workspace).args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn doc_tests(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    for package in DOCUMENTED_CRATES {
        let text = shell::output(cargo(workspace).args(["test", "--doc", "-p", package]))?;
        println!("{text}");
        tally.passed += text.lines().filter_map(passed_in_doc_tests).sum::<u64>();
    }
    Ok(())
}

fn all_tests(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let mut passed = None;
    // The runner reports on the error stream.
    shell::run_and_watch(cargo(workspace).args(["nextest", "run", "--workspace"]), |line| {
        passed = passed_in_summary(line).or(passed);
    })?;
    tally.passed += passed.context("the test runner printed no summary")?;
    Ok(())
}

/// Reads the number of tests passed from nextest's `Summary [ 1.2s] 34 tests run: 34 passed, 0 skipped`.
fn passed_in_summary(line: &str) -> Option<u64> {
    let (_, counts) = line.trim_start().strip_prefix("Summary [")?.split_once("run: ")?;
    counts.split_once(" passed")?.0.trim().parse().ok()
}

/// Reads the number of tests passed from `test result: ok. 5 passed; 0 failed; …`.
fn passed_in_doc_tests(line: &str) -> Option<u64> {
    line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_summary_is_understood() {
        let line = "     Summary [   0.512s] 34 tests run: 34 passed, 0 skipped";
        assert_eq!(passed_in_summary(line), Some(34));
        let slow = "     Summary [  90.100s] 7 tests run: 7 passed (1 slow), 2 skipped";
        assert_eq!(passed_in_summary(slow), Some(7));
        assert_eq!(passed_in_summary("        PASS [   0.005s] xtask tests::a"), None);
    }

    #[test]
    fn the_result_of_doc_tests_is_understood() {
        assert_eq!(passed_in_doc_tests("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured"), Some(5));
        assert_eq!(passed_in_doc_tests("test result: FAILED. 4 passed; 1 failed"), None);
    }
}
