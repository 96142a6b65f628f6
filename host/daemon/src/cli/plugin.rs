//! `pilothouse plugin …`: inspect, install, run and write plugins.

mod inspect;
mod install;
mod new;
mod run;
mod services;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pilothouse_core::grant::Grants;
use pilothouse_runtime::{Inspection, Runtime};
use serde_json::Value;

use super::api::{Api, encode};
use super::{CliError, Exit, Global, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Show what a component imports and asks for; nothing of it is run.
    Inspect {
        /// The component, or the name of a bundled plugin.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Install a plugin: shows what it asks for, and grants what you say.
    Install(install::InstallCommand),
    /// List the installations.
    List,
    /// Show one installation.
    Get {
        /// The installation's name.
        name: String,
    },
    /// Remove an installation.
    Remove(RemoveCommand),
    /// Run one delivery of a plugin here, without a host, and show what it did.
    Run(run::RunCommand),
    /// Write the beginning of a plugin.
    New(new::NewCommand),
}

#[derive(Debug, Args)]
pub(super) struct RemoveCommand {
    /// The installation's name.
    name: String,
    /// What becomes of the deliveries that wait for it: `drain` handles them first, `dead-letter` gives them up.
    #[arg(long, value_name = "WHAT")]
    waiting: Option<String>,
}

impl PluginCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        match self {
            Self::Inspect { file } => inspect::run(&file, terminal),
            Self::Install(command) => command.run(global, terminal).await,
            Self::List => list(&Api::new(global)?, terminal).await,
            Self::Get { name } => {
                let answer = Api::new(global)?.get(&format!("/v1/installations/{}", encode(&name)), &[]).await?;
                terminal.members(&answer)
            }
            Self::Remove(RemoveCommand { name, waiting }) => {
                let drains = waiting.as_deref() == Some("drain");
                let path = format!("/v1/installations/{}", encode(&name));
                Api::new(global)?.delete(&path, &[("waiting", waiting)]).await?;
                terminal.note(&if drains {
                    format!("`{name}` handles what waits, and then goes")
                } else {
                    format!("`{name}` is removed")
                });
                Ok(())
            }
            Self::Run(command) => command.run(terminal).await,
            Self::New(command) => command.run(terminal),
        }
    }
}

async fn list(api: &Api, terminal: &mut Terminal) -> Result<(), CliError> {
    let answer = api.get("/v1/installations", &[]).await?;
    let columns = [
        ("NAME", "/name"),
        ("PLUGIN", "/plugin"),
        ("VERSION", "/version"),
        ("STATE", "/state"),
        ("TASKS", "/tasks"),
        ("OBSERVES", "/observes"),
        ("REASON", "/reason"),
    ];
    terminal.rows(&answer, &columns)
}

/// Reads a component from a file, or a bundled one by its bare name.
fn read_component(file: &Path) -> Result<Vec<u8>, CliError> {
    let name = file.to_str().unwrap_or_default();
    if !file.exists()
        && let Some(component) = crate::bundle::find(name)
    {
        return Ok(component.to_vec());
    }
    std::fs::read(file).map_err(|error| {
        let failure =
            CliError::new(Exit::Usage, format!("cannot read the component `{}`", file.display())).caused_by(&error);
        let names: Vec<_> = crate::bundle::bundle().iter().map(|(name, _)| *name).collect();
        if names.is_empty() { failure } else { failure.hint(format!("bundled plugins are {}", names.join(", "))) }
    })
}

fn inspected(wasm: &[u8]) -> Result<Inspection, CliError> {
    Runtime::inspect(wasm).map_err(|error| CliError::of(Exit::Usage, &error))
}

/// Reads a grants file.
fn read_grants(file: Option<&Path>) -> Result<Grants, CliError> {
    let Some(file) = file else { return Ok(Grants::default()) };
    toml::from_str(&read_text(file)?).map_err(|error| {
        CliError::new(Exit::Usage, format!("the grants file `{}` is wrong", file.display()))
            .because(error.to_string().trim().to_owned())
    })
}

/// Reads a settings file: JSON, or TOML where the name ends in `.toml`.
fn read_settings(file: Option<&Path>) -> Result<Value, CliError> {
    let Some(file) = file else { return Ok(Value::Object(serde_json::Map::new())) };
    let text = read_text(file)?;
    let wrong = |reason: String| {
        CliError::new(Exit::Usage, format!("the settings file `{}` is wrong", file.display())).because(reason)
    };
    let value: Value = if file.extension().is_some_and(|extension| extension == "toml") {
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))?
    } else {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    };
    if value.is_object() { Ok(value) } else { Err(wrong("settings are an object".to_owned())) }
}

fn read_text(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|error| CliError::new(Exit::Usage, format!("cannot read `{}`", file.display())).caused_by(&error))
}
