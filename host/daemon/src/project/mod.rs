//! Projects: their files in Git, and the event that each new head is.
//!
//! [`Projects`] changes a repository and tells of it in this order: commit to Git, then the event. A crash in between
//! leaves a gap between the head and the one that was told of last, which is told of at the next start; so every head that a
//! run could see has an event.
//!
//! Never here: HTTP, sequences.

mod announce;
mod check;
mod error;
mod event;
pub mod in_step;
pub(crate) mod row;
pub mod shipyards;
pub mod update;
pub mod upstream;
mod view;
mod writer;

use std::sync::Arc;

use pilothouse_core::name::{ProjectName, ServiceName, StageName};
use pilothouse_core::resource::{FilePath, Folder};
use pilothouse_core::right::Actor;
use pilothouse_core::shipyard::Shipyard;
use pilothouse_store::{StateKey, StateWrite, Store, StoreError};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::engine::Engine;
use crate::git::{Change, CommitId, CommitInfo, FileEntry, Repositories, Repository, Signed};
use crate::secrets::Secrets;
use check::check_changes;
pub use error::ProjectError;
use row::{PROJECT_KIND, ProjectRow, ReadRow};
use shipyards::Shipyards;
use upstream::Upstreams;
use upstream::row::UPSTREAM_KIND;
pub use view::{FileFound, ProjectView, WrittenView};

/// File that makes a service of a project, in the service's own folder.
pub const SERVICE_FILE: &str = "service.yaml";
/// Most files of a project that a listing or a look for services goes through.
pub const FILES_MAX: usize = 20_000;

/// The projects of a host; cheap to clone.
#[derive(Clone)]
pub struct Projects(Arc<Inner>);

struct Inner {
    engine: Engine,
    repositories: Arc<Repositories>,
    shipyards: Arc<Shipyards>,
    upstreams: Upstreams,
}

/// Who changes a project, why, and by what way.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// The reason, which becomes the commit's message.
    pub message: String,
    /// By what way: `api`, `upstream`, `plugin`, `recovery`.
    pub origin: &'static str,
}

impl Projects {
    /// Makes the projects of an engine.
    pub fn new(
        engine: Engine,
        repositories: Arc<Repositories>,
        shipyards: Arc<Shipyards>,
        secrets: Arc<Secrets>,
    ) -> Self {
        let upstreams = Upstreams { secrets, schedule: Default::default() };
        let projects = Self(Arc::new(Inner { engine, repositories, shipyards, upstreams }));
        // The engine lives in them, so it gets them by a weak reference.
        projects.0.engine.set_project_writer(Box::new(writer::Writer(Arc::downgrade(&projects.0))));
        projects
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.0.engine.store()
    }

    /// Returns the repositories.
    pub fn repositories(&self) -> &Arc<Repositories> {
        &self.0.repositories
    }

    /// Creates a project from its first files, the shipyard among them; returns it and what is not quite right with them.
    ///
    /// # Errors
    /// There is one of this name, a file has errors, or the disk or the store failed.
    pub async fn create(
        &self,
        name: &ProjectName,
        files: Vec<Change>,
        description: &str,
        cause: &Cause,
    ) -> Result<(ProjectView, Vec<String>), ProjectError> {
        if self.row(name).await?.is_some() {
            return Err(ProjectError::Exists(name.to_string()));
        }
        check_changes(&files)?;
        let changed: Vec<FilePath> = files.iter().map(|file| file.path.clone()).collect();
        let now = self.0.engine.now();
        self.0.repositories.create(name, files, signed(cause, now)).await?;
        let row = ProjectRow::new(description.to_owned(), now);
        let mut created = Map::new();
        created.insert("createdProject".to_owned(), serde_json::json!({ "projectName": name }));
        created.insert("project".to_owned(), name.as_str().into());
        let told = event::keptn("project.create", Uuid::new_v5(&row.uid, b"created").to_string(), created, now)
            .map_err(|error| ProjectError::Event(error.to_string()))?;
        match self.0.engine.record(vec![told], vec![row.write(name.as_str(), 0)], &cause.actor).await {
            Err(StoreError::Conflict(_)) => return Err(ProjectError::Exists(name.to_string())),
            result => result?,
        }
        self.announce(name, cause).await?;
        Ok((self.get(name).await?, self.warnings(name, &changed).await))
    }

