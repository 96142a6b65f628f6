//! Writes the list of bundled plugins that `src/bundle.rs` includes.
//!
//! They are the `*.wasm` files of `$PILOTHOUSE_BUNDLE_DIR`, or else of `plugins` in the target folder, where
//! `cargo xtask guests` puts them. No file there means an empty bundle; never builds a plugin itself.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=PILOTHOUSE_BUNDLE_DIR");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let folder = folder()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut list = String::from("&[\n");
    for file in components(&folder)? {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        println!("cargo::rerun-if-changed={}", file.display());
        list.push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", file.display().to_string()));
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("bundle.rs");
    // An unchanged list keeps its time.
    if fs::read_to_string(&out).ok().as_deref() != Some(&list) {
        fs::write(out, list)?;
    }
    Ok(())
}

fn folder() -> Result<PathBuf, Box<dyn std::error::Error>> {
    if let Some(folder) = env::var_os("PILOTHOUSE_BUNDLE_DIR") {
        return Ok(folder.into());
    }
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    let folder = target.join("plugins");
    // A path that does not exist counts as changed at each build.
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn components(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("cargo::warning=there is no folder {}: no plugin is bundled", folder.display());
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
