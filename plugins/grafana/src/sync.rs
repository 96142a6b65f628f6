//! Keeps Grafana in step with a project: compares each service's dashboard with what is there, and writes the difference; keeps
//! the JSON in the project's Git.

use std::collections::BTreeMap;

pub use pilothouse_sdk::files::in_step::{Mode, State};
use pilothouse_sdk::files::monitoring::HandEdits;
use pilothouse_sdk::resources::{self, Change};
use pilothouse_sdk::{Failure, key_value, log, reject};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::project::{Files as _, InHand, Service};
use crate::{Settings, api, dashboard, project};

/// Where what is known of the dashboards is kept; state is narrowed to the project in hand.
const KNOWN: &str = "dashboards";
/// Where a dashboard's JSON lies in the folder of its service.
const FILE: &str = "grafana/dashboard.json";

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The tool: `grafana`.
    pub tool: &'static str,
    /// The project.
    pub project: String,
    /// Empty: a dashboard has all stages.
    pub stage: String,
    /// The service; empty where the whole project is meant.
    pub service: String,
    /// How Grafana stands to it.
    pub state: State,
    /// The commit that Grafana has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why, unless it is in step.
    pub reason: String,
    /// Indicators that cannot be shown, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// The dashboard's uid.
    pub dashboard: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The services.
    pub items: Vec<Item>,
    /// Whether anything was written.
    pub changed: bool,
}

/// What was written last of a dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    digest: String,
    commit: Option<String>,
}

type Known = BTreeMap<String, Written>;

