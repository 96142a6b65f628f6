//! `POST /v1/backup`: a consistent copy of everything, made while the host works.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use pilothouse_core::right::Right;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::problem::Problem;
use super::query::JsonBody;
use crate::auth::Identity;
use crate::backup::{self, BackupError};

/// A request to back up.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BackupBody {
    /// Name of the backup, letters, digits, `-`, `_` and `.`; the time when absent.
    pub name: Option<String>,
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BackupMade {
    /// The folder on the host's machine.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Writes a backup into the data folder of the host, under `backups/`.
#[utoipa::path(post, path = "/v1/backup", tag = "host", request_body = BackupBody,
    responses((status = 201, body = BackupMade), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(state): State<AppState>,
    identity: Identity,
    JsonBody(body): JsonBody<BackupBody>,
) -> Result<(StatusCode, Json<BackupMade>), Problem> {
    identity.require(Right::Admin)?;
    let name = body.name.unwrap_or_else(|| state.clock().now().to_string().replace(':', "-"));
    match backup::create(state.store(), &state.config().data_dir, &name).await {
        Ok(made) => {
            let path = made.path.display().to_string();
            Ok((StatusCode::CREATED, Json(BackupMade { path, size_bytes: made.size_bytes })))
        }
        Err(BackupError::Name(detail)) => Err(Problem::bad_request("name-invalid", detail)),
        Err(BackupError::Exists(_)) => {
            Err(Problem::new(StatusCode::CONFLICT, "backup-exists", "there is a backup of that name already"))
        }
        Err(BackupError::Store(error)) => Err(error.into()),
        Err(error) => Err(Problem::internal(&error)),
    }
}
