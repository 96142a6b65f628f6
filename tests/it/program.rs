//! The program as a process of its own, to be killed and started again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pilothouse_tests::PATIENCE;

/// A running `pilothouse serve`.
pub(crate) struct Program {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    /// The admin token; kept over restarts by the test.
    pub(crate) token: Option<String>,
    /// What it says on standard error, for messages of failed tests.
    stderr: Receiver<String>,
}

/// The path of the program under test.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_pilothouse-host"))
}

/// Returns a command that starts the program in `data`, with nothing of this process's environment.
pub(crate) fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", data)
        .env("PILOTHOUSE_DATA_DIR", data.join("data"))
        .env("PILOTHOUSE_LISTEN", "127.0.0.1:0")
        .current_dir(data)
        .stdin(Stdio::null());
    command
}

impl Program {
    /// Starts the host and waits until it listens.
    pub(crate) fn start(data: &Path, extra: &[(&str, &str)]) -> Self {
        let mut command = command(data, &["serve"]);
        command.envs(extra.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let mut said = Vec::new();
        let url = loop {
            match stderr.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(url) = line.split("listens on ").nth(1) {
                        break url.trim().to_owned();
                    }
                    said.push(line);
                }
                Err(_) => panic!("the host did not start; it said:\n{}", said.join("\n")),
            }
        };
        // The token comes on standard output right after, at the first start only.
        let first_start = !data.join("started-once").exists();
        std::fs::write(data.join("started-once"), "").unwrap();
        let token = first_start.then(|| stdout.recv_timeout(PATIENCE).unwrap().trim().to_owned());
        Self { child, url, token, stderr }
    }

    /// Runs the command line in a folder, as the host's admin; returns its exit code and what it printed.
    pub(crate) fn cli(&self, folder: &Path, arguments: &[&str]) -> (i32, String, String) {
        let token = self.token.as_deref().unwrap();
        run(folder, arguments, &[("PILOTHOUSE_URL", &self.url), ("PILOTHOUSE_TOKEN", token)])
    }

    /// As [`Self::cli`], of a command that must work; returns its output.
    pub(crate) fn ok(&self, folder: &Path, arguments: &[&str]) -> String {
        let (code, out, err) = self.cli(folder, arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}\n{}", self.said());
        out
    }

    /// Kills the host as a power switch would kill the process.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the host to stop and waits for its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    /// What the host said on standard error since it listens.
    pub(crate) fn said(&self) -> String {
        self.stderr.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Stops what a failed test left running; a second kill of an ended child does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end and returns its exit code with everything that it said.
pub(crate) fn run(data: &Path, arguments: &[&str], extra: &[(&str, &str)]) -> (i32, String, String) {
    let output = command(data, arguments).envs(extra.iter().copied()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    rx
}

/// Returns a number that the environment may raise, for `cargo xtask crash`.
pub(crate) fn count_from(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A client that talks to loopback alone.
pub(crate) fn client() -> reqwest::Client {
    // A second call finds the provider installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}
