//! Writes files of a project for a plugin, by the same way as everybody else: checked, as a commit, told of by an event.

use std::sync::Weak;

use pilothouse_core::name::ProjectName;
use pilothouse_core::right::Actor;
use pilothouse_runtime::{ResourceChange, ResourceError};

use super::{Cause, Inner, ProjectError, Projects};
use crate::engine::ProjectWriter;
use crate::git::Change;

/// Projects, as the engine knows them.
pub(super) struct Writer(pub(super) Weak<Inner>);

#[async_trait::async_trait]
impl ProjectWriter for Writer {
    async fn write(
        &self,
        project: &str,
        changes: Vec<ResourceChange>,
        message: &str,
        actor: &Actor,
    ) -> Result<String, ResourceError> {
        let stopping = || ResourceError::Unavailable("the host is stopping".to_owned());
        let projects = Projects(self.0.upgrade().ok_or_else(stopping)?);
        let name = ProjectName::new(project).map_err(|error| ResourceError::Invalid(error.to_string()))?;
        let changes = changes.into_iter().map(|ResourceChange { path, content }| Change { path, content }).collect();
        let cause = Cause { actor: actor.clone(), message: message.to_owned(), origin: "plugin" };
        // The plugin may be stopped at its time limit at any moment; a commit that has begun goes on and is told of.
        let written = tokio::spawn(async move { projects.write(&name, changes, None, &cause).await });
        match written.await {
            Ok(Ok(written)) => Ok(written.commit),
            Ok(Err(error)) => Err(refused(error)),
            Err(error) => Err(ResourceError::Unavailable(format!("the commit broke off: {error}"))),
        }
    }
}

fn refused(error: ProjectError) -> ResourceError {
    match error {
        ProjectError::NotFound { .. } => ResourceError::NotFound,
        ProjectError::Git(_) | ProjectError::Store(_) | ProjectError::Event(_) => {
            ResourceError::Unavailable(error.to_string())
        }
        _ => ResourceError::Invalid(error.to_string()),
    }
}
