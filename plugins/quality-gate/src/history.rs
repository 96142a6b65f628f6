//! Finds the earlier evaluations that a comparison takes.

use std::collections::HashSet;

use pilothouse_sdk::event_log::{self, Query};
use pilothouse_sdk::files::evaluation::{Earlier, compared, input};
use pilothouse_sdk::files::slo::Slo;
use pilothouse_sdk::{Event, Failure};
use serde_json::{Value, json};

/// What is compared with.
const FINISHED: &str = "sh.keptn.event.evaluation.finished";
/// What takes one back; its `triggeredid` is that of the evaluation.
const INVALIDATED: &str = "sh.keptn.event.evaluation.invalidated";
/// The extension that names the task.
const TRIGGERED_ID: &str = "triggeredid";
/// Most pages looked through for results that count: of a service whose last thousand evaluations all failed, no earlier one
/// says how it is when it is well.
const PAGES_MAX: u32 = 50;
/// Most invalidated evaluations, the newest first, that are left out.
const INVALIDATED_PAGES_MAX: u32 = 10;
/// Largest page.
const PAGE_MAX: u32 = 100;

/// Returns the earlier evaluations that count for an SLO, the newest first: those of the service in its stage that nobody
/// declared invalid.
///
/// # Errors
/// The log could not be read.
pub fn earlier(slo: &Slo, stage: Option<String>, service: Option<String>) -> Result<Vec<Earlier>, Failure> {
    let query = |ty: &str| Query { ty: ty.to_owned(), stage: stage.clone(), service: service.clone(), run: None };
    let invalid = invalidated(&query(INVALIDATED))?;
    let wanted = slo.comparison.results;
    let mut found: Vec<Earlier> = Vec::new();
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let page = event_log::events(&query(FINISHED), before, wanted.clamp(1, PAGE_MAX))?;
        found.extend(page.events.iter().filter_map(|event| read(event, &invalid)));
        before = page.next;
        if before.is_none() || compared(slo, &found).len() >= usize::try_from(wanted).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(compared(slo, &found).into_iter().cloned().collect())
}

fn invalidated(query: &Query) -> Result<HashSet<String>, Failure> {
    let mut invalid = HashSet::new();
    let mut before = None;
    for _ in 0..INVALIDATED_PAGES_MAX {
        let page = event_log::events(query, before, PAGE_MAX)?;
        invalid.extend(page.events.iter().filter_map(|event| event.extension_str(TRIGGERED_ID)).map(str::to_owned));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    Ok(invalid)
}

/// Reads an earlier evaluation; `None` for one that is invalid, or that judged nothing (it could not, or had no SLO).
fn read(event: &Event, invalid: &HashSet<String>) -> Option<Earlier> {
    if event.extension_str(TRIGGERED_ID).is_some_and(|id| invalid.contains(id)) {
        return None;
    }
    let data = event.data_json()?;
    data.get("evaluation").filter(|evaluation| evaluation.get("indicatorResults").is_some_and(Value::is_array))?;
    let event = json!({ "specversion": "1.0", "type": FINISHED, "id": event.id, "data": data });
    input::earlier(&event).ok()
}
