//! `pilothouse plugin inspect`: what a component is, in words that an operator can decide by.

use std::path::Path;

use pilothouse_core::grant::{Grants, missing_grants};
use pilothouse_core::manifest::Manifest;
use pilothouse_runtime::Inspection;

use super::{inspected, read_component};
use crate::cli::terminal::Format;
use crate::cli::{CliError, Exit, Terminal};
use crate::http::plugins::PluginView;

pub(super) fn run(file: &Path, terminal: &mut Terminal) -> Result<(), CliError> {
    let inspection = inspected(&read_component(file)?)?;
    if terminal.format == Format::Json {
        terminal.json(&PluginView::from(inspection.clone()))?;
    } else {
        for line in describe(&inspection) {
            terminal.line(&line)?;
        }
    }
    fatal(&inspection)
}

/// Refuses a component that cannot be installed.
pub(super) fn fatal(inspection: &Inspection) -> Result<(), CliError> {
    let fatal: Vec<_> = inspection.problems.iter().filter(|problem| problem.fatal).collect();
    if fatal.is_empty() {
        return Ok(());
    }
    let error = CliError::new(Exit::Usage, "this component cannot be installed");
    Err(fatal.into_iter().fold(error, |error, problem| error.because(&problem.message)))
}

/// Says what a component is and asks for.
pub(super) fn describe(inspection: &Inspection) -> Vec<String> {
    let manifest = &inspection.manifest;
    let mut lines = vec![
        format!("{} {}: {}", manifest.name, manifest.version, manifest.description),
        format!("  {}, {} bytes", inspection.digest, inspection.size_bytes),
    ];
    if let Some(licence) = &manifest.licence {
        lines.push(format!("  licence {licence}"));
    }
    section(&mut lines, "It executes the tasks", manifest.tasks.iter().map(|task| task.name.to_string()));
    section(&mut lines, "It observes", manifest.subscriptions.iter().map(|one| shown(&one.filter)));
    section(&mut lines, "It sends", manifest.emits.iter().cloned());
    section(&mut lines, "It asks for", asked(manifest));
    section(&mut lines, "It imports", inspection.imports.iter().cloned());
    section(
        &mut lines,
        "Note",
        inspection
            .problems
            .iter()
            .map(|problem| format!("{}{}", if problem.fatal { "cannot be installed: " } else { "" }, problem.message)),
    );
    lines
}

fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn section(lines: &mut Vec<String>, heading: &str, items: impl IntoIterator<Item = String>) {
    let items: Vec<String> = items.into_iter().map(|item| format!("  - {item}")).collect();
    if !items.is_empty() {
        lines.push(format!("{heading}:"));
        lines.extend(items);
    }
}

/// What a manifest asks for, each with the author's reason.
fn asked(manifest: &Manifest) -> Vec<String> {
    let optional = |optional: bool| if optional { " (can do without)" } else { "" };
    let http = manifest.http.iter().map(|http| format!("HTTP to {}: {}", http.hosts.join(", "), http.reason));
    let connections = manifest
        .connections
        .iter()
        .map(|one| format!("the connection `{}`{}: {}", one.name, optional(one.optional), one.reason));
    let jobs = manifest
        .jobs
        .iter()
        .map(|one| format!("the job template `{}`{}: {}", one.name, optional(one.optional), one.reason));
    let outputs = manifest
        .outputs
        .iter()
        .map(|one| format!("the output folder `{}`{}: {}", one.name, optional(one.optional), one.reason));
    let keyvalue = manifest.keyvalue.iter().map(|one| format!("state between deliveries: {}", one.reason));
    let resources = manifest.resources.iter().map(|one| match one.write.is_empty() {
        true => format!("the files of projects: {}", one.reason),
        false => format!("the files of projects, and to write those below {}: {}", one.write.join(", "), one.reason),
    });
    let inbound = manifest.inbound.iter().map(|one| format!("an inbound route, where you give it one: {}", one.reason));
    let any_task = manifest.any_task.iter().map(|one| format!("tasks that you name: {}", one.reason));
    let any_connection = manifest.any_connection.iter().map(|one| format!("connections that you name: {}", one.reason));
    let any_job = manifest.any_job.iter().map(|one| format!("job templates that you name: {}", one.reason));
    let named = any_task.chain(http).chain(any_connection).chain(connections).chain(any_job).chain(jobs).chain(outputs);
    let event_log = manifest.event_log.iter().map(|one| format!("earlier events of projects: {}", one.reason));
    named.chain(keyvalue).chain(resources).chain(event_log).chain(inbound).collect()
}

/// Says what grants give, and what they leave out.
pub(super) fn describe_grants(manifest: &Manifest, grants: &Grants) -> Vec<String> {
    let mut lines = Vec::new();
    let pairs = |what: &str, plugin: &str, operator: &str| format!("{what} `{operator}`, which it calls `{plugin}`");
    let http = grants.http.iter().map(|rule| format!("HTTP to {rule}"));
    let networks = grants.networks.iter().map(|network| format!("private addresses in {network}"));
    let connections =
        grants.connections.iter().map(|(plugin, operator)| pairs("the connection", plugin.as_str(), operator.as_str()));
    let jobs =
        grants.jobs.iter().map(|(plugin, operator)| pairs("the job template", plugin.as_str(), operator.as_str()));
    let outputs =
        grants.outputs.iter().map(|(plugin, operator)| pairs("the output folder", plugin.as_str(), operator.as_str()));
    let keyvalue = grants.keyvalue.then(|| "state between deliveries".to_owned());
    let tasks = grants.tasks.keys().map(|task| format!("the task `{task}`"));
    let resources = grants.resources.then(|| "the files of projects".to_owned());
    let folders = manifest.resources.as_ref().map(|one| one.write.join(", ")).unwrap_or_default();
    let writes = grants.resources_write.then(|| format!("to write files of projects below {folders}"));
    let event_log = grants.event_log.then(|| "earlier events of projects".to_owned());
    section(
        &mut lines,
        "It is given",
        tasks
            .chain(http)
            .chain(networks)
            .chain(connections)
            .chain(jobs)
            .chain(outputs)
            .chain(keyvalue)
            .chain(resources)
            .chain(writes)
            .chain(event_log),
    );
    if lines.is_empty() {
        lines.push("It is given nothing.".to_owned());
    }
    section(&mut lines, "It is not given", missing_grants(manifest, grants));
    lines
}

/// Grants everything that a manifest asks for, each thing under the plugin's own name for it.
pub(super) fn everything(manifest: &Manifest) -> Grants {
    Grants {
        http: manifest.http.iter().flat_map(|http| http.hosts.iter().cloned()).collect(),
        networks: Vec::new(),
        tasks: std::collections::BTreeMap::new(),
        connections: manifest.connections.iter().map(|one| (one.name.clone(), one.name.clone())).collect(),
        jobs: manifest.jobs.iter().map(|one| (one.name.clone(), one.name.clone())).collect(),
        outputs: manifest.outputs.iter().map(|one| (one.name.clone(), one.name.clone())).collect(),
        keyvalue: manifest.keyvalue.is_some(),
        resources: manifest.resources.is_some(),
        resources_write: manifest.resources.as_ref().is_some_and(|one| !one.write.is_empty()),
        event_log: manifest.event_log.is_some(),
        limits: pilothouse_core::manifest::LimitsRequest::default(),
    }
}
