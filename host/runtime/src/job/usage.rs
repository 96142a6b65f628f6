//! What a job uses now: memory, processes, disk.
//!
//! Samples, not accounts: between two of them a job may use more. What the kernel enforces is set in `launch` and
//! `cgroup`; this finds what the kernel does not count for a group of processes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{descendants, proc};

/// Most files in a job's directory: a walk over more takes seconds.
const SCRATCH_FILES_MAX: u64 = 100_000;
/// A walk over the directory may take this part of the time at most.
const WALK_SHARE: u32 = 10;
/// Shortest time between two walks.
const WALK_INTERVAL_MIN: Duration = Duration::from_millis(300);

/// What all processes of a job use together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Resident memory; pages that two processes share count twice.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) processes: u64,
}

/// Looks at all descendants of this process.
pub(super) fn sample() -> Sample {
    let mut sample = Sample::default();
    for process in descendants(std::process::id()) {
        let Ok(status) = std::fs::read_to_string(proc(process, "status")) else { continue };
        sample.memory_bytes += number(&status, "VmRSS:") * 1024;
        sample.processes += number(&status, "Threads:").max(1);
    }
    sample
}

/// Returns the resident memory of all descendants, each shared page counted once. Slow: asked only when [`sample`]
/// says that a limit may be exceeded.
pub(super) fn memory_bytes_exact() -> u64 {
    let rollup = |process| std::fs::read_to_string(proc(process, "smaps_rollup")).unwrap_or_default();
    descendants(std::process::id()).into_iter().map(|process| number(&rollup(process), "Pss:") * 1024).sum()
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Watches the size of a directory, without taking more than its share of the time.
pub(super) struct Disk<'a> {
    folder: &'a Path,
    next: Instant,
}

impl<'a> Disk<'a> {
    pub(super) fn new(folder: &'a Path, now: Instant) -> Self {
        Self { folder, next: now }
    }

    /// Says whether the directory holds more than `limit` bytes, if it is time to look.
    pub(super) fn is_over(&mut self, limit: u64, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let over = self.measure(limit);
        self.next = now + (now.elapsed() * WALK_SHARE).max(WALK_INTERVAL_MIN);
        over
    }

    /// Says whether the directory holds more than `limit` bytes, or too many files.
    pub(super) fn measure(&self, limit: u64) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (mut bytes, mut files) = (0_u64, 0_u64);
        let mut open = vec![self.folder.to_owned()];
        while let Some(folder) = open.pop() {
            // What vanishes while we look, or cannot be read, is not counted.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.path().symlink_metadata() else { continue };
                files += 1;
                bytes += metadata.blocks() * 512;
                if bytes > limit || files > SCRATCH_FILES_MAX {
                    return true;
                }
                if metadata.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        false
    }
}
