//! Finds and kills processes, by what the kernel says in `/proc`.
//!
//! Every process of a job descends from its supervisor, whatever it forks and whichever session it moves to: the
//! supervisor is a subreaper, so an orphan becomes its child. Where the supervisor is dead, the job's variable in a
//! process's environment tells.

use std::collections::HashMap;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Rounds of a sweep. Each one kills all that it sees, and what is killed does not fork.
const SWEEP_ROUNDS_MAX: usize = 200;

/// Returns every process that descends from `ancestor`, which is left out.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in all() {
        if let Some(parent) = parent_of(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![ancestor];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            open.push(child);
        }
    }
    found
}

/// Sends `signal` to all descendants of this process. One that is gone already is no error.
///
/// A process id that we read a moment ago is not given to another process in between: the kernel hands ids out in turn.
pub(super) fn signal_descendants(signal: Signal) -> usize {
    let found = descendants(std::process::id());
    for process in &found {
        send(*process, signal);
    }
    found.len()
}

/// Kills every process whose environment has `name=value`, and says whether any is left.
pub(super) fn sweep(name: &str, value: &str) -> bool {
    let marker = format!("{name}={value}").into_bytes();
    for _ in 0..SWEEP_ROUNDS_MAX {
        let marked = |process: &u32| {
            // A process that has ended, or is not ours, has no environment to read.
            std::fs::read(proc(*process, "environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == marker))
        };
        let found: Vec<u32> = all().filter(|process| *process != std::process::id()).filter(marked).collect();
        if found.is_empty() {
            return true;
        }
        for process in found {
            send(process, Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
    false
}

/// Returns the number of threads on this machine.
pub(super) fn threads_of_machine() -> u64 {
    // "0.20 0.18 0.12 1/80 11206": running and all.
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = text.split_whitespace().nth(3).and_then(|field| field.split_once('/'));
    all.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

/// Returns the path of a file about a process.
pub(super) fn proc(process: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/{file}"))
}

fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(proc(process, "stat")).ok()?;
    // The name in parentheses is the process's own choice; what follows the last one is not.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn send(process: u32, signal: Signal) {
    // Ids 0 and 1, and negative ones, mean groups of processes to `kill`.
    if let Ok(id) = i32::try_from(process)
        && id > 1
    {
        let _ = kill(Pid::from_raw(id), signal);
    }
}
