//! The events that tell what happened to a project.

use pilothouse_core::Event;
use pilothouse_core::event::{EventBuilder, EventError};
use pilothouse_core::host_event::{HOST_SOURCE, PROJECT_COMMITTED, PROJECT_DELETED};
use pilothouse_core::keptn::{COMMIT_EXTENSION, RUN_EXTENSION, SPEC_VERSION, SPEC_VERSION_EXTENSION, derive_run};
use pilothouse_core::right::Actor;
use pilothouse_core::time::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::git::{CommitId, CommitInfo, PathChange};

/// Most paths that an event lists; a push may change thousands, and an event has a size.
pub(super) const PATHS_MAX: usize = 1_000;

/// A head of a project that nobody was told of.
pub(super) struct NewHead {
    pub(super) before: Option<CommitId>,
    pub(super) info: CommitInfo,
    pub(super) paths: Vec<PathChange>,
    pub(super) more: bool,
    pub(super) origin: &'static str,
}

/// Makes `dev.pilothouse.project.committed.v1`. A head is told of once: its id follows from the project and the commit.
pub(super) fn committed(
    project: &str,
    uid: Uuid,
    head: &NewHead,
    actor: &Actor,
    now: Timestamp,
) -> Result<Event, EventError> {
    let mut data = json!({
        "project": project,
        "commit": head.info.commit,
        "author": head.info.author,
        "message": head.info.message,
        "paths": head.paths,
        "truncated": head.more,
        "origin": head.origin,
        "actor": actor.as_str(),
    });
    if let (Some(before), Some(members)) = (&head.before, data.as_object_mut()) {
        members.insert("before".to_owned(), before.as_str().into());
    }
    let id = Uuid::new_v5(&uid, head.info.commit.as_str().as_bytes()).to_string();
    EventBuilder::new(id, HOST_SOURCE, PROJECT_COMMITTED)
        .time(Some(now.to_string()))
        .subject(Some(project.to_owned()))
        .extension_str(COMMIT_EXTENSION, head.info.commit.as_str())
        .json(&data)
        .build()
}

/// Makes `dev.pilothouse.project.deleted.v1`.
pub(super) fn deleted(project: &str, uid: Uuid, actor: &Actor, now: Timestamp) -> Result<Event, EventError> {
    let id = Uuid::new_v5(&uid, b"deleted").to_string();
    EventBuilder::new(id, HOST_SOURCE, PROJECT_DELETED)
        .time(Some(now.to_string()))
        .subject(Some(project.to_owned()))
        .json(&json!({ "project": project, "actor": actor.as_str() }))
        .build()
}

/// Makes one of Keptn's own events about a project or a service, such as `sh.keptn.event.service.create.finished`.
pub(super) fn keptn(what: &str, id: String, data: Map<String, Value>, now: Timestamp) -> Result<Event, EventError> {
    let ty = format!("sh.keptn.event.{what}.finished");
    let run = derive_run(HOST_SOURCE, &id);
    let mut data = data;
    for (name, value) in [("status", "succeeded"), ("result", "pass")] {
        data.insert(name.to_owned(), value.into());
    }
    EventBuilder::new(id, HOST_SOURCE, ty)
        .time(Some(now.to_string()))
        .extension_str(RUN_EXTENSION, &run)
        .extension_str(SPEC_VERSION_EXTENSION, SPEC_VERSION)
        .json(&Value::Object(data))
        .build()
}