    /// Deletes a project with its repository. What ran in it is aborted, its events stay.
    ///
    /// # Errors
    /// There is no such project, or the disk or the store failed.
    pub async fn delete(&self, name: &ProjectName, actor: &Actor) -> Result<(), ProjectError> {
        let read = self.needed(name).await?;
        let now = self.0.engine.now();
        let told = event::deleted(name.as_str(), read.row.uid, actor, now)
            .map_err(|error| ProjectError::Event(error.to_string()))?;
        let upstream = self.upstream(name).await?;
        let revisions = [(PROJECT_KIND, Some(read.revision)), (UPSTREAM_KIND, upstream.map(|it| it.revision))];
        let gone = revisions.into_iter().filter_map(|(kind, revision)| {
            let key = StateKey::new(kind, name.as_str());
            Some(StateWrite { key, revision: revision?, value: None, holds: None, holds_own_event: false })
        });
        self.0.engine.record(vec![told], gone.collect(), actor).await?;
        self.0.upstreams.schedule.forget(name);
        self.0.shipyards.forget(name);
        Ok(self.0.repositories.remove(name).await?)
    }

    /// Lists projects in the order of their names, after `after`.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ProjectView>, ProjectError> {
        let rows = self.store().states(PROJECT_KIND, after, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in &rows {
            let read = ProjectRow::read(row).map_err(StoreError::Read)?;
            if let Ok(name) = ProjectName::new(&row.key) {
                views.push(self.view(&name, &read.row).await);
            }
        }
        Ok(views)
    }

    /// Returns one project.
    ///
    /// # Errors
    /// There is no such project, or the store could not be read.
    pub async fn get(&self, name: &ProjectName) -> Result<ProjectView, ProjectError> {
        let read = self.needed(name).await?;
        Ok(self.view(name, &read.row).await)
    }

    async fn view(&self, name: &ProjectName, row: &ProjectRow) -> ProjectView {
        let mut view = ProjectView {
            name: name.to_string(),
            description: row.description.clone(),
            created: row.created.to_string(),
            commit: None,
            stages: Vec::new(),
            services: Vec::new(),
            problem: None,
        };
        match self.0.shipyards.at(name, None).await {
            Ok((commit, shipyard)) => {
                view.stages = shipyard.stages.iter().map(|stage| stage.name.to_string()).collect();
                view.commit = Some(commit.to_string());
            }
            Err(error) => {
                view.commit = error.commit.map(|commit| commit.to_string());
                view.problem = Some(error.reason);
            }
        }
        if let Some(commit) = view.commit.as_deref().and_then(CommitId::parse) {
            let services = self.0.repositories.read(name, move |git| services(git, &commit)).await;
            view.services = services.unwrap_or_default();
        }
        view
    }

    /// Returns the shipyard of a project at a commit, or at the present one.
    ///
    /// # Errors
    /// There is no such project or commit, or the shipyard has errors.
    pub async fn shipyard(
        &self,
        name: &ProjectName,
        commit: Option<&CommitId>,
    ) -> Result<(CommitId, Arc<Shipyard>), ProjectError> {
        self.needed(name).await?;
        self.0.shipyards.at(name, commit).await.map_err(|error| ProjectError::Shipyard(error.reason))
    }

