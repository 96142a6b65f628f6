//! `pilothouse config check`, and where every command finds the configuration.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::terminal::Format;
use super::{CliError, Exit, Terminal};
use crate::config::{Config, Loaded, Overrides, Sources, load};

/// The file that is read when none is named, if it exists.
pub(super) const FILE_DEFAULT: &str = "pilothouse.toml";

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, and report everything that is wrong with it.
    Check(CheckCommand),
}

#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// The file; as --config.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ConfigSource {
    /// Configuration file [default: pilothouse.toml in the working folder, if it is there].
    #[arg(long, env = "PILOTHOUSE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) overrides: Overrides,
}

impl ConfigSource {
    /// Reads the configuration, and prints what is odd but harmless.
    pub(super) fn load(&self, terminal: &mut Terminal) -> Result<Config, CliError> {
        let Loaded { config, warnings } = self.read()?;
        for warning in warnings {
            terminal.note(&format!("warning: {warning}"));
        }
        Ok(config)
    }

    /// Reads the configuration.
    pub(super) fn read(&self) -> Result<Loaded, CliError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let sources = Sources { file: self.file()?, environment, flags: self.overrides.clone() };
        load(&sources).map_err(|errors| CliError::new(Exit::Config, errors.to_string()))
    }

    fn file(&self) -> Result<Option<(PathBuf, String)>, CliError> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None if PathBuf::from(FILE_DEFAULT).is_file() => PathBuf::from(FILE_DEFAULT),
            None => return Ok(None),
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            CliError::new(Exit::Config, format!("cannot read the configuration `{}`", path.display())).caused_by(&error)
        })?;
        Ok(Some((path, text)))
    }
}

impl ConfigCommand {
    pub(super) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let Self::Check(CheckCommand { file, mut source }) = self;
        source.config = file.or(source.config);
        let config = source.load(terminal)?;
        // What the host's own store holds is seen by the host alone.
        for (name, connection) in config.connections.iter().filter(|(_, it)| it.stored_secret().is_none()) {
            if let Err(reason) = connection.resolve(&Default::default()) {
                terminal.note(&format!("warning: the connection `{name}` cannot be used here: {reason}"));
            }
        }
        match terminal.format {
            // The configuration names secrets and holds none.
            Format::Json => terminal.json(&config),
            Format::Table => terminal.line("the configuration is valid"),
        }
    }
}
