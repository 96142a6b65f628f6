//! `pilothouse:plugin/resources`: the files of the project in hand, at the commit of its run.

use pilothouse_core::resource::FilePath;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pilothouse::plugin::resources::{self, Entry, Error, Level};
use crate::services::{ResourceError, ResourceLevel};
use crate::state::State;

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

    async fn entries(&mut self, at: Level, prefix: String) -> wasmtime::Result<Result<Vec<Entry>, Error>> {
        Ok(self.list_resources(at.into(), &prefix).await)
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    resources::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
