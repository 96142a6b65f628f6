//! The crate that reads a project's files, as it is written into a new project beside the SDK. A test checks that no file is
//! missing; its own tests stay here.

/// Files of the crate, each with its place under `vendor/`.
pub(super) const FILES: &[(&str, &str)] = &[
    ("sdk/files/Cargo.toml", include_str!("rust/files-Cargo.toml.in")),
    (
        "sdk/files/src/criterion.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/criterion.rs")),
    ),
    (
        "sdk/files/src/evaluation/baseline.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/evaluation/baseline.rs")),
    ),
    (
        "sdk/files/src/evaluation/explain.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/evaluation/explain.rs")),
    ),
    (
        "sdk/files/src/evaluation/input.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/evaluation/input.rs")),
    ),
    (
        "sdk/files/src/evaluation/mod.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/evaluation/mod.rs")),
    ),
    (
        "sdk/files/src/evaluation/window.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/evaluation/window.rs")),
    ),
    ("sdk/files/src/gate.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/gate.rs"))),
    ("sdk/files/src/in_step.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/in_step.rs"))),
    ("sdk/files/src/jobs.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/jobs.rs"))),
    ("sdk/files/src/lib.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/lib.rs"))),
    ("sdk/files/src/member.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/member.rs"))),
    (
        "sdk/files/src/monitoring.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/monitoring.rs")),
    ),
    ("sdk/files/src/name.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/name.rs"))),
    ("sdk/files/src/place.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/place.rs"))),
    (
        "sdk/files/src/quantity.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/quantity.rs")),
    ),
    ("sdk/files/src/query.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/query.rs"))),
    (
        "sdk/files/src/remediation.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/remediation.rs")),
    ),
    ("sdk/files/src/result.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/result.rs"))),
    (
        "sdk/files/src/shipyard/check.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/shipyard/check.rs")),
    ),
    (
        "sdk/files/src/shipyard/mod.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/shipyard/mod.rs")),
    ),
    (
        "sdk/files/src/shipyard/read.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/shipyard/read.rs")),
    ),
    ("sdk/files/src/sli.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/sli.rs"))),
    ("sdk/files/src/slo.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/slo.rs"))),
    ("sdk/files/src/suggest.rs", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/suggest.rs"))),
    (
        "sdk/files/src/webhooks.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/webhooks.rs")),
    ),
    (
        "sdk/files/src/workload.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/workload.rs")),
    ),
    (
        "sdk/files/src/yaml/fields.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/yaml/fields.rs")),
    ),
    (
        "sdk/files/src/yaml/mod.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/yaml/mod.rs")),
    ),
    (
        "sdk/files/src/yaml/parse.rs",
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/files/src/yaml/parse.rs")),
    ),
];
