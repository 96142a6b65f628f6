//! Reads what a project's files say about each service: what is measured in which stage, and what is good enough.
//!
//! Never here: dashboards, Grafana.

use std::collections::BTreeMap;

use pilothouse_sdk::Failure;
use pilothouse_sdk::files::monitoring::{self, HandEdits};
use pilothouse_sdk::files::place::Place;
use pilothouse_sdk::files::query::{self, DEFAULT_INDICATORS, Scope};
use pilothouse_sdk::files::shipyard::{self, SHIPYARD_FILE};
use pilothouse_sdk::files::slo::{self, Slo};
use pilothouse_sdk::files::yaml::Problem;
use pilothouse_sdk::files::{criterion, sli};
use pilothouse_sdk::resources::{self, Error, Level};

/// Where the SLI files lie in a project's folders.
const SLI_FILE: &str = "prometheus/sli.yaml";
/// Where the monitoring files lie.
const MONITORING_FILE: &str = "prometheus/monitoring.yaml";
/// Where the SLO file lies in the folder of a service.
const SLO_FILE: &str = "slo.yaml";
/// Grafana's own variable for the range of a rate: at least four scrapes, and as wide as a pixel.
const RATE_INTERVAL: &str = "$__rate_interval";

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its stages in the order of the shipyard.
    pub stages: Vec<Stage>,
    /// Files that cannot be read, and why.
    pub problems: Vec<String>,
    /// Indicators that cannot be shown, and why.
    pub skipped: Vec<String>,
    /// What becomes of hand edits.
    pub hand_edits: HandEdits,
}

impl Service {
    /// Adds a problem once: a file can count in several stages.
    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// A service in a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// The stage's name.
    pub name: String,
    /// What is measured: objectives in the order of the SLO file, then the other indicators.
    pub indicators: Vec<Indicator>,
}

/// An indicator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Indicator {
    /// Its name in the SLI file.
    pub metric: String,
    /// Its name for people.
    pub title: String,
    /// Its unit; empty without one.
    pub unit: String,
    /// PromQL with Grafana's variables.
    pub query: String,
    /// Values from which on it is not good enough; `above` tells whether more is worse.
    pub limits: Vec<Limit>,
}

/// A value from which on an indicator is not good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The value.
    pub value: f64,
    /// Whether more is worse, else less.
    pub above: bool,
}

/// The files of a project.
pub trait Files {
    /// Reads a file by its path from the project's root.
    ///
    /// # Errors
    /// The host failed, or does not grant it.
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Lists the services.
    ///
    /// # Errors
    /// As for [`Files::file`].
    fn services(&self) -> Result<Vec<String>, Failure>;
}

/// The files of the project in hand.
pub struct InHand;

