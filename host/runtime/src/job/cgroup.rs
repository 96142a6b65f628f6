//! A cgroup (version 2) of its own for a job: the kernel bounds the memory and the processes of all of it together.
//!
//! Used only below a group that was delegated to the host. The host does not take a place in the hierarchy that
//! another manager, such as systemd, keeps. Where there is none, the supervisor falls back to rlimits and sampling.

use std::io;
use std::path::{Path, PathBuf};

use super::template::JobLimits;

/// The name of the group, below the delegated one, in which the host itself runs. The systemd unit sets it with
/// `DelegateSubgroup=`: a group that has limits for its children holds no process itself.
const HOST_GROUP: &str = "pilothouse-host";
/// Where version 2 is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Attempts to remove the group of a job that has ended; the kernel takes a moment to see that it is empty.
const REMOVE_ATTEMPTS: usize = 100;

/// Returns the cgroup that systemd delegated to this service, if it did: the one above `pilothouse-host`.
///
/// The unit says `Delegate=memory pids`, `DelegateSubgroup=pilothouse-host` and `KillMode=process`.
pub fn delegated_cgroup() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new(MOUNT).join(path.strip_suffix(HOST_GROUP)?.trim_end_matches('/'));
    let controllers = std::fs::read_to_string(group.join("cgroup.controllers")).ok()?;
    let has = |name| controllers.split_whitespace().any(|controller| controller == name);
    (has("memory") && has("pids")).then_some(group)
}

/// The group of one job. Removed by [`Cgroup::remove`].
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes the group below `parent` and sets its limits.
    ///
    /// # Errors
    /// `parent` is not a version 2 group with the controllers `memory` and `pids`, or is not writable.
    pub(super) fn create(parent: &Path, id: &str, limits: &JobLimits) -> io::Result<Self> {
        // Fails where the controllers are on already and may not be set; then the limits below tell.
        let _ = set(&parent.join("cgroup.subtree_control"), "+memory +pids");
        let group = Self(Self::path_of(parent, id));
        match std::fs::create_dir(&group.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let limited = set(&group.0.join("memory.max"), &limits.memory.0.to_string())
            .and_then(|()| set(&group.0.join("pids.max"), &limits.processes.to_string()));
        if let Err(error) = limited {
            let _ = std::fs::remove_dir(&group.0);
            return Err(error);
        }
        // Absent without swap, and in old kernels.
        let _ = set(&group.0.join("memory.swap.max"), "0");
        let _ = set(&group.0.join("memory.oom.group"), "1");
        Ok(group)
    }

    /// Kills what is left in the group of a job and removes it, if it is there.
    pub(super) fn clear(parent: &Path, id: &str) {
        let group = Self(Self::path_of(parent, id));
        if group.0.exists() {
            group.kill();
            group.remove();
        }
    }

    /// Returns the file into which a process writes `0` to join.
    pub(super) fn processes_file(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Kills every process in the group at once.
    pub(super) fn kill(&self) {
        // Kernels before 5.14 do not have it; the supervisor kills by itself, too.
        let _ = set(&self.0.join("cgroup.kill"), "1");
    }

    /// Returns the most memory that was in use, where the kernel tells (since 5.19).
    pub(super) fn memory_bytes_max(&self) -> Option<u64> {
        std::fs::read_to_string(self.0.join("memory.peak")).ok()?.trim().parse().ok()
    }

    /// Says whether the kernel killed a process of the group for its memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = std::fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|count| count.trim() != "0")
    }

    /// Removes the group, which is empty by now or soon.
    pub(super) fn remove(&self) {
        for _ in 0..REMOVE_ATTEMPTS {
            match std::fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::yield_now(),
                _ => return,
            }
        }
    }

    fn path_of(parent: &Path, id: &str) -> PathBuf {
        parent.join(format!("pilothouse-job-{id}"))
    }
}

/// Writes to a control file; never creates one, so that a path that is no cgroup is an error.
fn set(file: &Path, value: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::File::options().write(true).open(file)?.write_all(value.as_bytes())
}
