//! `pilothouse backup` and `pilothouse restore`.

use std::path::PathBuf;

use clap::Args;

use super::api::Api;
use super::config::ConfigSource;
use super::terminal::{Format, cell};
use super::{CliError, Exit, Global, Terminal};
use crate::http::BackupBody;

#[derive(Debug, Args)]
pub(super) struct BackupCommand {
    /// Name of the backup; the time when left out.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl BackupCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let answer = Api::new(global)?.post("/v1/backup", &BackupBody { name: self.name }).await?;
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => {
                terminal.note(&format!("{} bytes, on the host's machine:", cell(answer.get("size-bytes"))));
                terminal.line(&cell(answer.get("path")))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RestoreCommand {
    /// Folder of the backup.
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    #[command(flatten)]
    source: ConfigSource,
}

impl RestoreCommand {
    pub(super) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let config = self.source.load(terminal)?;
        crate::backup::restore(&self.backup, &config.data_dir).map_err(|error| CliError::of(Exit::Data, &error))?;
        terminal.note(&format!("restored into `{}`; `pilothouse serve` goes on from there", config.data_dir.display()));
        Ok(())
    }
}