impl Files for InHand {
    fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        match resources::read(Level::Project, path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound | Error::Invalid(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn services(&self) -> Result<Vec<String>, Failure> {
        Ok(resources::services()?)
    }
}

/// Reads a project.
///
/// # Errors
/// The inner error says why nothing of the project can be shown.
pub fn read(files: &impl Files, project: &str) -> Result<Result<Vec<Service>, String>, Failure> {
    let Some(bytes) = files.file(SHIPYARD_FILE)? else {
        return Ok(Err(format!("the project `{project}` has no `{SHIPYARD_FILE}`")));
    };
    let stages = match shipyard::read(&bytes) {
        (Some(shipyard), _) => shipyard.stages,
        (None, problems) => return Ok(Err(refused(SHIPYARD_FILE, &problems))),
    };
    let mut services = Vec::new();
    for name in files.services()? {
        let mut service = Service { hand_edits: hand_edits(files, &name)?, name, ..Service::default() };
        for stage in &stages {
            let stage = stage.name.to_string();
            let place = Place { project: project.to_owned(), stage, service: service.name.clone() };
            let indicators = indicators(files, &place, &mut service)?;
            service.stages.push(Stage { name: place.stage, indicators });
        }
        services.push(service);
    }
    Ok(Ok(services))
}

fn refused(path: &str, problems: &[Problem]) -> String {
    let errors: Vec<String> = problems.iter().filter(|it| it.stops_a_run()).map(ToString::to_string).collect();
    format!("`{path}` has errors: {}", errors.join("; "))
}

/// Reads what becomes of hand edits: what the service's file says, else the project's.
fn hand_edits(files: &impl Files, service: &str) -> Result<HandEdits, Failure> {
    for path in [format!("services/{service}/{MONITORING_FILE}"), MONITORING_FILE.to_owned()] {
        let found = files.file(&path)?.and_then(|bytes| monitoring::read(&bytes).0);
        if let Some(hand_edits) = found.and_then(|found| found.hand_edits) {
            return Ok(hand_edits);
        }
    }
    Ok(HandEdits::default())
}

/// Reads what is measured of a service in a stage.
fn indicators(files: &impl Files, place: &Place, into: &mut Service) -> Result<Vec<Indicator>, Failure> {
    let Place { stage, service, .. } = place;
    let in_stage = format!("stages/{stage}/services/{service}/");
    let folders = [String::new(), format!("stages/{stage}/"), format!("services/{service}/"), in_stage.clone()];
    let mut queries: BTreeMap<String, String> = BTreeMap::new();
    for folder in folders {
        let path = format!("{folder}{SLI_FILE}");
        match files.file(&path)?.map(|bytes| sli::read(&bytes)) {
            None => {}
            Some((Some(found), _)) => queries.extend(found.indicators),
            Some((None, wrong)) => into.problem(refused(&path, &wrong)),
        }
    }
    let mut slo = None;
    for folder in [in_stage, format!("services/{service}/")] {
        let path = format!("{folder}{SLO_FILE}");
        let Some(bytes) = files.file(&path)? else { continue };
        match slo::read(&bytes) {
            (Some(found), _) => slo = Some(found),
            (None, wrong) => into.problem(refused(&path, &wrong)),
        }
        break;
    }
    Ok(shown(place, &queries, slo.as_ref(), &mut into.skipped))
}

fn shown(
    place: &Place,
    queries: &BTreeMap<String, String>,
    slo: Option<&Slo>,
    skipped: &mut Vec<String>,
) -> Vec<Indicator> {
    let filters: Vec<(String, String)> = slo.into_iter().flat_map(|slo| slo.filter.clone()).collect();
    let labels = BTreeMap::new();
    let scope = Scope { place, deployment: "primary", labels: &labels, filters: &filters, window: RATE_INTERVAL };
    let objectives = slo.map(|slo| slo.objectives.as_slice()).unwrap_or_default();
    let mut names: Vec<&str> = objectives.iter().map(|objective| objective.sli.as_str()).collect();
    let others: Vec<&str> = match (queries.is_empty(), names.is_empty()) {
        (true, true) => DEFAULT_INDICATORS.to_vec(),
        _ => queries.keys().map(String::as_str).collect(),
    };
    names.extend(others.into_iter().filter(|name| !objectives.iter().any(|objective| objective.sli == *name)));
    let mut shown = Vec::new();
    for name in names {
        let objective = objectives.iter().find(|objective| objective.sli == name);
        match query::of(name, queries, &scope) {
            Ok(query) => shown.push(Indicator {
                metric: name.to_owned(),
                title: objective.and_then(|it| it.display_name.clone()).unwrap_or_else(|| name.to_owned()),
                unit: objective.and_then(|it| it.unit.clone()).unwrap_or_default(),
                query,
                limits: objective.map(|it| limits(&it.pass)).unwrap_or_default(),
            }),
            Err(why) => skipped.push(format!("`{name}` in `{}`: {why}", place.stage)),
        }
    }
    shown
}

/// Returns the limits that are numbers of their own: what is relative to earlier results is no line in a dashboard.
fn limits(pass: &[Vec<criterion::Criterion>]) -> Vec<Limit> {
    use criterion::Operator::{Equal, Greater, GreaterEqual, Less, LessEqual};
    let fixed = pass.iter().flatten().filter(|it| !it.relative);
    let limit = |it: &criterion::Criterion| match it.operator {
        Less | LessEqual => Some(Limit { value: it.value, above: true }),
        Greater | GreaterEqual => Some(Limit { value: it.value, above: false }),
        Equal => None,
    };
    fixed.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<(&'static str, &'static str)>);

    impl Files for Given {
        fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
            Ok(self.0.iter().find(|(it, _)| *it == path).map(|(_, text)| text.as_bytes().to_vec()))
        }

        fn services(&self) -> Result<Vec<String>, Failure> {
            Ok(vec!["cart".to_owned()])
        }
    }

