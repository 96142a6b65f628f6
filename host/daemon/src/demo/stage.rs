//! What the acts play on: the host's process and its peers, the client, the log as seen, and bounded waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::api::Api;
use super::command::{program, without_settings};
use super::error::DemoError;
use super::follow::{EventLog, Seen, follow};
use super::grafana_stand_in::GrafanaStandIn;
use super::machine::Machine;
use super::peers::Programs;
use super::print::Printer;
use super::process::{self, Process};
use super::release_bot;
use super::setup::Folder;
use super::slack_stand_in::SlackStandIn;

/// Time between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a wait shows progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for a host that starts. With a cold code cache it compiles nothing yet, so this is generous.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// With which text an admin token begins; the host shows it once, at the first start.
const TOKEN_PREFIX: &str = "ph_";
/// Lines of the host's log that explain a failure.
const LOG_LINES: usize = 15;

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait<'a> {
    /// What it is, to be read after "waited 10 s for".
    pub(super) what: &'a str,
    /// Longest wait.
    pub(super) at_most: Duration,
    /// The event whose story explains why it does not happen.
    pub(super) event: Option<u64>,
}

/// Makes a wait.
pub(super) fn wait(what: &str, seconds: u64, event: Option<u64>) -> Wait<'_> {
    Wait { what, at_most: Duration::from_secs(seconds), event }
}

/// Everything on stage.
pub(super) struct Stage {
    pub(super) printer: Arc<Printer>,
    pub(super) folder: Folder,
    pub(super) programs: Programs,
    pub(super) slack: SlackStandIn,
    pub(super) grafana: GrafanaStandIn,
    /// Where Prometheus sends its alerts.
    pub(super) alertmanager: Option<SocketAddr>,
    /// A real channel's webhook, in place of the stand-in.
    pub(super) webhook: Option<String>,
    pub(super) log: EventLog,
    /// Address of the sample service in each stage.
    pub(super) services: BTreeMap<String, String>,
    /// The machine that the service runs on.
    pub(super) machine: Option<Machine>,
    /// Address of the upstream of the project.
    pub(super) git_url: String,
    /// The token of the person who approves.
    pub(super) approver: String,
    /// A client without a token for Prometheus' API, once it runs.
    pub(super) prometheus_api: Option<Api>,
    api: Option<Api>,
    /// A client without a token for the sample service.
    plain: Option<reqwest::Client>,
    admin: String,
    config: PathBuf,
    listen: Option<SocketAddr>,
    host: Option<Process>,
    /// Prometheus and Alertmanager.
    peers: Vec<Process>,
    follower: Option<JoinHandle<()>>,
    release_bot: Option<JoinHandle<()>>,
}

impl Stage {
    /// Makes an empty stage.
    pub(super) fn new(printer: Arc<Printer>, folder: Folder, programs: Programs, webhook: Option<String>) -> Self {
        Self {
            printer,
            folder,
            programs,
            webhook,
            slack: SlackStandIn::default(),
            grafana: GrafanaStandIn::default(),
            alertmanager: None,
            log: EventLog::default(),
            services: BTreeMap::new(),
            machine: None,
            git_url: String::new(),
            approver: String::new(),
            prometheus_api: None,
            api: None,
            plain: crate::client::http_client().ok(),
            admin: String::new(),
            config: PathBuf::new(),
            listen: None,
            host: None,
            peers: Vec::new(),
            follower: None,
            release_bot: None,
        }
    }

    /// Returns the client of the host.
    ///
    /// # Errors
    /// The host was not started yet.
    pub(super) fn api(&self) -> Result<&Api, DemoError> {
        self.api.as_ref().ok_or_else(|| DemoError::Wrong("the host was not started yet".to_owned()))
    }

    /// Returns the admin token.
    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    /// Starts the outside executor, with its token.
    ///
    /// # Errors
    /// The host was not started yet.
    pub(super) fn start_release_bot(&mut self, token: &str) -> Result<(), DemoError> {
        let api = self.api()?.with_token(token);
        self.release_bot = Some(tokio::spawn(release_bot::run(api)));
        Ok(())
    }