fn digest(dashboard: &Value) -> String {
    Sha256::digest(dashboard.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn known() -> Result<Known, Failure> {
    Ok(key_value::get(KNOWN)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Says how what is there stands to what is to be.
fn state(wanted: &Value, found: Option<&Value>, written: Option<&Written>) -> (State, &'static str) {
    match (found, written) {
        (Some(found), _) if found == wanted => (State::InStep, ""),
        (Some(found), Some(written)) if written.digest == digest(found) => {
            (State::Behind, "the dashboard is not what the project's files say")
        }
        (Some(_), _) => (State::Drifted, "the dashboard was changed by hand"),
        (None, Some(_)) => (State::Drifted, "the dashboard was removed by hand"),
        (None, None) => (State::Behind, "there is no dashboard yet"),
    }
}

/// Compares a project's dashboards with what Grafana has, and brings them in step if the mode says so.
///
/// # Errors
/// Grafana or the host could not be used; another attempt does the same again.
pub fn run(name: &str, settings: &Settings, mode: Mode, commit: Option<&str>) -> Result<Report, Failure> {
    let item = |service: &str, state: State, reason: String| Item {
        tool: "grafana",
        project: name.to_owned(),
        stage: String::new(),
        service: service.to_owned(),
        state,
        commit: None,
        reason,
        skipped: Vec::new(),
        dashboard: if service.is_empty() { String::new() } else { dashboard::uid(name, service) },
    };
    let services = match project::read(&InHand, name)? {
        Ok(services) => services,
        Err(reason) => return Ok(Report { items: vec![item("", State::Failed, reason)], changed: false }),
    };
    let mut known = known()?;
    let mut report = Report::default();
    let mut files = Vec::new();
    for service in &services {
        let wanted = dashboard::make(name, service, settings.datasource.as_deref());
        let (mut now, mut reason) = match one(service, &wanted, &mut known, settings, mode, commit) {
            Ok(One { state, reason, changed }) => {
                report.changed |= changed;
                (state, reason)
            }
            // What one dashboard is refused for says nothing of the next.
            Err(Failure::Reject(why)) => (State::Failed, why),
            Err(failure) => return Err(failure),
        };
        if !service.problems.is_empty() {
            reason = [vec![reason], service.problems.clone()].concat().join("; ");
            now = if now == State::InStep { State::Failed } else { now };
        }
        let commit = known.get(&service.name).and_then(|written| written.commit.clone());
        report.items.push(Item {
            commit,
            skipped: service.skipped.clone(),
            ..item(&service.name, now, reason.trim_start_matches("; ").to_owned())
        });
        files.extend(file(service, &wanted)?);
    }
    if mode == Mode::Sync {
        report.changed |= remove_old(name, &services, &mut known)?;
        key_value::set(KNOWN, serde_json::to_vec(&known).map_err(|error| reject(error.to_string()))?)?;
        report.changed |= keep(&files)?;
    }
    Ok(report)
}

/// What came of one dashboard.
struct One {
    state: State,
    reason: String,
    changed: bool,
}

fn one(
    service: &Service,
    wanted: &Value,
    known: &mut Known,
    settings: &Settings,
    mode: Mode,
    commit: Option<&str>,
) -> Result<One, Failure> {
    let uid = wanted.get("uid").and_then(Value::as_str).unwrap_or_default();
    let found = api::dashboard(uid)?;
    let (state, reason) = state(wanted, found.as_ref(), known.get(&service.name));
    let told = |state, reason: &str| Ok(One { state, reason: reason.to_owned(), changed: false });
    match (mode, state) {
        (Mode::Check, _) => told(state, reason),
        (Mode::Sync, State::Drifted) if service.hand_edits == HandEdits::Report => {
            told(state, &format!("{reason}, and stays so"))
        }
        (Mode::Sync, _) => {
            let changed = state != State::InStep;
            if changed {
                let message =
                    commit.map_or_else(|| "Pilothouse".to_owned(), |commit| format!("Pilothouse, commit {commit}"));
                api::save(wanted, settings.folder_uid.as_deref(), &message)?;
            }
            let written = Written { digest: digest(wanted), commit: commit.map(str::to_owned) };
            known.insert(service.name.clone(), written);
            Ok(One { state: State::InStep, reason: String::new(), changed })
        }
    }
}

/// Returns the change that brings the file with a dashboard's JSON in step; `None` if it is.
fn file(service: &Service, wanted: &Value) -> Result<Option<Change>, Failure> {
    let path = format!("services/{}/{FILE}", service.name);
    let mut text = serde_json::to_vec_pretty(wanted).map_err(|error| reject(error.to_string()))?;
    text.push(b'\n');
    Ok((InHand.file(&path)?.as_deref() != Some(&text)).then_some(Change { path, content: Some(text) }))
}

/// Keeps the JSON in the project; tells whether that was a change. Without the grant it is not kept.
fn keep(files: &[Change]) -> Result<bool, Failure> {
    if files.is_empty() {
        return Ok(false);
    }
    match resources::write(files, "Dashboards generated from SLIs and SLOs") {
        Ok(_) => Ok(true),
        Err(resources::Error::Denied(grant)) => {
            log::warn!("the dashboards' JSON is not kept in the project: {grant}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the dashboards of services that are gone.
fn remove_old(project: &str, services: &[Service], known: &mut Known) -> Result<bool, Failure> {
    let gone: Vec<String> =
        known.keys().filter(|name| !services.iter().any(|service| service.name == **name)).cloned().collect();
    for name in &gone {
        api::delete(&dashboard::uid(project, name))?;
        known.remove(name);
    }
    Ok(!gone.is_empty())
}

/// Removes the dashboards of a project that was deleted.
///
/// # Errors
/// As for [`run`].
pub fn forget(project: &str) -> Result<(), Failure> {
    for name in known()?.keys() {
        api::delete(&dashboard::uid(project, name))?;
    }
    Ok(key_value::delete(KNOWN)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_changed_by_hand_is_told_from_what_an_earlier_commit_said() {
        let (wanted, older, edited) = (json!({ "a": 1 }), json!({ "a": 0 }), json!({ "a": 9 }));
        let written = Written { digest: digest(&older), commit: None };
        for (found, written, expected) in [
            (Some(&wanted), None, State::InStep),
            (Some(&older), Some(&written), State::Behind),
            (Some(&edited), Some(&written), State::Drifted),
            (Some(&edited), None, State::Drifted),
            (None, Some(&written), State::Drifted),
            (None, None, State::Behind),
        ] {
            assert_eq!(state(&wanted, found, written).0, expected, "{found:?}");
        }
    }
}
