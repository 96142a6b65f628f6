//! Keeps Prometheus in step with a project: compares what is to be with what is there, and writes the difference.
//!
//! Each step can be repeated: what an attempt wrote and could not have loaded, the next one has loaded.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use pilothouse_sdk::Failure;
pub use pilothouse_sdk::files::in_step::{Mode, State};
use pilothouse_sdk::files::monitoring::HandEdits;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::{self, Trouble};
use crate::project::{self, Project, Wanted};
use crate::request::Settings;
use crate::rules::{RulesFile, Skipped};
use crate::targets;
use crate::tools::{Found, RULES_DIRECTORY, TARGETS_DIRECTORY, ToWrite, Tools};
use pilothouse_sdk::files::place::Place;

/// One service in one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The tool: `prometheus`.
    pub tool: &'static str,
    /// The project.
    pub project: String,
    /// The stage; empty where the whole project is meant.
    pub stage: String,
    /// The service; empty where the whole project is meant.
    pub service: String,
    /// How Prometheus stands to it.
    pub state: State,
    /// The commit that Prometheus has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why, unless it is in step; empty if it is.
    pub reason: String,
    /// Its alert rules.
    pub alerts: Vec<String>,
    /// What of its SLO is no alert, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The services in their stages.
    pub items: Vec<Item>,
    /// Whether a file was written or removed.
    pub changed: bool,
}

impl Report {
    /// Takes what a look found out of those that are in step as far as files go.
    pub fn take_loaded(&mut self, looked: Self) {
        for item in self.items.iter_mut().filter(|item| item.state == State::InStep) {
            let same = |it: &&Item| it.stage == item.stage && it.service == item.service;
            if let Some(found) = looked.items.iter().find(same) {
                item.state = found.state;
                item.reason.clone_from(&found.reason);
            }
        }
    }
}

/// What was written last, and had loaded: digests by directory and name, whatever commit it was generated from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Synced {
    files: BTreeMap<String, String>,
    commits: BTreeMap<String, String>,
}

/// A generated file.
struct File {
    directory: &'static str,
    name: String,
    /// What is to be there; `None`: nothing.
    wanted: Option<String>,
    /// What is there; unknown where somebody changed it.
    found: Option<String>,
    /// Whether somebody changed it since it was written.
    changed: bool,
    /// Whether it is as it was written last.
    untouched: bool,
    hand_edits: HandEdits,
    places: Vec<Place>,
}

impl File {
    fn key(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    /// Tells whether what is there says the same, whatever commit it was generated from.
    fn is_same(&self) -> bool {
        !self.changed && self.wanted.as_deref().map(without_commit) == self.found.as_deref().map(without_commit)
    }

    fn to_write(&self) -> ToWrite<'_> {
        (self.directory, &self.name, self.wanted.as_deref().map(str::as_bytes))
    }

    fn is_drifted(&self) -> bool {
        !self.untouched && !self.is_same()
    }
}

/// Leaves out the line that names the commit.
fn without_commit(text: &str) -> String {
    let names = |line: &&str| line.starts_with("# Commit ") || line.contains(targets::COMMIT_LABEL);
    text.lines().filter(|line| !names(line)).collect::<Vec<_>>().join("\n")
}

