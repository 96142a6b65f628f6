//! `pilothouse serve`: runs the host until it is told to stop.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::config::ConfigSource;
use super::{CliError, Exit, Terminal};
use crate::auth::TokenText;
use crate::config::{Config, LogFormat};
use crate::serve::{Host, Reloader, ServeError, StartOptions, Started, bind};

/// What is logged unless `PILOTHOUSE_LOG` says otherwise: what an operator acts on.
const LOG_DEFAULT: &str = "info";

#[derive(Debug, Args)]
pub(super) struct ServeCommand {
    #[command(flatten)]
    source: ConfigSource,
}

impl ServeCommand {
    pub(super) async fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let config = Arc::new(self.source.load(terminal)?);
        start_log(config.log_format);
        // The port first: when it is in use, nothing else must have been touched.
        let listener = bind(config.listen).await.map_err(|error| serve_error(&error))?;
        let data_dir = config.data_dir.clone();
        let options = StartOptions::new(Arc::clone(&config)).map_err(|error| serve_error(&error))?;
        let Started { host, first_token } = Host::start(options).await.map_err(|error| serve_error(&error))?;
        let address = listener.local_addr().unwrap_or(config.listen);
        // Before anybody is told that it runs: who stops it then must find it listening to signals.
        let signals = Signals::listen()
            .map_err(|error| CliError::new(Exit::Failed, "cannot listen to signals").caused_by(&error))?;
        terminal.note(&format!("pilothouse {} listens on http://{address}", env!("CARGO_PKG_VERSION")));
        if let Some(token) = first_token {
            show_token(terminal, &token, &data_dir)?;
        }
        let reloads = tokio::spawn(reload_on_hangup(signals.hangup, self.source, config, host.reloader()));
        let drained = host.run(listener, stop(signals.terminate, signals.interrupt)).await;
        reloads.abort();
        if drained.requests && drained.deliveries {
            terminal.note("stopped");
        } else {
            terminal.note("stopped at the end of drain-timeout; what was cut off is tried again after the next start");
        }
        Ok(())
    }
}

/// The file in the data folder that holds the first admin token where printing it would put it into a log.
const TOKEN_FILE: &str = "admin-token";

/// Shows the admin token of the first start: on standard output, or in a file for the owner where that is a journal.
fn show_token(terminal: &mut Terminal, token: &TokenText, data_dir: &Path) -> Result<(), CliError> {
    const MORE: &str = "`pilothouse token reset --local` makes another";
    if !is_journal() {
        terminal.note(&format!("this is the first start; here is the admin token, shown this once ({MORE}):"));
        return terminal.line(&token.reveal());
    }
    let path = data_dir.join(TOKEN_FILE);
    let written = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
    written.and_then(|mut file| writeln!(file, "{}", token.reveal())).map_err(|error| {
        CliError::new(Exit::Data, format!("cannot write the admin token to `{}`; {MORE}", path.display()))
            .caused_by(&error)
    })?;
    let shown = path.display();
    terminal.note(&format!(
        "this is the first start; the admin token is in `{shown}`: read it, and remove the file ({MORE})"
    ));
    Ok(())
}

/// Tells whether standard output goes to systemd's journal, which keeps what is printed (systemd.exec(5), `JOURNAL_STREAM`).
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let output = std::fs::metadata("/dev/stdout").ok();
    stream.zip(output).is_some_and(|(stream, output)| stream == format!("{}:{}", output.dev(), output.ino()))
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn stop(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Reads the configuration again on each SIGHUP; a wrong one is logged and the old one stays.
async fn reload_on_hangup(mut hangup: Signal, source: ConfigSource, started_with: Arc<Config>, reloader: Reloader) {
    while hangup.recv().await.is_some() {
        match source.read() {
            Ok(loaded) => {
                for key in restart_needed(&started_with, &loaded.config) {
                    tracing::warn!(key, "ConfigNeedsRestart");
                }
                reloader.reload(&Arc::new(loaded.config)).await;
            }
            Err(error) => tracing::error!(%error, "ConfigReloadError"),
        }
    }
}

/// Returns the names of changed settings that a reload does not take over.
fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("data-dir", old.data_dir != new.data_dir),
        ("drain-timeout", old.drain_timeout != new.drain_timeout),
        ("log-format", old.log_format != new.log_format),
        ("retention", old.retention != new.retention),
        ("runtime", old.runtime != new.runtime),
        ("ceiling", old.ceiling != new.ceiling),
        ("telemetry", old.telemetry != new.telemetry),
        ("limits.connections-max", old.limits.connections_max != new.limits.connections_max),
        ("limits.requests-per-second", old.limits.requests_per_second != new.limits.requests_per_second),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("PILOTHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let colors = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colors).with_writer(std::io::stderr);
    // A log that was set up before stays; only tests do that.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

fn serve_error(error: &ServeError) -> CliError {
    let exit = match error {
        ServeError::AddressInUse(_) | ServeError::Bind { .. } => Exit::Address,
        ServeError::DataDir { .. } | ServeError::Store(_) | ServeError::Tokens(_) => Exit::Data,
        _ => Exit::Failed,
    };
    CliError::of(exit, error)
}
