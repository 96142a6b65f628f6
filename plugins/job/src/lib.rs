//! The plugin `job`: executor of the tasks that the operator names, each by a job template, as the project's file
//! `jobs.yaml` says.
//!
//! Only the order of steps is here: `jobs_file` (what to run) → the project's files → the job → `answer` (what it came to).

pub mod answer;
pub mod jobs_file;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use pilothouse_sdk::jobs::{self, Job, State};
use pilothouse_sdk::resources::{self, Level};
use pilothouse_sdk::{Cause, Context, Event, Failure, Finished, Handler, Outcome, Task, key_value, log, reject, retry};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Left, answer};
use crate::jobs_file::{FILES_MAX, FailureMeans, JOBS_FILE, JobSpec};

/// Longest result file, in bytes: the output must fit into an event.
const RESULT_BYTES_MAX: u64 = 512 * 1024;
/// Longest artifact in an answer, in bytes.
const ARTIFACT_BYTES_MAX: u64 = 64 * 1024;
/// Longest piece of standard output and error in an answer, in bytes, from their ends.
const LOG_BYTES_MAX: usize = 4 * 1024;
/// Attempts at starting a job that the host cannot start, before the task is answered with the host's reason.
const START_ATTEMPTS: u32 = 2;

/// What is kept between the start of a task and the end of its job.
#[derive(Serialize, Deserialize)]
struct Kept {
    job: String,
    result: Option<String>,
    artifacts: Vec<String>,
    failure: FailureMeans,
}

fn key(task: &Task) -> String {
    format!("job/{}", task.triggered_id)
}

struct JobPlugin;

impl Handler for JobPlugin {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let task = ctx.task().ok_or_else(|| reject("this plugin only executes tasks"))?;
        match task.cause {
            Cause::Triggered => start(ctx, &task, &event),
            Cause::JobEnded => end(&task, &event),
            _ => Ok(Outcome::pending()),
        }
    }
}

/// Answers the task with an error that no other attempt would mend.
fn errored(message: impl Into<String>) -> Result<Outcome, Failure> {
    Ok(Outcome::finished(Finished::errored(message)))
}

/// Starts the job; the host runs it once this delivery is committed.
fn start(ctx: &Context, task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let text = match resources::read_nearest(JOBS_FILE) {
        Ok(text) => text,
        Err(resources::Error::NotFound) => {
            return errored(format!("the project has no `{JOBS_FILE}`, which says what the task `{}` runs", task.name));
        }
        Err(resources::Error::Unavailable(reason)) => return Err(retry(reason)),
        Err(error) => return errored(error.to_string()),
    };
    let Ok(text) = String::from_utf8(text) else { return errored(format!("`{JOBS_FILE}` is not UTF-8")) };
    let spec = match jobs_file::read(&text, &task.name) {
        Ok(Some(spec)) => spec,
        Ok(None) => return errored(format!("`{JOBS_FILE}` says nothing about the task `{}`", task.name)),
        Err(error) => return errored(error.to_string()),
    };
    let data = event.data_json().unwrap_or_default();
    let parameters = match spec.parameters_for(&data) {
        Ok(parameters) => parameters,
        Err(reason) => return errored(reason),
    };
    let files = match files(&spec, &data) {
        Ok(files) => files,
        Err(FilesError::Wrong(reason)) => return errored(reason),
        Err(FilesError::Again(reason)) => return Err(retry(reason)),
    };
    let mut job = Job::new(&spec.job);
    job.parameters = parameters;
    job.files = files.into_iter().collect();
    job.timeout = spec.timeout_seconds.map(Duration::from_secs);
    let id = match job.start() {
        Ok(id) => id,
        Err(jobs::Error::Unavailable(reason)) if ctx.attempt() < START_ATTEMPTS => return Err(retry(reason)),
        Err(jobs::Error::QuotaExceeded) => return Err(retry("there are as many jobs as there may be")),
        Err(error) => return errored(format!("the job `{}` was not started: {error}", spec.job)),
    };
    log::info!("task {} runs the job {} as {id}", task.name, spec.job);
    let kept = Kept { job: id, result: spec.result, artifacts: spec.artifacts, failure: spec.failure };
    let kept = serde_json::to_vec(&kept).map_err(|error| reject(error.to_string()))?;
    key_value::set(&key(task), kept)?;
    Ok(Outcome::pending())
}