fn digest(text: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    Sha256::digest(without_commit(text).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(project: &str) -> String {
    format!("synced/{project}")
}

fn of_place(place: &Place) -> String {
    format!("{}/{}", place.stage, place.service)
}

/// Compares a project with what Prometheus has, and brings it in step if the mode says so.
///
/// # Errors
/// Prometheus or the host could not be used; another attempt does the same again.
pub fn run(
    tools: &impl Tools,
    name: &str,
    settings: &Settings,
    mode: Mode,
    commit: Option<&str>,
) -> Result<Report, Failure> {
    let project = match project::read(tools, name, settings)? {
        Ok(project) => project,
        Err(reason) => return Ok(Report { items: vec![whole(name, State::Failed, reason)], changed: false }),
    };
    let kept = tools.kept(&key(name))?;
    let synced: Synced = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let files = files(tools, name, &project, &synced, commit)?;
    match mode {
        Mode::Check => check(tools, &project, &files, &synced),
        Mode::Sync => sync(tools, name, &project, files, synced, commit),
    }
}

fn whole(project: &str, state: State, reason: String) -> Item {
    let place = Place { project: project.to_owned(), ..Place::default() };
    Item { reason, ..item(&place, state) }
}

fn item(place: &Place, state: State) -> Item {
    Item {
        tool: "prometheus",
        project: place.project.clone(),
        stage: place.stage.clone(),
        service: place.service.clone(),
        state,
        commit: None,
        reason: String::new(),
        alerts: Vec::new(),
        skipped: Vec::new(),
    }
}

/// Makes all files of a project, those that are to go included.
fn files(
    tools: &impl Tools,
    name: &str,
    project: &Project,
    synced: &Synced,
    commit: Option<&str>,
) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    let mut add = |directory: &'static str,
                   name: String,
                   wanted: Option<String>,
                   places: Vec<Place>,
                   hand_edits: HandEdits|
     -> Result<(), Failure> {
        let (found, changed) = look(tools, directory, &name)?;
        let known = synced.files.get(&format!("{directory}/{name}"));
        let untouched = !changed && known.is_none_or(|known| *known == digest(found.as_deref()));
        if wanted.is_some() || found.is_some() || changed || known.is_some() {
            files.push(File { directory, name, wanted, found, changed, untouched, hand_edits, places });
        }
        Ok(())
    };
    let mut by_service: BTreeMap<&str, Vec<&Wanted>> = BTreeMap::new();
    for wanted in &project.wanted {
        let place = &wanted.place;
        by_service.entry(&place.service).or_default().push(wanted);
        let file = (!wanted.targets.is_empty()).then(|| targets::file(place, &wanted.targets, &wanted.labels, commit));
        add(TARGETS_DIRECTORY, place.targets_file(), file, vec![place.clone()], wanted.hand_edits)?;
    }
    for of_service in by_service.values() {
        let Some(first) = of_service.first() else { continue };
        let name = first.place.rules_file();
        // A stage of which nothing can be generated keeps what it has.
        let mut rules = kept_groups(tools, &name, project, &first.place)?;
        rules.merge(of_service.iter().map(|wanted| wanted.group.clone()).collect());
        let rules = rules.without_empty_groups();
        let text = (!rules.groups.is_empty()).then(|| rules.to_yaml(&first.place, commit));
        let places = of_service.iter().map(|wanted| wanted.place.clone()).collect();
        let report = of_service.iter().any(|wanted| wanted.hand_edits == HandEdits::Report);
        let hand_edits = if report { HandEdits::Report } else { HandEdits::Restore };
        add(RULES_DIRECTORY, name, text, places, hand_edits)?;
    }
    for directory in [TARGETS_DIRECTORY, RULES_DIRECTORY] {
        for file in tools.files(directory)? {
            let of_failed =
                project.failed.iter().any(|(place, _)| file == place.targets_file() || file == place.rules_file());
            let is_known = files.iter().any(|known| known.directory == directory && known.name == file);
            if is_of_project(&file, name) && !of_failed && !is_known {
                let (found, changed) = look(tools, directory, &file)?;
                files.push(File {
                    directory,
                    name: file,
                    wanted: None,
                    found,
                    changed,
                    untouched: true,
                    hand_edits: HandEdits::Restore,
                    places: Vec::new(),
                });
            }
        }
    }
    Ok(files)
}

/// Tells whether a file of either directory is of a project: a dot parts its names, since none of them can hold one.
fn is_of_project(file: &str, project: &str) -> bool {
    let mut names = file.split('.');
    names.next() == Some(project) && names.count() == 3
}

/// Returns what is there of a file, and whether somebody changed it.
fn look(tools: &impl Tools, directory: &str, name: &str) -> Result<(Option<String>, bool), Failure> {
    Ok(match tools.look(directory, name)? {
        Found::Nothing => (None, false),
        Found::Own(content) => (Some(String::from_utf8_lossy(&content).into_owned()), false),
        Found::Changed => (None, true),
    })
}

/// Returns the groups that a rules file has of stages of which nothing can be generated.
fn kept_groups(tools: &impl Tools, name: &str, project: &Project, of: &Place) -> Result<RulesFile, Failure> {
    let failed: Vec<String> = project
        .failed
        .iter()
        .filter(|(place, _)| place.service == of.service)
        .map(|(place, _)| place.group())
        .collect();
    if failed.is_empty() {
        return Ok(RulesFile::default());
    }
    let (old, _) = look(tools, RULES_DIRECTORY, name)?;
    let mut rules = old.and_then(|old| RulesFile::parse(&old).ok()).unwrap_or_default();
    rules.groups.retain(|group| failed.contains(&group.name));
    Ok(rules)
}

/// Makes the items: failed ones with their reason, the others as `state` says.
fn items(project: &Project, synced: &Synced, state: impl Fn(&Place) -> (State, String)) -> Vec<Item> {
    let commit = |place: &Place| synced.commits.get(&of_place(place)).cloned();
    let wanted = project.wanted.iter().map(|wanted| {
        let (state, reason) = state(&wanted.place);
        Item {
            commit: commit(&wanted.place),
            reason,
            alerts: wanted.group.rules.iter().map(|rule| rule.alert.clone()).collect(),
            skipped: wanted.skipped.clone(),
            ..item(&wanted.place, state)
        }
    });
    let failed = project.failed.iter().map(|(place, why)| Item {
        commit: commit(place),
        reason: why.clone(),
        ..item(place, State::Failed)
    });
    let mut items: Vec<Item> = wanted.chain(failed).collect();
    items.sort_by(|a, b| (&a.service, &a.stage).cmp(&(&b.service, &b.stage)));
    items
}

fn check(tools: &impl Tools, project: &Project, files: &[File], synced: &Synced) -> Result<Report, Failure> {
    let loaded = match (api::rules(tools), api::targets(tools)) {
        (Ok(rules), Ok(targets)) => Ok((rules, targets)),
        (Err(Trouble::Failure(failure)), _) | (_, Err(Trouble::Failure(failure))) => return Err(failure),
        (Err(Trouble::Refused(why) | Trouble::Unusable(why)), _)
        | (_, Err(Trouble::Refused(why) | Trouble::Unusable(why))) => Err(why),
    };
    let missing = |wanted: &Wanted| -> Option<String> {
        let (rules, targets) = loaded.as_ref().ok()?;
        let alerts = &wanted.group.rules;
        if !alerts.is_empty() && !rules.iter().any(|group| group.is(&wanted.group.name, alerts)) {
            return Some("Prometheus has not loaded the alert rules".to_owned());
        }
        let job = wanted.place.job();
        let scraped = |target: &String| targets.iter().any(|it| it.is(&job, target));
        let target = wanted.targets.iter().find(|target| !scraped(target))?;
        Some(format!("Prometheus does not scrape `{target}` yet"))
    };
    let state = |place: &Place| -> (State, String) {
        let mine = || files.iter().filter(|file| file.places.contains(place));
        if let Some(file) = mine().find(|file| file.is_drifted()) {
            return (State::Drifted, format!("`{}` was changed by hand", file.name));
        }
        if let Some(file) = mine().find(|file| !file.is_same()) {
            return (State::Behind, format!("`{}` is not what the project's files say", file.name));
        }
        if let Err(why) = &loaded {
            return (State::Failed, why.clone());
        }
        let wanted = project.wanted.iter().find(|wanted| wanted.place == *place);
        match wanted.and_then(missing) {
            Some(why) => (State::Behind, why),
            None => (State::InStep, String::new()),
        }
    };
    Ok(Report { items: items(project, synced, state), changed: false })
}

fn sync(
    tools: &impl Tools,
    name: &str,
    project: &Project,
    files: Vec<File>,
    mut synced: Synced,
    commit: Option<&str>,
) -> Result<Report, Failure> {
    let mut problems: BTreeMap<String, (State, String)> = BTreeMap::new();
    let mut tell = |file: &File, state: State, why: &str| {
        for place in &file.places {
            problems.insert(of_place(place), (state, why.to_owned()));
        }
    };
    let mut changes = Vec::new();
    for mut file in files {
        if file.is_drifted() && file.hand_edits == HandEdits::Report {
            tell(&file, State::Drifted, &format!("`{}` was changed by hand, and stays so", file.name));
        } else if let Some(why) = refused(tools, &file, project)? {
            tell(&file, State::Failed, &why);
        } else {
            if file.changed {
                let content = tools.take_over(file.directory, &file.name)?;
                (file.found, file.changed) = (Some(String::from_utf8_lossy(&content).into_owned()), false);
            }
            changes.push(file);
        }
    }
    let changed = write(tools, &changes)?;
    let is_new = |file: &File| {
        let text = if file.is_same() { file.found.as_deref() } else { file.wanted.as_deref() };
        synced.files.get(&file.key()).map_or(text.is_some(), |known| *known != digest(text))
    };
    if changes.iter().any(|file| file.directory == RULES_DIRECTORY && is_new(file)) {
        match api::reload(tools) {
            Ok(()) => {}
            Err(Trouble::Failure(failure)) => return Err(failure),
            Err(Trouble::Refused(why) | Trouble::Unusable(why)) => {
                take_back(tools, &changes)?;
                let _ = api::reload(tools);
                let why = format!("Prometheus refused the generated files, which were taken back: {why}");
                changes.iter().filter(|file| !file.is_same()).for_each(|file| tell(file, State::Failed, &why));
                changes.clear();
            }
        }
    }
    for file in &changes {
        let text = if file.is_same() { file.found.as_deref() } else { file.wanted.as_deref() };
        match text {
            Some(_) => synced.files.insert(file.key(), digest(text)),
            None => synced.files.remove(&file.key()),
        };
    }
    for wanted in &project.wanted {
        let place = of_place(&wanted.place);
        if let (Some(commit), false) = (commit, problems.contains_key(&place)) {
            synced.commits.insert(place, commit.to_owned());
        }
    }
    let bytes = serde_json::to_vec(&synced).unwrap_or_default();
    tools.keep(&key(name), Some(&bytes))?;
    let state = |place: &Place| problems.get(&of_place(place)).cloned().unwrap_or((State::InStep, String::new()));
    Ok(Report { items: items(project, &synced, state), changed })
}

/// Says which expression of a new rules file Prometheus cannot parse.
fn refused(tools: &impl Tools, file: &File, project: &Project) -> Result<Option<String>, Failure> {
    if file.directory != RULES_DIRECTORY || file.is_same() {
        return Ok(None);
    }
    let of_file = project.wanted.iter().filter(|wanted| file.places.contains(&wanted.place));
    let expressions = of_file.flat_map(|wanted| {
        let alerts = wanted.group.rules.iter().map(|rule| (rule.alert.as_str(), rule.expr.as_str()));
        let recorded = wanted.group.recordings.iter().map(|it| {
            let sli = it.labels.get("sli").map_or(it.record.as_str(), String::as_str);
            (sli, it.expr.as_str())
        });
        recorded.chain(alerts)
    });
    for (name, expr) in expressions {
        match api::check(tools, expr) {
            Ok(()) => {}
            Err(Trouble::Refused(why)) => {
                return Ok(Some(format!("Prometheus refuses the query of SLI `{name}`: {why}")));
            }
            Err(Trouble::Unusable(why)) => return Ok(Some(why)),
            Err(Trouble::Failure(failure)) => return Err(failure),
        }
    }
    Ok(None)
}

/// Writes what is different; tells whether anything was.
fn write(tools: &impl Tools, files: &[File]) -> Result<bool, Failure> {
    let different = files.iter().filter(|file| !file.is_same());
    let different: Vec<ToWrite<'_>> = different.map(|file| file.to_write()).collect();
    tools.write_all(&different)?;
    Ok(!different.is_empty())
}

fn take_back(tools: &impl Tools, files: &[File]) -> Result<(), Failure> {
    for file in files.iter().filter(|file| !file.is_same()) {
        tools.write(file.directory, &file.name, file.found.as_deref().map(str::as_bytes))?;
    }
    Ok(())
}

/// Removes everything of a project that was deleted.
///
/// # Errors
/// As for [`run`].
pub fn forget(tools: &impl Tools, name: &str) -> Result<(), Failure> {
    let mut reload = false;
    for directory in [TARGETS_DIRECTORY, RULES_DIRECTORY] {
        for file in tools.files(directory)? {
            if is_of_project(&file, name) {
                if tools.look(directory, &file)? == Found::Changed {
                    tools.take_over(directory, &file)?;
                }
                tools.write(directory, &file, None)?;
                reload |= directory == RULES_DIRECTORY;
            }
        }
    }
    if reload && let Err(Trouble::Failure(failure)) = api::reload(tools) {
        return Err(failure);
    }
    tools.keep(&key(name), None)
}
