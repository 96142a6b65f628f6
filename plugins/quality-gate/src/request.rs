//! What the task asks for, and what the provider is asked.

use jiff::Timestamp;
use pilothouse_sdk::files::evaluation::{Window, window};
use pilothouse_sdk::files::gate::Gate;
use pilothouse_sdk::files::result::TaskResult;
use pilothouse_sdk::files::sli;
use pilothouse_sdk::files::slo::Slo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Who measures, unless somebody says otherwise.
pub const PROVIDER_DEFAULT: &str = "prometheus";

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Who measures.
    pub sli_provider: Option<String>,
    /// The result for a service without an SLO file.
    pub without_slo: Option<TaskResult>,
}

/// What is kept of an evaluation while the provider measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The window's start.
    pub start: String,
    /// The window's end.
    pub end: String,
    /// The text of the SLO file, if there is one.
    pub slo: Option<String>,
    /// The result if there is none.
    pub without_slo: TaskResult,
}

/// Finds the window: what the event asks for, else that of the test before.
///
/// # Errors
/// A sentence that says what is missing, or does not go together.
pub fn window(data: &Value, now: Timestamp) -> Result<Window, String> {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let (start, end) = (text("/evaluation/start"), text("/evaluation/end"));
    let timeframe = text("/evaluation/timeframe");
    if start.is_some() || end.is_some() || timeframe.is_some() {
        return window::find(start, end, timeframe, now);
    }
    match (text("/test/start"), text("/test/end")) {
        (Some(start), Some(end)) => window::of_test(start, end),
        _ => Err("the event does not contain evaluation timeframe: it needs `evaluation.start` and `evaluation.end`, \
                  or `evaluation.timeframe`, or a test before it with `test.start` and `test.end`"
            .to_owned()),
    }
}

/// Says who measures: as the event says, else the project's gate file, else the settings.
pub fn provider(data: &Value, gate: &Gate, settings: &Settings) -> String {
    let asked = data.pointer("/evaluation/sliProvider").and_then(Value::as_str).filter(|name| !name.is_empty());
    let named = asked.or(gate.sli_provider.as_deref()).or(settings.sli_provider.as_deref());
    named.unwrap_or(PROVIDER_DEFAULT).to_owned()
}

/// Makes the data of `get-sli.triggered` (Keptn spec 0.2.x). Queries that the evaluation brings go with it.
///
/// # Errors
/// The SLI file that the event brings cannot be read.
pub fn get_sli(data: &Value, window: &Window, slo: Option<&Slo>, provider: &str) -> Result<Value, String> {
    let indicators: Vec<&str> = slo.into_iter().flat_map(|slo| &slo.objectives).map(|it| it.sli.as_str()).collect();
    let filters: Vec<Value> =
        slo.into_iter().flat_map(|slo| &slo.filter).map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let mut asked = json!({
        "sliProvider": provider,
        "start": window.start,
        "end": window.end,
        "indicators": indicators,
        "customFilters": filters,
        // How each went within the window, for the report. Pilothouse's; other providers leave it alone.
        "series": true,
    });
    if let Some(text) = data.pointer("/evaluation/sli").and_then(Value::as_str) {
        let queries = match sli::read(text.as_bytes()) {
            (Some(sli), _) => sli.indicators,
            (None, problems) => return Err(super::refused("SLI", &problems)),
        };
        if let Some(members) = asked.as_object_mut() {
            members.insert("queries".to_owned(), json!(queries));
        }
    }
    let mut members = Map::new();
    for name in ["project", "stage", "service", "labels"] {
        if let Some(value) = data.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(deployment) = data.pointer("/deployment/deploymentNames/0").filter(|name| name.is_string()) {
        members.insert("deployment".to_owned(), deployment.clone());
    }
    members.insert("get-sli".to_owned(), asked);
    Ok(Value::Object(members))
}

#[cfg(test)]
mod tests {
    use pilothouse_sdk::files::slo;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_window_is_the_evaluations_own_else_that_of_the_test() {
        let both = json!({
            "evaluation": { "timeframe": "5m" }, "test": { "start": "2026-01-31T10:00:00Z", "end": "2026-01-31T10:00:20Z" } });
        assert_eq!(window(&both, now()).unwrap().start, "2026-01-31T11:55:00Z");
        let test = json!({ "evaluation": {}, "test": both["test"] });
        assert_eq!(window(&test, now()).unwrap().end, "2026-01-31T10:00:20Z");
        for (data, expected) in [
            (json!({}), "does not contain evaluation timeframe"),
            (json!({ "test": { "start": "2026-01-31T10:00:00Z" } }), "does not contain evaluation timeframe"),
            (json!({ "evaluation": { "end": "2026-01-31T10:00:00Z" } }), "`end` needs `start`"),
        ] {
            assert!(window(&data, now()).unwrap_err().contains(expected), "{data}");
        }
    }

    #[test]
    fn the_event_names_the_provider_else_the_project_else_the_settings() {
        let gate = Gate { sli_provider: Some("of-project".to_owned()), without_slo: None };
        let settings = Settings { sli_provider: Some("of-settings".to_owned()), without_slo: None };
        let data = json!({ "evaluation": { "sliProvider": "of-event" } });
        assert_eq!(provider(&data, &gate, &settings), "of-event");
        assert_eq!(provider(&json!({}), &gate, &settings), "of-project");
        assert_eq!(provider(&json!({}), &Gate::default(), &settings), "of-settings");
        assert_eq!(provider(&json!({}), &Gate::default(), &Settings::default()), "prometheus");
    }

    #[test]
    fn the_provider_is_asked_as_keptn_asked_it() {
        let (slo, _) = slo::read(
            b"spec_version: '1.0'\nfilter: {handler: Items}\nobjectives: [{sli: p95}, {sli: errors}]\ntotal_score: {pass: 90%}\n",
        );
        let data = json!({
            "project": "shop", "stage": "dev", "service": "cart", "labels": { "version": "1" }, "result": "pass",
            "deployment": { "deploymentNames": ["canary"] },
            "evaluation": { "sli": "spec_version: '1.0'\nindicators: {p95: 'q'}\n" } });
        let window = Window { start: "s".to_owned(), end: "e".to_owned() };
        let asked = get_sli(&data, &window, slo.as_ref(), "prometheus").unwrap();
        assert_eq!(
            asked,
            json!({
                "project": "shop", "stage": "dev", "service": "cart", "labels": { "version": "1" }, "deployment": "canary",
                "get-sli": {
                    "sliProvider": "prometheus", "start": "s", "end": "e", "indicators": ["p95", "errors"],
                    "customFilters": [{ "key": "handler", "value": "Items" }], "series": true, "queries": { "p95": "q" } } })
        );
        let bad = json!({ "evaluation": { "sli": "indicators: [" } });
        assert!(get_sli(&bad, &window, None, "prometheus").unwrap_err().contains("the SLI file has errors"));
    }
}
