//! What the engine knows of reports: it puts a link to the report into the end of each test and evaluation.

use pilothouse_core::name::{ServiceName, StageName};
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::scope::Place;
use pilothouse_core::task::{Finished, Task};
use pilothouse_core::time::Timestamp;
use serde_json::{Map, Value};

use super::evaluations::EVALUATION_TASK;
use super::{Engine, Inner};
use crate::report::ReportLinks;

/// The task that tests.
const TEST_TASK: &str = "test";
/// The member of `data.<task>` that has the link.
const REPORT_URL: &str = "reportUrl";
/// The service's SLO file.
const SLO_FILE: &str = "slo.yaml";

impl Engine {
    /// Makes and checks links to reports.
    pub fn report_links(&self) -> &ReportLinks {
        &self.0.report_links
    }

    /// Reads the SLO file of a service in a stage at a commit, or at the present one; `None` if it cannot be had.
    pub async fn slo_file(&self, place: &Place, commit: Option<&str>) -> Option<Vec<u8>> {
        let project = place.project.as_deref()?;
        let stage = StageName::new(place.stage.as_deref()?).ok()?;
        let service = ServiceName::new(place.service.as_deref()?).ok()?;
        let folders = [
            Folder { stage: Some(stage), service: Some(service.clone()) },
            Folder { stage: None, service: Some(service) },
        ];
        let path = FilePath::new(SLO_FILE).ok()?;
        self.0.sequencer.projects.file(project, commit, &folders, &path).await.ok()
    }
}

impl Inner {
    /// Puts the link to its report into the answer of a test or an evaluation. An output that is no object stays as it is.
    pub(super) fn link_report(&self, task: &Task, answer: &mut Finished, now: Timestamp) {
        if !matches!(task.name.as_str(), TEST_TASK | EVALUATION_TASK) {
            return;
        }
        let output = answer.output.as_deref().map_or_else(|| Ok(Value::Object(Map::new())), serde_json::from_str);
        if let Ok(Value::Object(mut members)) = output {
            let link = self.report_links.make(&task.id, now);
            members.insert(REPORT_URL.to_owned(), link.url.into());
            answer.output = Some(Value::Object(members).to_string());
        }
    }
}
