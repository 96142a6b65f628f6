//! `pilothouse validate`: checks files of projects and of inbound routes, without a host.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use pilothouse_core::files::project::{FileProblem, ProjectFile, check_project};
use pilothouse_core::files::{FileKind, check};
use pilothouse_core::resource::FILE_BYTES_MAX;
use pilothouse_core::shipyard::SHIPYARD_FILE;
use pilothouse_core::yaml::parse;
use serde_json::json;

use super::api::{Api, encode};
use super::terminal::Format;
use super::{CliError, Exit, Global, Terminal};

/// Most files that are looked at.
const FILES_MAX: usize = 10_000;

/// Says for each mistake the file, the line, the column, what is wrong and what was meant.
///
/// A folder with a `shipyard.yaml` is a project: its files are checked together too. Files are checked without a host.
#[derive(Debug, Args)]
pub(super) struct ValidateCommand {
    /// Files, and folders with all that is in them.
    #[arg(required_unless_present = "project", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check the present files of this project on the host, and whether each task of its shipyard has an executor.
    #[arg(long, value_name = "PROJECT", conflicts_with = "paths")]
    project: Option<String>,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
struct Report {
    checked: usize,
    problems: Vec<FileProblem>,
}

impl ValidateCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let Some(project) = &self.project else { return self.offline()?.show(terminal) };
        let answer = Api::new(global)?.get(&format!("/v1/projects/{}/problems", encode(project)), &[]).await?;
        let unexpected = |error| CliError::new(Exit::Host, "the answer is not as expected").caused_by(&error);
        let found: crate::http::projects::ProblemList = serde_json::from_value(answer).map_err(unexpected)?;
        Report { checked: found.checked, problems: found.items }.show(terminal)
    }

    /// Checks files of this machine.
    fn offline(&self) -> Result<Report, CliError> {
        let mut report = Report::default();
        let mut files = Vec::new();
        for path in &self.paths {
            collect(path, &mut files)?;
        }
        let mut roots: Vec<&Path> = files.iter().filter_map(|file| is_shipyard(file).then(|| file.parent())?).collect();
        // The innermost project is a file's; a shipyard that was named itself is one file.
        roots.retain(|root| !self.paths.iter().any(|path| path == &root.join(SHIPYARD_FILE)));
        roots.sort_by_key(|root| std::cmp::Reverse(root.components().count()));
        let root_of = |file: &Path| roots.iter().find(|root| file.starts_with(root)).copied();
        for root in roots.iter().rev() {
            let of_root = files.iter().filter(|file| root_of(file) == Some(root));
            let read = of_root.filter_map(|file| project_file(root, file).transpose());
            let checked = check_project(&read.collect::<Result<Vec<_>, _>>()?);
            report.checked += checked.files;
            report.problems.extend(checked.problems.into_iter().map(|mut found| {
                found.path = root.join(&found.path).display().to_string();
                found
            }));
        }
        for file in &files {
            let path = file.display().to_string();
            let named = self.paths.contains(file);
            let known = root_of(file).is_some() && kind_in(root_of(file), file).is_some();
            if known || !(named || is_yaml(file)) {
                continue;
            }
            let Some(problems) = check_alone(&path, &read(file)?, named) else { continue };
            report.checked += 1;
            report.problems.extend(problems.into_iter().map(|problem| FileProblem { path: path.clone(), problem }));
        }
        Ok(report)
    }
}

impl Report {
    fn show(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let errors = self.problems.iter().filter(|found| found.problem.stops_a_write()).count();
        match terminal.format {
            Format::Json => terminal.json(&json!({ "checked": self.checked, "items": self.problems }))?,
            Format::Table => {
                for found in &self.problems {
                    terminal.line(&found.to_string())?;
                }
                let warnings = self.problems.len() - errors;
                terminal.note(&format!("{} files checked, {errors} errors, {warnings} warnings", self.checked));
            }
        }
        if errors > 0 {
            return Err(CliError::new(Exit::Usage, format!("{errors} errors in {} files", self.checked)));
        }
        if self.checked == 0 {
            let kinds = FileKind::ALL.map(FileKind::name).join(", ");
            return Err(CliError::new(Exit::Usage, "there is no file of a kind that is checked")
                .hint(format!("these are: {kinds}; a file tells its kind by its name or by its `kind`")));
        }
        Ok(())
    }
}

