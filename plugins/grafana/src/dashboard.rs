//! Makes a dashboard's JSON (Grafana's dashboard model, schema version 39): a row for each stage, a panel for each indicator.
//!
//! Deterministic, and without the commit that it was made from: the same files make the same bytes, so that writing them to Git
//! again is no change. Grafana's list of versions names the commit.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::project::{Indicator, Limit, Service, Stage};

/// The version of the dashboard model.
const SCHEMA_VERSION: u32 = 39;
/// Columns of a dashboard.
const COLUMNS: u32 = 24;
/// Panels side by side.
const PER_ROW: u32 = 2;
/// Height of a panel, in Grafana's units.
const HEIGHT: u32 = 8;
/// Bytes of the digest in a uid; Grafana's are at most 40 characters.
const UID_BYTES: usize = 12;

/// Returns the uid of a service's dashboard. Names can be long and have characters that a uid cannot.
pub fn uid(project: &str, service: &str) -> String {
    let digest = Sha256::digest(format!("{project}/{service}").as_bytes());
    let hex: String = digest.iter().take(UID_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("pilothouse-{hex}")
}

/// Makes the dashboard of a service.
pub fn make(project: &str, service: &Service, datasource: Option<&str>) -> Value {
    let name = &service.name;
    json!({
        "uid": uid(project, name),
        "title": format!("{name} ({project})"),
        "description": "Generated from the SLI and SLO files of the project. What is changed here by hand is overwritten, or reported, as the project says.",
        "tags": ["pilothouse", format!("project:{project}"), format!("service:{name}")],
        "schemaVersion": SCHEMA_VERSION,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [data_source(datasource), run()] },
        "annotations": { "list": annotations(project, name) },
        "panels": panels(service),
    })
}

fn data_source(chosen: Option<&str>) -> Value {
    let mut variable = json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "includeAll": false,
        "multi": false,
    });
    if let (Some(uid), Some(members)) = (chosen, variable.as_object_mut()) {
        members.insert("current".to_owned(), json!({ "selected": true, "text": uid, "value": uid }));
    }
    variable
}

/// The run that is looked at: a link to a run sets it, and that run's marks stand out.
fn run() -> Value {
    json!({
        "name": "run",
        "label": "Run",
        "type": "textbox",
        "query": "",
        "hide": 0,
        "current": { "selected": true, "text": "", "value": "" },
        "options": [{ "selected": true, "text": "", "value": "" }],
    })
}

fn annotations(project: &str, service: &str) -> Value {
    let layer = |name: &str, colour: &str, tags: Value| {
        json!({
            "name": name,
            "enable": true,
            "hide": false,
            "iconColor": colour,
            "datasource": { "type": "grafana", "uid": "-- Grafana --" },
            "target": { "type": "tags", "tags": tags, "matchAny": false, "limit": 100 },
        })
    };
    json!([
        layer(
            "Runs",
            "rgba(128, 128, 128, 0.6)",
            json!(["pilothouse", format!("project:{project}"), format!("service:{service}")])
        ),
        layer("This run", "rgba(37, 99, 235, 1)", json!(["run:${run}"])),
    ])
}

fn panels(service: &Service) -> Vec<Value> {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    for stage in &service.stages {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": stage.name, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
        }));
        y += 1;
        y = stage_panels(stage, &mut id, y, &mut panels);
    }
    panels
}

/// Adds the panels of a stage from the line `y` on, and returns the line after them.
fn stage_panels(stage: &Stage, id: &mut u32, mut y: u32, panels: &mut Vec<Value>) -> u32 {
    let width = COLUMNS / PER_ROW;
    let mut column = 0;
    for indicator in &stage.indicators {
        *id += 1;
        panels.push(panel(indicator, *id, json!({ "x": column * width, "y": y, "w": width, "h": HEIGHT })));
        column += 1;
        if column == PER_ROW {
            (column, y) = (0, y + HEIGHT);
        }
    }
    if column > 0 { y + HEIGHT } else { y }
}

