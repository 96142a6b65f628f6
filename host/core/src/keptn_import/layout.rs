//! Where the files of a Keptn V1 repository belong in a project: which branch or folder is a stage, which folder a service.

use std::collections::{BTreeMap, BTreeSet};

use super::note::{NoteSeverity, Notes};
use super::{Layout, V1Repository};
use crate::name::{ServiceName, StageName};
use crate::resource::Folder;
use crate::shipyard::{SHIPYARD_FILE, Shipyard};
use crate::yaml::{Scalar, Value, parse};

/// The folder of stages, in the layout that has one.
const STAGES_FOLDER: &str = ".keptn-stages/";
/// What Keptn writes into each project, stage and service.
const METADATA_FILE: &str = "metadata.yaml";
/// Folders that Keptn's integrations read in a project, a stage or a service: none of them is a service by itself.
const INTEGRATIONS: [&str; 10] =
    ["ansible", "datadog", "dynatrace", "helm", "jmeter", "job", "locust", "monaco", "prometheus", "webhook"];

/// A file and where it belongs.
pub(super) struct Placed<'a> {
    /// Where it was: `<branch>:<path>`.
    pub(super) from: String,
    /// Whose it is.
    pub(super) folder: Folder,
    /// Its path in that folder.
    pub(super) path: String,
    /// What it holds.
    pub(super) content: &'a [u8],
}

/// All files and where they belong.
pub(super) struct Plan<'a> {
    pub(super) layout: Layout,
    pub(super) services: BTreeSet<ServiceName>,
    /// The project's files first, then those of each stage in the order of the shipyard.
    pub(super) placed: Vec<Placed<'a>>,
}

/// The files of one stage, by their paths in it.
struct Tree<'a> {
    stage: StageName,
    /// What stands before a path in a note.
    origin: String,
    files: BTreeMap<&'a str, &'a [u8]>,
}

/// What was left out of many places, to be told once.
#[derive(Default)]
struct Dropped {
    metadata: Vec<String>,
    repeated: Vec<String>,
}

/// Finds out where each file belongs.
pub(super) fn plan<'a>(repository: &'a V1Repository, shipyard: &Shipyard, notes: &mut Notes) -> Plan<'a> {
    let branch = repository.default_branch.as_str();
    let whole = repository.branches.get(branch).map(as_tree).unwrap_or_default();
    let layout = detect(&whole);
    let trees = match layout {
        Layout::StagesFolder => stage_folders(branch, &whole, shipyard, notes),
        Layout::BranchPerStage => stage_branches(repository, shipyard, notes),
    };
    other_branches(repository, shipyard, layout, notes);
    let project: BTreeMap<&str, &[u8]> =
        whole.into_iter().filter(|(path, _)| !path.starts_with(STAGES_FOLDER)).collect();
    let folders = service_folders(&project, &trees, notes);
    let mut dropped = Dropped::default();
    let mut placed = Vec::new();
    for (path, content) in &project {
        let from = format!("{branch}:{path}");
        if is_metadata(path, &folders) {
            dropped.metadata.push(from);
        } else {
            placed.push(Placed { from, folder: Folder::default(), path: (*path).to_owned(), content });
        }
    }
    for tree in &trees {
        place(tree, &project, &folders, &mut placed, &mut dropped, notes);
    }
    tell(&dropped, notes);
    let services = folders.iter().filter_map(|folder| ServiceName::new(folder).ok()).collect();
    Plan { layout, services, placed }
}

fn as_tree(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, &[u8]> {
    files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect()
}

/// Keptn says in `metadata.yaml` of the project that stages are folders; a project without stages' files says it only there.
fn detect(files: &BTreeMap<&str, &[u8]>) -> Layout {
    let says_so = files.get(METADATA_FILE).and_then(|bytes| parse(bytes).ok()).is_some_and(|node| match node.value {
        Value::Map(members) => members.iter().any(|member| {
            let is_true = matches!(&member.node.value, Value::Scalar(scalar) if Scalar::as_bool(scalar) == Some(true));
            member.key.eq_ignore_ascii_case("isUsingDirectoryStructure") && is_true
        }),
        _ => false,
    });
    let has_stages = files.keys().any(|path| path.starts_with(STAGES_FOLDER));
    if says_so || has_stages { Layout::StagesFolder } else { Layout::BranchPerStage }
}

fn stage_folders<'a>(
    branch: &str,
    whole: &BTreeMap<&'a str, &'a [u8]>,
    shipyard: &Shipyard,
    notes: &mut Notes,
) -> Vec<Tree<'a>> {
    let mut trees: BTreeMap<&str, BTreeMap<&'a str, &'a [u8]>> = BTreeMap::new();
    for (path, content) in whole {
        let Some((stage, rest)) = path.strip_prefix(STAGES_FOLDER).and_then(|path| path.split_once('/')) else {
            continue;
        };
        trees.entry(stage).or_default().insert(rest, content);
    }
    for stage in trees.keys().filter(|stage| shipyard.stage(stage).is_none()) {
        let message = format!("left out: the shipyard has no stage `{stage}`");
        notes.add(&format!("{branch}:{STAGES_FOLDER}{stage}"), NoteSeverity::Left, message);
    }
    let mut found = Vec::new();
    for stage in shipyard.stages.iter().map(|stage| &stage.name) {
        let origin = format!("{branch}:{STAGES_FOLDER}{stage}/");
        match trees.remove(stage.as_str()) {
            Some(files) => found.push(Tree { stage: stage.clone(), origin, files }),
            None => {
                let message = format!("there is no such folder: the stage `{stage}` has no files of its own");
                notes.add(&origin, NoteSeverity::Left, message);
            }
        }
    }
    found
}