fn is_shipyard(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == SHIPYARD_FILE)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "yaml" || it == "yml")
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    let failure = CliError::new(Exit::Usage, format!("cannot read `{}`", path.display())).caused_by(error);
    if error.kind() == std::io::ErrorKind::NotFound {
        return failure.hint("a project on the host is checked with `pilothouse validate --project NAME`");
    }
    failure
}

/// Reads a file; of one that is too large only so much that the checker says so.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

/// Adds a file, or the files of a folder, in the order of their names. Links are not followed, hidden files left alone.
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
        if !hidden && (kind.is_dir() || kind.is_file()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.iter().try_for_each(|path| collect(path, files))
}

/// Returns a file's path in its project, with slashes.
fn path_in(root: &Path, file: &Path) -> Option<String> {
    let parts = file.strip_prefix(root).ok()?.components();
    let parts: Option<Vec<&str>> = parts.map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

fn kind_in(root: Option<&Path>, file: &Path) -> Option<FileKind> {
    FileKind::of_path(&path_in(root?, file)?)
}

/// Reads a file of a project; its content only where it is looked at. `None` for a path that is no text.
fn project_file(root: &Path, file: &Path) -> Result<Option<ProjectFile>, CliError> {
    let Some(path) = path_in(root, file) else { return Ok(None) };
    let content = if FileKind::of_path(&path).is_some() { Some(read(file)?) } else { None };
    Ok(Some(ProjectFile { path, content }))
}

/// Checks a file of a kind that its content or its name tells; `None` for any other, unless it was named itself and is no
/// YAML at all.
fn check_alone(path: &str, bytes: &[u8], named: bool) -> Option<Vec<pilothouse_core::yaml::Problem>> {
    let by_name = FileKind::of_name(path);
    let kind = match parse(bytes) {
        Ok(node) => FileKind::of_content(&node).or(by_name)?,
        Err(problem) => return (named || by_name.is_some()).then(|| vec![problem]),
    };
    Some(check(kind, bytes))
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
        let command = ValidateCommand { paths: paths.iter().map(|path| path.to_path_buf()).collect(), project: None };
        let result = command.offline().and_then(|report| report.show(&mut terminal));
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
        write("good/values.yaml", "spec_version: '1.0'\n");
        write("good/broken.yaml", "a: [");
        let (result, out) = run(&[&folder.path().join("good")]);
        assert!(result.is_ok() && out.is_empty(), "{result:?} {out}");
        let bad = write("bad/shipyard.yaml", &format!("{head}  - name: Dev\n"));
        let (result, out) = run(&[folder.path()]);
        assert_eq!(result.unwrap_err().exit(), Exit::Usage);
        assert!(out.starts_with(&format!("{}:6:11: `Dev` is not a valid stage name", bad.display())), "{out}");
        let (result, out) = run(&[&folder.path().join("good/broken.yaml")]);
        assert!(result.is_err() && out.contains("this is not valid YAML"), "{out}");
        assert!(run(&[&write("else/notes.yaml", "a: b\n")]).0.is_err(), "nothing was checked");
        assert!(run(&[&folder.path().join("nowhere.yaml")]).0.is_err());
        assert!(run(&[&good]).0.is_ok());
    }

    #[test]
    fn files_of_a_project_are_checked_together_and_others_by_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        };
        let shipyard = "apiVersion: spec.keptn.sh/0.2.0\nkind: Shipyard\nmetadata: {name: x}\nspec:\n  stages:\n  - \
            name: dev\n    sequences: [{name: delivery, tasks: [{name: test}]}]\n";
        write("shop/shipyard.yaml", shipyard);
        write("shop/jobs.yaml", "apiVersion: pilothouse.dev/v1\nkind: Jobs\ntasks:\n  tests: {job: k6}\n");
        write("shop/stages/dev/a.txt", "");
        write("other/prometheus/sli.yaml", "spec_version: '1.0'\nindicatos: {a: b}\n");
        let (result, out) = run(&[folder.path()]);
        assert_eq!(result.unwrap_err().exit(), Exit::Usage);
        let lines: Vec<&str> = out.lines().collect();
        let [task, _, sli] = lines.as_slice() else { panic!("{out}") };
        assert!(task.contains("shop/jobs.yaml:4:3: warning:") && task.contains("did you mean `test`?"), "{out}");
        assert!(sli.contains("other/prometheus/sli.yaml:2:1: ") && sli.contains("`indicators`"), "{out}");
        let (result, out) = run(&[&folder.path().join("shop")]);
        assert!(result.is_ok() && out.lines().count() == 1, "a warning is no failure: {out}");
    }
}