    const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2\nkind: Shipyard\nmetadata: {name: shop}\nspec: {stages: [{name: dev, sequences: []}, {name: prod, sequences: []}]}\n";

    fn read_one(mut files: Vec<(&'static str, &'static str)>) -> Service {
        files.push(("shipyard.yaml", SHIPYARD));
        read(&Given(files), "shop").unwrap().unwrap().remove(0)
    }

    #[test]
    fn a_service_without_files_has_the_default_indicators() {
        let service = read_one(Vec::new());
        assert_eq!(service.stages.len(), 2);
        let names: Vec<&str> = service.stages[1].indicators.iter().map(|it| it.metric.as_str()).collect();
        assert_eq!(names, DEFAULT_INDICATORS);
        assert!(service.stages[1].indicators[0].query.contains("job='cart-shop-prod'"));
        assert!(service.stages[1].indicators[0].query.contains("[$__rate_interval]"));
    }

    #[test]
    fn objectives_come_first_with_their_limits_and_nearer_queries_win() {
        let service = read_one(vec![
            ("prometheus/sli.yaml", "spec_version: '1.0'\nindicators: {a: 'up', p95: 'far[$DURATION_SECONDS]'}\n"),
            (
                "stages/prod/prometheus/sli.yaml",
                "spec_version: '1.0'\nindicators: {p95: 'near{handler=\"$handler\"}'}\n",
            ),
            (
                "services/cart/slo.yaml",
                "spec_version: '1.0'\nfilter: {handler: Items}\nobjectives: [{sli: p95, displayName: Response time, unit: ms, pass: [{criteria: ['<600', '<=+10%']}, {criteria: ['>5']}]}]\ntotal_score: {pass: 90%}\n",
            ),
        ]);
        let [dev, prod] = service.stages.as_slice() else { panic!("{service:?}") };
        assert_eq!((dev.indicators[0].title.as_str(), dev.indicators[0].unit.as_str()), ("Response time", "ms"));
        assert_eq!(dev.indicators[0].query, "far[$__rate_interval]");
        assert_eq!(prod.indicators[0].query, "near{handler=\"Items\"}");
        let limits = [Limit { value: 600.0, above: true }, Limit { value: 5.0, above: false }];
        assert_eq!(dev.indicators[0].limits, limits, "what is relative is no line");
        assert_eq!(dev.indicators[1].metric, "a");
    }

    #[test]
    fn what_cannot_be_shown_is_named() {
        let service = read_one(vec![
            ("prometheus/sli.yaml", "spec_version: '1.0'\nindicators: {a: 'x{b=\"$LABEL.build\"}'}\n"),
            ("services/cart/slo.yaml", "objectives: 1\n"),
        ]);
        assert!(service.stages[0].indicators.is_empty());
        assert!(service.skipped[0].contains("`a` in `dev`: the event has no label `build`"), "{:?}", service.skipped);
        assert!(service.problems.len() == 1 && service.problems[0].contains("slo.yaml"), "{:?}", service.problems);
    }
}
