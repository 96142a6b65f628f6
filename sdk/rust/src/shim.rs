//! The generated bindings: the one place with unsafe code, all of it written by `wit-bindgen`.
//!
//! Never here: anything written by hand that is unsafe.

/// Bindings of the world `plugin`, as `wit-bindgen` makes them: for what the typed API does not cover.
#[expect(missing_docs, reason = "generated from wit/, where the documentation stands")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "pilothouse:plugin/plugin",
        pub_export_macro: true,
        default_bindings_module: "pilothouse_sdk::bindings",
        runtime_path: "wit_bindgen::rt",
        generate_all,
    });
}

/// Bindings of the optional export `settings`, apart so that a plugin without it does not have to export it.
#[expect(missing_docs, reason = "generated from wit/, where the documentation stands")]
pub mod settings_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package pilothouse:sdk; world settings-only { export pilothouse:plugin/settings@0.1.0; }",
        world: "pilothouse:sdk/settings-only",
        pub_export_macro: true,
        export_macro_name: "export_settings",
        default_bindings_module: "pilothouse_sdk::settings_bindings",
        generate_all,
    });
}

/// Bindings of the optional export `inbound`, apart so that a plugin without it does not have to export it.
#[expect(missing_docs, reason = "generated from wit/, where the documentation stands")]
pub mod inbound_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package pilothouse:sdk; world inbound-only { export pilothouse:plugin/inbound@0.1.0; }",
        world: "pilothouse:sdk/inbound-only",
        pub_export_macro: true,
        export_macro_name: "export_inbound",
        default_bindings_module: "pilothouse_sdk::inbound_bindings",
        with: { "pilothouse:plugin/event@0.1.0": crate::shim::bindings::pilothouse::plugin::event },
    });
}
