//! Makes components of core modules in text form, with the contract's own WIT.
//!
//! The module of every guest has memory, an allocator that never frees, `handle`, and whatever a test adds. The result
//! that `handle` returns lies at address 16 and is zero unless the test writes there: an outcome without events or
//! answer. See `RESULT` and the offsets beside it.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// The manifest of guests that say nothing else.
pub(crate) const MANIFEST: &str = r#"
name = "guest"
version = "0.1.0"
description = "A guest of the runtime's tests."
emits = ["dev.example.made", "dev.example.many.*"]

[keyvalue]
reason = "tests"
"#;

/// A guest to be made.
pub(crate) struct Guest {
    imports: String,
    items: String,
    handle: String,
    manifest: String,
    pages: u32,
    world: &'static str,
}

impl Guest {
    /// Starts a guest whose `handle` runs `body`; its one parameter is the address of context and event.
    pub(crate) fn new(body: &str) -> Self {
        Self {
            imports: String::new(),
            items: String::new(),
            handle: body.to_owned(),
            manifest: MANIFEST.to_owned(),
            pages: 2,
            world: "plugin",
        }
    }

    /// Imports a function under the name `$name`.
    pub(crate) fn import(mut self, interface: &str, function: &str, name: &str, signature: &str) -> Self {
        self.imports += &format!("(import \"{interface}\" \"{function}\" (func ${name} {signature}))\n");
        self
    }

    /// Adds items to the module: data, functions, a start function.
    pub(crate) fn items(mut self, items: &str) -> Self {
        self.items += items;
        self
    }

    /// Sets the manifest's text.
    pub(crate) fn manifest(mut self, text: &str) -> Self {
        self.manifest = text.to_owned();
        self
    }

    /// Sets the initial size of memory, in pages of 64 KiB.
    pub(crate) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Exports `settings` too; `items` must then define it.
    pub(crate) fn with_settings(mut self) -> Self {
        self.world = "plugin-with-settings";
        self
    }

    /// Makes the component, with its manifest.
    pub(crate) fn wasm(&self) -> Vec<u8> {
        with_manifest(self.bare(), &self.manifest)
    }

    /// Makes the component without a manifest.
    pub(crate) fn bare(&self) -> Vec<u8> {
        let module = format!(
            r#"(module
                (import "pilothouse:plugin/delivery@0.1.0" "[resource-drop]context" (func $drop-context (param i32)))
                {imports}
                (memory (export "memory") {pages})
                (global $heap (mut i32) (i32.const 16384))
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local i32)
                    (local.set 4 (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get 4) (local.get 3)))
                    (block $room (loop $grow
                        (br_if $room (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                        (br_if $room (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
                        (br $grow)))
                    (local.get 4))
                {items}
                (func (export "pilothouse:plugin/handler@0.1.0#handle") (param $in i32) (result i32)
                    (local $a i32) (local $b i32)
                    {body}
                    (call $drop-context (i32.load (local.get $in)))
                    (i32.const 16)))"#,
            imports = self.imports,
            pages = self.pages,
            items = self.items,
            body = self.handle,
        );
        let mut module = wat::parse_str(&module).unwrap_or_else(|error| panic!("{error}\n{module}"));
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        resolve.push_dir(&wit).unwrap();
        let world = format!(
            "package test:guest; world guest {{ include pilothouse:plugin/{}@0.1.0; import wasi:cli/stderr@0.2.12; \
             import wasi:io/poll@0.2.12; }}",
            self.world
        );
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
    }
}

/// Appends a manifest section to a component.
pub(crate) fn with_manifest(mut wasm: Vec<u8>, manifest: &str) -> Vec<u8> {
    use wasm_encoder::ComponentSection as _;
    let section = wasm_encoder::CustomSection {
        name: pilothouse_core::manifest::MANIFEST_SECTION.into(),
        data: manifest.as_bytes().into(),
    };
    section.append_to_component(&mut wasm);
    wasm
}

/// Data at `address`, and the length of its text.
pub(crate) fn text(address: u32, text: &str) -> (String, usize) {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    (format!("(data (i32.const {address}) \"{escaped}\")\n"), text.len())
}

/// Address of what `handle` returns.
pub(crate) const RESULT: u32 = 16;
/// Size of an event record.
pub(crate) const EVENT: u32 = 96;

/// Writes a 32-bit number.
pub(crate) fn store(address: u32, value: u32) -> String {
    format!("(i32.store (i32.const {address}) (i32.const {}))\n", value.cast_signed())
}

/// Writes an event record at `address` whose type is the text at `ty`.
pub(crate) fn event(address: u32, ty: (u32, usize)) -> String {
    let length = u32::try_from(ty.1).unwrap();
    store(address + 16, ty.0) + &store(address + 20, length)
}

/// Returns `count` events from the records at `address`.
pub(crate) fn events(address: u32, count: u32) -> String {
    store(RESULT + 8, address) + &store(RESULT + 12, count)
}

/// Answers `finished` with the JSON text at `output`.
pub(crate) fn finished(output: Option<(u32, usize)>) -> String {
    let mut code = store(RESULT + 16, 1);
    if let Some((address, length)) = output {
        code += &store(RESULT + 52, 1);
        code += &store(RESULT + 56, address);
        code += &store(RESULT + 60, u32::try_from(length).unwrap());
    }
    code
}

/// Fails with `retry` after so many milliseconds, with the reason at `reason`.
pub(crate) fn retry(reason: (u32, usize), after_ms: u32) -> String {
    store(RESULT, 1)
        + &store(RESULT + 8, 0)
        + &store(RESULT + 16, reason.0)
        + &store(RESULT + 20, u32::try_from(reason.1).unwrap())
        + &store(RESULT + 24, 1)
        + &store(RESULT + 32, after_ms)
}

/// Fails with `reject`, with the reason at `reason`.
pub(crate) fn reject(reason: (u32, usize)) -> String {
    store(RESULT, 1)
        + &store(RESULT + 8, 1)
        + &store(RESULT + 16, reason.0)
        + &store(RESULT + 20, u32::try_from(reason.1).unwrap())
}
