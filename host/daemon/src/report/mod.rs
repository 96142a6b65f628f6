//! Reports on finished tests and evaluations: the test's figures, the indicators with how they went, the verdict, and what it
//! was the time before. A report is read from the log whenever it is asked for; nothing else is kept of it.
//!
//! [`build`] collects, [`page`] shows, [`link`] lets one report out without a token.

mod chart;
mod collect;
pub mod link;
pub mod page;
mod series;

pub use collect::build;
pub use link::{LinkError, ReportLink, ReportLinks};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use series::SeriesView;

/// A report on a finished test or evaluation.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReportView {
    /// Its id: that of the task's triggered event.
    pub id: String,
    /// `test` or `evaluation`: the task that it is about.
    pub kind: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The commit of the project's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The labels of the run, such as `version`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub labels: Map<String, Value>,
    /// When the task ended (RFC 3339).
    pub time: String,
    /// What was looked at; absent for a test that did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowView>,
    /// `succeeded`, or `errored` for a task that could not be done.
    pub status: String,
    /// `pass`, `warning` or `fail`: the task's result.
    pub result: String,
    /// How it ended and why.
    pub message: String,
    /// The test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TestView>,
    /// The verdict by the SLO file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictView>,
    /// The run before of the same service in the same stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<BeforeView>,
    /// Address of a dashboard that shows this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// What was measured in the window, in the order of the SLO file.
    pub indicators: Vec<IndicatorView>,
}

/// A window of time; both RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct WindowView {
    /// Its start.
    pub start: String,
    /// Its end.
    pub end: String,
}

/// A test, as its tool reported it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TestView {
    /// Id of its triggered event.
    pub id: String,
    /// `pass`, `warning` or `fail`.
    pub result: String,
    /// How it ended and why.
    pub message: String,
    /// Its figures: `data.test` of the event.
    #[schema(value_type = Object)]
    pub figures: Value,
}

/// A verdict.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct VerdictView {
    /// `evaluation` if an evaluation of the run judged this window, `report` if none did and this report judged by the SLO file
    /// of the run's commit. Such a verdict has no effect.
    pub by: String,
    /// Id of the evaluation's triggered event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `pass`, `warning` or `fail`.
    pub result: String,
    /// In percent.
    pub score: f64,
    /// How it ended and why.
    pub message: String,
    /// The whole evaluation, in Keptn's form.
    #[schema(value_type = Object)]
    pub evaluation: Value,
}

/// The run before.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BeforeView {
    /// Its id; it has a report too.
    pub id: String,
    /// When it ended (RFC 3339).
    pub time: String,
    /// `pass`, `warning` or `fail`.
    pub result: String,
    /// In percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The labels of that run.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub labels: Map<String, Value>,
    /// The figures of the test before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub test: Option<Value>,
}

/// A measured indicator.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct IndicatorView {
    /// Its name in the SLI file.
    pub metric: String,
    /// Its name for people.
    pub name: String,
    /// The unit of its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Its value over the window; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its value the time before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// `pass`, `warning`, `fail`, or `info` for one that is not judged.
    pub status: String,
    /// In plain words: what was asked for, and by how much it was missed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub explanation: String,
    /// The limits of `pass`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitView>,
    /// How it went within the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesView>,
}

/// A limit of an objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LimitView {
    /// As written.
    pub criteria: String,
    /// The number compared with.
    pub value: f64,
    /// Whether it does not hold.
    pub violated: bool,
}
