//! `pilothouse demo`: a version is delivered by real tools, and what happens when something goes wrong.
//!
//! A parent process that starts a host as anybody would (`pilothouse serve`), real Prometheus, JMeter, Ansible and Git, a
//! machine with a sample service and a stand-in for Slack, and then talks to the host through the documented API and the
//! command line only. `story`, `project`, `delivery`, `hostile` and `heal` are the acts, `stage` is what they play on. Everything
//! is on loopback, and nothing is left behind.

mod api;
mod command;
mod delivery;
mod error;
mod follow;
pub mod git_server;
mod grafana_stand_in;
mod heal;
mod hostile;
mod machine;
mod peers;
mod print;
mod process;
mod project;
mod release_bot;
mod report;
mod sample_service;
mod setup;
mod slack_stand_in;
mod stage;
mod story;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::CliError;
use error::DemoError;
use print::Printer;
use report::{Act, Report, Shown, seconds};
pub use sample_service::ServiceCommand;
use stage::Stage;

/// Options of the demo.
#[derive(Debug, Args)]
pub struct DemoCommand {
    /// Leave everything running at the end, to play with; Ctrl-C ends it.
    #[arg(long)]
    keep: bool,
    /// Post to a real Slack channel, by its incoming webhook, instead of a stand-in.
    #[arg(long, value_name = "URL", env = "PILOTHOUSE_DEMO_SLACK_WEBHOOK", hide_env_values = true)]
    slack_webhook: Option<String>,
    /// Play in this folder, which stays, instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write lines that stay, without colors, also on a terminal.
    #[arg(long)]
    plain: bool,
    /// Write what was shown to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl DemoCommand {
    /// Plays the demo, and tidies up whatever happened.
    ///
    /// # Errors
    /// Programs are missing, an act did not happen in its time, or somebody interrupted it.
    pub async fn run(self) -> Result<(), CliError> {
        let printer = Arc::new(Printer::new(self.plain));
        let started = Instant::now();
        let mut report = Report::default();
        let outcome = self.play(&printer, &mut report, started).await;
        report.done = outcome.is_ok();
        report.error = outcome.as_ref().err().map(ToString::to_string);
        let written = self.report.as_ref().map_or(Ok(()), |path| report.write(path));
        outcome.and(written).map_err(|error| CliError::of(error.exit(), &error))
    }

    async fn play(&self, printer: &Arc<Printer>, report: &mut Report, started: Instant) -> Result<(), DemoError> {
        let programs = peers::find()?;
        if crate::bundle::bundle().is_empty() {
            let text = "this program was built without plugins: run `cargo xtask demo`, or use the release archive";
            return Err(DemoError::Missing(text.to_owned()));
        }
        process::adopt_orphans()?;
        let interrupted = interrupted()?;
        let folder = setup::Folder::create(self.dir.as_deref())?;
        report.folder = folder.path().display().to_string();
        let mut stage = Stage::new(Arc::clone(printer), folder, programs, self.slack_webhook.clone());
        let mut outcome = tokio::select! {
            outcome = acts(&mut stage, report) => outcome,
            () = interrupted.cancelled() => Err(DemoError::Interrupted),
        };
        report.seconds = seconds(started);
        match &outcome {
            Ok(()) => {
                sum_up(printer, report);
                if self.keep {
                    invite(&stage);
                    interrupted.cancelled().await;
                    printer.line("ending every process");
                }
            }
            Err(DemoError::Interrupted) => printer.line("interrupted; ending every process"),
            Err(error) => {
                printer.cross(&error.to_string());
                stage.explain(error).await;
            }
        }
        let cleared = stage.clear().await;
        if outcome.is_ok() {
            outcome = cleared;
        }
        outcome
    }
}

async fn acts(stage: &mut Stage, report: &mut Report) -> Result<(), DemoError> {
    let sentences = [
        "One commit moves every tool: a push changes a promise from 600 to 300 ms, and Prometheus and the dashboard follow.",
        "A good version goes through: deployed, tested, judged, approved by a person, released; then production follows.",
        "A slow commit is stopped, and named: the gate fails, the release is skipped, and the version is taken back.",
        "The host is killed in the middle of a delivery, starts again, and nothing is lost.",
        "A hostile plugin tries to reach out, to read what is not its own, and to answer the gate.",
        "An alert heals: the running service gets slow, and a playbook, an evaluation and a report follow by themselves.",
    ];
    let printer = Arc::clone(&stage.printer);
    printer.line("Real tools start, and each plugin gets what it is granted.");
    let started = Instant::now();
    let shown = story::start(stage).await?;
    printer.tick(&shown.summary);
    report.acts.push(Act { name: "start", seconds: seconds(started), summary: shown.summary, facts: shown.facts });
    let mut sentences = sentences.into_iter().zip(1..);
    let mut announce = || {
        if let Some((sentence, number)) = sentences.next() {
            printer.act(number, sentence);
        }
        Instant::now()
    };
    let mut ended = |name, started, shown: Shown| {
        printer.tick(&shown.summary);
        report.acts.push(Act { name, seconds: seconds(started), summary: shown.summary, facts: shown.facts });
    };
    let started = announce();
    ended("commit", started, project::project(stage).await?);
    let started = announce();
    ended("delivery", started, delivery::delivery(stage).await?);
    let started = announce();
    ended("slow", started, delivery::slow(stage).await?);
    let started = announce();
    ended("crash", started, delivery::crash(stage).await?);
    let started = announce();
    ended("hostile", started, hostile::hostile(stage).await?);
    let started = announce();
    ended("heal", started, heal::heal(stage).await?);
    Ok(())
}

/// Says in the end what was shown.
fn sum_up(printer: &Printer, report: &Report) {
    printer.line("");
    for act in &report.acts {
        printer.tick(&act.summary);
    }
    printer.line(&format!("done in {:.0} s", report.seconds));
}

/// Returns what is cancelled when somebody asks the demo to end: Ctrl-C, a kill, a terminal that is closed.
fn interrupted() -> Result<CancellationToken, DemoError> {
    let listen = |kind| signal(kind).map_err(DemoError::io("cannot listen to signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        token.cancel();
    });
    Ok(interrupted)
}

/// Says what can be tried while everything runs.
fn invite(stage: &Stage) {
    let base = stage.api().map(api::Api::base).unwrap_or_default();
    let prometheus = stage.prometheus_api.as_ref().map(api::Api::base).unwrap_or_default();
    let token = stage.token_file().display().to_string();
    let folder = stage.folder.path().display().to_string();
    let program = std::env::current_exe().unwrap_or_else(|_| "pilothouse".into()).display().to_string();
    stage.printer.line("");
    stage.printer.line(&format!(
        "Everything goes on until Ctrl-C. In another terminal:\n\n  \
         alias pilothouse={program}\n  \
         export PILOTHOUSE_URL={base}\n  \
         export PILOTHOUSE_TOKEN=$(cat {token})\n  \
         pilothouse event list\n  \
         pilothouse event tail\n  \
         pilothouse event why 1\n  \
         pilothouse plugin list\n  \
         pilothouse problem list\n  \
         pilothouse evaluation list\n\n\
         Prometheus is at {prometheus}; configuration, data and logs are in {folder}."
    ));
}
