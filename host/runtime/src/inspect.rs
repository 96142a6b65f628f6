//! Reads what a component is and asks for, without compiling or running it.

use pilothouse_core::manifest::{MANIFEST_SECTION, MANIFEST_SIZE_BYTES_MAX, Manifest};
use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::Engine;

use crate::plugin::LoadError;

/// What a component says about itself, and what stands against installing it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// `sha256:` and the hex digest of the bytes.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Interfaces imported, with their versions, in the component's order.
    pub imports: Vec<String>,
    /// Interfaces and functions exported.
    pub exports: Vec<String>,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's text.
    pub manifest_text: String,
    /// What an operator should know; any fatal one forbids to load it.
    pub problems: Vec<InspectionProblem>,
}

/// Something wrong with a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectionProblem {
    /// Whether the component cannot be installed with it.
    pub fatal: bool,
    /// What is wrong and what to do.
    pub message: String,
}

/// Largest component, in bytes. Rust plugins have some 200 KiB; JavaScript and Python bring an engine of 15 to 23 MiB.
pub const COMPONENT_BYTES_MAX: usize = 32 << 20;

/// The interface that every plugin exports.
const HANDLER: &str = "pilothouse:plugin/handler";
/// The optional ones.
pub(crate) const SETTINGS: &str = "pilothouse:plugin/settings";
pub(crate) const INBOUND: &str = "pilothouse:plugin/inbound";

/// Interfaces that the host offers, with the versions it takes. WASI 0.2 is compatible in itself; drafts only exactly.
const OFFERED: [(&str, &str); 14] = [
    ("pilothouse:plugin/event", "0.1."),
    ("pilothouse:plugin/delivery", "0.1."),
    ("pilothouse:plugin/event-log", "0.1."),
    ("pilothouse:plugin/jobs", "0.1."),
    ("pilothouse:plugin/outputs", "0.1."),
    ("pilothouse:plugin/resources", "0.1."),
    ("wasi:cli/", "0.2."),
    ("wasi:clocks/", "0.2."),
    ("wasi:filesystem/", "0.2."),
    ("wasi:io/", "0.2."),
    ("wasi:random/", "0.2."),
    ("wasi:sockets/", "0.2."),
    ("wasi:http/types", "0.2."),
    ("wasi:http/outgoing-handler", "0.2."),
];
/// Drafts: a pre-release matches only itself.
const OFFERED_DRAFTS: [&str; 3] =
    ["wasi:config/store@0.2.0-rc.1", "wasi:keyvalue/store@0.2.0-draft", "wasi:logging/logging@0.1.0-draft"];

/// Reads a component. Nothing of it is run or compiled.
///
/// # Errors
/// Not a valid component of at most [`COMPONENT_BYTES_MAX`] bytes with one readable manifest.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Inspection, LoadError> {
    let size = u64::try_from(wasm.len()).unwrap_or(u64::MAX);
    if wasm.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { size, max: COMPONENT_BYTES_MAX as u64 });
    }
    if Engine::detect_precompiled(wasm).is_some() {
        return Err(LoadError::NotAComponent(
            "it is compiled machine code (`.cwasm`), which is never accepted from outside; give the `.wasm`".to_owned(),
        ));
    }
    if Parser::is_core_wasm(wasm) {
        return Err(LoadError::NotAComponent(
            "it is a core module; build for the target `wasm32-wasip2`, or make a component of it".to_owned(),
        ));
    }
    if !Parser::is_component(wasm) {
        return Err(LoadError::NotAComponent("it is not a WebAssembly component".to_owned()));
    }
    let read = read(wasm).map_err(|error| LoadError::NotAComponent(format!("{error}")))?;
    let manifest_text = match read.manifests.as_slice() {
        [one] => one.clone(),
        [] => {
            return Err(LoadError::Manifest(format!(
                "the component has no section `{MANIFEST_SECTION}`; the SDK's macro or `pilothouse plugin` adds it"
            )));
        }
        _ => {
            return Err(LoadError::Manifest(format!(
                "the component has {} sections `{MANIFEST_SECTION}`; exactly one plugin is one manifest",
                read.manifests.len()
            )));
        }
    };
    let manifest: Manifest = toml::from_str(&manifest_text)
        .map_err(|error| LoadError::Manifest(crate::log::escape(&error.to_string().replace('\n', " "), 600)))?;
    let problems = problems(&read.imports, &read.exports, &manifest);
    Ok(Inspection {
        digest: digest(wasm),
        size_bytes: size,
        imports: read.imports,
        exports: read.exports,
        manifest,
        manifest_text,
        problems,
    })
}

