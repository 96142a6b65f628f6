//! The files of a project, one at a time, as they are.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use pilothouse_core::resource::{FILE_BYTES_MAX, FilePath};
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::body::{Bounds, read};
use super::problem::Problem;
use super::projects::{commit_id, default_message, file_path};
use super::query::Parameters;
use crate::auth::Identity;
use crate::git::{Change, CommitId, FileEntry};
use crate::project::{self, WrittenView};

/// Most files of one listing.
pub const LIST_FILES_MAX: usize = 10_000;
/// The header that says whose file an answer is: its path in the repository.
const PATH_HEADER: HeaderName = HeaderName::from_static("pilothouse-path");

/// Whose file, and at which commit.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct FileParameters {
    /// The stage whose file it is.
    pub stage: Option<String>,
    /// The service whose file it is.
    pub service: Option<String>,
    /// The commit to look at; the present one when absent.
    pub commit: Option<String>,
    /// Whether to look in the folders around too: service, stage, project. On unless `false`.
    pub inherit: Option<bool>,
}

/// Whose file, and why it is changed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WriteParameters {
    /// The stage whose file it is.
    pub stage: Option<String>,
    /// The service whose file it is.
    pub service: Option<String>,
    /// The reason; becomes the commit's message.
    pub message: Option<String>,
}

/// Which files to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only the files of this stage.
    pub stage: Option<String>,
    /// Only the files of this service.
    pub service: Option<String>,
    /// The commit to look at; the present one when absent.
    pub commit: Option<String>,
}

/// Files of a project.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FileList {
    /// The commit that was looked at.
    pub commit: String,
    /// Each with its path in the repository and its size in bytes.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<FileEntry>,
}

/// Lists the files of a project, a stage or a service, in the order of their paths.
#[utoipa::path(get, path = "/v1/projects/{project}/resources", tag = "resources",
    params(("project" = String, Path, description = "The project's name."), ListParameters), responses((status = 200, body = FileList), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(state): State<AppState>,
    identity: Identity,
    Path(project): Path<String>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<FileList>, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let folder = project::folder(parameters.stage.as_deref(), parameters.service.as_deref())?;
    let commit = commit_id(parameters.commit.as_deref())?;
    let (commit, items) = state.projects().files(&name, commit, folder.prefix(), LIST_FILES_MAX).await?;
    Ok(Json(FileList { commit: commit.to_string(), items }))
}

/// Returns a file as it is. `ETag` is the commit that was looked at, `Pilothouse-Path` says whose file was found.
#[utoipa::path(get, path = "/v1/projects/{project}/resources/{path}", tag = "resources",
    params(("project" = String, Path, description = "The project's name."), ("path" = String, Path, description = "The file's path in the folder."), FileParameters),
    responses((status = 200, description = "The content.", content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(super) async fn get(
    State(state): State<AppState>,
    identity: Identity,
    Path((project, path)): Path<(String, String)>,
    Parameters(parameters): Parameters<FileParameters>,
) -> Result<Response, Problem> {
    let name = identity.project(Right::Read, &project)?;
    let folder = project::folder(parameters.stage.as_deref(), parameters.service.as_deref())?;
    let commit = commit_id(parameters.commit.as_deref())?;
    let path = FilePath::new(&path)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "path-invalid", error.to_string()))?;
    let inherit = parameters.inherit.unwrap_or(true);
    let found = state.projects().find(&name, commit, folder, path.clone(), inherit).await?;
    let found = found.ok_or_else(|| Problem::not_found(format!("the project `{name}` has no file `{path}` there")))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", found.commit)) {
        headers.insert(ETAG, tag);
    }
    if let Ok(path) = HeaderValue::try_from(found.path) {
        headers.insert(PATH_HEADER, path);
    }
    Ok((headers, found.content).into_response())
}

/// Writes a file. With `If-Match: "<commit>"`, it is refused if the file changed since that commit.
#[utoipa::path(put, path = "/v1/projects/{project}/resources/{path}", tag = "resources",
    params(("project" = String, Path, description = "The project's name."), ("path" = String, Path, description = "The file's path in the folder."), WriteParameters),
    request_body(content_type = "application/octet-stream", description = "The content, at most 8 MiB."),
    responses((status = 200, body = WrittenView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(state): State<AppState>,
    identity: Identity,
    Path((project, path)): Path<(String, String)>,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WrittenView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let limits = &state.config().limits;
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let bounds = Bounds { bytes_max, idle: limits.header_timeout.0, total: limits.body_timeout.0 };
    let content = read(&headers, body, bounds).await?;
    let path = file_path(parameters.stage.as_deref(), parameters.service.as_deref(), &path)?;
    let changes = vec![Change { path, content: Some(content.to_vec()) }];
    let cause = identity.cause(parameters.message.as_deref(), &default_message(&changes))?;
    Ok(Json(state.projects().write(&name, changes, if_match(&headers)?, &cause).await?))
}

/// Removes a file. `If-Match` as for writing.
#[utoipa::path(delete, path = "/v1/projects/{project}/resources/{path}", tag = "resources",
    params(("project" = String, Path, description = "The project's name."), ("path" = String, Path, description = "The file's path in the folder."), WriteParameters),
    responses((status = 200, body = WrittenView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    Path((project, path)): Path<(String, String)>,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
) -> Result<Json<WrittenView>, Problem> {
    let name = identity.project(Right::Operate, &project)?;
    let path = file_path(parameters.stage.as_deref(), parameters.service.as_deref(), &path)?;
    let changes = vec![Change { path, content: None }];
    let cause = identity.cause(parameters.message.as_deref(), &default_message(&changes))?;
    Ok(Json(state.projects().write(&name, changes, if_match(&headers)?, &cause).await?))
}

/// Reads the commit that a change was made from.
fn if_match(headers: &HeaderMap) -> Result<Option<CommitId>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    if text == "*" { Ok(None) } else { commit_id(Some(text)) }
}
