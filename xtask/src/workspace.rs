//! Where things lie: the paths of the repository and of what is built.
//!
//! Every other module asks here, so that a folder is moved in one place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, iter};

use anyhow::{Context, Result};

/// The bundled plugins, by the name of their folder under `plugins/`.
pub(crate) const PLUGINS: [&str; 10] = [
    "approval",
    "grafana",
    "job",
    "jmeter",
    "prometheus",
    "quality-gate",
    "remediation",
    "scm-status",
    "slack",
    "webhook",
];

/// The compilation target of plugins written in Rust.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";

/// The paths of this checkout.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this program belongs to.
    ///
    /// # Errors
    /// Only when the folder that cargo built this program from has no parent.
    pub(crate) fn find() -> Result<Workspace> {
        // cargo sets the variable for `cargo run`; the constant serves a binary that is started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let root = Path::new(&manifest).parent().context("xtask must lie in a folder of the repository")?.to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
        Ok(Workspace { root, target })
    }

    /// Returns the repository's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder in which cargo and this program build.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the folder of the bundled plugins, from which the daemon's build embeds them.
    pub(crate) fn plugins_out(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// Returns the folder of the guests that tests run.
    pub(crate) fn guests_out(&self) -> PathBuf {
        self.target.join("guests").join("out")
    }

    /// Returns the folder with the JavaScript packages that tests use.
    pub(crate) fn node(&self) -> PathBuf {
        self.target.join("npm")
    }

    /// Returns the Python environment that tests use.
    pub(crate) fn venv(&self) -> PathBuf {
        self.target.join("venv")
    }

    /// Returns `PATH` with the tools that `cargo xtask setup` put under `target` first.
    pub(crate) fn path_variable(&self) -> OsString {
        let ours = [self.node().join("node_modules").join(".bin"), self.venv().join("bin")];
        let inherited = env::var_os("PATH").unwrap_or_default();
        let all = ours.into_iter().chain(env::split_paths(&inherited));
        // A folder name with a colon cannot be put on PATH at all; then the inherited one must do.
        env::join_paths(all).unwrap_or(inherited)
    }

    /// Returns where `program` lies on `PATH`, or `None`.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        // `~/.cargo/bin` is where `cargo install` puts subcommands, whether or not it is on PATH.
        let cargo_bin = env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin"));
        let path = self.path_variable();
        let found = env::split_paths(&path).chain(iter::once(cargo_bin).flatten());
        found.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
    }
}
