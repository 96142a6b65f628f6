//! Whole repositories, and what becomes of them.

mod jobs;
mod layout;
mod webhooks;

use super::*;
use crate::files::gate;

pub(super) const SHIPYARD: &str = "
apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: shop}
spec:
  stages:
  - name: dev
    sequences:
    - name: delivery
      tasks: [{name: deployment}, {name: test}]
  - name: prod
    sequences:
    - name: delivery
      triggeredOn: [{event: dev.delivery.finished}]
      tasks: [{name: deployment}]
";

/// Makes a repository of `(branch, path, content)`; `main` is the default branch.
pub(super) fn repository(files: &[(&str, &str, &str)]) -> V1Repository {
    let mut repository = V1Repository { default_branch: "main".to_owned(), ..V1Repository::default() };
    for (branch, path, content) in files {
        let files = repository.branches.entry((*branch).to_owned()).or_default();
        files.insert((*path).to_owned(), content.as_bytes().to_vec());
    }
    repository
}

/// Imports the shipyard with these files; the stages' branches are there.
pub(super) fn imported(files: &[(&str, &str, &str)]) -> Imported {
    let mut all = vec![
        ("main", "shipyard.yaml", SHIPYARD),
        ("dev", "shipyard.yaml", SHIPYARD),
        ("prod", "shipyard.yaml", SHIPYARD),
    ];
    all.extend(files);
    let imported = import(&repository(&all)).unwrap();
    assert!(shipyard::read(&imported.files["shipyard.yaml"]).1.is_empty());
    for path in imported.files.keys() {
        FilePath::new(path).unwrap();
    }
    imported
}

pub(super) fn paths(imported: &Imported) -> Vec<&str> {
    // The gate file is in every import; `a_service_without_an_slo_file_passes_as_in_keptn` looks at it.
    imported.files.keys().map(String::as_str).filter(|path| *path != GATE_FILE).collect()
}

#[test]
fn a_service_without_an_slo_file_passes_as_in_keptn() {
    let gate = |imported: &Imported| gate::read(&imported.files[GATE_FILE]).0.unwrap();
    assert_eq!(gate(&imported(&[])).without_slo, Some(crate::task::TaskResult::Pass));
    let own = imported(&[("main", "quality-gate.yaml", "spec_version: '1.0'\nwithoutSlo: warning\n")]);
    assert_eq!(gate(&own).without_slo, Some(crate::task::TaskResult::Warning));
}

pub(super) fn text<'a>(imported: &'a Imported, path: &str) -> &'a str {
    std::str::from_utf8(&imported.files[path]).unwrap()
}

/// Returns the one note whose message has the text.
pub(super) fn note<'a>(imported: &'a Imported, says: &str) -> &'a Note {
    let found: Vec<&Note> = imported.notes.iter().filter(|note| note.message.contains(says)).collect();
    assert_eq!(found.len(), 1, "{says}: {:#?}", imported.notes);
    found[0]
}

/// Returns the messages about what a person has to do.
pub(super) fn to_do(imported: &Imported) -> Vec<&str> {
    let notes = imported.notes.iter().filter(|note| note.severity == NoteSeverity::NotTranslated);
    notes.map(|note| note.message.as_str()).collect()
}

/// Returns the tables of TOML that a message ends with, read by the reader of the configuration.
pub(super) fn toml_of(message: &str) -> toml::Table {
    let at = message.find("\n[").unwrap();
    toml::from_str(&message[at..]).unwrap()
}
