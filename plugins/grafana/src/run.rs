//! Marks a finished test or evaluation in Grafana, and tells where its time is to be seen.

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_sdk::{Event, Failure, Outcome, log};
use serde_json::{Value, json};

use crate::{Settings, api, dashboard};

/// The type of events that tell of a mark.
const ANNOTATED: &str = "com.grafana.run.annotated.v1";
/// The extension that names the run.
const RUN: &str = "shkeptncontext";
/// The extension that names the task.
const TRIGGERED_ID: &str = "triggeredid";
/// What is shown before and after a run, as a part of its length: how it was before, and how it went on.
const MARGIN: f64 = 0.25;
/// Longest text of a mark.
const TEXT_CHARS_MAX: usize = 300;

/// A run to mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// The service.
    pub service: String,
    /// The run.
    pub run: String,
    /// The task.
    pub task: String,
    /// What is said of it.
    pub text: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it began, in milliseconds since 1970.
    pub start: i64,
    /// When it ended.
    pub end: i64,
}

impl Marked {
    /// Returns the address of the service's dashboard with the time of this run, and the run chosen.
    pub fn url(&self, base: &str) -> String {
        let margin = ((self.end - self.start) as f64 * MARGIN) as i64 + 1_000;
        let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "{}/d/{}/{}?from={}&to={}&var-run={}",
            base.trim_end_matches('/'),
            dashboard::uid(&self.project, &self.service),
            part(&self.service.to_lowercase()),
            self.start - margin,
            self.end + margin,
            part(&self.run)
        )
    }
}

/// Reads the end of a test or an evaluation; `None` if it has no place, or no time to mark.
pub fn read(event: &Event, data: &Value) -> Option<Marked> {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_test = event.ty.contains(".test.");
    let (from, to) =
        if is_test { ("/test/start", "/test/end") } else { ("/evaluation/timeStart", "/evaluation/timeEnd") };
    let instant = |pointer: &str| text(pointer).parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let (start, end) = (instant(from)?, instant(to)?);
    let (project, stage, service) = (text("/project"), text("/stage"), text("/service"));
    if project.is_empty() || service.is_empty() || end < start {
        return None;
    }
    let run = event.extension_str(RUN).unwrap_or_default().to_owned();
    let task = event.extension_str(TRIGGERED_ID).unwrap_or_default().to_owned();
    let result = text("/result");
    let mut tags = vec![
        "pilothouse".to_owned(),
        format!("project:{project}"),
        format!("stage:{stage}"),
        format!("service:{service}"),
        format!("result:{result}"),
        format!("run:{run}"),
        format!("task:{task}"),
    ];
    let version = text("/labels/version");
    if !version.is_empty() {
        tags.push(format!("version:{version}"));
    }
    let what = if is_test { "Test" } else { "Evaluation" };
    let told: String =
        format!("{what} in {stage}: {result}. {}", text("/message")).chars().take(TEXT_CHARS_MAX).collect();
    // Grafana shows the text as HTML.
    let told = told.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Some(Marked { project, stage, service, run, task, text: told, tags, start, end })
}

/// Marks a run, and tells where it is to be seen.
///
/// # Errors
/// Grafana could not be asked, or refused.
pub fn annotate(event: &Event, settings: &Settings) -> Result<Outcome, Failure> {
    let data: Value = event.json()?;
    let Some(marked) = read(event, &data) else {
        log::info!("nothing is marked: the event names no service, or no time");
        return Ok(Outcome::none());
    };
    api::annotate(&marked.text, &marked.tags, &[format!("task:{}", marked.task)], marked.start, marked.end)?;
    let told = json!({
        "project": marked.project, "stage": marked.stage, "service": marked.service,
        "url": marked.url(settings.url.as_deref().unwrap_or_default()),
        "start": data.pointer("/test/start").or_else(|| data.pointer("/evaluation/timeStart")),
        "end": data.pointer("/test/end").or_else(|| data.pointer("/evaluation/timeEnd")),
    });
    let told = Event::builder(ANNOTATED).extension_str(TRIGGERED_ID, marked.task).json(&told)?;
    Ok(Outcome::none().event(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ty: &str) -> Event {
        let builder = Event::builder(ty).extension_str(RUN, "r-1").extension_str(TRIGGERED_ID, "t-1");
        builder.text("application/json", "{}").build()
    }

    #[test]
    fn a_run_is_shown_with_the_time_around_it() {
        let data = json!({ "project": "shop", "stage": "dev", "service": "cart", "result": "fail", "message": "p95 <600",
            "labels": { "version": "1.4" },
            "test": { "start": "1970-01-01T00:16:40Z", "end": "1970-01-01T00:16:50Z" } });
        let marked = read(&event("sh.keptn.event.test.finished"), &data).unwrap();
        assert_eq!((marked.start, marked.end), (1_000_000, 1_010_000));
        assert_eq!(marked.text, "Test in dev: fail. p95 &lt;600");
        assert!(marked.tags.contains(&"run:r-1".to_owned()) && marked.tags.contains(&"version:1.4".to_owned()));
        let expected = format!(
            "https://grafana.example.org/d/{}/cart?from=996500&to=1013500&var-run=r%2D1",
            dashboard::uid("shop", "cart")
        );
        assert_eq!(marked.url("https://grafana.example.org/"), expected);
    }

    #[test]
    fn what_has_no_time_or_no_service_is_not_marked() {
        for data in [json!({ "project": "shop", "service": "cart" }), json!({ "test": { "start": "x", "end": "y" } })] {
            assert_eq!(read(&event("sh.keptn.event.test.finished"), &data), None);
        }
    }
}
