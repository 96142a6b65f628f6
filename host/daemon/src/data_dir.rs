//! The layout of the data folder, which the host makes for its owner only. The store's file is what keeps a second host out.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The store's file.
pub const STORE_FILE: &str = "pilothouse.db";
/// Installed components, each named by its digest.
pub const COMPONENTS_DIR: &str = "components";
/// Compiled components; may be removed at any time while the host is stopped.
pub const CACHE_DIR: &str = "cache";
/// Notes on which file of an output folder is which plugin's.
pub const OUTPUTS_DIR: &str = "outputs";
/// Scratch folders and outcomes of jobs.
pub const JOBS_DIR: &str = "jobs";

/// Projects' repositories.
pub const REPOSITORIES_DIR: &str = "repositories";

/// Makes the folder, for its owner only, if it does not exist.
///
/// # Errors
/// It cannot be made.
pub fn create(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
