//! Why something could not be done with a project.

use pilothouse_core::files::project::FileProblem;
use pilothouse_core::name::ProjectName;
use pilothouse_core::suggest::nearest;
use pilothouse_store::StoreError;

use crate::git::GitError;

/// Why something could not be done with a project.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is no such project.
    #[error("there is no project `{project}`{}", meant(near))]
    NotFound {
        /// The name as given.
        project: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// There is one of this name.
    #[error("there is a project `{0}` already")]
    Exists(String),
    /// There is no such service.
    #[error("the project `{project}` has no service `{service}`{}", meant(near))]
    NoService {
        /// The project.
        project: String,
        /// The name as given.
        service: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// There is one of this name.
    #[error("the project `{project}` has a service `{service}` already")]
    ServiceExists {
        /// The project.
        project: String,
        /// The service.
        service: String,
    },
    /// The project has no upstream.
    #[error("the project `{0}` has no upstream; give it one with `pilothouse project upstream set`")]
    NoUpstream(String),
    /// There is nothing to decide.
    #[error("the project `{0}` has no conflict with its upstream")]
    NoConflict(String),
    /// Files have errors.
    #[error("{} errors, so nothing was changed: {}", of(.0), first(.0))]
    Files(Vec<FileProblem>),
    /// A path is not one.
    #[error("{0}")]
    Path(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The project's shipyard cannot be used.
    #[error("{0}")]
    Shipyard(String),
    /// The event that tells of it cannot be made.
    #[error("the event that tells of it cannot be made: {0}")]
    Event(String),
    /// The repository refused or failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProjectError {
    pub(crate) fn no_service(project: &ProjectName, service: &str, known: &[String]) -> Self {
        let near = nearest(service, known.iter().map(String::as_str)).map(str::to_owned);
        Self::NoService { project: project.to_string(), service: service.to_owned(), near }
    }
}

/// Says which files are wrong.
fn of(problems: &[FileProblem]) -> String {
    let mut paths: Vec<&str> = problems.iter().map(|found| found.path.as_str()).collect();
    paths.dedup();
    match paths.as_slice() {
        [one] => format!("`{one}` has"),
        paths => format!("{} files have", paths.len()),
    }
}

/// Returns the first error.
fn first(problems: &[FileProblem]) -> String {
    problems.iter().find(|found| found.problem.stops_a_write()).map(ToString::to_string).unwrap_or_default()
}

fn meant(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}