/// Returns `sha256:` and the digest in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Default)]
struct Read {
    imports: Vec<String>,
    exports: Vec<String>,
    manifests: Vec<String>,
}

fn read(wasm: &[u8]) -> Result<Read, wasmparser::BinaryReaderError> {
    // Broken bytes get the parser's plain words here and not the compiler's later.
    wasmparser::Validator::new().validate_all(wasm)?;
    let mut read = Read::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            // The SDK's section lies in the module inside the component.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    read.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    read.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                let data = section.data();
                let data = data.get(..MANIFEST_SIZE_BYTES_MAX.saturating_add(1).min(data.len())).unwrap_or_default();
                read.manifests.push(String::from_utf8_lossy(data).into_owned());
            }
            _ => {}
        }
    }
    Ok(read)
}

fn problems(imports: &[String], exports: &[String], manifest: &Manifest) -> Vec<InspectionProblem> {
    let mut problems = Vec::new();
    let mut add = |fatal, message| problems.push(InspectionProblem { fatal, message });
    for import in imports {
        if !is_offered(import) {
            let import = crate::log::escape(import, 200);
            add(true, format!("it imports `{import}`, which this host does not offer{}", hint(&import)));
        }
    }
    if !exports.iter().any(|export| is_compatible(export, HANDLER, "0.1.")) {
        let found = exports.iter().find(|export| export.starts_with(HANDLER));
        add(
            true,
            match found {
                Some(found) => format!("it exports `{found}`; this host runs `{HANDLER}@0.1.x`"),
                None => format!("it does not export `{HANDLER}@0.1.0`, so there is nothing to call"),
            },
        );
    }
    let asked = [
        (
            "wasi:http/outgoing-handler",
            !manifest.http.is_empty() || !manifest.connections.is_empty() || manifest.any_connection.is_some(),
            "[[http]] or [[connection]]",
        ),
        ("wasi:keyvalue/store", manifest.keyvalue.is_some(), "[keyvalue]"),
        ("pilothouse:plugin/jobs", !manifest.jobs.is_empty() || manifest.any_job.is_some(), "[[job]]"),
        ("pilothouse:plugin/outputs", !manifest.outputs.is_empty(), "[[outputs]]"),
        ("pilothouse:plugin/resources", manifest.resources.is_some(), "[resources]"),
        ("pilothouse:plugin/event-log", manifest.event_log.is_some(), "[event-log]"),
    ];
    for (interface, is_asked, table) in asked {
        let imported = imports.iter().any(|import| name(import) == interface);
        if imported && !is_asked {
            add(false, format!("it imports `{interface}`, but its manifest has no {table}: every call will be denied"));
        }
        if !imported && is_asked {
            add(false, format!("its manifest has {table}, but it does not import `{interface}`"));
        }
    }
    let receives = exports.iter().any(|export| export.starts_with(INBOUND));
    if receives && manifest.inbound.is_none() {
        add(false, format!("it exports `{INBOUND}`, but its manifest has no [inbound]: no route can be given to it"));
    }
    if !receives && manifest.inbound.is_some() {
        add(true, format!("its manifest has [inbound], but it does not export `{INBOUND}`"));
    }
    problems
}

fn name(interface: &str) -> &str {
    interface.split('@').next().unwrap_or_default()
}

fn is_compatible(interface: &str, prefix: &str, version: &str) -> bool {
    let Some((name, found)) = interface.split_once('@') else { return false };
    let named = if prefix.ends_with('/') { name.starts_with(prefix) } else { name == prefix };
    // A pre-release of a version is not that version.
    named && found.starts_with(version) && !found.contains('-')
}

fn is_offered(import: &str) -> bool {
    OFFERED_DRAFTS.contains(&import) || OFFERED.iter().any(|(prefix, version)| is_compatible(import, prefix, version))
}

fn hint(import: &str) -> String {
    let offered = OFFERED_DRAFTS.iter().find(|draft| name(draft) == name(import)).map(|draft| (*draft).to_owned());
    let offered = offered.or_else(|| {
        let (prefix, version) = OFFERED.iter().find(|(prefix, _)| name(import).starts_with(prefix))?;
        Some(if prefix.ends_with('/') { format!("{prefix}*@{version}x") } else { format!("{prefix}@{version}x") })
    });
    offered.map_or_else(String::new, |offered| format!("; it offers `{offered}`"))
}
