//! Custom sections of a component: how a manifest becomes part of a `.wasm` file.
//!
//! A section can be appended to a finished component without touching the rest, so any language's build can be
//! followed by this step. Reading what runs is the host's business, not this module's.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The section that holds a plugin's manifest; the host's name for it is in `host/core/src/manifest.rs`.
const MANIFEST_SECTION: &str = "pilothouse:manifest";

/// The first eight bytes of a component: the magic number, and the version and layer of the component model.
const COMPONENT_PREAMBLE: [u8; 8] = [0x00, b'a', b's', b'm', 0x0d, 0x00, 0x01, 0x00];

/// Appends `manifest` to the component at `path`, unless the component holds one already.
///
/// # Errors
/// A file cannot be read or written, or `path` is not a component.
pub(crate) fn add_manifest(path: &Path, manifest: &Path) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    if !bytes.starts_with(&COMPONENT_PREAMBLE) {
        bail!("`{}` is not a WebAssembly component", path.display());
    }
    // Anywhere in the file: the Rust SDK puts the section into the core module inside the component.
    if bytes.windows(MANIFEST_SECTION.len()).any(|window| window == MANIFEST_SECTION.as_bytes()) {
        return Ok(());
    }
    let text = fs::read(manifest).with_context(|| format!("failed to read `{}`", manifest.display()))?;
    bytes.extend(custom_section(MANIFEST_SECTION, &text));
    fs::write(path, bytes).with_context(|| format!("failed to write `{}`", path.display()))
}

/// Returns a custom section: its id 0, its length, then its name with a length, then its content.
fn custom_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = leb128(name.len());
    body.extend(name.as_bytes());
    body.extend(content);
    let mut section = vec![0];
    section.extend(leb128(body.len()));
    section.extend(body);
    section
}

/// Returns `value` in unsigned LEB128, the variable-length number of the binary format.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [127]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn a_manifest_is_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let (component, manifest) = (folder.path().join("p.wasm"), folder.path().join("plugin.toml"));
        fs::write(&component, COMPONENT_PREAMBLE).unwrap();
        fs::write(&manifest, "name = \"p\"").unwrap();
        add_manifest(&component, &manifest).unwrap();
        let once = fs::read(&component).unwrap();
        assert_eq!(once[8..11], [0, 30, 19]);
        assert!(once.ends_with(b"pilothouse:manifestname = \"p\""));
        add_manifest(&component, &manifest).unwrap();
        assert_eq!(once, fs::read(&component).unwrap());
    }

    #[test]
    fn a_core_module_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("m.wasm");
        fs::write(&module, [0x00, b'a', b's', b'm', 1, 0, 0, 0]).unwrap();
        let error = add_manifest(&module, &module).unwrap_err();
        assert!(error.to_string().contains("is not a WebAssembly component"));
    }
}
