//! `configure-monitoring`: generates the files, has Prometheus take them, and takes them back where it refuses.
//!
//! Steps: plan (pure) → check each expression → write → reload → confirm, which may need some wake-ups, since Prometheus
//! looks for new targets every few seconds. Each step can be repeated: the same files, the same reload.

use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_sdk::{Failure, Finished};
use serde_json::json;

use crate::api::{self, LoadedGroup, LoadedTarget, Trouble};
use crate::request::{Configuration, sli_key};
use crate::rules::{self, Group, RulesFile, Skipped};
use crate::targets;
use crate::tools::{Found, RULES_DIRECTORY, TARGETS_DIRECTORY, Tools};
use pilothouse_sdk::files::place::Place;

/// Time between two looks at what Prometheus has loaded. It tells its scrapers about new targets every 5 s.
pub const CONFIRM_INTERVAL: Duration = Duration::from_secs(2);
/// Most looks: about a minute. By then it will not come by waiting.
pub const CONFIRM_LOOKS_MAX: u32 = 30;

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The task is answered.
    Answer(Finished),
    /// Look again after this time.
    Wait(Duration),
}

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    places: Vec<Place>,
    complete: bool,
    targets: Option<BTreeMap<String, Vec<String>>>,
    groups: Option<Vec<Group>>,
    skipped: Vec<Skipped>,
    sli: Option<String>,
}

/// Makes the plan. Pure, so that a wake-up makes the same one again.
pub fn plan(configuration: Configuration) -> Plan {
    let mut skipped = Vec::new();
    let groups = configuration.slo.as_ref().map(|slo| {
        let of_stage = |place| {
            let (group, left_out) = rules::group(
                slo,
                &configuration.queries,
                place,
                configuration.window_seconds,
                &configuration.alert_for,
                &BTreeMap::new(),
            );
            // The SLO is the same for each stage, and so is what is left out.
            for one in left_out {
                if !skipped.contains(&one) {
                    skipped.push(one);
                }
            }
            group
        };
        configuration.places.iter().map(of_stage).collect()
    });
    Plan {
        places: configuration.places,
        complete: configuration.complete,
        targets: configuration.targets,
        groups,
        skipped,
        sli: configuration.sli,
    }
}

/// Writes the files and has Prometheus load them; `key` is the task's, under which the looks are counted.
///
/// # Errors
/// Prometheus or a directory could not be used; another attempt does the same again.
pub fn begin(tools: &impl Tools, plan: &Plan, commit: Option<&str>, key: &str) -> Result<Step, Failure> {
    for rule in plan.groups.iter().flatten().flat_map(|group| &group.rules) {
        match api::check(tools, &rule.expr) {
            Ok(()) => {}
            Err(Trouble::Refused(error)) => {
                return Ok(errored(format!("Prometheus refuses the query of SLI `{}`: {error}", rule.alert)));
            }
            Err(trouble) => return stop(trouble),
        }
    }
    let files = match files(tools, plan, commit) {
        Ok(files) => files,
        Err(Trouble::Refused(message)) => return Ok(errored(message)),
        Err(trouble) => return stop(trouble),
    };
    for (index, file) in files.iter().enumerate() {
        if let Err(failure) = tools.write(file.directory, &file.name, file.new.as_deref()) {
            take_back(tools, files.get(..index).unwrap_or_default());
            return Err(failure);
        }
    }
    match api::reload(tools) {
        Ok(()) => confirm(tools, plan, key, 0),
        Err(Trouble::Refused(error)) => {
            take_back(tools, &files);
            // Prometheus keeps its old configuration when it refuses a new one; this makes it say that it is well again.
            let without = match api::reload(tools) {
                Err(Trouble::Refused(_)) => {
                    "; it refuses its configuration without these files too, so look at the rest of it first"
                }
                _ => "",
            };
            Ok(errored(format!("Prometheus refused the generated files, which were taken back: {error}{without}")))
        }
        Err(Trouble::Unusable(message)) => {
            take_back(tools, &files);
            Ok(errored(format!("{message}; the generated files were taken back")))
        }
        Err(Trouble::Failure(failure)) => Err(failure),
    }
}

