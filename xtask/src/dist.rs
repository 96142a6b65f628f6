//! Makes the release archive: `target/dist/pilothouse-<version>-<target>.tar.gz`.
//!
//! Inside: the program (with the bundled plugins embedded), the plugins as files, the systemd unit, the examples, the
//! licence, and `SHA256SUMS` of all of it. The same checkout gives the same archive: names are sorted, and times and
//! owners are fixed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::guests;
use crate::shell::{self, cargo, command};
use crate::workspace::Workspace;

/// What is copied as it is: from the repository, to the archive.
const COPIED: [(&str, &str); 5] = [
    ("README.md", "README.md"),
    ("LICENSE", "LICENSE"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("xtask/dist/pilothouse.service", "systemd/pilothouse.service"),
    ("examples", "examples"),
];

/// Builds everything in release mode and packs it.
///
/// # Errors
/// A build fails, a file to pack is missing, or the disk is full.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // The plugins first: the daemon's build embeds them.
    guests::build_plugins(workspace)?;
    shell::run(cargo(workspace).args(["build", "--release", "--locked", "-p", "pilothouse", "--bin", "pilothouse"]))?;

    let name = format!("pilothouse-{}-{}", version(workspace)?, host_target(workspace)?);
    let dist = workspace.target().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to clear `{}`", folder.display()))?;
    }
    copy(&workspace.target().join("release/pilothouse"), &folder.join("bin/pilothouse"))?;
    // Line tables are three quarters of the file; names of functions stay for backtraces. The tool comes with the linker.
    shell::run(command(workspace, "strip").arg("--strip-debug").arg(folder.join("bin/pilothouse")))?;
    copy(&workspace.plugins_out(), &folder.join("plugins"))?;
    for (from, to) in COPIED {
        copy(&workspace.root().join(from), &folder.join(to))?;
    }
    fs::write(folder.join("SHA256SUMS"), checksums(&folder)?).context("failed to write SHA256SUMS")?;

    let archive = dist.join(format!("{name}.tar.gz"));
    pack(workspace, &dist, &name, &archive)?;
    let sum = digest::of_bytes(&fs::read(&archive).with_context(|| format!("failed to read `{}`", archive.display()))?);
    let line = format!("{sum}  {name}.tar.gz\n");
    fs::write(dist.join(format!("{name}.tar.gz.sha256")), line).context("failed to write the archive's checksum")?;
    println!("dist: {} ({sum})", archive.display());
    Ok(())
}

/// Packs `name` in `dist` so that equal contents give equal archives.
fn pack(workspace: &Workspace, dist: &Path, name: &str, archive: &Path) -> Result<()> {
    let mut tar = command(workspace, "tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"]);
    // `-n` leaves name and time out of the header of the compressed file.
    tar.args(["--use-compress-program=gzip -n", "-cf"]).arg(archive).arg("-C").arg(dist).arg(name);
    shell::run(&mut tar)
}

/// Reads the version that all crates share.
fn version(workspace: &Workspace) -> Result<String> {
    let path = workspace.root().join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let table: toml::Table = text.parse().context("the root Cargo.toml is not TOML")?;
    let version = table.get("workspace").and_then(|t| t.get("package")).and_then(|t| t.get("version"));
    Ok(version
        .and_then(toml::Value::as_str)
        .context("the root Cargo.toml has no workspace.package.version")?
        .to_owned())
}

/// Asks the compiler for what it builds: the target in the archive's name.
fn host_target(workspace: &Workspace) -> Result<String> {
    let text = shell::output(command(workspace, "rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Copies a file, or a folder with all that is in it; stamps of this program are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("failed to copy `{}` to `{}`", from.display(), to.display());
    for file in files(from)? {
        let relative = file.strip_prefix(from).unwrap_or(Path::new(""));
        // Joining an empty path would add a slash.
        let target = if relative.as_os_str().is_empty() { to.to_path_buf() } else { to.join(relative) };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(context)?;
        }
        fs::copy(&file, &target).with_context(context)?;
    }
    Ok(())
}

/// Returns one line per file of `folder`, as `sha256sum --check` reads it.
fn checksums(folder: &Path) -> Result<String> {
    let mut lines = String::new();
    for file in files(folder)? {
        let bytes = fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        let name = file.strip_prefix(folder).unwrap_or(&file);
        lines.push_str(&format!("{}  {}\n", digest::of_bytes(&bytes), name.display()));
    }
    Ok(lines)
}

/// Returns all files at and under `path`, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.is_dir() {
        bail!("`{}` does not exist", path.display());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("failed to list `{}`", path.display()))? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_name_every_file_relative_to_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/p"), "").unwrap();
        fs::write(folder.path().join("LICENSE"), "a").unwrap();
        let text = checksums(folder.path()).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
        assert_eq!(names, ["LICENSE", "bin/p"]);
        assert!(text.contains("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  bin/p"));
    }

    #[test]
    fn a_folder_is_copied_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("from/a")).unwrap();
        fs::write(folder.path().join("from/a/b"), "x").unwrap();
        copy(&folder.path().join("from"), &folder.path().join("to")).unwrap();
        assert_eq!(fs::read(folder.path().join("to/a/b")).unwrap(), b"x");
        assert!(copy(&folder.path().join("absent"), &folder.path().join("to")).is_err());
    }
}
