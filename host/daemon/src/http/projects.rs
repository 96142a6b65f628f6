//! Projects, stages and services.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use pilothouse_core::files::project::FileProblem;
use pilothouse_core::name::{NameError, ProjectName, ServiceName};
use pilothouse_core::resource::FilePath;
use pilothouse_core::right::Right;
use pilothouse_core::shipyard::SHIPYARD_FILE;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::problem::Problem;
use super::query::{JsonBody, Parameters};
use crate::auth::Identity;
use crate::git::{Change, CommitId, CommitInfo};
use crate::project::{self, Cause, ProjectError, ProjectView, WrittenView};

/// Most projects or commits on one page.
pub const PAGE_PROJECTS_MAX: usize = 500;
/// Projects or commits on a page unless the client says otherwise.
pub const PAGE_PROJECTS_DEFAULT: usize = 50;
/// Longest reason of a change, in bytes; it becomes the commit's message.
pub const MESSAGE_BYTES_MAX: usize = 10_000;

/// A request to create a project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProjectBody {
    /// Its name: a to z, 0 to 9 and `-`, at most 63 characters.
    pub name: String,
    /// The shipyard, as YAML.
    pub shipyard: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Why it is created; becomes the first commit's message.
    #[serde(default)]
    pub message: String,
    /// More files, for the first commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ChangeBody>,
}

/// What to change of a project; what is left out stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProjectChangeBody {
    /// The new shipyard, as YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipyard: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why the shipyard is changed; becomes the commit's message.
    #[serde(default)]
    pub message: String,
}

/// A project that was created or changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProjectMade {
    /// The project.
    #[serde(flatten)]
    pub project: ProjectView,
    /// What is not quite right with its files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What is wrong with the files of a project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemList {
    /// The commit that was looked at.
    pub commit: String,
    /// How many files have a format that is checked.
    pub checked: usize,
    /// Each with `path`, `line`, `column`, `severity` (`error`, `write-error`, `warning`) and `message`, in the order of the
    /// paths.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<FileProblem>,
}

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// `next` of the page before.
    pub after: Option<String>,
    /// Most on the page.
    pub limit: Option<usize>,
}

/// One page of projects, in the order of their names.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProjectPage {
    /// The projects.
    pub items: Vec<ProjectView>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Stages or services.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NameList {
    /// Each with its name.
    pub items: Vec<Named>,
}

/// Something with a name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// Why something is changed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ReasonParameters {
    /// The reason; becomes the commit's message.
    pub message: Option<String>,
}

/// Files to write and remove in one commit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CommitBody {
    /// The reason; becomes the commit's message.
    #[serde(default)]
    pub message: String,
    /// The commit that the change was made from. A file that changed since then is not overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The files.
    pub changes: Vec<ChangeBody>,
}

/// One file to write or remove.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ChangeBody {
    /// Its path in the folder of the project, the stage or the service.
    pub path: String,
    /// The stage whose file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service whose file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The new content, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The new content, as Base64 (RFC 4648 §4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Whether to remove it instead.
    #[serde(default)]
    pub remove: bool,
}

/// Which commits to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct HistoryParameters {
    /// Only commits that changed this path of the repository, or something below it.
    pub path: Option<String>,
    /// The commit to begin with; the present one when absent.
    pub from: Option<String>,
    /// Most on the page.
    pub limit: Option<usize>,
}

/// Commits, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CommitPage {
    /// The commits.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<CommitInfo>,
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "name-invalid", error.to_string())
    }
}

impl Identity {
    /// Reads the name of a project that the holder may see and needs `right` for.
    ///
    /// # Errors
    /// 403 without the right, or without it in this project, 404 for a name that is none or not seen.
    pub(super) fn project(&self, right: Right, name: &str) -> Result<ProjectName, Problem> {
        self.require(right)?;
        let allowed = self.may_in(right, Some(name));
        if !allowed && self.sees(Some(name)) {
            let detail = format!("the token does not have the right `{}` in `{}`", right.as_str(), cut(name));
            return Err(Problem::forbidden(detail));
        }
        let parsed = ProjectName::new(name).ok().filter(|_| allowed);
        parsed.ok_or_else(|| Problem::not_found(format!("there is no project `{}`", cut(name))))
    }

    /// Says who changes a project and why.
    ///
    /// # Errors
    /// 422 for a reason that is too long or has control characters.
    pub(super) fn cause(&self, message: Option<&str>, default: &str) -> Result<Cause, Problem> {
        let message = message.map(str::trim).filter(|message| !message.is_empty()).unwrap_or(default);
        if message.len() > MESSAGE_BYTES_MAX || message.contains('\0') {
            let detail = format!("the message is over {MESSAGE_BYTES_MAX} bytes long, or has a zero byte");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "message-invalid", detail));
        }
        Ok(Cause { actor: self.actor.clone(), message: message.to_owned(), origin: "api" })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads a commit's id.
