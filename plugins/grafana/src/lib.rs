//! The plugin `grafana`: a dashboard for each service, generated from its SLIs, and a mark in it for each run.
//!
//! `project` reads the files, `dashboard` makes the JSON, `sync` compares it with what Grafana has and writes the difference,
//! `run` marks a test or an evaluation; `api` is the only one that talks to Grafana.

pub mod api;
pub mod dashboard;
pub mod project;
pub mod run;
pub mod sync;

use pilothouse_sdk::files::in_step;
use pilothouse_sdk::files::result::TaskResult;
use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, Task, reject, settings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sync::{Mode, Report, State};

/// A project has a new commit.
const COMMITTED: &str = "dev.pilothouse.project.committed.v1";
/// A project was deleted.
const DELETED: &str = "dev.pilothouse.project.deleted.v1";
/// Tells what a commit did to the dashboards.
const SYNCED: &str = "com.grafana.dashboards.synced.v1";
/// The task that brings tools in step with a project, or says where they are not.
const SYNC_MONITORING: &str = "sync-monitoring";

/// The installation's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Where people reach Grafana.
    pub url: Option<String>,
    /// Where dashboards go.
    pub folder_uid: Option<String>,
    /// The data source chosen at first.
    pub datasource: Option<String>,
}

struct Grafana;

impl Handler for Grafana {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let settings: Settings = settings()?;
        match (ctx.task(), event.ty.as_str()) {
            (Some(task), _) if task.name == SYNC_MONITORING => answer(ctx, &task, &event, &settings),
            (Some(task), _) => Err(reject(format!("this plugin does not execute the task `{}`", task.name))),
            (None, COMMITTED) => committed(ctx, &settings),
            (None, DELETED) => sync::forget(&project_in_hand(ctx)?).map(|()| Outcome::none()),
            (None, _) => run::annotate(&event, &settings),
        }
    }
}

fn project_in_hand(ctx: &Context) -> Result<String, Failure> {
    ctx.project().ok_or_else(|| reject("the event names no project"))
}

/// Brings the dashboards in step with a project's new commit. (Writing their JSON makes another commit, which changes nothing
/// any more.)
fn committed(ctx: &Context, settings: &Settings) -> Result<Outcome, Failure> {
    let (name, commit) = (project_in_hand(ctx)?, ctx.commit());
    let report = sync::run(&name, settings, Mode::Sync, commit.as_deref())?;
    let bad = report.items.iter().any(|item| item.state != State::InStep);
    if !report.changed && !bad {
        return Ok(Outcome::none());
    }
    let data = json!({ "project": name, "commit": commit, "items": report.items });
    Ok(Outcome::none().event(Event::builder(SYNCED).subject(name).json(&data)?))
}

/// Answers how Grafana stands to each service.
fn answer(ctx: &Context, task: &Task, event: &Event, settings: &Settings) -> Result<Outcome, Failure> {
    if task.cause != Cause::Triggered {
        return Ok(Outcome::pending());
    }
    let data: Value = event.json()?;
    let mode = match Mode::read(&data) {
        Ok(mode) => mode,
        Err(message) => return Ok(Outcome::finished(Finished::errored(message))),
    };
    let report = sync::run(&project_in_hand(ctx)?, settings, mode, ctx.commit().as_deref())?;
    Ok(Outcome::finished(finished(&report, mode)))
}

fn finished(report: &Report, mode: Mode) -> Finished {
    let items: Vec<(State, &str)> = report.items.iter().map(|item| (item.state, item.reason.as_str())).collect();
    let (result, message) = in_step::told(&items, mode);
    let message = format!("dashboards: {message}");
    let finished = match result {
        TaskResult::Pass => Finished::pass(message),
        TaskResult::Warning => Finished::warning(message),
        TaskResult::Fail => Finished::fail(message),
    };
    finished.output(&json!({ "type": "grafana", "items": report.items }))
}

pilothouse_sdk::plugin!(Grafana);