/// Looks again whether Prometheus has loaded everything.
///
/// # Errors
/// Prometheus could not be asked.
pub fn again(tools: &impl Tools, plan: &Plan, key: &str) -> Result<Step, Failure> {
    let looks = tools.kept(key)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
    confirm(tools, plan, key, looks)
}

/// A file to write (or to remove), and what stood there.
struct File {
    directory: &'static str,
    name: String,
    new: Option<Vec<u8>>,
    old: Option<Vec<u8>>,
}

/// Makes all files of the plan, and reads what they replace.
fn files(tools: &impl Tools, plan: &Plan, commit: Option<&str>) -> Result<Vec<File>, Trouble> {
    let Some(first) = plan.places.first() else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    if let Some(groups) = &plan.groups {
        let name = first.rules_file();
        let by_hand = || {
            Trouble::Refused(format!(
                "the rules file `{name}` was changed by hand; name all stages in `prometheus.stages` to write it anew"
            ))
        };
        let old = match tools.look(RULES_DIRECTORY, &name)? {
            Found::Nothing => None,
            Found::Own(content) => Some(content),
            Found::Changed if plan.complete => Some(tools.take_over(RULES_DIRECTORY, &name)?),
            Found::Changed => return Err(by_hand()),
        };
        let mut rules = RulesFile::default();
        if let Some(old) = old.as_ref().filter(|_| !plan.complete) {
            rules = RulesFile::parse(&String::from_utf8_lossy(old)).map_err(|_| by_hand())?;
        }
        rules.merge(groups.clone());
        let rules = rules.without_empty_groups();
        let new = (!rules.groups.is_empty()).then(|| rules.to_yaml(first, commit).into_bytes());
        files.push(File { directory: RULES_DIRECTORY, name, new, old });
    }
    if let Some(by_stage) = &plan.targets {
        let mut names = Vec::new();
        for place in &plan.places {
            let name = place.targets_file();
            let of_stage = by_stage.get(&place.stage).map(Vec::as_slice).unwrap_or_default();
            let new =
                (!of_stage.is_empty()).then(|| targets::file(place, of_stage, &BTreeMap::new(), commit).into_bytes());
            names.push(name.clone());
            files.push(File { directory: TARGETS_DIRECTORY, old: tools.file(TARGETS_DIRECTORY, &name)?, name, new });
        }
        if plan.complete {
            for name in tools.files(TARGETS_DIRECTORY)? {
                if is_of_service(&name, first) && !names.contains(&name) {
                    let old = tools.file(TARGETS_DIRECTORY, &name)?;
                    files.push(File { directory: TARGETS_DIRECTORY, name, new: None, old });
                }
            }
        }
    }
    // A file that is neither there nor to be written is none.
    files.retain(|file| file.old.is_some() || file.new.is_some());
    Ok(files)
}

/// Tells whether a targets file is of the same project and service, whatever its stage.
fn is_of_service(name: &str, place: &Place) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    matches!(parts.as_slice(), [project, _, service, "json"] if *project == place.project && *service == place.service)
}

/// Puts back what stood there.
///
/// What equals the new content was written by an earlier attempt of this very delivery, so nothing was there before it
/// that is still known: such a file is removed.
fn take_back(tools: &impl Tools, files: &[File]) {
    for file in files {
        let old = file.old.as_deref().filter(|old| file.new.as_deref() != Some(*old));
        if tools.write(file.directory, &file.name, old).is_err() {
            pilothouse_sdk::log::error!("the file {} could not be taken back from {}", file.name, file.directory);
        }
    }
}

