//! Makes a machine ready: the WebAssembly target, the programs that tests run, and the tools of other languages.
//!
//! Every step looks first and does nothing when all is there. What may not be installed from here (no root, no
//! Debian) is named at the end, all at once, with the command to type. Nothing outside `target/` is changed but by
//! rustup, cargo and apt.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::digest::{self, Stamp};
use crate::shell::{self, cargo, command};
use crate::workspace::{GUEST_TARGET, Workspace};

mod program;

/// What the machine is made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Purpose {
    /// Building the host and the bundled plugins.
    Build,
    /// The demo: the above, JMeter and Prometheus.
    Demo,
    /// All tests: the above, and the toolchains of guests in other languages.
    Test,
}

/// Installs what `purpose` needs.
///
/// # Errors
/// Something is missing and cannot be installed from here; the error lists all of it with what to type.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    wasm_target(workspace)?;
    program::install(workspace, purpose)?;
    if purpose == Purpose::Test {
        rust_components(workspace)?;
        nextest(workspace)?;
        node_packages(workspace)?;
        python_packages(workspace)?;
    }
    Ok(())
}

/// Installs what `purpose` needs, and says that it is done.
///
/// # Errors
/// As for [`ensure`].
pub(crate) fn run(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    ensure(workspace, purpose)?;
    println!("setup: everything is here");
    Ok(())
}

/// Adds the target of Rust guests where the compiler lacks it.
fn wasm_target(workspace: &Workspace) -> Result<()> {
    let sysroot = shell::output(command(workspace, "rustc").args(["--print", "sysroot"]))?;
    let installed = Path::new(&sysroot).join("lib/rustlib").join(GUEST_TARGET).join("lib");
    if installed.is_dir() {
        return Ok(());
    }
    println!("setup: this compiler has no {GUEST_TARGET}; asking rustup for it");
    shell::run(command(workspace, "rustup").args(["target", "add", GUEST_TARGET])).with_context(|| {
        format!(
            "plugins are built for {GUEST_TARGET}, which this Rust compiler ({sysroot}) lacks. With rustup, check the \
             network and run `rustup target add {GUEST_TARGET}`. With a compiler from elsewhere, install the package \
             that brings its standard library for {GUEST_TARGET}, or install rustup from https://rustup.rs"
        )
    })?;
    if !installed.is_dir() {
        // `cargo` on PATH may come from a distribution while rustup manages another toolchain.
        bail!(
            "rustup added {GUEST_TARGET} to its own toolchain, but `rustc` on PATH is another one ({sysroot}): put \
             rustup's first on PATH"
        );
    }
    Ok(())
}

/// Adds rustfmt and clippy where the toolchain was installed without them.
fn rust_components(workspace: &Workspace) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !shell::succeeds(cargo(workspace).args([subcommand, "--version"])) {
            shell::run(command(workspace, "rustup").args(["component", "add", component]))
                .with_context(|| format!("`cargo {subcommand}` is missing: install the component `{component}`"))?;
        }
    }
    Ok(())
}

/// Builds the test runner where it is missing; this takes a few minutes, once.
fn nextest(workspace: &Workspace) -> Result<()> {
    if shell::succeeds(cargo(workspace).args(["nextest", "--version"])) {
        return Ok(());
    }
    println!("setup: building cargo-nextest, which takes a few minutes once");
    shell::run(cargo(workspace).args(["install", "--locked", "cargo-nextest"]))
        .context("the test runner is missing: see https://nexte.st for a ready-made binary")
}

/// Installs the JavaScript packages of `xtask/tools/package-lock.json` under `target/npm`.
fn node_packages(workspace: &Workspace) -> Result<()> {
    let inputs = workspace.root().join("xtask/tools");
    let files = ["package.json", "package-lock.json"];
    let paths = files.map(|file| inputs.join(file));
    let folder = workspace.node();
    let stamp = Stamp::new(&folder, digest::of_paths(workspace.root(), &paths)?);
    if stamp.is_current() && folder.is_dir() {
        return Ok(());
    }
    println!("setup: fetching JavaScript packages");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    for (file, path) in files.iter().zip(&paths) {
        fs::copy(path, folder.join(file)).with_context(|| format!("failed to copy `{}`", path.display()))?;
    }
    // Not `npm ci`: it refuses a lock file without the optional packages of other platforms, some of which the
    // registry does not have. `npm install` takes the versions of the lock file, too.
    let arguments = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    shell::run(command(workspace, "npm").args(arguments).current_dir(&folder))?;
    stamp.write()
}

/// Makes a Python environment with `xtask/tools/requirements.txt` under `target/venv`.
fn python_packages(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root().join("xtask/tools/requirements.txt");
    let folder = workspace.venv();
    let stamp = Stamp::new(&folder, digest::of_paths(workspace.root(), std::slice::from_ref(&requirements))?);
    if stamp.is_current() && folder.is_dir() {
        return Ok(());
    }
    println!("setup: making a Python environment");
    shell::run(command(workspace, "python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = folder.join("bin/pip");
    shell::run(command(workspace, pip).args(["install", "--quiet", "--requirement"]).arg(&requirements))?;
    stamp.write()
}
