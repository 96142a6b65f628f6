//! `pilothouse:plugin/resources`: the files of the project in hand, read at the commit of its run and written as commits.

use pilothouse_core::resource::{FilePath, Folder};
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pilothouse::plugin::resources::{self, Change, Entry, Error, Level};
use crate::services::{ResourceChange, ResourceError, ResourceLevel};
use crate::state::State;

/// Most files of one commit of a plugin: a dashboard for each of a hundred services, twice.
const CHANGES_MAX: usize = 200;
/// Longest message of a commit; the rest is cut off.
const MESSAGE_CHARS_MAX: usize = 1_000;

impl From<ResourceError> for Error {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::Denied(text) => Self::Denied(text),
            ResourceError::NotFound => Self::NotFound,
            ResourceError::Invalid(text) => Self::Invalid(text),
            ResourceError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl From<Level> for ResourceLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Project => Self::Project,
            Level::Stage => Self::Stage,
            Level::Service => Self::Service,
            Level::ServiceInStage => Self::ServiceInStage,
        }
    }
}

impl State {
    fn granted_resources(&self) -> Result<(), Error> {
        if self.grants.resources {
            return Ok(());
        }
        let text = format!("denied: resources: add resources = true to the grants of `{}`", self.installation);
        self.log.remark(&text);
        Err(Error::Denied(text))
    }

    async fn read_resource(&mut self, level: Option<ResourceLevel>, path: &str) -> Result<Vec<u8>, Error> {
        self.granted_resources()?;
        let path = FilePath::new(path).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(self.services.resource(level, &path).await?)
    }

    /// Checks that a file may be written.
    fn writable(&self, path: &str) -> Result<FilePath, Error> {
        let path = FilePath::new(path).map_err(|error| Error::Invalid(error.to_string()))?;
        let writes = &self.grants.resource_writes;
        let (_, file) = Folder::of_path(path.as_str());
        if writes.iter().any(|folder| file.starts_with(folder.as_str())) {
            return Ok(path);
        }
        let text = match writes.is_empty() {
            true => format!(
                "denied: writing `{path}`: add resources-write = true to the grants of `{}`; its manifest must list the folder \
                 under `[resources] write`",
                self.installation
            ),
            false => {
                format!("denied: writing `{path}`: the manifest's `[resources] write` allows {}", writes.join(", "))
            }
        };
        self.log.remark(&text);
        Err(Error::Denied(text))
    }

    async fn write_resources(&mut self, changes: Vec<Change>, message: &str) -> Result<String, Error> {
        self.granted_resources()?;
        if changes.len() > CHANGES_MAX {
            return Err(Error::Invalid(format!("{} files are to be written, at most {CHANGES_MAX}", changes.len())));
        }
        let checked = changes
            .into_iter()
            .map(|Change { path, content }| Ok(ResourceChange { path: self.writable(&path)?, content }));
        let checked: Vec<ResourceChange> = checked.collect::<Result<_, Error>>()?;
        let message: String =
            message.chars().filter(|c| !c.is_control() || *c == '\n').take(MESSAGE_CHARS_MAX).collect();
        Ok(self.services.write_resources(checked, message.trim()).await?)
    }

    async fn list_resources(&mut self, level: ResourceLevel, prefix: &str) -> Result<Vec<Entry>, Error> {
        self.granted_resources()?;
        let found = self.services.resources(level, prefix).await?;
        Ok(found.into_iter().map(|(path, size)| Entry { path, size }).collect())
    }
}

impl resources::Host for State {
    async fn read(&mut self, at: Level, path: String) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(self.read_resource(Some(at.into()), &path).await)
    }

    async fn read_nearest(&mut self, path: String) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(self.read_resource(None, &path).await)
    }

    async fn services(&mut self) -> wasmtime::Result<Result<Vec<String>, Error>> {
        if let Err(denied) = self.granted_resources() {
            return Ok(Err(denied));
        }
        Ok(self.services.project_services().await.map_err(Error::from))
    }

    async fn write(&mut self, changes: Vec<Change>, message: String) -> wasmtime::Result<Result<String, Error>> {
        Ok(self.write_resources(changes, &message).await)
    }

    async fn entries(&mut self, at: Level, prefix: String) -> wasmtime::Result<Result<Vec<Entry>, Error>> {
        Ok(self.list_resources(at.into(), &prefix).await)
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    resources::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
