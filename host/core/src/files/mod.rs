//! The formats of a project's files, and one checker for each: what is wrong, where, and what was meant.
//!
//! [`check()`] says all problems of one file. Each format's module also gives what it read as plain data ([`slo::Slo`],
//! [`sli::Sli`], …), for what looks at several files together. The JSON Schemas in `docs/schemas` say the same to editors;
//! a test keeps the two in step.
//!
//! What several files mean together is in [`project`]. Never here: where files come from ([`crate::resource`]).

pub mod project;
#[cfg(test)]
mod tests;

pub use pilothouse_files::{Named, criterion, gate, jobs, monitoring, remediation, sli, slo, webhooks, workload};

use crate::inbound::mapping;
use crate::resource::Folder;
use crate::shipyard::{self, SHIPYARD_FILE};
use crate::yaml::{Node, Problem, Value};

/// The formats of a project's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Stages and sequences: `shipyard.yaml`.
    Shipyard,
    /// What is good enough: `slo.yaml`.
    Slo,
    /// Who measures, and what a missing SLO file means: `quality-gate.yaml`.
    Gate,
    /// What is scraped and alerted on: `prometheus/monitoring.yaml`.
    Monitoring,
    /// Queries of a provider: `<provider>/sli.yaml`.
    Sli,
    /// Actions for problems: `remediation.yaml`.
    Remediation,
    /// Load tests: `jmeter/jmeter.conf.yaml`.
    Workload,
    /// Jobs of tasks: `jobs.yaml`.
    Jobs,
    /// Requests for tasks and events: `webhooks.yaml`.
    Webhooks,
    /// From a tool's request to events. It belongs to an inbound route, so no path of a project names it.
    InboundMapping,
}

impl FileKind {
    /// All formats.
    pub const ALL: [Self; 10] = [
        Self::Shipyard,
        Self::Slo,
        Self::Gate,
        Self::Monitoring,
        Self::Sli,
        Self::Remediation,
        Self::Workload,
        Self::Jobs,
        Self::Webhooks,
        Self::InboundMapping,
    ];

    /// Returns the format of the file at a path of a project, the folders of stages and services included; `None` for a file
    /// of no known format.
    pub fn of_path(path: &str) -> Option<Self> {
        let (folder, file) = Folder::of_path(path);
        match file {
            SHIPYARD_FILE if folder == Folder::default() => Some(Self::Shipyard),
            "slo.yaml" => Some(Self::Slo),
            gate::GATE_FILE => Some(Self::Gate),
            "prometheus/monitoring.yaml" => Some(Self::Monitoring),
            "remediation.yaml" => Some(Self::Remediation),
            "jmeter/jmeter.conf.yaml" => Some(Self::Workload),
            "jobs.yaml" => Some(Self::Jobs),
            "webhooks.yaml" => Some(Self::Webhooks),
            file => {
                let provider = file.strip_suffix("/sli.yaml")?;
                (!provider.is_empty() && !provider.contains('/')).then_some(Self::Sli)
            }
        }
    }

    /// Returns the format of a file of which only the end of the path is known, such as `src/shop/prometheus/sli.yaml`.
    pub fn of_name(path: &str) -> Option<Self> {
        let mut parts = path.rsplit('/');
        let (file, folder) = (parts.next()?, parts.next());
        Self::of_path(file).or_else(|| Self::of_path(&format!("{}/{file}", folder?)))
    }

    /// Returns the format that a file says it has, by its `kind`, or by its `spec_version` and what else is in it.
    pub fn of_content(node: &Node) -> Option<Self> {
        let Value::Map(members) = &node.value else { return None };
        let member = |name: &str| members.iter().find(|member| member.key == name);
        if let Some(kind) = member("kind") {
            let Value::Scalar(scalar) = &kind.node.value else { return None };
            return match scalar.text.as_str() {
                "Shipyard" => Some(Self::Shipyard),
                "Remediation" => Some(Self::Remediation),
                "Jobs" => Some(Self::Jobs),
                "Webhooks" => Some(Self::Webhooks),
                "InboundMapping" => Some(Self::InboundMapping),
                _ => None,
            };
        }
        member("spec_version")?;
        let has = |names: &[&str]| names.iter().any(|name| member(name).is_some());
        if has(&["objectives", "total_score", "comparison"]) {
            Some(Self::Slo)
        } else if has(&["indicators"]) {
            Some(Self::Sli)
        } else if has(&["sliProvider", "withoutSlo"]) {
            Some(Self::Gate)
        } else if has(&["targets", "alertFor", "alertWindow", "handEdits"]) {
            Some(Self::Monitoring)
        } else if has(&["workloads"]) {
            Some(Self::Workload)
        } else {
            None
        }
    }

    /// Returns the format's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shipyard => "shipyard",
            Self::Slo => "SLO",
            Self::Gate => "gate",
            Self::Monitoring => "monitoring",
            Self::Sli => "SLI",
            Self::Remediation => "remediation",
            Self::Workload => "workload",
            Self::Jobs => "jobs",
            Self::Webhooks => "webhooks",
            Self::InboundMapping => "inbound mapping",
        }
    }

    /// Returns the name of the format's JSON Schema in `docs/schemas`.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Shipyard => "shipyard.json",
            Self::Slo => "slo.json",
            Self::Gate => "quality-gate.json",
            Self::Monitoring => "monitoring.json",
            Self::Sli => "sli.json",
            Self::Remediation => "remediation.json",
            Self::Workload => "jmeter-workload.json",
            Self::Jobs => "jobs.json",
            Self::Webhooks => "webhooks.json",
            Self::InboundMapping => "inbound-mapping.json",
        }
    }
}

/// Returns all problems of a file, in the order of the file.
pub fn check(kind: FileKind, bytes: &[u8]) -> Vec<Problem> {
    match kind {
        FileKind::Shipyard => shipyard::read(bytes).1,
        FileKind::Slo => slo::read(bytes).1,
        FileKind::Gate => gate::read(bytes).1,
        FileKind::Monitoring => monitoring::read(bytes).1,
        FileKind::Sli => sli::read(bytes).1,
        FileKind::Remediation => remediation::read(bytes).1,
        FileKind::Workload => workload::read(bytes).1,
        FileKind::Jobs => jobs::read(bytes).1,
        FileKind::Webhooks => webhooks::read(bytes).1,
        FileKind::InboundMapping => mapping::read(bytes).1,
    }
}
