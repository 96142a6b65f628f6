//! `pilothouse:plugin/outputs`: the plugin's own files in directories that were granted; see [`crate::outputs`].

use pilothouse_core::name::OutputName;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pilothouse::plugin::outputs::{self, Error};
use crate::outputs::{OutputDirectory, OutputError};
use crate::state::State;

impl From<OutputError> for Error {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Denied(text) => Self::Denied(text),
            OutputError::NotFound => Self::NotFound,
            OutputError::Invalid(text) => Self::Invalid(text),
            OutputError::Changed(_) => Self::Changed,
            OutputError::QuotaExceeded(_) => Self::QuotaExceeded,
            OutputError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl State {
    /// Runs `work` on a granted directory, on a thread where it may block.
    async fn in_directory<T: Send + 'static>(
        &mut self,
        directory: &str,
        work: impl FnOnce(&OutputDirectory) -> Result<T, OutputError> + Send + 'static,
    ) -> Result<T, Error> {
        let name = OutputName::new(directory).map_err(|error| Error::Invalid(error.to_string()))?;
        let Some(operator_name) = self.grants.outputs.get(&name) else {
            let error = OutputError::not_granted(&name, &self.installation);
            self.log.remark(&format!("denied: outputs `{name}`: {error}"));
            return Err(error.into());
        };
        let directory = self.services.output_directory(operator_name)?;
        let log = self.log.clone();
        tokio::task::spawn_blocking(move || work(&directory))
            .await
            .map_err(|_| Error::Unavailable("the host failed to use the directory".to_owned()))?
            .map_err(|error| {
                // The variant has no room for which limit or which file it was.
                if let OutputError::QuotaExceeded(text) | OutputError::Changed(text) = &error {
                    log.remark(text);
                }
                error.into()
            })
    }
}

impl outputs::Host for State {
    async fn write(
        &mut self,
        directory: String,
        path: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.in_directory(&directory, move |it| it.write(&path, &content).map(|_| ())).await)
    }

    async fn read(&mut self, directory: String, path: String) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(self.in_directory(&directory, move |it| it.read(&path)).await)
    }

    async fn entries(&mut self, directory: String) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.in_directory(&directory, OutputDirectory::entries).await)
    }

    async fn take_over(&mut self, directory: String, path: String) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(self.in_directory(&directory, move |it| it.take_over(&path)).await)
    }

    async fn remove(&mut self, directory: String, path: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.in_directory(&directory, move |it| it.remove(&path)).await)
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    outputs::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
