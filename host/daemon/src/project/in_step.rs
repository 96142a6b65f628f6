//! Looks now and then whether the tools still have what the projects' files say, so that hand edits are seen without a commit.

use std::time::Duration;

use pilothouse_core::host_event::HOST_SOURCE;
use pilothouse_core::name::ProjectName;
use pilothouse_core::right::{Actor, Reach};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ProjectError, Projects};
use crate::engine::monitoring::sync_event;
use crate::engine::view::Sender;

/// Projects that are read at a time.
const PAGE: usize = 100;

/// Asks the plugins that keep tools in step to do so for each project, once every `every`, until `stop`.
pub async fn run(projects: Projects, every: Duration, stop: CancellationToken) {
    if every.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if projects.engine().keeps_in_step()
            && let Err(error) = all(&projects).await
        {
            tracing::warn!(%error, "ToolsCheckError");
        }
    }
}

async fn all(projects: &Projects) -> Result<(), ProjectError> {
    let mut after: Option<String> = None;
    loop {
        let page = projects.list(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for project in &page {
            if let (Ok(name), Some(commit)) = (ProjectName::new(&project.name), &project.commit) {
                one(projects, &name, commit).await?;
            }
        }
    }
}

async fn one(projects: &Projects, name: &ProjectName, commit: &str) -> Result<(), ProjectError> {
    let engine = projects.engine();
    let id = Uuid::new_v4().to_string();
    let event = sync_event(&id, HOST_SOURCE, name.as_str(), "sync", Some(commit), engine.now())
        .map_err(|error| ProjectError::Event(error.to_string()))?;
    let sender = Sender { actor: Actor::host(), may_send: Reach::All, may_trigger: Reach::All };
    if let Err(error) = engine.ingest(vec![event], &sender).await {
        tracing::warn!(project = %name, %error, "ToolsCheckError");
    }
    Ok(())
}
