//! The processes that the demo starts: each in a group of its own, each ended by its id, none left behind.
//!
//! The demo adopts orphans (it is a subreaper), so that a job whose host was killed is still a descendant and is found
//! at the end. Never signals a process that does not descend from this one.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::error::DemoError;

/// Time that a process gets to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// Time between two rounds of killing.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// Rounds of killing: five seconds. What lives longer hangs in the kernel.
const SWEEP_ROUNDS_MAX: usize = 250;

/// A process that the demo started.
pub(super) struct Process {
    name: &'static str,
    child: Child,
}

/// Makes orphans of the demo's processes its own children.
///
/// # Errors
/// The kernel refuses, which only a sandbox does.
pub(super) fn adopt_orphans() -> Result<(), DemoError> {
    set_child_subreaper(true).map_err(|error| DemoError::io("cannot become a subreaper")(error.into()))
}

impl Process {
    /// Starts a process, whose output goes to the end of `log`.
    ///
    /// # Errors
    /// It cannot be started, or the file not be written.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self, DemoError> {
        let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(log);
        let file = |_: ()| open().map_err(DemoError::io(format!("cannot write `{}`", log.display())));
        // A group of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
        command.stdin(Stdio::null()).stdout(file(())?).stderr(file(())?).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(DemoError::io(format!("cannot start {name}")))?;
        Ok(Self { name, child })
    }

    /// Returns its id while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns how it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Errors
    /// It is not ours to kill, which does not happen.
    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        self.child.kill().await.map_err(DemoError::io(format!("cannot kill {}", self.name)))
    }

    /// Asks it to end, and kills it if it does not.
    pub(super) async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            send(id, Signal::SIGTERM);
        }
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Kills all that descends from this process, and says whether anything is left.
pub(super) async fn sweep() -> bool {
    for _ in 0..SWEEP_ROUNDS_MAX {
        let found = descendants(std::process::id());
        if found.is_empty() {
            return true;
        }
        for id in found {
            send(id, Signal::SIGKILL);
            // An adopted orphan is waited for by nobody else; for any other process this is no child and does nothing.
            if let Ok(id) = i32::try_from(id) {
                let _ = waitpid(Pid::from_raw(id), Some(WaitPidFlag::WNOHANG));
            }
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
    false
}

fn send(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id) {
        // One that is gone already is what we want.
        let _ = kill(Pid::from_raw(id), signal);
    }
}

/// Returns every process that descends from `ancestor`, by what the kernel says in `/proc`.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `pid (name) state parent …`; the name may hold spaces and parentheses.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(id);
        }
    }
    let (mut found, mut open) = (Vec::new(), vec![ancestor]);
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            open.push(child);
        }
    }
    found
}
