//! The host's side of `wit/`, generated. Everything else of the crate implements or calls what stands here.
//!
//! The world with every optional export is used, but no component is held to it: exports are looked up one by one,
//! see [`crate::plugin`].

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "pilothouse:plugin/plugin-with-inbound",
    // `async`: so that a host call that waits gives its thread to others. `trappable`: so that a broken handle ends the
    // call and not the host.
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:random": wasmtime_wasi::p2::bindings::random,
        "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        "pilothouse:plugin/delivery.context": crate::delivery::Context,
        "wasi:keyvalue/store.bucket": crate::key_value::Bucket,
    },
});
