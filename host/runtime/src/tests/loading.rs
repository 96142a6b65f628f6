//! What is accepted as a plugin, and what the errors say.

use wasmtime::Store;
use wasmtime::component::Component;

use super::bench::Bench;
use super::guest::{Guest, MANIFEST, with_manifest};
use crate::services::NoServices;
use crate::{LoadError, Runtime, RuntimeConfig, limits, state};

fn inspect_error(wasm: &[u8]) -> String {
    Runtime::inspect(wasm).unwrap_err().to_string()
}

#[test]
fn an_inspection_tells_name_size_digest_imports_and_exports() {
    let wasm = Guest::new("").wasm();
    let inspection = Runtime::inspect(&wasm).unwrap();
    assert_eq!(inspection.manifest.name.as_str(), "guest");
    assert_eq!(inspection.manifest_text, MANIFEST);
    assert_eq!(inspection.size_bytes, u64::try_from(wasm.len()).unwrap());
    assert!(inspection.digest.starts_with("sha256:") && inspection.digest.len() == 71);
    assert!(inspection.imports.contains(&"pilothouse:plugin/delivery@0.1.0".to_owned()), "{:?}", inspection.imports);
    assert_eq!(inspection.exports, ["pilothouse:plugin/handler@0.1.0"]);
    assert!(inspection.problems.iter().all(|problem| !problem.fatal), "{:?}", inspection.problems);
}

#[test]
fn what_is_not_a_component_is_refused_with_the_reason() {
    let wasm = Guest::new("").wasm();
    assert!(inspect_error(b"").contains("not a WebAssembly component"));
    assert!(inspect_error(b"(component)").contains("not a WebAssembly component"));
    assert!(inspect_error(&wat::parse_str("(module)").unwrap()).contains("core module"));
    assert!(inspect_error(&wasm[..wasm.len() / 2]).starts_with("this is not a plugin"));
    assert!(inspect_error(&vec![0; crate::COMPONENT_BYTES_MAX + 1]).contains("at most"));
    let engine = wasmtime::Engine::default();
    let compiled = engine.precompile_component(&wasm).unwrap();
    assert!(inspect_error(&compiled).contains(".cwasm"));
}

#[test]
fn a_plugin_has_exactly_one_manifest_wherever_it_lies() {
    let bare = Guest::new("").bare();
    assert!(inspect_error(&bare).contains("no section"));
    let one = with_manifest(bare, MANIFEST);
    assert!(Runtime::inspect(&one).is_ok());
    assert!(inspect_error(&with_manifest(one, MANIFEST)).contains("2 sections"));
    // Where an SDK puts it: in the module inside the component.
    let nested = Guest::new("").items(&format!(
        "(@custom \"pilothouse:manifest\" \"{}\")",
        MANIFEST.replace('"', "\\\"").replace('\n', "\\n")
    ));
    let inspection = Runtime::inspect(&nested.bare()).unwrap();
    assert_eq!(inspection.manifest_text, MANIFEST);
    assert!(inspect_error(&nested.wasm()).contains("2 sections"));
    assert!(inspect_error(&Guest::new("").manifest("name = ").wasm()).starts_with("the manifest cannot be read"));
}

/// A component that imports one interface and exports nothing.
fn importing(interface: &str) -> Vec<u8> {
    let wasm = wat::parse_str(format!("(component (import \"{interface}\" (instance)))")).unwrap();
    with_manifest(wasm, MANIFEST)
}

#[tokio::test]
async fn an_interface_that_the_host_does_not_offer_is_named_with_what_it_offers() {
    let bench = Bench::new();
    for (interface, hint) in [
        ("acme:gpu/compute@1.0.0", ""),
        ("wasi:keyvalue/store@0.2.0-draft2", "; it offers `wasi:keyvalue/store@0.2.0-draft`"),
        ("wasi:http/outgoing-handler@0.3.0", "; it offers `wasi:http/outgoing-handler@0.2.x`"),
        ("wasi:cli/stdout@0.3.0", "; it offers `wasi:cli/*@0.2.x`"),
        ("pilothouse:plugin/jobs@0.2.0", "; it offers `pilothouse:plugin/jobs@0.1.x`"),
        ("wasi:keyvalue/atomics@0.2.0-draft", ""),
    ] {
        let error = bench.runtime.load(importing(interface)).await.unwrap_err().to_string();
        let expected = format!("it imports `{interface}`, which this host does not offer{hint};");
        assert!(error.contains(&expected), "{error}");
    }
    let error = bench.runtime.load(importing("wasi:cli/stdout@0.2.0")).await.unwrap_err().to_string();
    assert!(error.contains("does not export `pilothouse:plugin/handler@0.1.0`"), "{error}");
}