pub(super) fn commit_id(text: Option<&str>) -> Result<Option<CommitId>, Problem> {
    let read = |text: &str| {
        CommitId::parse(text)
            .ok_or_else(|| Problem::bad_request("commit-invalid", "a commit's id has 40 hexadecimal digits"))
    };
    text.map(read).transpose()
}

/// Reads whose files a request is about, and the file's path.
pub(super) fn file_path(stage: Option<&str>, service: Option<&str>, path: &str) -> Result<FilePath, Problem> {
    let folder = project::folder(stage, service)?;
    let path = FilePath::new(path).and_then(|path| FilePath::new(&format!("{}{path}", folder.prefix())));
    path.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "path-invalid", error.to_string()))
}

/// Lists projects in the order of their names.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", params(PageParameters), responses((status = 200, body = ProjectPage)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<ProjectPage>, Problem> {
    identity.require(Right::Read)?;
    let limit = page.limit.unwrap_or(PAGE_PROJECTS_DEFAULT).clamp(1, PAGE_PROJECTS_MAX);
    let mut items = state.projects().list(page.after.as_deref(), limit).await?;
    let next = if items.len() < limit { None } else { items.last().map(|project| project.name.clone()) };
    items.retain(|project| identity.sees(Some(&project.name)));
    Ok(Json(ProjectPage { items, next }))
}

/// Creates a project from its shipyard.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", request_body = ProjectBody,
    responses((status = 201, body = ProjectMade), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<ProjectBody>,
) -> Result<(StatusCode, Json<ProjectMade>), Problem> {
    identity.require(Right::Operate)?;
    let name = ProjectName::new(&body.name)?;
    if !identity.may_in(Right::Operate, Some(&body.name)) {
        return Err(Problem::forbidden(format!("the token is not for the project `{name}`")));
    }
    let cause = identity.cause(Some(&body.message), "Create the project")?;
    let mut files = changes(body.files)?;
    let path = file_path(None, None, SHIPYARD_FILE)?;
    files.push(Change { path, content: Some(body.shipyard.into_bytes()) });
    let (project, warnings) = state.projects().create(&name, files, &body.description, &cause).await?;
    Ok((StatusCode::CREATED, Json(ProjectMade { project, warnings })))
}

/// Returns one project.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = ProjectView), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<ProjectView>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    Ok(Json(state.projects().get(&name).await?))
}

/// Changes the description or the shipyard of a project. What runs goes on by the shipyard that it began with.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    request_body = ProjectChangeBody, responses((status = 200, body = ProjectMade), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn update(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    JsonBody(body): JsonBody<ProjectChangeBody>,
) -> Result<Json<ProjectMade>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let cause = identity.cause(Some(&body.message), "Change the shipyard")?;
    let shipyard = body.shipyard.map(String::into_bytes);
    let (project, warnings) = state.projects().update(&name, shipyard, body.description, &cause).await?;
    Ok(Json(ProjectMade { project, warnings }))
}

/// Says what is wrong with the files of a project, and what does not fit together.
#[utoipa::path(get, path = "/v1/projects/{project}/problems", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = ProblemList), (status = 404, body = Problem)))]
pub(super) async fn problems(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<ProblemList>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let (commit, checked) = state.projects().problems(&name).await?;
    Ok(Json(ProblemList { commit: commit.to_string(), checked: checked.files, items: checked.problems }))
}

/// Deletes a project with its repository; what runs in it is aborted. Its upstream stays as it is.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 204, description = "It is gone."), (status = 404, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    state.projects().delete(&name, &identity.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the stages of a project, in the order of its shipyard.
#[utoipa::path(get, path = "/v1/projects/{project}/stages", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = NameList), (status = 404, body = Problem)))]
pub(super) async fn stages(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<NameList>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let items = state.projects().get(&name).await?.stages.into_iter().map(|name| Named { name });
    Ok(Json(NameList { items: items.collect() }))
}

/// Lists the services of a project, in the order of their names.
#[utoipa::path(get, path = "/v1/projects/{project}/services", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    responses((status = 200, body = NameList), (status = 404, body = Problem)))]
pub(super) async fn services(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
) -> Result<Json<NameList>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let items = state.projects().get(&name).await?.services.into_iter().map(|name| Named { name });
    Ok(Json(NameList { items: items.collect() }))
}

/// Creates a service, in every stage.
#[utoipa::path(post, path = "/v1/projects/{project}/services", tag = "projects", params(("project" = String, Path, description = "The project's name.")),
    request_body = Named, responses((status = 201, body = WrittenView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create_service(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    JsonBody(body): JsonBody<Named>,
) -> Result<(StatusCode, Json<WrittenView>), Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let service = ServiceName::new(&body.name)?;
    let cause = identity.cause(None, &format!("Create the service {service}"))?;
    Ok((StatusCode::CREATED, Json(state.projects().create_service(&name, &service, &cause).await?)))
}

/// Deletes a service with all of its files, in every stage.
#[utoipa::path(delete, path = "/v1/projects/{project}/services/{service}", tag = "projects",
    params(("project" = String, Path, description = "The project's name."), ("service" = String, Path, description = "The service's name."), ReasonParameters),
    responses((status = 200, body = WrittenView), (status = 404, body = Problem)))]
