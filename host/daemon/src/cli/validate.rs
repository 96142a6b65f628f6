//! `pilothouse validate`: checks files of projects and of inbound routes, without a host.

use std::path::{Path, PathBuf};

use clap::Args;
use pilothouse_core::inbound::mapping;
use pilothouse_core::shipyard;
use pilothouse_core::yaml::{Node, Problem, Severity, Value as Yaml, parse};
use serde_json::json;

use super::terminal::Format;
use super::{CliError, Exit, Terminal};

/// Most files that are looked at.
const FILES_MAX: usize = 10_000;

/// Says for each mistake the file, the line, the column, what is wrong and what was meant.
#[derive(Debug, Args)]
pub(super) struct ValidateCommand {
    /// Files, and folders with all that is in them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// What is known of a file by its `kind`.
enum Kind {
    Shipyard,
    InboundMapping,
}

impl ValidateCommand {
    pub(super) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let mut files = Vec::new();
        for path in &self.paths {
            collect(path, &mut files)?;
        }
        let (mut checked, mut errors, mut found) = (0_usize, 0_usize, Vec::new());
        for file in &files {
            let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
            let named = self.paths.contains(file);
            let Some(problems) = check(&bytes, named) else { continue };
            checked += 1;
            errors += problems.iter().filter(|problem| problem.stops_a_write()).count();
            found.extend(problems.into_iter().map(|problem| (file.clone(), problem)));
        }
        match terminal.format {
            Format::Json => {
                let items: Vec<_> = found
                    .iter()
                    .map(|(file, problem)| {
                        json!({
                            "file": file, "line": problem.at.line, "column": problem.at.column,
                            "severity": problem.severity, "message": problem.message,
                        })
                    })
                    .collect();
                terminal.json(&json!({ "checked": checked, "items": items }))?;
            }
            Format::Table => {
                for (file, problem) in &found {
                    let severity = if problem.severity == Severity::Warning { "warning: " } else { "" };
                    terminal.line(&format!("{}:{}: {severity}{}", file.display(), problem.at, problem.message))?;
                }
                terminal.note(&format!("{checked} files checked, {errors} errors, {} warnings", found.len() - errors));
            }
        }
        if errors > 0 {
            return Err(CliError::new(Exit::Usage, format!("{errors} errors in {checked} files")));
        }
        if checked == 0 {
            return Err(CliError::new(Exit::Usage, "there is no file of a kind that is checked")
                .hint("shipyards (`kind: Shipyard`) and mappings of inbound routes (`kind: InboundMapping`) are"));
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Usage, format!("cannot read `{}`", path.display())).caused_by(error)
}

/// Adds a file, or the YAML files of a folder, in the order of their names. Links are not followed.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    if files.len() >= FILES_MAX {
        return Err(CliError::new(Exit::Usage, format!("more than {FILES_MAX} files; name a smaller folder")));
    }
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(path, &error))?;
        let kind = entry.file_type().map_err(|error| unreadable(path, &error))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let yaml = entry.path().extension().is_some_and(|it| it == "yaml" || it == "yml");
        if !hidden && (kind.is_dir() || kind.is_file() && yaml) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.iter().try_for_each(|path| collect(path, files))
}

/// Checks a file of a known kind; `None` for any other, unless it was named itself and is no YAML at all.
fn check(bytes: &[u8], named: bool) -> Option<Vec<Problem>> {
    let node = match parse(bytes) {
        Ok(node) => node,
        Err(problem) => return named.then(|| vec![problem]),
    };
    Some(match kind(&node)? {
        Kind::Shipyard => shipyard::read(bytes).1,
        Kind::InboundMapping => mapping::read(bytes).1,
    })
}

fn kind(node: &Node) -> Option<Kind> {
    let Yaml::Map(members) = &node.value else { return None };
    let kind = members.iter().find(|member| member.key == "kind")?;
    match kind.node.to_json().as_str()? {
        "Shipyard" => Some(Kind::Shipyard),
        "InboundMapping" => Some(Kind::InboundMapping),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a command wrote.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn run(paths: &[&Path]) -> (Result<(), CliError>, String) {
        let out = Written::default();
        let mut terminal = Terminal::new(out.clone(), std::io::sink(), std::io::empty(), false, Format::Table);
        let command = ValidateCommand { paths: paths.iter().map(|path| path.to_path_buf()).collect() };
        let result = command.run(&mut terminal);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        (result, text)
    }

    #[test]
    fn each_mistake_is_named_with_its_file_and_place_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let head = "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {name: x}\nspec:\n  stages:\n";
        let good = write("good/shipyard.yaml", &format!("{head}  - name: dev\n"));
        write("good/slo.yaml", "spec_version: '1.0'\n");
        write("good/broken.yaml", "a: [");
        let (result, out) = run(&[&folder.path().join("good")]);
        assert!(result.is_ok() && out.is_empty(), "{result:?} {out}");
        let bad = write("bad/shipyard.yaml", &format!("{head}  - name: Dev\n"));
        let (result, out) = run(&[folder.path()]);
        assert_eq!(result.unwrap_err().exit(), Exit::Usage);
        assert!(out.starts_with(&format!("{}:6:11: `Dev` is not a valid stage name", bad.display())), "{out}");
        let (result, out) = run(&[&folder.path().join("good/broken.yaml")]);
        assert!(result.is_err() && out.contains("this is not valid YAML"), "{out}");
        assert!(run(&[&folder.path().join("good/slo.yaml")]).0.is_err(), "nothing was checked");
        assert!(run(&[&folder.path().join("nowhere.yaml")]).0.is_err());
        assert!(run(&[&good]).0.is_ok());
    }
}
