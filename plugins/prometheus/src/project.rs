//! Reads a whole project: what is to be scraped and alerted on for each of its services in each of its stages.
//!
//! Never here: what there is already, and writing it (`sync`).

use std::collections::BTreeMap;

use pilothouse_sdk::Failure;
use pilothouse_sdk::files::monitoring::{self, HandEdits, Monitoring};
use pilothouse_sdk::files::shipyard::{self, SHIPYARD_FILE};
use pilothouse_sdk::files::yaml::Problem;
use pilothouse_sdk::resources::Level;

use crate::destination::Destination;
use crate::request::{FOR_DEFAULT, SLI_FILE, Settings, TargetList, WINDOW_SECONDS_DEFAULT};
use crate::rules::{self, Group, Skipped};
use crate::slo::{self, Queries};
use crate::targets::is_target;
use crate::tools::Tools;
use pilothouse_sdk::files::place::Place;
use pilothouse_sdk::files::query;

/// Where the monitoring files lie in a project's folders.
const MONITORING_FILE: &str = "prometheus/monitoring.yaml";
/// Where the SLO file lies in the folder of a service.
const SLO_FILE: &str = "slo.yaml";

/// What one service in one stage is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Where.
    pub place: Place,
    /// What is to be scraped, `host:port`.
    pub targets: Vec<String>,
    /// Labels of all samples and alerts.
    pub labels: BTreeMap<String, String>,
    /// The alert rules; without any where there is no SLO file.
    pub group: Group,
    /// What of the SLO is no alert.
    pub skipped: Vec<Skipped>,
    /// What becomes of hand edits.
    pub hand_edits: HandEdits,
}

/// What a project is to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Project {
    /// Its services in its stages.
    pub wanted: Vec<Wanted>,
    /// Those of which nothing can be generated, and why.
    pub failed: Vec<(Place, String)>,
}

/// Reads a project.
///
/// # Errors
/// The inner error says why nothing of the project can be generated. The outer one: the host failed.
pub fn read(tools: &impl Tools, name: &str, settings: &Settings) -> Result<Result<Project, String>, Failure> {
    let Some(bytes) = file(tools, SHIPYARD_FILE)? else {
        return Ok(Err(format!("the project `{name}` has no `{SHIPYARD_FILE}`, or its files are not granted")));
    };
    let stages = match shipyard::read(&bytes) {
        (Some(shipyard), _) => shipyard.stages,
        (None, problems) => return Ok(Err(refused(SHIPYARD_FILE, &problems))),
    };
    let mut project = Project::default();
    for service in tools.services()? {
        for stage in &stages {
            let place = Place { project: name.to_owned(), stage: stage.name.to_string(), service: service.clone() };
            match one(tools, &place, settings)? {
                Ok(wanted) => project.wanted.push(wanted),
                Err(why) => project.failed.push((place, why)),
            }
        }
    }
    Ok(Ok(project))
}

fn refused(path: &str, problems: &[Problem]) -> String {
    let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
    format!("`{path}` has errors: {}", errors.join("; "))
}

fn file(tools: &impl Tools, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    tools.resource(Level::Project, path).map_err(pilothouse_sdk::retry)
}

/// Returns the folders whose files count for a place, from the project's own to the nearest.
fn folders(place: &Place) -> [String; 4] {
    let Place { stage, service, .. } = place;
    [
        String::new(),
        format!("stages/{stage}/"),
        format!("services/{service}/"),
        format!("stages/{stage}/services/{service}/"),
    ]
}

fn one(tools: &impl Tools, place: &Place, settings: &Settings) -> Result<Result<Wanted, String>, Failure> {
    let (mut monitoring, mut queries) = (Monitoring::default(), Queries::new());
    for folder in folders(place) {
        let path = format!("{folder}{MONITORING_FILE}");
        if let Some(bytes) = file(tools, &path)? {
            match monitoring::read(&bytes) {
                (Some(nearer), _) => monitoring = monitoring.under(nearer),
                (None, problems) => return Ok(Err(refused(&path, &problems))),
            }
        }
        let path = format!("{folder}{SLI_FILE}");
        if let Some(bytes) = file(tools, &path)? {
            match slo::read_sli(&String::from_utf8_lossy(&bytes)) {
                Ok(found) => queries.extend(found),
                Err(why) => return Ok(Err(format!("`{path}`: {why}"))),
            }
        }
    }
    if queries.is_empty()
        && let Some(text) = &settings.sli
    {
        queries = slo::read_sli(text).unwrap_or_default();
    }
    let parsed = match slo_file(tools, place, settings)? {
        None => None,
        Some((path, text)) => match slo::read_slo(&text) {
            Ok(slo) => Some(slo),
            Err(why) => return Ok(Err(format!("`{path}`: {why}"))),
        },
    };
    let targets = match scraped(place, &monitoring, settings) {
        // A ruler scrapes nothing.
        _ if settings.output == Destination::Ruler => Vec::new(),
        Ok(targets) => targets,
        Err(why) => return Ok(Err(why)),
    };
    let hold = monitoring.alert_for.as_deref().or(settings.alert_for.as_deref()).unwrap_or(FOR_DEFAULT);
    let window = monitoring.alert_window.as_deref().and_then(monitoring::seconds).or(settings.alert_window_seconds);
    let seconds = window.unwrap_or(WINDOW_SECONDS_DEFAULT).max(1);
    let empty = || (Group { name: place.group(), ..Group::default() }, Vec::new());
    let made = parsed.map(|slo| rules::group(&slo, &queries, place, seconds, hold, &monitoring.labels));
    let (group, skipped) = made.unwrap_or_else(empty);
    Ok(Ok(Wanted {
        targets,
        place: place.clone(),
        group,
        skipped,
        hand_edits: monitoring.hand_edits.unwrap_or_default(),
        labels: monitoring.labels,
    }))
}

/// Finds the SLO file of a place: the service's in the stage, else the service's in every stage, else the settings'. (A stage
/// or a project has none, as in Keptn.)
fn slo_file(tools: &impl Tools, place: &Place, settings: &Settings) -> Result<Option<(String, String)>, Failure> {
    let Place { stage, service, .. } = place;
    for folder in [format!("stages/{stage}/services/{service}/"), format!("services/{service}/")] {
        let path = format!("{folder}{SLO_FILE}");
        if let Some(bytes) = file(tools, &path)? {
            return Ok(Some((path, String::from_utf8_lossy(&bytes).into_owned())));
        }
    }
    Ok(settings.slo.clone().map(|text| ("the setting slo".to_owned(), text)))
}

/// Returns the scrape targets of a place: the project's, else the settings'.
fn scraped(place: &Place, monitoring: &Monitoring, settings: &Settings) -> Result<Vec<String>, String> {
    let patterns = match (&monitoring.targets, &settings.targets) {
        (Some(patterns), _) | (None, Some(TargetList::All(patterns))) => patterns.as_slice(),
        (None, Some(TargetList::ByStage(by_stage))) => {
            by_stage.get(&place.stage).map(Vec::as_slice).unwrap_or_default()
        }
        (None, None) => &[],
    };
    let scope = query::Scope { place, deployment: "primary", labels: &BTreeMap::new(), filters: &[], window: "" };
    let mut targets = Vec::new();
    for pattern in patterns {
        let target = query::expand(pattern, &scope)?;
        if !is_target(&target) {
            return Err(format!("the target `{target}` is not of the form host:port"));
        }
        targets.push(target);
    }
    Ok(targets)
}
