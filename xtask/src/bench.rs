//! The bench: builds the guests, then measures in release what docs/performance.md records.

use std::path::Path;

use anyhow::Result;

use crate::guests;
use crate::shell::{self, cargo};
use crate::workspace::Workspace;

/// Runs the bench; its rows go to `json`, a path from the caller's folder, or to target/bench.json.
///
/// # Errors
/// The guests do not build, or a measurement fails. A goal that is not met is no error: figures depend on the machine.
pub(crate) fn run(workspace: &Workspace, json: Option<&Path>, only: &[String]) -> Result<()> {
    guests::build_all(workspace)?;
    let json = match json {
        Some(file) => std::path::absolute(file)?,
        None => workspace.target().join("bench.json"),
    };
    // Both programs: the bench starts the host that lies beside it.
    let build = ["build", "--release", "-p", "pilothouse-tests", "--bin", "pilothouse-host", "--bin", "bench"];
    shell::run(cargo(workspace).args(build))?;
    let mut bench = cargo(workspace);
    bench.args(["run", "--release", "-p", "pilothouse-tests", "--bin", "bench", "--", "--json"]).arg(json);
    if !only.is_empty() {
        bench.arg("--only").arg(only.join(","));
    }
    shell::run(&mut bench)
}