fn stage_branches<'a>(repository: &'a V1Repository, shipyard: &Shipyard, notes: &mut Notes) -> Vec<Tree<'a>> {
    let mut found = Vec::new();
    for stage in shipyard.stages.iter().map(|stage| &stage.name) {
        let origin = format!("{stage}:");
        if stage.as_str() == repository.default_branch {
            let message =
                format!("the stage `{stage}` is called like the default branch, whose files are the project's");
            notes.add(&origin, NoteSeverity::NotTranslated, message);
            continue;
        }
        match repository.branches.get(stage.as_str()) {
            Some(files) => found.push(Tree { stage: stage.clone(), origin, files: as_tree(files) }),
            None => {
                let message = format!("there is no such branch: the stage `{stage}` has no files of its own");
                notes.add(&origin, NoteSeverity::NotTranslated, message);
            }
        }
    }
    found
}

/// Notes the branches whose files are not looked at.
fn other_branches(repository: &V1Repository, shipyard: &Shipyard, layout: Layout, notes: &mut Notes) {
    for name in repository.branches.keys().filter(|name| **name != repository.default_branch) {
        let origin = format!("{name}:");
        match (shipyard.stage(name), layout) {
            (None, _) => {
                notes.add(&origin, NoteSeverity::Left, "left out: the shipyard has no stage of this name");
            }
            (Some(_), Layout::StagesFolder) => {
                let message = format!("left out: the stages of this repository are in `{STAGES_FOLDER}`");
                notes.add(&origin, NoteSeverity::Left, message);
            }
            (Some(_), Layout::BranchPerStage) => {}
        }
    }
}

/// Finds the folders of services: those with Keptn's `metadata.yaml`, and if there is none in any stage, every folder of a
/// stage that is neither the project's nor one that an integration reads.
fn service_folders(project: &BTreeMap<&str, &[u8]>, trees: &[Tree<'_>], notes: &mut Notes) -> BTreeSet<String> {
    let paths = || trees.iter().flat_map(|tree| tree.files.keys().copied());
    let marked: BTreeSet<String> = paths()
        .filter_map(|path| path.split_once('/'))
        .filter(|(_, rest)| *rest == METADATA_FILE)
        .map(|(folder, _)| folder.to_owned())
        .collect();
    if !marked.is_empty() {
        return marked;
    }
    let top = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
    let of_project: BTreeSet<String> = project.keys().filter_map(|path| top(path)).collect();
    let mut guessed = BTreeSet::new();
    for tree in trees {
        for folder in tree.files.keys().filter_map(|path| top(path)) {
            let excluded = of_project.contains(&folder) || INTEGRATIONS.contains(&folder.as_str());
            if excluded || ServiceName::new(&folder).is_err() || !guessed.insert(folder.clone()) {
                continue;
            }
            let message =
                "taken for a service, though no folder has Keptn's `metadata.yaml`; if it is none, move its files";
            notes.add(&format!("{}{folder}", tree.origin), NoteSeverity::Translated, message);
        }
    }
    guessed
}

/// Tells whether a file is Keptn's record of a project, a stage or a service.
fn is_metadata(path: &str, services: &BTreeSet<String>) -> bool {
    match path.split_once('/') {
        None => path == METADATA_FILE,
        Some((folder, rest)) => rest == METADATA_FILE && services.contains(folder),
    }
}

/// Places the files of a stage.
fn place<'a>(
    tree: &Tree<'a>,
    project: &BTreeMap<&str, &[u8]>,
    services: &BTreeSet<String>,
    placed: &mut Vec<Placed<'a>>,
    dropped: &mut Dropped,
    notes: &mut Notes,
) {
    for (path, content) in &tree.files {
        let from = format!("{}{path}", tree.origin);
        let in_service = path.split_once('/').filter(|(folder, _)| services.contains(*folder));
        if is_metadata(path, services) {
            dropped.metadata.push(from);
            continue;
        }
        if in_service.is_none() && project.get(path) == Some(content) {
            dropped.repeated.push(from);
            continue;
        }
        if *path == SHIPYARD_FILE {
            notes.add(
                &from,
                NoteSeverity::Left,
                "left out: it differs from the project's shipyard, and Keptn did not read it",
            );
            continue;
        }
        let mut folder = Folder { stage: Some(tree.stage.clone()), service: None };
        let mut rest = *path;
        if let Some((name, inner)) = in_service {
            match ServiceName::new(name) {
                Ok(service) => (folder.service, rest) = (Some(service), inner),
                Err(error) => {
                    let message = format!("{error}; its files became the stage's, in a folder of this name");
                    notes.add(&format!("{}{name}", tree.origin), NoteSeverity::NotTranslated, message);
                }
            }
        }
        placed.push(Placed { from, folder, path: rest.to_owned(), content });
    }
}

fn tell(dropped: &Dropped, notes: &mut Notes) {
    if let Some(first) = dropped.metadata.first() {
        let count = dropped.metadata.len();
        let message = format!("left out, with all files of this name that Keptn keeps for itself ({count})");
        notes.add(first, NoteSeverity::Left, message);
    }
    if let Some(first) = dropped.repeated.first() {
        let count = dropped.repeated.len();
        let message = format!(
            "left out, with all files of stages that are the same as the project's ({count}): they are found there"
        );
        notes.add(first, NoteSeverity::Left, message);
    }
}
