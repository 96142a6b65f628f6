//! Where an installation applies: projects, stages and services.

use serde::{Deserialize, Serialize};

/// The project, stage and service that an event belongs to; read once at ingest (see [`crate::keptn`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The project, if the event names one.
    pub project: Option<String>,
    /// The stage, if the event names one.
    pub stage: Option<String>,
    /// The service, if the event names one.
    pub service: Option<String>,
}

/// Which places an installation serves. An empty list means all: here absence is no narrowing, unlike in a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Scope {
    /// Projects served; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// Stages served; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// Services served; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

impl Scope {
    /// Tells whether an event of `place` is served. An event without a project is outside of every narrowed scope.
    pub fn contains(&self, place: &Place) -> bool {
        let within = |list: &[String], value: &Option<String>| {
            list.is_empty() || value.as_ref().is_some_and(|value| list.contains(value))
        };
        within(&self.projects, &place.project)
            && within(&self.stages, &place.stage)
            && within(&self.services, &place.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrowed_scope_excludes_events_that_name_no_project() {
        let scope = Scope { projects: vec!["shop".into()], ..Scope::default() };
        let place = |project: Option<&str>| Place { project: project.map(Into::into), ..Place::default() };
        assert!(scope.contains(&place(Some("shop"))));
        assert!(!scope.contains(&place(Some("other"))));
        assert!(!scope.contains(&place(None)));
        assert!(Scope::default().contains(&place(None)));
    }
}