fn panel(indicator: &Indicator, id: u32, place: Value) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut defaults = json!({
        "custom": { "drawStyle": "line", "lineWidth": 2, "fillOpacity": 8, "showPoints": "never", "spanNulls": false,
                    "thresholdsStyle": { "mode": if indicator.limits.is_empty() { "off" } else { "line+area" } } },
        "thresholds": { "mode": "absolute", "steps": steps(&indicator.limits) },
        "color": { "mode": "palette-classic" },
    });
    if let (Some(unit), Some(members)) = (unit(&indicator.unit), defaults.as_object_mut()) {
        members.insert("unit".to_owned(), unit.into());
    }
    json!({
        "id": id,
        "type": "timeseries",
        "title": indicator.title,
        "description": format!("SLI `{}`", indicator.metric),
        "datasource": source,
        "gridPos": place,
        "fieldConfig": { "defaults": defaults, "overrides": [] },
        "options": { "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
                     "tooltip": { "mode": "multi", "sort": "none" } },
        "targets": [{
            "refId": "A",
            "datasource": source,
            "expr": indicator.query,
            "legendFormat": indicator.title,
            "range": true,
            "instant": false,
            "editorMode": "code",
        }],
    })
}

/// Makes the steps of the thresholds: the tightest limit in each direction.
fn steps(limits: &[Limit]) -> Vec<Value> {
    let above = limits.iter().filter(|it| it.above).map(|it| it.value).reduce(f64::min);
    let below = limits.iter().filter(|it| !it.above).map(|it| it.value).reduce(f64::max);
    // The first step has no value: it is what is below all others.
    let mut steps = vec![json!({ "color": if below.is_some() { "red" } else { "green" }, "value": null })];
    steps.extend(below.map(|value| json!({ "color": "green", "value": value })));
    steps.extend(above.map(|value| json!({ "color": "red", "value": value })));
    steps
}

/// Returns Grafana's name of a unit; one that Grafana does not know is written behind the number.
fn unit(unit: &str) -> Option<String> {
    Some(match unit {
        "" => return None,
        "ms" | "s" | "bytes" => unit.to_owned(),
        "%" | "percent" => "percent".to_owned(),
        "req/s" | "requests/s" => "reqps".to_owned(),
        other => format!("suffix: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(indicators: usize) -> Service {
        let indicator = |index: usize| Indicator {
            metric: format!("m{index}"),
            title: format!("M{index}"),
            unit: "ms".to_owned(),
            query: format!("up{index}"),
            limits: vec![Limit { value: 600.0, above: true }, Limit { value: 300.0, above: true }],
        };
        let stage = |name: &str| Stage { name: name.to_owned(), indicators: (0..indicators).map(indicator).collect() };
        Service { name: "cart".to_owned(), stages: vec![stage("dev"), stage("prod")], ..Service::default() }
    }

    #[test]
    fn panels_do_not_overlap_and_have_ids_of_their_own() {
        for count in 0..6 {
            let dashboard = make("shop", &service(count), None);
            let panels = dashboard["panels"].as_array().unwrap();
            assert_eq!(panels.len(), 2 + 2 * count);
            let mut taken = std::collections::HashSet::new();
            let mut ids = std::collections::HashSet::new();
            for panel in panels {
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
                let number = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                assert!(number("x") + number("w") <= 24);
                for x in number("x")..number("x") + number("w") {
                    for y in number("y")..number("y") + number("h") {
                        assert!(taken.insert((x, y)), "{panel}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_tightest_limit_is_the_line_and_units_are_grafanas() {
        let dashboard = make("shop", &service(1), None);
        let defaults = &dashboard["panels"][1]["fieldConfig"]["defaults"];
        assert_eq!(
            defaults["thresholds"]["steps"],
            json!([{ "color": "green", "value": null }, { "color": "red", "value": 300.0 }])
        );
        assert_eq!(defaults["unit"], "ms");
        assert_eq!(
            ["%", "req/s", "", "orders"].map(unit),
            [Some("percent".to_owned()), Some("reqps".to_owned()), None, Some("suffix: orders".to_owned())]
        );
        let low = [Limit { value: 5.0, above: false }, Limit { value: 9.0, above: false }];
        assert_eq!(steps(&low), [json!({ "color": "red", "value": null }), json!({ "color": "green", "value": 9.0 })]);
    }

    #[test]
    fn a_uid_is_within_grafanas_limits_and_of_one_service_alone() {
        assert!(uid("shop", "cart").len() <= 40);
        assert_ne!(uid("a-b", "c"), uid("a", "b-c"));
        assert_eq!(make("shop", &service(2), Some("p")), make("shop", &service(2), Some("p")));
    }
}