    /// Asks the sample service in a stage for its version and its count of requests; null where none runs.
    pub(super) async fn version(&self, stage: &str) -> Value {
        let (Some(client), Some(url)) = (&self.plain, self.services.get(stage)) else { return Value::Null };
        let answer = client.get(format!("{url}/version")).timeout(LOOK_INTERVAL * 10).send().await;
        match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Returns how many requests the service under test has answered since it was deployed.
    pub(super) async fn requests(&self) -> u64 {
        self.version("hardening").await.get("requests").and_then(Value::as_u64).unwrap_or_default()
    }

    /// Keeps the process of a peer until the end.
    pub(super) fn keep(&mut self, process: Process) {
        self.peers.push(process);
    }

    /// Starts the host for the first time, takes the admin token that it shows, and follows its log from now on.
    ///
    /// # Errors
    /// It does not start, or shows no token.
    pub(super) async fn start_host(&mut self, config: PathBuf, listen: SocketAddr) -> Result<(), DemoError> {
        (self.config, self.listen) = (config, Some(listen));
        self.resume_host().await?;
        let shown = || async {
            let text = std::fs::read_to_string(self.host_log()).unwrap_or_default();
            Ok(text.split_whitespace().find(|word| word.starts_with(TOKEN_PREFIX)).map(str::to_owned))
        };
        let token =
            self.poll(wait("the admin token, which the host shows at its first start", 10, None), shown).await?;
        super::setup::write_private(&self.token_file(), &token)?;
        let api = Api::new(format!("http://{listen}"), &token)?;
        self.admin = token;
        self.follower = Some(tokio::spawn(follow(api.clone(), self.log.clone(), Arc::clone(&self.printer))));
        self.api = Some(api);
        Ok(())
    }

    /// Starts the host again where an earlier one stopped, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready in its time.
    pub(super) async fn resume_host(&mut self) -> Result<(), DemoError> {
        let listen = self.listen.ok_or_else(|| DemoError::Wrong("the host has no address yet".to_owned()))?;
        let mut command = Command::new(program()?);
        command.arg("serve").arg("--config").arg(&self.config);
        without_settings(&mut command);
        self.host = Some(Process::start("the host", &mut command, &self.host_log())?);
        let probe = Api::new(format!("http://{listen}"), "")?;
        let started = Instant::now();
        loop {
            if probe.is_well("/readyz").await {
                return Ok(());
            }
            if let Some(status) = self.host.as_mut().and_then(Process::ended) {
                return Err(DemoError::Wrong(format!("the host ended at once: {status}")));
            }
            if started.elapsed() > READY_TIME_MAX {
                let what = "the host to become ready".to_owned();
                return Err(DemoError::Late { what, waited: started.elapsed(), event: None });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Ends the host as `kill -9` does; returns its process id.
    ///
    /// # Errors
    /// It does not run.
    pub(super) async fn kill_host(&mut self) -> Result<u32, DemoError> {
        let not_running = || DemoError::Wrong("the host does not run".to_owned());
        let host = self.host.as_mut().ok_or_else(not_running)?;
        let id = host.id().ok_or_else(not_running)?;
        host.kill().await?;
        Ok(id)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The host refuses it.
    pub(super) async fn send(&self, event: &Value) -> Result<Value, DemoError> {
        let answer = self.api()?.send(event).await?;
        if answer.get("deliveries").and_then(Value::as_u64) == Some(0) {
            let hint = answer.get("hint").and_then(Value::as_str);
            if let Some(hint) = hint {
                self.printer.note(hint);
            }
        }
        Ok(answer)
    }

    /// Waits until an event is seen that `is` accepts.
    ///
    /// # Errors
    /// None came in its time.
    pub(super) async fn wait_for(&self, wait: Wait<'_>, is: impl Fn(&Seen) -> bool) -> Result<Seen, DemoError> {
        self.poll(wait, || async { Ok(self.log.find(&is)) }).await
    }

    /// Waits until `ask` finds something, showing progress. A host that is away for a moment is asked again.
    ///
    /// # Errors
    /// Nothing was found in time, or `ask` failed.
    pub(super) async fn poll<T, F>(&self, wait: Wait<'_>, ask: impl Fn() -> F) -> Result<T, DemoError>
    where
        F: Future<Output = Result<Option<T>, DemoError>>,
    {
        let started = Instant::now();
        loop {
            match ask().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) | Err(DemoError::Http { unreachable: true, .. }) => {}
                Err(error) => return Err(error),
            }
            let waited = started.elapsed();
            if waited > wait.at_most {
                return Err(DemoError::Late { what: wait.what.to_owned(), waited, event: wait.event });
            }
            if waited > PROGRESS_AFTER {
                let requests = self.requests().await;
                let load =
                    if requests > 0 { format!(", {requests} requests to the service so far") } else { String::new() };
                self.printer.progress(&format!("waiting for {} ({} s{load})", wait.what, waited.as_secs()));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Prints what explains a failure: the story of the event that was waited on, and the end of the host's log.
    pub(super) async fn explain(&self, error: &DemoError) {
        if let (DemoError::Late { event: Some(seq), .. }, Ok(api)) = (error, self.api())
            && let Ok(trace) = api.get(&format!("/v1/events/{seq}/trace")).await
        {
            self.printer.note(&format!("the trace of event #{seq}:"));
            self.printer.note(&serde_json::to_string_pretty(&trace).unwrap_or_default());
        }
        let text = std::fs::read_to_string(self.host_log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(TOKEN_PREFIX)).collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        if !last.is_empty() {
            self.printer.note("the end of the host's log:");
            self.printer.note(&last.join("\n"));
        }
    }

    /// Ends every process and removes the folder. Returns whether nothing is left.
    pub(super) async fn clear(mut self) -> Result<(), DemoError> {
        for task in [self.follower.take(), self.release_bot.take()].into_iter().flatten() {
            task.abort();
        }
        if let Some(mut host) = self.host.take() {
            host.stop().await;
        }
        for peer in &mut self.peers {
            peer.stop().await;
        }
        if let Some(machine) = self.machine.take() {
            machine.stop().await;
        }
        let swept = process::sweep().await;
        self.folder.close()?;
        if swept { Ok(()) } else { Err(DemoError::Wrong("a process could not be killed".to_owned())) }
    }

    /// Returns the file that holds the admin token.
    pub(super) fn token_file(&self) -> PathBuf {
        self.folder.join("admin-token")
    }

    fn host_log(&self) -> PathBuf {
        self.folder.join("host.log")
    }
}
