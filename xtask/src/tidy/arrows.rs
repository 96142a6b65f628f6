//! Who may depend on whom: the arrows between crates, and what stays out of each.
//!
//! `ARCHITECTURE.md` gives the reasons. A new crate or arrow is a decision, so it must be written down here.

use super::{Problem, SourceFile};

/// A crate of the workspace.
struct Crate {
    /// Path of its folder; a trailing `*` stands for one more name.
    folder: &'static str,
    /// The crates of the workspace that it may use.
    uses: &'static [&'static str],
    /// Outside crates that it must never use: by these absences one knows what it cannot do.
    never: &'static [&'static str],
}

/// What brings a WebAssembly engine.
const ENGINE: [&str; 3] = ["wasmtime", "wasmtime-wasi", "wasmtime-wasi-http"];

const CRATES: [Crate; 10] = [
    Crate {
        folder: "host/core",
        uses: &["pilothouse-files"],
        never: &["tokio", "axum", "hyper", "reqwest", "rusqlite", "wasmtime", "tracing", "async-trait", "getrandom"],
    },
    Crate {
        folder: "host/store",
        uses: &["pilothouse-core"],
        never: &["axum", "hyper", "reqwest", "wasmtime", "wasmtime-wasi", "wasmparser"],
    },
    Crate {
        folder: "host/runtime",
        uses: &["pilothouse-core"],
        never: &["axum", "tower-http", "rusqlite", "clap", "utoipa"],
    },
    Crate {
        folder: "host/daemon",
        uses: &["pilothouse-core", "pilothouse-files", "pilothouse-store", "pilothouse-runtime"],
        never: &["rusqlite", "wasmtime", "wasmtime-wasi", "wasmtime-wasi-http", "anyhow"],
    },
    // In every plugin and in the host: what it may use is what both can.
    Crate { folder: "sdk/files", uses: &[], never: &["tokio", "wasmtime", "getrandom", "regex", "async-trait"] },
    Crate { folder: "sdk/rust", uses: &["pilothouse-files"], never: &ENGINE },
    Crate { folder: "sdk/testing", uses: &["pilothouse-runtime", "pilothouse-core"], never: &["axum", "rusqlite"] },
    Crate { folder: "plugins/*", uses: &["pilothouse-sdk"], never: &ENGINE },
    Crate {
        folder: "tests",
        uses: &[
            "pilothouse",
            "pilothouse-core",
            "pilothouse-files",
            "pilothouse-runtime",
            "pilothouse-store",
            "pilothouse-testing",
            // Natively, to compare with.
            "plugin-jmeter",
        ],
        never: &[],
    },
    Crate { folder: "xtask", uses: &[], never: &["wasmtime", "tokio"] },
];

/// Dependency tables of a manifest. Tests of a crate keep to the same arrows: what they need from above is in `tests/`.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the manifest of every crate of the workspace.
pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        // Workspaces of their own, with hostile code and with fuzz targets: they may use what they like, nothing uses them.
        .filter(|file| !["tests/guests/", "tests/fuzz/"].iter().any(|folder| file.path.starts_with(folder)))
        .filter(|file| !is_template(&file.path))
        .flat_map(check_manifest)
        .collect()
}

/// Tells whether the manifest is part of what `pilothouse plugin new` writes.
fn is_template(path: &str) -> bool {
    path.contains("/template/") || path.contains("/templates/")
}

fn check_manifest(file: &SourceFile) -> Vec<Problem> {
    let folder = file.path.trim_end_matches("/Cargo.toml");
    let Some(known) = CRATES.iter().find(|known| matches(known.folder, folder)) else {
        let message = "is a crate that xtask/src/tidy/arrows.rs does not know: say there what it may use";
        return vec![Problem::in_file(&file.path, message)];
    };
    let table: toml::Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Problem::in_file(&file.path, format!("is not TOML: {}", error.message()))],
    };
    let mut problems = Vec::new();
    for (name, value) in TABLES.iter().filter_map(|name| table.get(*name)?.as_table()).flatten() {
        if is_ours(name) && !known.uses.contains(&name.as_str()) {
            problems.push(Problem::in_file(&file.path, format!("{folder} must not use `{name}`")));
        }
        if known.never.contains(&name.as_str()) {
            problems.push(Problem::in_file(&file.path, format!("{folder} must stay free of `{name}`")));
        }
        if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
            let message = format!("`{name}` must be `workspace = true`: versions stand in the root Cargo.toml");
            problems.push(Problem::in_file(&file.path, message));
        }
    }
    let lints = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if lints != Some(true) {
        problems.push(Problem::in_file(&file.path, "must have `[lints] workspace = true`"));
    }
    problems
}

/// Tells whether `name` is a crate of this workspace.
fn is_ours(name: &str) -> bool {
    name == "pilothouse" || name.starts_with("pilothouse-") || name.starts_with("plugin-") || name == "xtask"
}

/// Tells whether `folder` is the one that `pattern` means.
fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => folder.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
        None => pattern == folder,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&tree(&[(path, &format!("[lints]\nworkspace = true\n{text}"))])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_core_depends_on_no_other_crate_of_the_workspace() {
        let text = "[dependencies]\npilothouse-store.workspace = true\n";
        assert_eq!(
            messages("host/core/Cargo.toml", text),
            ["host/core/Cargo.toml: host/core must not use `pilothouse-store`"]
        );
        assert!(messages("host/daemon/Cargo.toml", text).is_empty());
    }

    #[test]
    fn the_core_stays_free_of_async_and_io_even_in_its_tests() {
        let text = "[dev-dependencies]\ntokio.workspace = true\n";
        assert_eq!(
            messages("host/core/Cargo.toml", text),
            ["host/core/Cargo.toml: host/core must stay free of `tokio`"]
        );
    }

    #[test]
    fn a_plugin_uses_the_sdk_and_nothing_of_the_host() {
        assert!(messages("plugins/jira/Cargo.toml", "[dependencies]\npilothouse-sdk.workspace = true\n").is_empty());
        assert_eq!(messages("plugins/jira/Cargo.toml", "[dependencies]\npilothouse-core.workspace = true\n").len(), 1);
    }

    #[test]
    fn a_version_outside_of_the_root_manifest_is_refused() {
        assert_eq!(messages("host/core/Cargo.toml", "[dependencies]\nuuid = \"1\"\n").len(), 1);
    }

    #[test]
    fn an_unknown_crate_is_refused_until_its_arrows_are_written_down() {
        assert_eq!(messages("host/extra/Cargo.toml", "").len(), 1);
        assert!(messages("tests/guests/Cargo.toml", "").is_empty());
    }
}
