//! One job's directory: what lies where, and who may write it.
//!
//! The host writes `spec.json` and the input files, and from then on only markers (`cancel`, `acknowledged`). The
//! supervisor holds the lock on `lock` for as long as it lives and writes `started` and `outcome.json`. Whoever else
//! wants to write the outcome, of a job whose supervisor died, must hold that lock: so there is one outcome, once.
//!
//! A lock and no process id tells whether a supervisor lives: ids are used again, and locks end with their process.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::template::{JobLimits, STREAMS};
use super::{JobEnded, JobUsage};
use crate::outputs::{Missing, PlainPath, TreeError, open_file, open_parent, open_root, write_private};
use crate::services::JobState;

/// The file that a supervisor is given.
pub(super) const SPEC: &str = "spec.json";
/// The file that a supervisor gives to its own second stage.
pub(super) const LAUNCH: &str = "launch.json";
/// Why the program could not be started, if it could not.
pub(super) const LAUNCH_ERROR: &str = "launch-error";
const SCRATCH: &str = "scratch";
const LOCK: &str = "lock";
const STARTED: &str = "started";
const CANCEL: &str = "cancel";
const OUTCOME: &str = "outcome.json";
const ACKNOWLEDGED: &str = "acknowledged";

/// What a supervisor needs to know of its job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Spec {
    /// The job.
    pub(super) id: String,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// Time limit.
    pub(super) timeout: Duration,
    /// The other limits.
    pub(super) limits: JobLimits,
    /// Files of the job's directory that may be read.
    pub(super) artifacts: Vec<String>,
    /// A cgroup (version 2) that belongs to the host, if it has one.
    pub(super) cgroup: Option<PathBuf>,
    /// How the supervisor starts itself again as its second stage.
    pub(super) supervisor: super::SupervisorCommand,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Outcome {
    /// Never waiting or running.
    pub(super) state: JobState,
    /// Exit code, if the program ended by itself.
    pub(super) exit_code: Option<i32>,
    /// Signal that ended the program.
    pub(super) signal: Option<i32>,
    /// One line for people.
    pub(super) reason: Option<String>,
    /// What it used.
    pub(super) usage: JobUsage,
}

impl Outcome {
    /// Makes the outcome of a job that did not get to an end of its own.
    pub(super) fn without_end(state: JobState, reason: impl Into<String>) -> Self {
        Self { state, exit_code: None, signal: None, reason: Some(reason.into()), usage: JobUsage::default() }
    }

    /// Makes the message for the engine.
    pub(super) fn into_ended(self, id: &str) -> JobEnded {
        let Self { state, exit_code, reason, usage, .. } = self;
        JobEnded { id: id.to_owned(), state, exit_code, reason, usage }
    }
}

/// The directory of one job.
#[derive(Clone, Debug)]
pub(super) struct JobDirectory(PathBuf);

impl JobDirectory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn spec_path(&self) -> PathBuf {
        self.0.join(SPEC)
    }

    /// Where the job works: its current directory and its `HOME`.
    pub(super) fn scratch(&self) -> PathBuf {
        self.0.join(SCRATCH)
    }

    /// Where `stdout` or `stderr` is kept: outside of the scratch directory, so that the job cannot replace it.
    pub(super) fn stream(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read_spec(&self) -> io::Result<Spec> {
        self.read(SPEC)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn write_spec(&self, spec: &Spec) -> io::Result<()> {
        self.write(SPEC, spec)
    }

    /// Returns how the job ended, if it has.
    pub(super) fn outcome(&self) -> io::Result<Option<Outcome>> {
        self.read(OUTCOME)
    }

    /// Records how the job ended. The caller holds the lock.
    pub(super) fn write_outcome(&self, outcome: &Outcome) -> io::Result<()> {
        self.write(OUTCOME, outcome)
    }

    /// Waits for the lock that only one process at a time has.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file = self.lock_file()?;
        file.lock()?;
        Ok(file)
    }

    /// Says whether a supervisor lives.
    pub(super) fn is_supervised(&self) -> io::Result<bool> {
        // Shared: two that ask at the same time do not take each other for a supervisor.
        match self.lock_file()?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock_file(&self) -> io::Result<File> {
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.0.join(LOCK))
    }

    /// Says whether a supervisor got as far as starting the program.
    pub(super) fn has_started(&self) -> bool {
        self.0.join(STARTED).exists()
    }

    pub(super) fn mark_started(&self) -> io::Result<()> {
        write_private(&self.0, STARTED, b"")
    }

    /// Says whether someone asked the job to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.join(CANCEL).exists()
    }

    pub(super) fn mark_cancelled(&self) -> io::Result<()> {
        write_private(&self.0, CANCEL, b"")
    }

    /// Says whether the end of the job is recorded elsewhere.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.0.join(ACKNOWLEDGED).exists()
    }

    pub(super) fn mark_acknowledged(&self) -> io::Result<()> {
        write_private(&self.0, ACKNOWLEDGED, b"")
    }

    /// Opens an artifact, following no link.
    pub(super) fn open_artifact(&self, name: &str) -> Result<File, TreeError> {
        if STREAMS.contains(&name) {
            return open_file(open_root(&self.0)?, name);
        }
        let path = PlainPath::parse(name).map_err(|_| TreeError::NotFound)?;
        let folder = open_parent(open_root(&self.scratch())?, &path, Missing::Fail)?;
        open_file(folder, path.name())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match std::fs::read(self.0.join(name)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        write_private(&self.0, name, &serde_json::to_vec(value)?)
    }
}
