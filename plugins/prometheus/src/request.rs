//! Reads what events and settings say: places, windows, indicators, files.
//!
//! Never here: asking Prometheus, writing files.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pilothouse_sdk::resources::Level;
use serde::Deserialize;
use serde_json::Value;

use crate::destination::Destination;
pub use crate::rules::{FOR_DEFAULT, WINDOW_SECONDS_DEFAULT};
use crate::slo::{self, Queries};
use crate::targets::is_target;
use crate::tools::Tools;
use pilothouse_sdk::files::place::{Place, is_name};
use pilothouse_sdk::files::query::{self, DEFAULT_INDICATORS};

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Text of an SLI file for events that bring none.
    pub sli: Option<String>,
    /// Text of an SLO file for events that bring none.
    pub slo: Option<String>,
    /// Scrape targets for events that bring none.
    pub targets: Option<TargetList>,
    /// Stages for events that name none.
    pub stages: Vec<String>,
    /// Where generated configuration goes.
    pub output: Destination,
    /// The namespace of resources in Kubernetes.
    pub namespace: Option<String>,
    /// How long a limit must be broken before an alert fires.
    pub alert_for: Option<String>,
    /// The window of a query in an alert.
    pub alert_window_seconds: Option<u64>,
}

/// Scrape targets: the same for each stage, or by stage. Placeholders as in queries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TargetList {
    /// For each stage.
    All(Vec<String>),
    /// By stage.
    ByStage(BTreeMap<String, Vec<String>>),
}

/// What the event brings for this plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Brought {
    targets: Option<TargetList>,
    sli: Option<String>,
    slo: Option<String>,
    stages: Option<Vec<String>>,
}

/// A window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its start, RFC 3339.
    pub start: String,
    /// Its end, RFC 3339.
    pub end: String,
    /// Its length in whole seconds, rounded up, at least 1.
    pub seconds: u64,
}

impl Window {
    /// Returns its length as Prometheus has it.
    pub fn text(&self) -> String {
        format!("{}s", self.seconds)
    }
}

/// Reads a window from an object with `start` and `end`.
///
/// # Errors
/// One is missing or is not RFC 3339, or the end is not after the start.
pub fn window(object: Option<&Value>, name: &str) -> Result<Window, String> {
    let instant = |which: &str| -> Result<(String, Timestamp), String> {
        let text = object
            .and_then(|object| object.get(which)?.as_str())
            .ok_or_else(|| format!("`{name}.{which}` is missing; write a time such as 2024-01-31T12:00:00Z"))?;
        let instant =
            text.parse().map_err(|_| format!("`{name}.{which}` is not a time such as 2024-01-31T12:00:00Z"))?;
        Ok((text.to_owned(), instant))
    };
    let (start, from) = instant("start")?;
    let (end, to) = instant("end")?;
    let milliseconds = u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0);
    if to <= from {
        return Err(format!("`{name}.end` is not after `{name}.start`"));
    }
    Ok(Window { start, end, seconds: milliseconds.div_ceil(1_000).max(1) })
}

/// Reads a text member; missing, null and other kinds are empty.
pub fn text<'a>(data: &'a Value, name: &str) -> &'a str {
    data.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Reads project, stage and service.
pub fn place(data: &Value) -> Place {
    let read = |name| text(data, name).to_owned();
    Place { project: read("project"), stage: read("stage"), service: read("service") }
}

