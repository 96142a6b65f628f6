//! `pilothouse slo …`: SLO files of other formats.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use pilothouse_core::openslo::{self, OpenSloError};
use serde_json::json;

use super::evaluate::{read, unreadable};
use super::terminal::Format;
use super::{CliError, Exit, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum SloCommand {
    /// Make `slo.yaml` and `prometheus/sli.yaml` of OpenSLO's documents, a folder for each service. Needs no host.
    Import {
        /// Files with OpenSLO documents (`apiVersion: openslo/v1`); `-` for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder to write to; `services/<service>/…` below it, as in a project.
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        to: PathBuf,
        /// Say what would be written, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

impl SloCommand {
    pub(super) fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let Self::Import { files, to, dry_run } = self;
        let mut text = String::new();
        for file in &files {
            text.push_str(std::str::from_utf8(&read(file)?).map_err(|_| unreadable(file, "it is not UTF-8"))?);
            text.push_str("\n---\n");
        }
        let imported = openslo::import(&text).map_err(|error: OpenSloError| CliError::of(Exit::Usage, &error))?;
        let mut written = Vec::new();
        for (service, texts) in &imported.services {
            let folder = folder(&to, service)?;
            for (name, text) in [("slo.yaml", &texts.slo), ("prometheus/sli.yaml", &texts.sli)] {
                let path = folder.join(name);
                if !dry_run {
                    write(&path, text)?;
                }
                written.push(path.display().to_string());
            }
        }
        match terminal.format {
            Format::Json => {
                terminal.json(&json!({ "written": written, "notes": imported.notes, "dry-run": dry_run }))?
            }
            Format::Table => {
                for path in &written {
                    terminal.line(&format!("{} {path}", if dry_run { "would write" } else { "wrote" }))?;
                }
                imported.notes.iter().for_each(|note| terminal.note(&format!("note: {note}")));
            }
        }
        match written.is_empty() {
            true => Err(CliError::new(Exit::Failed, "nothing could be translated").because(imported.notes.join("; "))),
            false => Ok(()),
        }
    }
}

/// Returns the folder of a service; its name must not lead elsewhere.
fn folder(to: &Path, service: &str) -> Result<PathBuf, CliError> {
    let name = pilothouse_core::name::ServiceName::new(service).map_err(|error| {
        CliError::new(Exit::Usage, format!("the service `{service}` cannot be imported")).caused_by(&error)
    })?;
    Ok(to.join("services").join(name.as_str()))
}

/// Writes a new file; one that is there stays as it is.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::new(Exit::Failed, format!("{} cannot be written", path.display())).caused_by(&error)
    };
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(CliError::new(Exit::Failed, format!("{} is there already", path.display()))
                .hint("name another folder with --to"))
        }
        Err(error) => Err(failed(error)),
    }
}