#[test]
fn imports_and_manifest_that_disagree_are_pointed_out() {
    let guest = Guest::new("").manifest(&MANIFEST.replace("[keyvalue]\nreason = \"tests\"\n", "")).import(
        "wasi:keyvalue/store@0.2.0-draft",
        "open",
        "open",
        "(param i32 i32 i32)",
    );
    let problems = Runtime::inspect(&guest.wasm()).unwrap().problems;
    assert!(problems[0].message.contains("manifest has no [keyvalue]"), "{problems:?}");
    let problems = Runtime::inspect(&Guest::new("").wasm()).unwrap().problems;
    assert!(problems[0].message.contains("does not import `wasi:keyvalue/store`"), "{problems:?}");
}

#[tokio::test]
async fn more_memory_than_the_host_gives_anyone_does_not_compile() {
    let bench = Bench::new();
    let error = bench.runtime.load(Guest::new("").pages(16_384).wasm()).await.unwrap_err();
    assert!(matches!(&error, LoadError::Compile(text) if text.contains("limit")), "{error}");
}

/// A component of `modules` modules, each with a memory of `pages`, all instantiated.
fn memories(modules: usize, pages: usize) -> Vec<u8> {
    let parts: String = (0..modules)
        .map(|n| format!("(core module $m{n} (memory {pages})) (core instance (instantiate $m{n}))"))
        .collect();
    wat::parse_str(format!("(component {parts})")).unwrap()
}

#[tokio::test]
async fn memory_is_counted_over_all_memories_and_their_number_is_bounded() {
    let bench = Bench::new();
    let host = &bench.runtime.host;
    let compile = |wasm: &[u8]| Component::from_binary(&host.engine, wasm);
    let nine = compile(&memories(9, 1)).unwrap_err();
    assert!(format!("{nine:#}").contains("9"), "{nine:#}");

    let try_with = async |wasm: Vec<u8>| {
        let component = compile(&wasm).unwrap();
        let grants = std::sync::Arc::new(pilothouse_core::grant::EffectiveGrants::default());
        let state = state::State::new(state::Parts {
            installation: pilothouse_core::name::InstallationName::new("x").unwrap(),
            manifest: std::sync::Arc::new(Runtime::inspect(&Guest::new("").wasm()).unwrap().manifest),
            settings: &crate::Settings::none(),
            grants,
            services: std::sync::Arc::new(NoServices),
            clients: &host.clients,
            log: crate::log::CallLog::new(100),
            deadline: std::time::Instant::now(),
            memory_ceiling: 10 << 20,
        });
        let mut store = Store::new(&host.engine, state);
        limits::apply(&mut store);
        let result = bench.runtime.linker.instantiate_async(&mut store, &component).await;
        (result.is_ok(), store.data().limits.refused().is_some())
    };
    // Each of three memories is within the limit of 10 MiB; together they are not.
    assert_eq!(try_with(memories(3, 64)).await, (false, true));
    assert_eq!(try_with(memories(2, 64)).await, (true, false));
}

#[tokio::test]
async fn a_component_comes_from_the_cache_and_a_damaged_entry_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = RuntimeConfig {
        instances_max: 8,
        memory_bytes_max: 64 << 20,
        cache_dir: Some(folder.path().join("code")),
        guest_threads: 1,
    };
    let runtime = Runtime::new(config).unwrap();
    let wasm = Guest::new("").wasm();
    runtime.load(wasm.clone()).await.unwrap();
    let entry = || std::fs::read_dir(folder.path().join("code")).unwrap().next().unwrap().unwrap().path();
    let written = std::fs::metadata(entry()).unwrap().modified().unwrap();
    runtime.load(wasm.clone()).await.unwrap();
    assert_eq!(std::fs::metadata(entry()).unwrap().modified().unwrap(), written);

    let whole = std::fs::read(entry()).unwrap();
    std::fs::write(entry(), &whole[..whole.len() - 1]).unwrap();
    runtime.load(wasm).await.unwrap();
    assert_eq!(std::fs::read(entry()).unwrap().len(), whole.len());
}