/// Reads the labels; those that are not text are left out.
pub fn labels(data: &Value) -> BTreeMap<String, String> {
    let pairs = data.get("labels").and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Reads the deployment: the event's, else the label's, else `primary`.
pub fn deployment(data: &Value) -> String {
    let deployment = data.get("deployment");
    let named = deployment.and_then(Value::as_str);
    let first = || deployment.and_then(|it| it.pointer("/deploymentNames/0")).and_then(Value::as_str);
    let label = || data.pointer("/labels/deployment").and_then(Value::as_str);
    named.or_else(first).or_else(label).filter(|name| !name.is_empty()).unwrap_or("primary").to_owned()
}

fn brought(data: &Value) -> Result<Brought, String> {
    match data.get("prometheus") {
        None | Some(Value::Null) => Ok(Brought::default()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| "`prometheus` must be an object with `targets`, `sli`, `slo` and `stages`".to_owned()),
    }
}

/// Where this provider's SLI files lie in a project's folders.
pub const SLI_FILE: &str = "prometheus/sli.yaml";

/// The key under which the SLI file of a service is kept from `configure-monitoring` for later queries.
pub fn sli_key(place: &Place) -> String {
    format!("sli/{}/{}", place.project, place.service)
}

/// Finds the queries of a service: the event's, else those of the project's SLI files, else those that it was configured
/// with, else the settings'. None: the defaults.
///
/// # Errors
/// A file cannot be read; says which.
pub fn queries(data: &Value, settings: &Settings, tools: &impl Tools) -> Result<Queries, String> {
    if let Some(queries) = data.pointer("/get-sli/queries").filter(|queries| !queries.is_null()) {
        return serde_json::from_value(queries.clone())
            .map_err(|_| "`get-sli.queries` must be an object of texts".to_owned());
    }
    if let Some(text) = brought(data)?.sli {
        return slo::read_sli(&text);
    }
    let of_project = project_queries(tools)?;
    if !of_project.is_empty() {
        return Ok(of_project);
    }
    // Without the grant for state there is nothing kept; that is how the operator wants it.
    let kept = || tools.kept(&sli_key(&place(data))).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    match kept().or_else(|| settings.sli.clone()) {
        Some(text) => slo::read_sli(&text),
        None => Ok(Queries::new()),
    }
}

/// Reads the SLI files of the project: its own, the stage's, the service's, the service's in the stage; the later ones win.
fn project_queries(tools: &impl Tools) -> Result<Queries, String> {
    let mut queries = Queries::new();
    for level in [Level::Project, Level::Stage, Level::Service, Level::ServiceInStage] {
        if let Some(bytes) = tools.resource(level, SLI_FILE)? {
            queries.extend(slo::read_sli(&String::from_utf8_lossy(&bytes))?);
        }
    }
    Ok(queries)
}

/// Returns the indicators of a service that nobody named: all of its SLI file, else the defaults.
pub fn indicators(queries: &Queries) -> Vec<String> {
    if queries.is_empty() {
        return DEFAULT_INDICATORS.map(str::to_owned).to_vec();
    }
    queries.keys().cloned().collect()
}

/// What `configure-monitoring` is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The stages, each with project and service.
    pub places: Vec<Place>,
    /// Whether these are all stages of the service, so that what is there of others goes.
    pub complete: bool,
    /// Targets by stage; `None` leaves those that are there.
    pub targets: Option<BTreeMap<String, Vec<String>>>,
    /// Queries by indicator.
    pub queries: Queries,
    /// The SLI file as the event brought it.
    pub sli: Option<String>,
    /// The SLO file; `None` leaves the rules that are there.
    pub slo: Option<slo::Slo>,
    /// How long a limit must be broken before an alert fires.
    pub alert_for: String,
    /// The window of a query in an alert, in seconds.
    pub window_seconds: u64,
}

/// Reads the trigger of `configure-monitoring`.
///
/// # Errors
/// Says what is missing or wrong, and what to write.
pub fn configuration(data: &Value, settings: &Settings, tools: &impl Tools) -> Result<Configuration, String> {
    let brought = brought(data)?;
    let base = place(data);
    let complete = base.stage.is_empty() || brought.stages.is_some();
    let stages = match brought.stages {
        Some(stages) => stages,
        None if base.stage.is_empty() => settings.stages.clone(),
        None => vec![base.stage.clone()],
    };
    if stages.is_empty() {
        return Err("no stage is named: put them in `prometheus.stages`, or set the setting `stages`".to_owned());
    }
    let places: Vec<Place> = stages.into_iter().map(|stage| Place { stage, ..base.clone() }).collect();
    for place in &places {
        for (what, name) in [("project", &place.project), ("stage", &place.stage), ("service", &place.service)] {
            if !is_name(name) {
                return Err(format!("the {what} `{}` is not a name of letters, digits, `-` and `_`", cut(name)));
            }
        }
    }
    let targets = match brought.targets.as_ref().or(settings.targets.as_ref()) {
        Some(list) => Some(targets(list, &places)?),
        None => None,
    };
    let slo = match brought.slo.as_ref().or(settings.slo.as_ref()) {
        Some(text) => Some(slo::read_slo(text)?),
        None => None,
    };
    if targets.is_none() && slo.is_none() {
        return Err(
            "nothing to configure: bring `prometheus.targets` or `prometheus.slo`, or set such settings".to_owned()
        );
    }
    let alert_for = settings.alert_for.clone().unwrap_or_else(|| FOR_DEFAULT.to_owned());
    if !is_duration(&alert_for) {
        return Err(format!("the setting `alert-for` is `{}`; write a duration such as 10m", cut(&alert_for)));
    }
    Ok(Configuration {
        queries: queries(data, settings, tools)?,
        sli: brought.sli,
        places,
        complete,
        targets,
        slo,
        alert_for,
        window_seconds: settings.alert_window_seconds.unwrap_or(WINDOW_SECONDS_DEFAULT).max(1),
    })
}

