//! The demo from a checkout: sets up, builds, and hands over to `pilothouse demo`, which holds the demo itself.
//!
//! Someone with the release archive runs `pilothouse demo` directly, so nothing of the demo may live here.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::guests;
use crate::setup::{self, Purpose};
use crate::shell::{self, cargo, command};
use crate::workspace::Workspace;

/// Runs the demo with `arguments`.
///
/// # Errors
/// A tool is missing, the build fails, or the demo fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    println!("demo: looking for what it needs");
    setup::ensure(workspace, Purpose::Demo)?;
    println!("demo: building plugins and host; the first time this takes ten minutes or more on two cores");
    guests::build_plugins(workspace)?;
    shell::run(cargo(workspace).args(["build", "-p", "pilothouse", "--bin", "pilothouse"]))?;
    let mut demo = command(workspace, workspace.target().join("debug/pilothouse"));
    demo.arg("demo").args(arguments);
    // This process becomes the demo: Ctrl-C then reaches one process, and the prompt returns when that has tidied up.
    Err(demo.exec()).context("failed to start `pilothouse demo`")
}