/// Why the files of a job cannot be had.
enum FilesError {
    Wrong(String),
    Again(String),
}

/// Reads the files that the job is given, each the nearest of its path.
fn files(spec: &JobSpec, data: &Value) -> Result<BTreeMap<String, Vec<u8>>, FilesError> {
    let mut found = BTreeMap::new();
    for path in &spec.files {
        let paths = if path.ends_with('/') { below(path)? } else { vec![path.clone()] };
        for path in paths {
            if found.len() >= FILES_MAX {
                return Err(FilesError::Wrong(format!("more than {FILES_MAX} files are given to the job")));
            }
            let content = resources::read_nearest(&path).map_err(|error| wrong(&path, error))?;
            found.insert(path, content);
        }
    }
    if let Some(path) = &spec.event {
        // What was read from an event serializes again.
        found.insert(path.clone(), serde_json::to_vec_pretty(data).unwrap_or_default());
    }
    Ok(found)
}

/// Lists what lies below a folder, in any of the levels.
fn below(folder: &str) -> Result<Vec<String>, FilesError> {
    let mut paths: Vec<String> = Vec::new();
    for level in [Level::Project, Level::Stage, Level::Service, Level::ServiceInStage] {
        match resources::entries(level, folder) {
            Ok(entries) => paths.extend(entries.into_iter().map(|entry| entry.path)),
            // An event without a stage or a service has no such level.
            Err(resources::Error::Invalid(_) | resources::Error::NotFound) => {}
            Err(error) => return Err(wrong(folder, error)),
        }
    }
    paths.sort_unstable();
    paths.dedup();
    if paths.is_empty() {
        return Err(FilesError::Wrong(format!(
            "the project has nothing in the folder `{folder}`, which the job is given"
        )));
    }
    Ok(paths)
}

fn wrong(path: &str, error: resources::Error) -> FilesError {
    match error {
        resources::Error::Unavailable(reason) => FilesError::Again(reason),
        resources::Error::NotFound => {
            FilesError::Wrong(format!("the project has no file `{path}`, which the job is given"))
        }
        error => FilesError::Wrong(format!("`{path}`: {error}")),
    }
}

/// Answers the task from what the job left behind.
fn end(task: &Task, event: &Event) -> Result<Outcome, Failure> {
    let Some(kept) = key_value::get(&key(task))? else {
        return errored("the job has ended, but what was kept of the task is gone; trigger it again");
    };
    let kept: Kept = serde_json::from_slice(&kept)
        .map_err(|error| reject(format!("what was kept of the task is damaged: {error}")))?;
    let status = jobs::status(&kept.job)?;
    if matches!(status.state, State::Waiting | State::Running) {
        return Ok(Outcome::pending());
    }
    key_value::delete(&key(task))?;
    let data = event.data_json().unwrap_or_default();
    let log = [tail(&kept.job, "stdout"), tail(&kept.job, "stderr")];
    let left = Left {
        state: Some(status.state),
        exit_code: status.exit_code,
        reason: data.get("reason").and_then(Value::as_str).map(str::to_owned),
        result: kept.result.as_deref().and_then(|name| text(&kept.job, name, RESULT_BYTES_MAX)),
        files: kept
            .artifacts
            .iter()
            .filter_map(|name| Some((name.clone(), text(&kept.job, name, ARTIFACT_BYTES_MAX)?)))
            .collect(),
        log: log.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n"),
    };
    Ok(Outcome::finished(answer(&kept.job, &left, kept.failure)))
}

/// Reads an artifact from its beginning; `None` if it is not there or empty.
fn text(job: &str, name: &str, bytes_max: u64) -> Option<String> {
    let mut bytes = Vec::new();
    jobs::open(job, name).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the end of what the job wrote.
fn tail(job: &str, name: &str) -> String {
    let Ok(mut artifact) = jobs::open(job, name) else { return String::new() };
    let mut last = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count) = artifact.read(&mut chunk) {
        if count == 0 {
            break;
        }
        last.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let over = last.len().saturating_sub(LOG_BYTES_MAX);
        last.drain(..over);
    }
    String::from_utf8_lossy(&last).trim().to_owned()
}

pilothouse_sdk::plugin!(JobPlugin);
