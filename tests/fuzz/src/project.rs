//! What a project's files and the requests of tools hold: shipyards, mappings of inbound routes, files of executors.

use pilothouse_core::files::project::{ProjectFile, check_project};
use pilothouse_core::files::{FileKind, check};
use pilothouse_core::inbound::mapping::{self, Seen};
use pilothouse_core::keptn_import::{V1Repository, import};
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::shipyard;
use pilothouse_core::time::Timestamp;
use serde_json::Value;

/// What is wrong with a shipyard is said of a place in it; a right one has what its sequences need.
pub fn shipyard(bytes: &[u8]) {
    let (read, problems) = shipyard::read(bytes);
    let stops = problems.iter().any(|problem| problem.stops_a_run());
    assert_eq!(read.is_none(), stops, "{problems:?}");
    let Some(read) = read else { return };
    assert!(!read.stages.is_empty() && read.stages.len() <= shipyard::STAGES_MAX);
    for stage in &read.stages {
        for sequence in &stage.sequences {
            assert!(stage.sequence(sequence.name.as_str()).is_some());
            assert!(sequence.steps.iter().flatten().count() <= shipyard::TASKS_MAX);
        }
    }
}

/// A mapping that is read makes valid events or says why not, whatever the body; the same again makes the same events. The
/// first line of the input is the body, the rest the file.
pub fn mapping(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (body, file) = text.split_once('\n').unwrap_or(("", text));
    let (read, problems) = mapping::read(file.as_bytes());
    assert!(read.is_some() || !problems.is_empty());
    let Some(read) = read else { return };
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let header = |name: &str| (name == "x-event").then(|| "push".to_owned());
    let apply = || read.apply("route", Seen { body: &body, header: &header }, Timestamp::from_millis(0));
    assert_eq!(apply(), apply());
    if let Ok(events) = apply() {
        assert!(events.len() <= mapping::EVENTS_MAX);
    }
}

/// Whatever stands in a file of a project, each checker says what is wrong at a place in it, and those of a whole project
/// agree. The first byte of the input is the format, the rest the file.
pub fn project_files(bytes: &[u8]) {
    let Some((first, file)) = bytes.split_first() else { return };
    let paths = [
        "shipyard.yaml",
        "slo.yaml",
        "p/sli.yaml",
        "remediation.yaml",
        "jmeter/jmeter.conf.yaml",
        "jobs.yaml",
        "webhooks.yaml",
    ];
    let Some(path) = paths.get(usize::from(*first) % paths.len()) else { return };
    let Some(kind) = FileKind::of_path(path) else { return };
    let alone = check(kind, file);
    assert!(alone.iter().all(|problem| problem.at.line >= 1 && problem.at.column >= 1 && !problem.message.is_empty()));
    let whole = check_project(&[ProjectFile { path: (*path).to_owned(), content: Some(file.to_vec()) }]);
    assert!(whole.files == 1 && whole.problems.len() >= alone.len());
}

/// A path that is accepted stays inside, and is found again in its folder.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(path) = FilePath::new(text) else { return };
    assert_eq!(path.as_str(), text);
    assert!(!text.starts_with('/') && text.split('/').all(|part| !matches!(part, "" | "." | "..")));
    let (folder, rest) = Folder::of_path(text);
    assert_eq!(format!("{}{rest}", folder.prefix()), text);
}

/// The files of the plugins `job` and `webhook` are read, or what is wrong is said.
pub fn executor_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match plugin_job::jobs_file::read(text, "deployment") {
        Ok(Some(spec)) => drop(spec.parameters_for(&Value::Null)),
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match plugin_webhook::webhooks_file::read(text) {
        Ok(file) => {
            let follows = |ty| file.events.iter().filter(|follow| follow.follows(ty, &Value::Null)).count();
            assert!(follows("sh.keptn.event.a.finished") <= file.events.len());
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

/// Whatever stands in the settings of Keptn's job executor or webhook service, an import makes files that a project takes, and
/// leaves nothing out in silence. The first byte of the input chooses the file.
pub fn keptn_import(bytes: &[u8]) {
    const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: p}\nspec: {stages: [{name: dev, sequences: [{name: s, tasks: [{name: test}]}]}]}\n";
    let Some((first, file)) = bytes.split_first() else { return };
    let path = if first % 2 == 0 { "job/config.yaml" } else { "webhook/webhook.yaml" };
    let mut repository = V1Repository { default_branch: "main".to_owned(), ..V1Repository::default() };
    for (branch, path, content) in [("main", "shipyard.yaml", SHIPYARD.as_bytes()), ("dev", path, file)] {
        repository.branches.entry(branch.to_owned()).or_default().insert(path.to_owned(), content.to_vec());
    }
    let Ok(imported) = import(&repository) else { panic!("the shipyard is a right one") };
    assert!(!imported.notes.is_empty());
    for (path, content) in &imported.files {
        assert!(FilePath::new(path).is_ok(), "{path}");
        let refused = FileKind::of_path(path).map(|kind| check(kind, content)).unwrap_or_default();
        assert!(!refused.iter().any(|problem| problem.stops_a_write()), "{path}: {refused:?}");
    }
}
