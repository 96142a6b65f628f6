//! Starts other programs: says what is started, and turns a failure into an error that names the command.
//!
//! No command line is ever given to a shell.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Returns a command that runs `program` in the repository's root with the tools of `cargo xtask setup` on `PATH`.
pub(crate) fn command(workspace: &Workspace, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace.root()).env("PATH", workspace.path_variable());
    command
}

/// Returns a cargo command, without what the cargo that runs this program put into the environment.
///
/// `CARGO_MANIFEST_DIR` and its like would leak into build scripts' fingerprints and rebuild what is built.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(workspace, cargo);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` with this terminal.
///
/// # Errors
/// The program cannot be started, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("failed to start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs `command`, copies its error stream to this terminal line by line, and gives each line to `look`.
///
/// # Errors
/// As for [`run`].
pub(crate) fn run_and_watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    let line = display(command);
    println!("$ {line}");
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("failed to start `{line}`"))?;
    if let Some(stream) = child.stderr.take() {
        for text in BufReader::new(stream).split(b'\n') {
            let text = text.with_context(|| format!("failed to read from `{line}`"))?;
            let text = String::from_utf8_lossy(&text);
            eprintln!("{text}");
            look(&text);
        }
    }
    let status = child.wait().with_context(|| format!("failed to wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs `command` quietly and returns what it printed, without the last line break.
///
/// # Errors
/// As for [`run`]; the error holds what the program said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = display(command);
    let output = command.output().with_context(|| format!("failed to start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Tells whether `command` can be started and ends with success; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Returns the command line for people; not quoted for a shell.
fn display(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    // The full path of cargo or of a tool under target/ tells a reader nothing.
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
