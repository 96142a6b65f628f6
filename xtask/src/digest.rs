//! Digests of files and folders, by which slow steps know that nothing changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Folders that hold no input of a build.
const IGNORED: [&str; 4] = ["node_modules", "target", "__pycache__", ".git"];

/// Returns the SHA-256 of `bytes` in hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns one digest of all files at and under `paths`: their relative names and their contents.
///
/// # Errors
/// A path cannot be read.
pub(crate) fn of_paths(root: &Path, paths: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files).with_context(|| format!("failed to list `{}`", path.display()))?;
    }
    files.sort();
    let mut listing = String::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        let _ = writeln!(listing, "{} {}", of_bytes(&bytes), name.display());
    }
    Ok(of_bytes(listing.as_bytes()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !IGNORED.iter().any(|ignored| entry.file_name() == *ignored) {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// A file that remembers the digest of the inputs from which something was made.
#[derive(Debug)]
pub(crate) struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    /// Returns the stamp for `product`, made from inputs with `digest`.
    pub(crate) fn new(product: &Path, digest: String) -> Stamp {
        let mut name = product.as_os_str().to_owned();
        name.push(".stamp");
        Stamp { path: PathBuf::from(name), digest }
    }

    /// Tells whether the product was made from the same inputs.
    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|text| text == self.digest)
    }

    /// Remembers the inputs; called once the product is complete.
    ///
    /// # Errors
    /// The stamp cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        fs::write(&self.path, &self.digest).with_context(|| format!("failed to write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_changes_with_a_files_name_and_with_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/one"), "1").unwrap();
        let first = of_paths(root, &[root.join("a")]).unwrap();
        fs::write(root.join("a/one"), "2").unwrap();
        let second = of_paths(root, &[root.join("a")]).unwrap();
        fs::rename(root.join("a/one"), root.join("a/two")).unwrap();
        let third = of_paths(root, &[root.join("a")]).unwrap();
        assert_ne!(first, second);
        assert_ne!(second, third);
    }

    #[test]
    fn what_a_build_leaves_behind_does_not_change_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("input"), "1").unwrap();
        let before = of_paths(root, &[root.to_path_buf()]).unwrap();
        fs::create_dir(root.join("node_modules")).unwrap();
        fs::write(root.join("node_modules/x.js"), "x").unwrap();
        assert_eq!(before, of_paths(root, &[root.to_path_buf()]).unwrap());
    }

    #[test]
    fn a_stamp_is_current_only_for_the_inputs_it_was_written_with() {
        let folder = tempfile::tempdir().unwrap();
        let product = folder.path().join("out.wasm");
        Stamp::new(&product, "a".into()).write().unwrap();
        assert!(Stamp::new(&product, "a".into()).is_current());
        assert!(!Stamp::new(&product, "b".into()).is_current());
    }
}