/// Fills in placeholders and checks each target.
fn targets(list: &TargetList, places: &[Place]) -> Result<BTreeMap<String, Vec<String>>, String> {
    if let TargetList::ByStage(by_stage) = list
        && let Some(stage) = by_stage.keys().find(|stage| !places.iter().any(|place| place.stage == **stage))
    {
        return Err(format!("`targets` has a stage `{}` that is not one of the stages", cut(stage)));
    }
    let mut found = BTreeMap::new();
    for place in places {
        let patterns = match list {
            TargetList::All(all) => all.as_slice(),
            TargetList::ByStage(by_stage) => by_stage.get(&place.stage).map(Vec::as_slice).unwrap_or_default(),
        };
        let scope = query::Scope { place, deployment: "primary", labels: &BTreeMap::new(), filters: &[], window: "" };
        let mut of_stage = Vec::new();
        for pattern in patterns {
            let target = query::expand(pattern, &scope)?;
            if !is_target(&target) {
                return Err(format!("the target `{}` is not of the form host:port", cut(&target)));
            }
            of_stage.push(target);
        }
        found.insert(place.stage.clone(), of_stage);
    }
    Ok(found)
}

pub use pilothouse_sdk::files::monitoring::is_duration;

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stand_in::StandIn;

    #[test]
    fn a_window_is_exact_and_its_length_is_rounded_up() {
        let window = |start: &str, end: &str| window(Some(&json!({ "start": start, "end": end })), "test");
        let got = window("2024-01-01T00:00:00.500Z", "2024-01-01T00:00:30.600Z").unwrap();
        assert_eq!(
            (got.start.as_str(), got.end.as_str(), got.seconds),
            ("2024-01-01T00:00:00.500Z", "2024-01-01T00:00:30.600Z", 31)
        );
        assert_eq!(window("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.0000001Z").unwrap().seconds, 1);
        assert_eq!(window("2024-01-01T02:00:00+02:00", "2024-01-01T00:01:00Z").unwrap().seconds, 60);
        assert!(window("2024-01-01T00:00:01Z", "2024-01-01T00:00:01Z").unwrap_err().contains("not after"));
        assert!(window("yesterday", "2024-01-01T00:00:01Z").unwrap_err().contains("`test.start` is not a time"));
        assert!(super::window(None, "test").unwrap_err().contains("`test.start` is missing"));
    }

    #[test]
    fn the_deployment_is_found_where_keptn_puts_it() {
        for (name, data, expected) in [
            ("text", json!({ "deployment": "canary", "labels": { "deployment": "x" } }), "canary"),
            ("names", json!({ "deployment": { "deploymentNames": ["blue"] } }), "blue"),
            ("label", json!({ "deployment": "", "labels": { "deployment": "x" } }), "primary"),
            ("only a label", json!({ "labels": { "deployment": "x" } }), "x"),
            ("nothing", json!({}), "primary"),
        ] {
            assert_eq!(deployment(&data), expected, "{name}");
        }
    }

    #[test]
    fn queries_come_from_the_event_then_the_configuration_then_the_settings() {
        let tools = StandIn::default();
        let sli = |query: &str| format!("indicators: {{a: {query}}}");
        let settings = Settings { sli: Some(sli("settings")), ..Settings::default() };
        let find = |data: &Value| queries(data, &settings, &tools).unwrap()["a"].clone();
        let base = json!({ "project": "shop", "service": "cart" });
        assert_eq!(find(&base), "settings");
        tools.keep("sli/shop/cart", Some(sli("kept").as_bytes())).unwrap();
        assert_eq!(find(&base), "kept");
        let file = json!({ "project": "shop", "service": "cart", "prometheus": { "sli": sli("event") } });
        assert_eq!(find(&file), "event");
        assert_eq!(
            find(&json!({ "get-sli": { "queries": { "a": "direct" } }, "prometheus": { "sli": sli("event") } })),
            "direct"
        );
        assert!(queries(&json!({}), &Settings::default(), &tools).unwrap().is_empty());
    }

    fn configure(data: Value, settings: &Settings) -> Result<Configuration, String> {
        configuration(&data, settings, &StandIn::default())
    }

    #[test]
    fn targets_are_for_each_stage_or_by_stage_with_placeholders() {
        let data = json!({ "project": "shop", "service": "cart", "prometheus": { "stages": ["dev", "prod"], "targets": ["$SERVICE.$PROJECT-$STAGE:80"] } });
        let targets = configure(data, &Settings::default()).unwrap().targets.unwrap();
        assert_eq!(targets["dev"], ["cart.shop-dev:80"]);
        assert_eq!(targets["prod"], ["cart.shop-prod:80"]);
        let data = json!({ "project": "shop", "service": "cart", "prometheus": { "stages": ["dev", "prod"], "targets": { "dev": ["a:1"] } } });
        let targets = configure(data, &Settings::default()).unwrap().targets.unwrap();
        assert_eq!((targets["dev"].len(), targets["prod"].len()), (1, 0));
    }

    #[test]
    fn one_stage_of_a_sequence_is_not_all_stages() {
        let settings = Settings { stages: vec!["a".to_owned(), "b".to_owned()], ..Settings::default() };
        let stages = |stage: &str, listed: Value| {
            let data = json!({ "project": "p", "stage": stage, "service": "s", "prometheus": { "targets": ["x:1"], "stages": listed } });
            let got = configure(data, &settings).unwrap();
            (got.places.iter().map(|place| place.stage.clone()).collect::<Vec<_>>(), got.complete)
        };
        assert_eq!(stages("dev", Value::Null), (vec!["dev".to_owned()], false));
        assert_eq!(stages("", Value::Null), (vec!["a".to_owned(), "b".to_owned()], true));
        assert_eq!(stages("dev", json!(["x"])), (vec!["x".to_owned()], true));
    }

    #[test]
    fn a_configuration_that_cannot_work_says_what_to_write() {
        let cases = [
            (
                "no stage",
                json!({ "project": "p", "service": "s", "prometheus": { "targets": ["x:1"] } }),
                "no stage is named",
            ),
            ("nothing", json!({ "project": "p", "stage": "d", "service": "s" }), "nothing to configure"),
            (
                "no service",
                json!({ "project": "p", "stage": "d", "prometheus": { "targets": ["x:1"] } }),
                "the service `` is not a name",
            ),
            ("path", json!({ "project": "../p", "stage": "d", "service": "s" }), "the project `../p` is not a name"),
            (
                "bad target",
                json!({ "project": "p", "stage": "d", "service": "s", "prometheus": { "targets": ["http://x"] } }),
                "`http://x` is not of the form",
            ),
            (
                "other stage",
                json!({ "project": "p", "stage": "d", "service": "s", "prometheus": { "targets": { "e": [] } } }),
                "a stage `e`",
            ),
            (
                "bad slo",
                json!({ "project": "p", "stage": "d", "service": "s", "prometheus": { "slo": "objectives: 1" } }),
                "the SLO file has errors",
            ),
            (
                "bad sli",
                json!({ "project": "p", "stage": "d", "service": "s", "prometheus": { "targets": ["x:1"], "sli": "indicators: 1" } }),
                "the SLI file has errors",
            ),
            ("wrong shape", json!({ "prometheus": 1 }), "`prometheus` must be an object"),
        ];
        for (name, data, expected) in cases {
            let error = configure(data, &Settings::default()).unwrap_err();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