    /// Writes and removes files, in one commit.
    ///
    /// # Errors
    /// A file changed since `expected`, is not a valid one, or the disk or the store failed. Nothing is changed then.
    pub async fn write(
        &self,
        name: &ProjectName,
        changes: Vec<Change>,
        expected: Option<CommitId>,
        cause: &Cause,
    ) -> Result<WrittenView, ProjectError> {
        self.needed(name).await?;
        if changes.is_empty() {
            return Err(ProjectError::Invalid("there is nothing to change; name at least one file".to_owned()));
        }
        check_changes(&changes)?;
        let paths: Vec<FilePath> = changes.iter().map(|change| change.path.clone()).collect();
        let signed = signed(cause, self.0.engine.now());
        let guard = self.0.repositories.lock(name).await;
        let written =
            self.0.repositories.read(name, move |git| git.commit(&changes, expected.as_ref(), &signed)).await?;
        self.announce_locked(name, cause).await?;
        drop(guard);
        if self.upstream(name).await?.is_some() {
            self.0.upstreams.schedule.wake(name);
        }
        let changed = written.before != written.commit;
        let warnings = self.warnings(name, &paths).await;
        Ok(WrittenView { commit: written.commit.to_string(), before: written.before.to_string(), changed, warnings })
    }

    /// Finds a file as a plugin would: the nearest of the folders that `folder` looks in.
    ///
    /// # Errors
    /// There is no such project or commit.
    pub async fn find(
        &self,
        name: &ProjectName,
        commit: Option<CommitId>,
        folder: Folder,
        path: FilePath,
        inherit: bool,
    ) -> Result<Option<FileFound>, ProjectError> {
        self.needed(name).await?;
        let found = self.0.repositories.read(name, move |git| find_file(git, commit, &folder, &path, inherit)).await?;
        Ok(found)
    }

    /// Lists the files under a folder, at most `limit`, with the commit that was looked at.
    ///
    /// # Errors
    /// There is no such project or commit.
    pub async fn files(
        &self,
        name: &ProjectName,
        commit: Option<CommitId>,
        prefix: String,
        limit: usize,
    ) -> Result<(CommitId, Vec<FileEntry>), ProjectError> {
        self.needed(name).await?;
        let listed = self.0.repositories.read(name, move |git| {
            let commit = commit.map_or_else(|| git.present(), Ok)?;
            let files = git.files(&commit, &prefix, limit)?;
            Ok((commit, files))
        });
        Ok(listed.await?)
    }

    /// Lists commits, newest first.
    ///
    /// # Errors
    /// There is no such project or commit.
    pub async fn history(
        &self,
        name: &ProjectName,
        from: Option<CommitId>,
        path: Option<String>,
        limit: usize,
    ) -> Result<Vec<CommitInfo>, ProjectError> {
        self.needed(name).await?;
        let log = self.0.repositories.read(name, move |git| {
            let from = from.map_or_else(|| git.present(), Ok)?;
            git.log(&from, path.as_deref(), limit)
        });
        Ok(log.await?)
    }

    /// Creates a service, in every stage.
    ///
    /// # Errors
    /// It exists, there is no such project, or the disk or the store failed.
    pub async fn create_service(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        cause: &Cause,
    ) -> Result<WrittenView, ProjectError> {
        let view = self.get(project).await?;
        if view.services.iter().any(|known| known == service.as_str()) {
            return Err(ProjectError::ServiceExists { project: project.to_string(), service: service.to_string() });
        }
        let folder = Folder { stage: None, service: Some(service.clone()) };
        let content = format!("# Makes `{service}` a service of this project, in every stage.\nname: {service}\n");
        let change = Change { path: path_in(&folder, SERVICE_FILE)?, content: Some(content.into_bytes()) };
        let written = self.write(project, vec![change], None, cause).await?;
        self.tell_service("service.create", project, service, &written, &view.stages, cause).await?;
        Ok(written)
    }

    /// Deletes a service with all of its files, in every stage.
    ///
    /// # Errors
    /// There is no such service, or the disk or the store failed.
    pub async fn delete_service(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        cause: &Cause,
    ) -> Result<WrittenView, ProjectError> {
        let view = self.get(project).await?;
        if !view.services.iter().any(|known| known == service.as_str()) {
            return Err(ProjectError::no_service(project, service.as_str(), &view.services));
        }
        let (_, files) = self.files(project, None, String::new(), FILES_MAX).await?;
        let of_service =
            files.into_iter().filter(|file| Folder::of_path(&file.path).0.service.as_ref() == Some(service));
        let changes =
            of_service.filter_map(|file| Some(Change { path: FilePath::new(&file.path).ok()?, content: None }));
        let written = self.write(project, changes.collect(), None, cause).await?;
        self.tell_service("service.delete", project, service, &written, &view.stages, cause).await?;
        Ok(written)
    }

