//! Rules about which files exist: known top-level names, plugins that explain themselves, guests that are tested, and
//! host events that are described.

use std::collections::BTreeSet;

use super::{Problem, SourceFile};

/// Everything that may lie at the top of the repository.
const TOP_LEVEL: [&str; 23] = [
    ".cargo",
    ".ci",
    ".config",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "host",
    "plugins",
    "rustfmt.toml",
    "sdk",
    "tests",
    "wit",
    "xtask",
    ".gitattributes",
];

/// Of these, the ones that a repository can do without.
const OPTIONAL: [&str; 1] = [".gitattributes"];

/// Where the types of the host's own events stand.
const HOST_EVENTS: &str = "host/core/src/host_event.rs";

/// Checks the list of files.
pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut problems = top_level(&paths);
    problems.extend(plugins(&paths));
    problems.extend(guests(files));
    problems.extend(host_events(files, &paths));
    problems
}

fn top_level(paths: &BTreeSet<&str>) -> Vec<Problem> {
    let found: BTreeSet<&str> = paths.iter().filter_map(|path| path.split('/').next()).collect();
    let unknown = found.iter().filter(|name| !TOP_LEVEL.contains(name));
    let mut problems: Vec<Problem> = unknown
        .map(|name| Problem::in_file(*name, "is new at the top level: xtask/src/tidy/layout.rs has the list"))
        .collect();
    let absent = TOP_LEVEL.iter().filter(|name| !found.contains(*name) && !OPTIONAL.contains(name));
    problems.extend(absent.map(|name| Problem::in_file(*name, "is missing from the top level")));
    problems
}

fn plugins(paths: &BTreeSet<&str>) -> Vec<Problem> {
    let names: BTreeSet<&str> =
        paths.iter().filter_map(|path| path.strip_prefix("plugins/")?.split('/').next()).collect();
    let mut problems = Vec::new();
    for name in names {
        for file in ["Cargo.toml", "plugin.toml", "README.md"] {
            let path = format!("plugins/{name}/{file}");
            if !paths.contains(path.as_str()) {
                problems.push(Problem::in_file(path, "is missing: every plugin has a manifest and explains itself"));
            }
        }
    }
    problems
}

/// A guest that no test names is dead code that looks like a proof.
fn guests(files: &[SourceFile]) -> Vec<Problem> {
    let tests: Vec<&SourceFile> = files
        .iter()
        .filter(|file| file.path.starts_with("tests/") && !file.path.starts_with("tests/guests/"))
        .filter(|file| file.has_extension("rs"))
        .collect();
    let mut problems = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("tests/guests/examples/").and_then(|path| path.strip_suffix(".rs"))
        else {
            continue;
        };
        let name = name.strip_suffix("/main").unwrap_or(name);
        // Modules of a guest with a folder of its own.
        if name.contains('/') {
            continue;
        }
        let quoted = format!("\"{name}\"");
        if !tests.iter().any(|test| test.text.contains(&quoted)) {
            problems.push(Problem::in_file(&file.path, format!("no test under tests/ names this guest as {quoted}")));
        }
    }
    problems
}

/// Each type of event that the host sends has a schema and an example for those who receive it.
fn host_events(files: &[SourceFile], paths: &BTreeSet<&str>) -> Vec<Problem> {
    let Some(source) = files.iter().find(|file| file.path == HOST_EVENTS) else {
        return vec![Problem::in_file(HOST_EVENTS, "is missing: it holds the types of the host's events")];
    };
    let mut problems = Vec::new();
    for (number, line) in source.numbered_lines() {
        let Some(ty) = line.split('"').nth(1).filter(|ty| line.contains("pub const") && is_event_type(ty)) else {
            continue;
        };
        for suffix in ["schema.json", "example.json"] {
            let path = format!("docs/events/{ty}.{suffix}");
            if !paths.contains(path.as_str()) {
                problems.push(Problem::at(HOST_EVENTS, number, format!("`{ty}` needs `{path}`")));
            }
        }
    }
    problems
}

/// Tells whether a constant's text is a type, and not the prefix of all types.
fn is_event_type(text: &str) -> bool {
    text.starts_with("dev.pilothouse.") && !text.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn a_new_name_at_the_top_level_is_refused() {
        let paths: BTreeSet<&str> = TOP_LEVEL.into_iter().collect();
        assert!(top_level(&paths).is_empty());
        let mut more = paths.clone();
        more.insert("scripts/x.sh");
        assert_eq!(top_level(&more)[0].path, "scripts");
        let mut less = paths;
        less.remove("LICENSE");
        assert_eq!(top_level(&less)[0].path, "LICENSE");
    }

    #[test]
    fn a_plugin_without_a_manifest_or_a_readme_is_refused() {
        let paths = BTreeSet::from(["plugins/jira/Cargo.toml", "plugins/jira/src/lib.rs"]);
        let missing: Vec<String> = plugins(&paths).into_iter().map(|problem| problem.path).collect();
        assert_eq!(missing, ["plugins/jira/plugin.toml", "plugins/jira/README.md"]);
    }

    #[test]
    fn a_guest_that_no_test_names_is_refused() {
        let guest = ("tests/guests/examples/spin.rs", "//! Loops.");
        let other = ("tests/guests/examples/trap.rs", "//! \"spin\"");
        let tests = ("tests/it/limits.rs", "run(\"spin\")");
        let problems = guests(&tree(&[guest, other, tests]));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "tests/guests/examples/trap.rs");
    }

    #[test]
    fn a_host_event_without_a_schema_is_refused() {
        let source = "pub const P: &str = \"dev.pilothouse.\";\npub const A: &str = \"dev.pilothouse.a.b.v1\";\n";
        let files = tree(&[(HOST_EVENTS, source), ("docs/events/dev.pilothouse.a.b.v1.example.json", "{}")]);
        let paths = files.iter().map(|file| file.path.as_str()).collect();
        let problems = host_events(&files, &paths);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].message,
            "`dev.pilothouse.a.b.v1` needs `docs/events/dev.pilothouse.a.b.v1.schema.json`"
        );
    }
}
