//! The machine that is deployed to: a stand-in for a service manager such as systemd. A unit's file says which version is
//! wanted, and a restart ends the unit's process and starts it in that version.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::error::DemoError;
use super::process::Process;

/// The machine; cheap to clone.
#[derive(Clone)]
pub(super) struct Machine(Arc<Inner>);

struct Inner {
    /// Where the units' files are.
    folder: PathBuf,
    /// Where each unit listens.
    units: BTreeMap<String, SocketAddr>,
    running: Mutex<BTreeMap<String, Process>>,
}

impl Machine {
    /// Makes a machine with these units, none of which runs, and starts its service manager; returns that one's address.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn start(
        folder: PathBuf,
        units: BTreeMap<String, SocketAddr>,
    ) -> Result<(Self, SocketAddr), DemoError> {
        let machine = Self(Arc::new(Inner { folder, units, running: Mutex::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("no free port"))?;
        let address = listener.local_addr().map_err(DemoError::io("no address"))?;
        let app = Router::new().route("/restart/{unit}", post(restart)).with_state(machine.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok((machine, address))
    }

    /// Ends all units.
    pub(super) async fn stop(&self) {
        for process in self.0.running.lock().await.values_mut() {
            process.stop().await;
        }
    }

    async fn restart(&self, unit: &str) -> Result<(), String> {
        let Some(address) = self.0.units.get(unit) else { return Err(format!("there is no unit `{unit}`")) };
        let file = self.0.folder.join(format!("{unit}.env"));
        let version = wanted_version(&file)?;
        let mut running = self.0.running.lock().await;
        if let Some(mut process) = running.remove(unit) {
            process.stop().await;
        }
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["demo-service", "--version", &version, "--listen", &address.to_string()]);
        let log = self.0.folder.join(format!("{unit}.log"));
        let process = Process::start("the sample service", &mut command, &log).map_err(|error| error.to_string())?;
        running.insert(unit.to_owned(), process);
        Ok(())
    }
}

fn wanted_version(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("VERSION="));
    version.map(|version| version.trim().to_owned()).ok_or_else(|| format!("`{}` has no VERSION", file.display()))
}

async fn restart(State(machine): State<Machine>, UrlPath(unit): UrlPath<String>) -> (StatusCode, String) {
    match machine.restart(&unit).await {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(reason) => (StatusCode::CONFLICT, reason),
    }
}