    /// Says by Keptn's events, one for each stage, that a service came or went.
    async fn tell_service(
        &self,
        what: &str,
        project: &ProjectName,
        service: &ServiceName,
        written: &WrittenView,
        stages: &[String],
        cause: &Cause,
    ) -> Result<(), ProjectError> {
        let (uid, now) = (self.needed(project).await?.row.uid, self.0.engine.now());
        let mut events = Vec::new();
        for stage in stages {
            let mut data = Map::new();
            for (name, value) in [("project", project.as_str()), ("stage", stage), ("service", service.as_str())] {
                data.insert(name.to_owned(), Value::from(value));
            }
            let id = Uuid::new_v5(&uid, format!("{what} {service} {stage} {}", written.commit).as_bytes()).to_string();
            events.push(event::keptn(what, id, data, now).map_err(|error| ProjectError::Event(error.to_string()))?);
        }
        Ok(self.0.engine.record(events, Vec::new(), &cause.actor).await?)
    }

    async fn row(&self, name: &ProjectName) -> Result<Option<ReadRow>, ProjectError> {
        let row = self.store().state(&StateKey::new(PROJECT_KIND, name.as_str())).await?;
        Ok(row.as_ref().map(ProjectRow::read).transpose().map_err(StoreError::Read)?)
    }

    async fn needed(&self, name: &ProjectName) -> Result<ReadRow, ProjectError> {
        if let Some(read) = self.row(name).await? {
            return Ok(read);
        }
        let known = self.store().states(PROJECT_KIND, None, 1_000).await?;
        let near = pilothouse_core::suggest::nearest(name.as_str(), known.iter().map(|row| row.key.as_str()));
        Err(ProjectError::NotFound { project: name.to_string(), near: near.map(str::to_owned) })
    }
}

fn signed(cause: &Cause, now: pilothouse_core::time::Timestamp) -> Signed {
    Signed { actor: cause.actor.as_str().to_owned(), message: cause.message.clone(), now }
}

/// Returns the path of a file in a folder.
fn path_in(folder: &Folder, path: &str) -> Result<FilePath, ProjectError> {
    FilePath::new(&format!("{}{path}", folder.prefix())).map_err(|error| ProjectError::Path(error.to_string()))
}

fn find_file(
    git: &Repository,
    commit: Option<CommitId>,
    folder: &Folder,
    path: &FilePath,
    inherit: bool,
) -> Result<Option<FileFound>, crate::git::GitError> {
    let commit = commit.map_or_else(|| git.present(), Ok)?;
    let folders = if inherit { folder.lookup() } else { vec![folder.clone()] };
    for folder in folders {
        let full = format!("{}{path}", folder.prefix());
        if let Some(content) = git.file(&commit, &full)? {
            return Ok(Some(FileFound { path: full, commit, content }));
        }
    }
    Ok(None)
}

/// Returns the services of a project: the folders under `services` and under each stage's `services`.
fn services(git: &Repository, commit: &CommitId) -> Result<Vec<String>, crate::git::GitError> {
    let mut names: Vec<String> = Vec::new();
    for prefix in ["services/", "stages/"] {
        for file in git.files(commit, prefix, FILES_MAX)? {
            names.extend(Folder::of_path(&file.path).0.service.map(|service| service.to_string()));
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Reads the folder that a request names.
///
/// # Errors
/// A name is not one.
pub fn folder(stage: Option<&str>, service: Option<&str>) -> Result<Folder, pilothouse_core::name::NameError> {
    Ok(Folder { stage: stage.map(StageName::new).transpose()?, service: service.map(ServiceName::new).transpose()? })
}
