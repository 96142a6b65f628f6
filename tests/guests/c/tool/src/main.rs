//! The two steps of a C guest that clang does not do: `bindings WIT-FOLDER OUT-FOLDER` and `component MODULE OUT`.
//!
//! The same as `wit-bindgen c` and `wasm-tools component new`, without installing either.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bindings", wit, out] => bindings(Path::new(wit), Path::new(out)),
        ["component", module, out] => component(Path::new(module), Path::new(out)),
        _ => bail!("usage: bindings WIT-FOLDER OUT-FOLDER | component MODULE OUT"),
    }
}

/// Writes `<world>.h`, `<world>.c` and `<world>_component_type.o` for the only world of the package in `wit`.
fn bindings(wit: &Path, out: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).with_context(|| format!("failed to read `{}`", wit.display()))?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, content) in files.iter() {
        let path = out.join(name);
        std::fs::write(&path, content).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}

fn component(module: &Path, out: &Path) -> Result<()> {
    let bytes = std::fs::read(module).with_context(|| format!("failed to read `{}`", module.display()))?;
    let component = ComponentEncoder::default().module(&bytes)?.validate(true).encode()?;
    std::fs::write(out, component).with_context(|| format!("failed to write `{}`", out.display()))
}
