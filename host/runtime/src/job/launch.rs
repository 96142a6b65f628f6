//! The supervisor's second stage: a process that limits itself and then becomes the job's program.
//!
//! Limits are set here, after the fork and before the exec, so that they bind the job and not its supervisor; and in a
//! process of its own, because code between fork and exec would be `unsafe`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};

use super::directory::LAUNCH_ERROR;

/// What becomes of the process, in `launch.json` beside `spec.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Launch {
    /// The supervisor; if it is not the parent any more, nothing is started.
    pub(super) supervisor: u32,
    /// The program and its arguments.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// The current directory.
    pub(super) scratch: PathBuf,
    /// Largest file, in bytes.
    pub(super) file_bytes_max: u64,
    /// The cgroup's file to join by, or nothing where rlimits are used.
    pub(super) cgroup: Option<PathBuf>,
    /// Private writable memory of each process, in bytes; with rlimits only.
    pub(super) memory_bytes_max: u64,
    /// Processes and threads of the user; with rlimits only.
    pub(super) user_processes_max: u64,
}

/// Becomes the job. Comes back only with the reason why it could not, which is also left beside `launch.json`.
pub(super) fn launch(path: &Path) -> io::Error {
    let error = prepare(path).map_or_else(|error| error, |mut command| command.exec());
    if let Some(folder) = path.parent() {
        let _ = std::fs::write(folder.join(LAUNCH_ERROR), error.to_string());
    }
    error
}

fn prepare(path: &Path) -> io::Result<Command> {
    let launch: Launch = serde_json::from_slice(&std::fs::read(path)?)?;
    // If the supervisor is killed, the kernel kills the program, too. Not inherited: see `process::sweep` for the rest.
    set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() != i32::try_from(launch.supervisor).unwrap_or(0) {
        return Err(io::Error::other("the supervisor is gone"));
    }
    nix::unistd::setsid()?;
    umask(Mode::from_bits_truncate(0o077));
    // No program of the job gains rights by a set-user-id bit.
    set_no_new_privs()?;
    let (program, arguments) =
        launch.argv.split_first().ok_or_else(|| io::Error::other("the template has no program"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&launch.scratch).env_clear().envs(&launch.environment);
    close_descriptors();
    if let Some(file) = &launch.cgroup {
        std::fs::write(file, "0")?;
    }
    // A core file would fill the directory with the job's memory.
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_FSIZE, launch.file_bytes_max)?;
    if launch.cgroup.is_none() {
        limit(Resource::RLIMIT_NPROC, launch.user_processes_max)?;
        // Not RLIMIT_AS: a JVM reserves far more addresses than it ever uses memory.
        limit(Resource::RLIMIT_DATA, launch.memory_bytes_max)?;
    }
    Ok(command)
}

/// Sets both limits, never above what the host itself has.
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let value = value.min(hard);
    Ok(setrlimit(resource, value, value)?)
}

/// Closes every descriptor but the three standard ones: whatever the host inherited or forgot to mark.
///
/// Called where the process owns no other open file; the next thing that it does is to exec, or to open the few files
/// of a job's directory.
pub(super) fn close_descriptors() {
    // Collected first: the listing itself has a descriptor.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        let _ = nix::unistd::close(descriptor);
    }
}
