//! Puts a manifest into a finished component, for toolchains whose SDK does not do it.
//!
//! Never here: reading one, which is [`crate::inspect`]'s.

use pilothouse_core::manifest::{MANIFEST_SECTION, Manifest};
use wasmparser::{Parser, Payload};

use crate::plugin::LoadError;

/// The id of a custom section in the binary format.
const CUSTOM_SECTION_ID: u8 = 0;

/// Returns `component` with `manifest` in its custom section, appended to the end; all else stays byte for byte.
///
/// # Errors
/// The bytes are not a component, it has a manifest already, or the manifest cannot be read.
pub fn embed_manifest(component: &[u8], manifest: &str) -> Result<Vec<u8>, LoadError> {
    if !Parser::is_component(component) {
        return Err(LoadError::NotAComponent("it is not a WebAssembly component".to_owned()));
    }
    Manifest::parse(manifest).map_err(|error| LoadError::Manifest(error.to_string()))?;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| LoadError::NotAComponent(error.to_string()))?;
        if matches!(&payload, Payload::CustomSection(section) if section.name() == MANIFEST_SECTION) {
            return Err(LoadError::Manifest("the component has a manifest already".to_owned()));
        }
    }
    let mut content = Vec::new();
    push_length(&mut content, MANIFEST_SECTION.len());
    content.extend_from_slice(MANIFEST_SECTION.as_bytes());
    content.extend_from_slice(manifest.as_bytes());
    let mut embedded = component.to_vec();
    embedded.push(CUSTOM_SECTION_ID);
    push_length(&mut embedded, content.len());
    embedded.extend_from_slice(&content);
    Ok(embedded)
}

/// Appends a number in LEB128, seven bits to a byte, the lowest first.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = length.to_le_bytes().first().copied().unwrap_or_default() & 0x7f;
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: magic number, version and layer.
    const EMPTY: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    const MANIFEST: &str = "name = \"p\"\nversion = \"0.1.0\"\ndescription = \"A plugin that does nothing at all, with a text \
                            of more than 127 bytes, so that the length of the section takes two.\"\n\
                            [[subscribe]]\nfilter = { exact = { type = \"com.example.a\" } }\n";

    #[test]
    fn a_manifest_that_was_embedded_is_found() {
        let embedded = embed_manifest(&EMPTY, MANIFEST).unwrap();
        let found = Parser::new(0).parse_all(&embedded).any(|payload| {
            matches!(payload.unwrap(), Payload::CustomSection(section)
                if section.name() == MANIFEST_SECTION && section.data() == MANIFEST.as_bytes())
        });
        assert!(found);
        assert!(matches!(embed_manifest(&embedded, MANIFEST), Err(LoadError::Manifest(_))));
    }

    #[test]
    fn a_core_module_and_a_broken_manifest_are_refused() {
        let module = [0, b'a', b's', b'm', 1, 0, 0, 0];
        assert!(matches!(embed_manifest(&module, MANIFEST), Err(LoadError::NotAComponent(_))));
        assert!(matches!(embed_manifest(&EMPTY, "name = 1"), Err(LoadError::Manifest(_))));
    }
}
