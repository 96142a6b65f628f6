//! The Rust SDK and the WIT beneath it, as they are written into a new project. A test checks that no file is missing.

/// Files of the SDK and of the WIT, each with its place under `vendor/`.
pub(super) const FILES: &[(&str, &str)] = &[
    ("sdk/rust/Cargo.toml", include_str!("rust/sdk-Cargo.toml.in")),
    (
        "sdk/rust/src/cloud_event.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/cloud_event.rs")),
    ),
    ("sdk/rust/src/context.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/context.rs"))),
    ("sdk/rust/src/event.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/event.rs"))),
    (
        "sdk/rust/src/event_log.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/event_log.rs")),
    ),
    ("sdk/rust/src/export.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/export.rs"))),
    ("sdk/rust/src/failure.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/failure.rs"))),
    ("sdk/rust/src/handler.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/handler.rs"))),
    ("sdk/rust/src/http.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/http.rs"))),
    (
        "sdk/rust/src/http/wire.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/http/wire.rs")),
    ),
    ("sdk/rust/src/inbound.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/inbound.rs"))),
    ("sdk/rust/src/jobs.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/jobs.rs"))),
    (
        "sdk/rust/src/key_value.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/key_value.rs")),
    ),
    ("sdk/rust/src/lib.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/lib.rs"))),
    ("sdk/rust/src/log.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/log.rs"))),
    ("sdk/rust/src/outcome.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/outcome.rs"))),
    ("sdk/rust/src/outputs.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/outputs.rs"))),
    (
        "sdk/rust/src/resources.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/resources.rs")),
    ),
    ("sdk/rust/src/settings.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/settings.rs"))),
    ("sdk/rust/src/shim.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/rust/src/shim.rs"))),
    ("wit/delivery.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/delivery.wit"))),
    (
        "wit/deps/wasi-cli/cli.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-cli/cli.wit")),
    ),
    (
        "wit/deps/wasi-clocks/clocks.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-clocks/clocks.wit")),
    ),
    (
        "wit/deps/wasi-config/store.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-config/store.wit")),
    ),
    (
        "wit/deps/wasi-config/world.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-config/world.wit")),
    ),
    (
        "wit/deps/wasi-filesystem/filesystem.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-filesystem/filesystem.wit")),
    ),
    (
        "wit/deps/wasi-http/http.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-http/http.wit")),
    ),
    ("wit/deps/wasi-io/io.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-io/io.wit"))),
    (
        "wit/deps/wasi-keyvalue/atomic.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-keyvalue/atomic.wit")),
    ),
    (
        "wit/deps/wasi-keyvalue/batch.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-keyvalue/batch.wit")),
    ),
    (
        "wit/deps/wasi-keyvalue/store.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-keyvalue/store.wit")),
    ),
    (
        "wit/deps/wasi-keyvalue/watch.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-keyvalue/watch.wit")),
    ),
    (
        "wit/deps/wasi-keyvalue/world.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-keyvalue/world.wit")),
    ),
    (
        "wit/deps/wasi-logging/logging.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-logging/logging.wit")),
    ),
    (
        "wit/deps/wasi-random/random.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-random/random.wit")),
    ),
    (
        "wit/deps/wasi-sockets/sockets.wit",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/deps/wasi-sockets/sockets.wit")),
    ),
    ("wit/event-log.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/event-log.wit"))),
    ("wit/event.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/event.wit"))),
    ("wit/handler.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/handler.wit"))),
    ("wit/inbound.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/inbound.wit"))),
    ("wit/jobs.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/jobs.wit"))),
    ("wit/outputs.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/outputs.wit"))),
    ("wit/resources.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/resources.wit"))),
    ("wit/settings.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/settings.wit"))),
    ("wit/worlds.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/worlds.wit"))),
];