/// Answers the task if Prometheus lists everything, or asks for another look.
fn confirm(tools: &impl Tools, plan: &Plan, key: &str, looks: u32) -> Result<Step, Failure> {
    let groups = match api::rules(tools) {
        Ok(groups) => groups,
        Err(trouble) => return stop(trouble),
    };
    let loaded = match api::targets(tools) {
        Ok(loaded) => loaded,
        Err(trouble) => return stop(trouble),
    };
    let missing = missing(plan, &groups, &loaded);
    if !missing.is_empty() && looks + 1 < CONFIRM_LOOKS_MAX {
        tools.keep(key, Some((looks + 1).to_string().as_bytes()))?;
        return Ok(Step::Wait(CONFIRM_INTERVAL));
    }
    if looks > 0 {
        tools.keep(key, None)?;
    }
    if !missing.is_empty() {
        return Ok(errored(format!(
            "the files are written and Prometheus has reloaded, but it does not list {}; do its `rule_files` and \
             `file_sd_configs` name the granted directories, and do relabel rules keep the label `job`?",
            missing.join(", ")
        )));
    }
    if let (Some(sli), Some(place)) = (&plan.sli, plan.places.first()) {
        tools.keep(&sli_key(place), Some(sli.as_bytes()))?;
    }
    Ok(Step::Answer(done(plan)))
}

/// Names what Prometheus does not list yet.
fn missing(plan: &Plan, groups: &[LoadedGroup], loaded: &[LoadedTarget]) -> Vec<String> {
    let mut missing = Vec::new();
    let file = plan.places.first().map(Place::rules_file).unwrap_or_default();
    for group in plan.groups.iter().flatten().filter(|group| !group.rules.is_empty()) {
        let is_loaded = groups.iter().any(|it| it.is(&group.name, &group.rules) && it.file.ends_with(&file));
        if !is_loaded {
            missing.push(format!("rule group `{}`", group.name));
        }
    }
    for place in &plan.places {
        let job = place.job();
        for target in plan.targets.iter().filter_map(|by_stage| by_stage.get(&place.stage)).flatten() {
            let is_loaded = loaded.iter().any(|it| it.is(&job, target));
            if !is_loaded {
                missing.push(format!("target `{target}` of job `{job}`"));
            }
        }
    }
    missing
}

fn done(plan: &Plan) -> Finished {
    let stages: Vec<&str> = plan.places.iter().map(|place| place.stage.as_str()).collect();
    let groups = plan.groups.iter().flatten();
    let alerts: BTreeMap<&str, Vec<&str>> = groups
        .zip(&plan.places)
        .map(|(group, place)| (place.stage.as_str(), group.rules.iter().map(|rule| rule.alert.as_str()).collect()))
        .collect();
    let alert_count: usize = alerts.values().map(Vec::len).sum();
    let target_count: usize = plan.targets.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
    let mut message = format!(
        "Prometheus has loaded {target_count} targets and {alert_count} alert rules (stages {})",
        stages.join(", ")
    );
    if !plan.skipped.is_empty() {
        let named: Vec<String> = plan
            .skipped
            .iter()
            .map(|it| format!("{} {}", it.sli, it.criterion.as_deref().unwrap_or("as a whole")))
            .collect();
        message.push_str(&format!("; no alerts for {}", named.join(", ")));
    }
    Finished::pass(message).output(&json!({
        "type": "prometheus",
        "stages": stages,
        "targets": plan.targets,
        "alerts": alerts,
        "skipped": plan.skipped,
    }))
}

fn errored(message: String) -> Step {
    Step::Answer(Finished::errored(message))
}

/// Ends the task with what a person must mend, or the delivery with what time may mend.
fn stop(trouble: Trouble) -> Result<Step, Failure> {
    match trouble {
        Trouble::Failure(failure) => Err(failure),
        Trouble::Refused(message) | Trouble::Unusable(message) => Ok(errored(message)),
    }
}

#[cfg(test)]
mod tests;
