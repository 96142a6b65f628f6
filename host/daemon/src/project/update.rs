//! Changing what a project is: its description, and its shipyard.

use pilothouse_core::name::ProjectName;
use pilothouse_core::resource::FilePath;
use pilothouse_core::shipyard::SHIPYARD_FILE;

use super::{Cause, ProjectError, ProjectView, Projects};
use crate::git::Change;

impl Projects {
    /// Changes a project's description, its shipyard, or both; returns it and what is not quite right with the shipyard.
    /// What runs goes on by the shipyard that it began with.
    ///
    /// # Errors
    /// There is no such project, the shipyard has errors, or the disk or the store failed. A description is changed only if
    /// the shipyard could be.
    pub async fn update(
        &self,
        name: &ProjectName,
        shipyard: Option<Vec<u8>>,
        description: Option<String>,
        cause: &Cause,
    ) -> Result<(ProjectView, Vec<String>), ProjectError> {
        let mut warnings = Vec::new();
        if let Some(content) = shipyard {
            let path = FilePath::new(SHIPYARD_FILE).map_err(|error| ProjectError::Invalid(error.to_string()))?;
            let change = Change { path, content: Some(content) };
            warnings = self.write(name, vec![change], None, cause).await?.warnings;
        }
        if let Some(description) = description {
            // Commits are told of under the same lock, and write the same row.
            let _guard = self.0.repositories.lock(name).await;
            let mut read = self.needed(name).await?;
            read.row.description = description;
            self.0.engine.record(Vec::new(), vec![read.row.write(name.as_str(), read.revision)], &cause.actor).await?;
        }
        Ok((self.get(name).await?, warnings))
    }
}
