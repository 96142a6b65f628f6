//! Rules about the text of files: module docs, length, leftovers, and nothing that is true of one machine only.

use super::{Problem, SourceFile};

/// Longest Rust file, in lines. A file that one can read in one sitting; the median of this repository is far below.
const FILE_LINES_MAX: usize = 500;

/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// What must not be left in Rust code, and what to do instead. Split, so that this file does not break its own rule.
const LEFTOVERS: [(&str, &str); 4] = [
    (concat!("todo", "!("), "finish it, or return an error that says what is missing"),
    (concat!("dbg", "!("), "use `tracing`, or remove it"),
    (concat!("unimplemented", "!("), "return an error that says what is missing"),
    (concat!("#[", "ignore"), "a test that does not run proves nothing: fix it or remove it"),
];

/// Texts that name a place on one machine.
const MACHINE_PLACES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/Use", "rs/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Files of package managers that would send a newcomer to somebody's own registry.
const REGISTRY_FILES: [&str; 4] = [".npmrc", "pip.conf", ".pypirc", ".yarnrc"];

/// The only places from which locked packages come.
const PACKAGE_SOURCES: [(&str, &str, &str); 2] = [
    ("Cargo.lock", "source = \"", "registry+https://github.com/rust-lang/crates.io-index"),
    ("package-lock.json", "\"resolved\": \"", "https://registry.npmjs.org/"),
];

/// Checks every file.
pub(super) fn check(files: &[SourceFile]) -> Vec<Problem> {
    files.iter().flat_map(|file| rust(file).into_iter().chain(places(file)).chain(packages(file))).collect()
}

fn rust(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !file.has_extension("rs") {
        return problems;
    }
    if !file.text.starts_with("//!") {
        let message = "must open with `//!`: what it owns, what it must never do";
        problems.push(Problem::at(&file.path, 1, message));
    }
    let lines = file.text.lines().count();
    let is_excepted = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    if lines > FILE_LINES_MAX && !is_excepted {
        let message = format!("{lines} lines; at most {FILE_LINES_MAX}: cut it by concept, not by size");
        problems.push(Problem::in_file(&file.path, message));
    }
    for (number, line) in file.numbered_lines() {
        for (leftover, advice) in LEFTOVERS {
            // A macro name in prose is no leftover.
            if line.contains(leftover) && !line.trim_start().starts_with("//") {
                problems.push(Problem::at(&file.path, number, format!("`{leftover}` was left behind: {advice}")));
            }
        }
    }
    problems
}

/// Finds absolute paths of one machine, in every kind of file.
fn places(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in file.numbered_lines() {
        for place in MACHINE_PLACES {
            if line.match_indices(place).any(|(at, _)| is_absolute(line, at)) {
                problems.push(Problem::at(&file.path, number, format!("`{place}` is a place on one machine")));
            }
        }
    }
    problems
}

/// Tells whether the path that starts at `at` in `line` is no tail of a longer one, such as `$ROOT/work/`.
fn is_absolute(line: &str, at: usize) -> bool {
    let before = line.get(..at).and_then(|text| text.chars().next_back());
    !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '>' | ')' | '*' | '/'))
}

/// Checks where locked packages come from.
fn packages(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if REGISTRY_FILES.contains(&name) {
        problems.push(Problem::in_file(&file.path, "which registry is used is each user's own configuration"));
    }
    for (lock, key, source) in PACKAGE_SOURCES {
        if name != lock {
            continue;
        }
        for (number, line) in file.numbered_lines() {
            if line.trim_start().strip_prefix(key).is_some_and(|value| !value.starts_with(source)) {
                problems.push(Problem::at(&file.path, number, format!("packages come from {source} only")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&tree(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rust_file_opens_with_a_module_doc() {
        assert!(messages("a.rs", "//! Owns nothing.\n").is_empty());
        assert!(messages("a.rs", "// No doc.\n")[0].starts_with("a.rs:1: must open with `//!`"));
        assert!(messages("a.md", "# No Rust\n").is_empty());
    }

    #[test]
    fn a_rust_file_of_501_lines_is_too_long() {
        let text = |lines: usize| format!("//! Doc.\n{}", "// x\n".repeat(lines - 1));
        assert!(messages("a.rs", &text(500)).is_empty());
        assert!(messages("a.rs", &text(501))[0].contains("501 lines"));
    }

    #[test]
    fn leftovers_are_found_in_code_and_not_in_prose() {
        for (leftover, _) in LEFTOVERS {
            assert_eq!(messages("a.rs", &format!("//! Doc.\n    {leftover}\n")).len(), 1, "{leftover}");
            assert!(messages("a.rs", &format!("//! Doc.\n/// Like {leftover}\n")).is_empty(), "{leftover}");
        }
    }

    #[test]
    fn an_absolute_path_of_one_machine_is_found_in_any_file() {
        let text = format!("run {}me/x\n", MACHINE_PLACES[0]);
        assert_eq!(messages("docs/a.md", &text).len(), 1);
        assert!(messages("docs/a.md", &format!("run $X{}me\n", MACHINE_PLACES[0])).is_empty());
    }

    #[test]
    fn a_locked_package_from_elsewhere_is_found() {
        let good = "      \"resolved\": \"https://registry.npmjs.org/a/-/a-1.0.0.tgz\",\n";
        let bad = "      \"resolved\": \"https://mirror.example/a-1.0.0.tgz\",\n";
        assert!(messages("x/package-lock.json", good).is_empty());
        assert_eq!(messages("x/package-lock.json", bad).len(), 1);
        assert_eq!(messages("tests/.npmrc", "registry=x\n").len(), 1);
    }
}