pub(super) async fn delete_service(
    State(state): State<AppState>,
    identity: Identity,
    Path((project, service)): Path<(String, String)>,
    Parameters(reason): Parameters<ReasonParameters>,
) -> Result<Json<WrittenView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let service = ServiceName::new(&service)?;
    let cause = identity.cause(reason.message.as_deref(), &format!("Delete the service {service}"))?;
    Ok(Json(state.projects().delete_service(&name, &service, &cause).await?))
}

/// Writes and removes files, in one commit.
#[utoipa::path(post, path = "/v1/projects/{project}/commits", tag = "resources", params(("project" = String, Path, description = "The project's name.")),
    request_body = CommitBody, responses((status = 200, body = WrittenView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn commit(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    JsonBody(body): JsonBody<CommitBody>,
) -> Result<Json<WrittenView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let expected = commit_id(body.expected.as_deref())?;
    let changes = changes(body.changes)?;
    let cause = identity.cause(Some(&body.message), &default_message(&changes))?;
    Ok(Json(state.projects().write(&name, changes, expected, &cause).await?))
}

/// Reads files to write and remove.
fn changes(bodies: Vec<ChangeBody>) -> Result<Vec<Change>, Problem> {
    let mut changes = Vec::with_capacity(bodies.len());
    for change in bodies {
        let path = file_path(change.stage.as_deref(), change.service.as_deref(), &change.path)?;
        let invalid = |detail: &str| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "change-invalid", format!("`{path}`: {detail}"))
        };
        let content = match (change.content, change.content_base64, change.remove) {
            (Some(text), None, false) => Some(text.into_bytes()),
            (None, Some(text), false) => {
                Some(STANDARD.decode(text).map_err(|_| invalid("`content-base64` is not Base64"))?)
            }
            (None, None, true) => None,
            _ => return Err(invalid("give one of `content`, `content-base64` and `remove`")),
        };
        changes.push(Change { path, content });
    }
    Ok(changes)
}

/// Makes a message for a change without a reason.
pub(super) fn default_message(changes: &[Change]) -> String {
    match changes {
        [Change { path, content: Some(_) }] => format!("Write {path}"),
        [Change { path, content: None }] => format!("Remove {path}"),
        changes => format!("Change {} files", changes.len()),
    }
}

/// Lists the commits of a project, newest first.
#[utoipa::path(get, path = "/v1/projects/{project}/commits", tag = "resources",
    params(("project" = String, Path, description = "The project's name."), HistoryParameters), responses((status = 200, body = CommitPage), (status = 404, body = Problem)))]
pub(super) async fn history(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    Parameters(parameters): Parameters<HistoryParameters>,
) -> Result<Json<CommitPage>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let from = commit_id(parameters.from.as_deref())?;
    let limit = parameters.limit.unwrap_or(PAGE_PROJECTS_DEFAULT).clamp(1, PAGE_PROJECTS_MAX);
    let items = state.projects().history(&name, from, parameters.path, limit).await?;
    Ok(Json(CommitPage { items }))
}

impl From<ProjectError> for Problem {
    fn from(error: ProjectError) -> Self {
        use crate::git::GitError;
        let text = error.to_string();
        let unprocessable = |code: &str, text: String| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, text);
        match error {
            ProjectError::NotFound { .. } | ProjectError::NoService { .. } | ProjectError::NoUpstream(_) => {
                Self::not_found(text)
            }
            ProjectError::Exists(_) => Self::new(StatusCode::CONFLICT, "project-exists", text),
            ProjectError::NoConflict(_) => Self::new(StatusCode::CONFLICT, "no-conflict", text),
            ProjectError::ServiceExists { .. } => Self::new(StatusCode::CONFLICT, "service-exists", text),
            ProjectError::Files(problems) => {
                unprocessable("file-invalid", text).with_errors(problems.iter().map(ToString::to_string).collect())
            }
            ProjectError::Path(_) => unprocessable("path-invalid", text),
            ProjectError::Invalid(_) => unprocessable("change-invalid", text),
            ProjectError::Shipyard(_) => unprocessable("shipyard-invalid", text),
            ProjectError::Event(_) => Self::internal(&text),
            ProjectError::Git(git) => match git {
                GitError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "revision-conflict", text),
                GitError::NoCommit(_) | GitError::NoFile(_) => Self::not_found(text),
                GitError::Path { .. } => unprocessable("path-invalid", text),
                GitError::NoRepository(_) | GitError::Exists(_) | GitError::Broken { .. } => Self::internal(&text),
            },
            ProjectError::Store(error) => error.into(),
        }
    }
}
