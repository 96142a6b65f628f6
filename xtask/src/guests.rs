//! Builds what the host runs: the bundled plugins, and the guests that tests run.
//!
//! Plugins go to `target/plugins/<name>.wasm`, from where the daemon's build embeds them. Guests go to
//! `target/guests/out/<name>.wasm`, from where `tests/` loads them. The guests are a workspace of their own, so that
//! hostile code is no part of `cargo build --workspace`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::digest::{self, Stamp};
use crate::section;
use crate::setup::{self, Purpose};
use crate::shell::{self, cargo, command};
use crate::workspace::{GUEST_TARGET, PLUGINS, Workspace};

/// The cargo profile of plugins and guests; small, because every byte is compiled again at install.
const PROFILE: &str = "plugin";

/// The guests of `tests/guests` that the demo runs; the bundle has them as `demo-<name>`.
const DEMO_GUESTS: [&str; 1] = ["burglar"];

/// Languages with a guest in `tests/guests/<language>`, each built by a `build.sh` of its own.
const LANGUAGES: [&str; 3] = ["c", "js", "python"];

/// Builds plugins and guests.
///
/// # Errors
/// A tool is missing or a build fails.
pub(crate) fn build_all(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Test)?;
    build_rust_guests(workspace)?;
    LANGUAGES.iter().try_for_each(|language| build_language(workspace, language))?;
    build_plugins(workspace)
}

/// Builds the bundled plugins.
///
/// # Errors
/// A tool is missing or a build fails.
pub(crate) fn build_plugins(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Purpose::Build)?;
    let mut build = cargo(workspace);
    build.args(["build", "--target", GUEST_TARGET, "--profile", PROFILE]);
    for name in PLUGINS {
        build.args(["-p", &format!("plugin-{name}")]);
    }
    shell::run(&mut build)?;
    let built = workspace.target().join(GUEST_TARGET).join(PROFILE);
    for name in PLUGINS {
        let product = workspace.plugins_out().join(format!("{name}.wasm"));
        let manifest = workspace.root().join("plugins").join(name).join("plugin.toml");
        let module = format!("plugin_{}.wasm", name.replace('-', "_"));
        install(&built.join(module), &product, Some(&manifest))?;
    }
    build_demo_guests(workspace)?;
    println!("guests: {} plugins in {}", PLUGINS.len(), workspace.plugins_out().display());
    Ok(())
}

/// Builds the hostile plugin that the demo shows, beside the bundled ones.
fn build_demo_guests(workspace: &Workspace) -> Result<()> {
    let target = workspace.target().join("guests");
    let mut build = cargo(workspace);
    build.args(["build", "--target", GUEST_TARGET, "--profile", PROFILE]);
    for name in DEMO_GUESTS {
        build.args(["--example", name]);
    }
    build.arg("--manifest-path").arg(workspace.root().join("tests/guests/Cargo.toml")).arg("--target-dir").arg(&target);
    shell::run(&mut build)?;
    for name in DEMO_GUESTS {
        let built = target.join(GUEST_TARGET).join(PROFILE).join("examples").join(format!("{name}.wasm"));
        install(&built, &workspace.plugins_out().join(format!("demo-{name}.wasm")), None)?;
    }
    Ok(())
}

/// Builds the guests in Rust: each example of `tests/guests` is one component.
fn build_rust_guests(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root().join("tests/guests");
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        println!("guests: no tests/guests/Cargo.toml, so no guests in Rust");
        return Ok(());
    }
    let target = workspace.target().join("guests");
    let mut build = cargo(workspace);
    build.args(["build", "--examples", "--target", GUEST_TARGET, "--profile", PROFILE]);
    build.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target);
    shell::run(&mut build)?;
    let built = target.join(GUEST_TARGET).join(PROFILE).join("examples");
    let names = example_names(&folder.join("examples"))?;
    for name in &names {
        let product = workspace.guests_out().join(format!("{name}.wasm"));
        let component = built.join(format!("{name}.wasm"));
        // A cdylib named `a-b` becomes `a_b.wasm`.
        let component =
            if component.is_file() { component } else { built.join(format!("{}.wasm", name.replace('-', "_"))) };
        install(&component, &product, None)?;
    }
    println!("guests: {} guests in {}", names.len(), workspace.guests_out().display());
    Ok(())
}

/// Returns the names of the examples in `folder`, sorted: `a.rs` and `b/main.rs` are `a` and `b`.
fn example_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))? {
        let path = entry?.path();
        let is_example = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let (true, Some(stem)) = (is_example, path.file_stem()) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the guest in `language` by its `build.sh OUT.wasm`, unless its inputs are those of the last build.
fn build_language(workspace: &Workspace, language: &str) -> Result<()> {
    let folder = workspace.root().join("tests/guests").join(language);
    let script = folder.join("build.sh");
    if !script.is_file() {
        println!("guests: no tests/guests/{language}/build.sh");
        return Ok(());
    }
    let product = workspace.guests_out().join(format!("{language}.wasm"));
    let inputs = [folder.clone(), workspace.root().join("wit"), workspace.root().join("xtask/tools")];
    let stamp = Stamp::new(&product, digest::of_paths(workspace.root(), &inputs)?);
    if stamp.is_current() && product.is_file() {
        return Ok(());
    }
    create_parent(&product)?;
    let mut build = command(workspace, "bash");
    build.arg(&script).arg(&product).current_dir(&folder).env("PILOTHOUSE_ROOT", workspace.root());
    shell::run(&mut build)?;
    if !product.is_file() {
        bail!("tests/guests/{language}/build.sh ended well but did not write `{}`", product.display());
    }
    let manifest = folder.join("plugin.toml");
    if manifest.is_file() {
        section::add_manifest(&product, &manifest)?;
    }
    stamp.write()
}

/// Copies a built component to where it is looked for, with its manifest inside.
fn install(component: &Path, product: &Path, manifest: Option<&PathBuf>) -> Result<()> {
    create_parent(product)?;
    let bytes = fs::read(component).with_context(|| format!("failed to read component `{}`", component.display()))?;
    // Beside the source: the daemon's build script looks at the time of the folder, too.
    let temporary = component.with_extension("new");
    fs::write(&temporary, bytes).with_context(|| format!("failed to write `{}`", temporary.display()))?;
    if let Some(manifest) = manifest {
        section::add_manifest(&temporary, manifest)?;
    }
    // Only a changed component is moved into place: the daemon's build script looks at the time of the file.
    if fs::read(product).ok() == fs::read(&temporary).ok() {
        return fs::remove_file(&temporary).with_context(|| format!("failed to remove `{}`", temporary.display()));
    }
    fs::rename(&temporary, product).with_context(|| format!("failed to write `{}`", product.display()))
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().with_context(|| format!("`{}` has no parent", path.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("failed to create `{}`", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_a_file_or_a_folder_with_a_main() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.rs"), "").unwrap();
        fs::write(folder.path().join("notes.md"), "").unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/main.rs"), "").unwrap();
        assert_eq!(example_names(folder.path()).unwrap(), ["a", "b"]);
    }

    #[test]
    fn an_unchanged_component_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (built, product) = (folder.path().join("built.wasm"), folder.path().join("out/p.wasm"));
        fs::write(&built, "component").unwrap();
        install(&built, &product, None).unwrap();
        let before = fs::metadata(&product).unwrap().modified().unwrap();
        install(&built, &product, None).unwrap();
        assert_eq!(before, fs::metadata(&product).unwrap().modified().unwrap());
        assert!(!product.with_extension("new").exists());
    }
}
