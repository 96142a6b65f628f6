//! `pilothouse plugin install`: nothing is granted without a grants file or an explicit yes.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use http::header::CONTENT_TYPE;
use pilothouse_core::name::InstallationName;
use pilothouse_core::scope::Scope;

use super::inspect::{describe, describe_grants, everything, fatal};
use super::{inspected, read_component, read_grants, read_settings};
use crate::cli::api::{Api, encode};
use crate::cli::terminal::{Format, cell};
use crate::cli::{CliError, Exit, Global, Terminal};
use crate::http::plugins::InstallBody;

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallCommand {
    /// The component, or the name of a bundled plugin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the installation [default: the plugin's name].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What is granted (TOML). Without it everything that the plugin asks for is offered, and needs a yes.
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// The plugin's settings (JSON, or TOML).
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Serve this project only. May be repeated.
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,
    /// Serve this stage only. May be repeated.
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<String>,
    /// Serve this service only. May be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// Do not ask; grant what is shown.
    #[arg(long)]
    yes: bool,
}

impl InstallCommand {
    pub(in crate::cli) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let wasm = read_component(&self.file)?;
        let inspection = inspected(&wasm)?;
        fatal(&inspection)?;
        let manifest = &inspection.manifest;
        let name = self.name.clone().unwrap_or_else(|| manifest.name.to_string());
        let name = InstallationName::new(&name).map_err(|error| CliError::of(Exit::Usage, &error))?;
        let grants = match &self.grants {
            Some(file) => read_grants(Some(file))?,
            None => everything(manifest),
        };
        let settings = read_settings(self.settings.as_deref())?;
        for line in describe(&inspection).iter().chain(&describe_grants(manifest, &grants)) {
            terminal.note(line);
        }
        self.consent(&name, terminal)?;
        let api = Api::new(global)?;
        let upload = api.request(Method::POST, "/v1/plugins").header(CONTENT_TYPE, "application/wasm").body(wasm);
        let uploaded = api.json(upload).await?;
        let scope = Scope { projects: self.projects, stages: self.stages, services: self.services };
        let body = InstallBody { digest: cell(uploaded.get("digest")), settings, grants, scope };
        let answer = api.put(&format!("/v1/installations/{}", encode(name.as_str())), &body).await?;
        match terminal.format {
            Format::Json => terminal.json(&answer),
            Format::Table => terminal.line(&format!("installed `{name}`: {}", cell(answer.get("state")))),
        }
    }

    /// Asks for a yes, unless a grants file or `--yes` gave it.
    fn consent(&self, name: &InstallationName, terminal: &mut Terminal) -> Result<(), CliError> {
        if self.yes || self.grants.is_some() {
            return Ok(());
        }
        if !terminal.interactive {
            return Err(CliError::new(Exit::Usage, "nobody is there to say yes to what the plugin asks for")
                .hint("give a grants file with --grants, or --yes to grant everything that is shown"));
        }
        if terminal.confirm(&format!("Install `{name}` and give it all of this?"))? {
            return Ok(());
        }
        Err(CliError::new(Exit::Failed, "nothing was installed"))
    }
}
