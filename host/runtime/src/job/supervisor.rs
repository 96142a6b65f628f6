//! The process that runs one job: starts it, bounds it, ends all of it, and records how it ended.
//!
//! It has a session of its own and shares nothing with the host but the job's directory, so the host may restart. It
//! has one thread that decides ([`Supervision::watch`]), one that waits for processes, and one for each output.
//!
//! Never here: more than one job, the network, the host's configuration.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::Cgroup;
use super::directory::{JobDirectory, LAUNCH, LAUNCH_ERROR, Outcome, Spec};
use super::launch::{Launch, close_descriptors, launch};
use super::process::{signal_descendants, threads_of_machine};
use super::usage::{Disk, memory_bytes_exact, sample};
use super::{JobUsage, stream};
use crate::outputs::write_private;
use crate::services::JobState;

/// Time between two looks at the job. Short, because a job can fork some thousand times in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two rounds of killing, while processes are left.
const KILL_INTERVAL: Duration = Duration::from_millis(20);
/// Time after which a process that does not die (it hangs in the kernel) is left and reported.
const KILL_TIME_MAX: Duration = Duration::from_secs(30);
/// With rlimits, room of the user beside what runs on the machine and the job's own processes. The limit is the
/// kernel's backstop between two looks; the sampled one is the job's.
const USER_PROCESSES_ROOM: u64 = 4096;

/// Runs the job of the specification at `path`, to its end. What the hidden subcommand `pilothouse supervise` calls,
/// with the path that it was given and as the first thing that it does: it closes every descriptor but the standard
/// ones.
///
/// The process must do nothing else, and exit afterwards. The exit code says only whether the supervisor worked.
pub fn supervise(path: &Path) -> ExitCode {
    let result = if path.file_name().is_some_and(|name| name == LAUNCH) {
        // An error only: on success this process has become the job.
        Err(launch(path))
    } else {
        run(path)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use io::Write;
            let _ = writeln!(io::stderr(), "supervisor of `{}`: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> io::Result<()> {
    // Fails for a session's leader, which is what we want to be.
    let _ = nix::unistd::setsid();
    close_descriptors();
    set_child_subreaper(true)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = JobDirectory::new(folder.canonicalize()?);
    let _lock = directory.lock()?;
    if directory.outcome()?.is_some() {
        return Ok(());
    }
    let spec = directory.read_spec()?;
    if directory.has_started() {
        // An earlier supervisor died. A job is not started twice; the host clears up after it (`local::settle`).
        return Ok(());
    }
    if directory.is_cancelled() {
        return directory.write_outcome(&Outcome::without_end(JobState::Cancelled, "cancelled before it started"));
    }
    directory.mark_started()?;
    let cgroup = spec.cgroup.as_deref().and_then(|parent| Cgroup::create(parent, &spec.id, &spec.limits).ok());
    let outcome = match Supervision::start(&directory, &spec, cgroup.as_ref()) {
        Ok(supervision) => supervision.run(),
        Err(error) => Outcome::without_end(JobState::Failed, format!("the job could not be started: {error}")),
    };
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
    directory.write_outcome(&outcome)
}

/// What the thread that waits for processes tells.
enum Reaped {
    /// The job's program ended.
    Program(WaitStatus),
    /// No process of the job is left.
    All,
}

/// Why a job is stopped.
struct Stop {
    state: JobState,
    reason: String,
    /// Whether its processes may end in order.
    grace: Duration,
}

/// One job under way.
struct Supervision<'a> {
    directory: &'a JobDirectory,
    spec: &'a Spec,
    cgroup: Option<&'a Cgroup>,
    scratch: PathBuf,
    started: Instant,
    reaped: Receiver<Reaped>,
    streams: [std::thread::JoinHandle<u64>; 2],
    status: Option<WaitStatus>,
    all_gone: bool,
    usage: JobUsage,
}

impl<'a> Supervision<'a> {
    fn start(directory: &'a JobDirectory, spec: &'a Spec, cgroup: Option<&'a Cgroup>) -> io::Result<Self> {
        let scratch = directory.scratch();
        let plan = Launch {
            supervisor: std::process::id(),
            argv: spec.argv.clone(),
            environment: spec.environment.clone(),
            scratch: scratch.clone(),
            file_bytes_max: spec.limits.disk.0,
            cgroup: cgroup.map(Cgroup::processes_file),
            memory_bytes_max: spec.limits.memory.0,
            user_processes_max: threads_of_machine() + u64::from(spec.limits.processes) + USER_PROCESSES_ROOM,
        };
        write_private(directory.path(), LAUNCH, &serde_json::to_vec(&plan)?)?;
        let mut child = Command::new(&spec.supervisor.program)
            .args(&spec.supervisor.arguments)
            .arg(directory.path().join(LAUNCH))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let started = Instant::now();
        let streams = Self::keep_output(directory, spec, &mut child)?;
        let (reaped_tx, reaped) = channel();
        let program = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        std::thread::spawn(move || reap(program, &reaped_tx));
        let limiter = if cgroup.is_some() { "cgroup v2" } else { "rlimits" };
        let usage = JobUsage { limiter: limiter.to_owned(), ..JobUsage::default() };
        Ok(Self { directory, spec, cgroup, scratch, started, reaped, streams, status: None, all_gone: false, usage })
    }

    fn keep_output(
        directory: &JobDirectory,
        spec: &Spec,
        child: &mut Child,
    ) -> io::Result<[std::thread::JoinHandle<u64>; 2]> {
        let limit = spec.limits.output.0;
        let missing = || io::Error::other("the child has no pipe");
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok([
            stream::keep(stdout, &directory.stream("stdout"), limit)?,
            stream::keep(stderr, &directory.stream("stderr"), limit)?,
        ])
    }

    /// Sees the job through.
    fn run(mut self) -> Outcome {
        let stop = self.watch();
        if let Some(stop) = stop.as_ref().filter(|stop| !stop.grace.is_zero()) {
            signal_descendants(Signal::SIGTERM);
            let until = Instant::now() + stop.grace;
            while self.status.is_none() && !self.all_gone && Instant::now() < until {
                self.wait(until);
            }
        }
        // Also after an end in order: nothing that the program left behind may go on.
        let left = self.kill_all();
        self.outcome(stop, left)
    }

    /// Waits until the program ends or has to be stopped.
    fn watch(&mut self) -> Option<Stop> {
        let deadline = self.started + self.spec.timeout;
        let scratch = self.scratch.clone();
        let mut disk = Disk::new(&scratch, self.started);
        let mut next_look = self.started;
        loop {
            if self.status.is_some() || self.all_gone {
                return disk.measure(self.spec.limits.disk.0).then(|| self.disk_stop());
            }
            let now = Instant::now();
            if now >= deadline {
                let reason = format!("it ran longer than {} ms", self.spec.timeout.as_millis());
                return Some(self.orderly(JobState::TimedOut, reason));
            }
            if now >= next_look {
                next_look = now + LOOK_INTERVAL;
                if self.directory.is_cancelled() {
                    return Some(self.orderly(JobState::Cancelled, "it was cancelled".to_owned()));
                }
                if let Some(stop) = self.over_limit() {
                    return Some(stop);
                }
                if disk.is_over(self.spec.limits.disk.0, now) {
                    return Some(self.disk_stop());
                }
            }
            self.wait(next_look.min(deadline));
        }
    }

    /// Takes one message, or none until `until`.
    fn wait(&mut self, until: Instant) {
        match self.reaped.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Reaped::Program(status)) => self.status = Some(status),
            // The thread ends only after it said so.
            Ok(Reaped::All) | Err(RecvTimeoutError::Disconnected) => self.all_gone = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn over_limit(&mut self) -> Option<Stop> {
        let sample = sample();
        self.usage.memory_bytes_max = self.usage.memory_bytes_max.max(sample.memory_bytes);
        self.usage.processes_max = self.usage.processes_max.max(sample.processes);
        if self.cgroup.is_some() {
            // The kernel enforces both; a fork beyond the limit fails in the job.
            return None;
        }
        let limits = &self.spec.limits;
        if sample.processes > u64::from(limits.processes) {
            return Some(abrupt(format!("it had more than {} processes and threads", limits.processes)));
        }
        if sample.memory_bytes > limits.memory.0 && memory_bytes_exact() > limits.memory.0 {
            return Some(abrupt(format!("its processes used more than {} of memory", limits.memory)));
        }
        None
    }

    fn disk_stop(&self) -> Stop {
        abrupt(format!("its directory held more than {} or too many files", self.spec.limits.disk))
    }

    fn orderly(&self, state: JobState, reason: String) -> Stop {
        Stop { state, reason, grace: self.spec.limits.grace.0 }
    }

    /// Kills until no process of the job is left; returns how many could not be killed.
    fn kill_all(&mut self) -> usize {
        let until = Instant::now() + KILL_TIME_MAX;
        loop {
            if let Some(cgroup) = self.cgroup {
                cgroup.kill();
            }
            let seen = signal_descendants(Signal::SIGKILL);
            let next = Instant::now() + KILL_INTERVAL;
            while !self.all_gone && Instant::now() < next {
                self.wait(next);
            }
            // Not `seen == 0`: only the kernel's word, that we have no child, proves that nothing is left.
            if self.all_gone {
                return 0;
            }
            if Instant::now() > until {
                return seen.max(1);
            }
        }
    }

    fn outcome(mut self, stop: Option<Stop>, left: usize) -> Outcome {
        self.usage.wall = self.started.elapsed();
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) {
            self.usage.cpu = duration(usage.user_time()) + duration(usage.system_time());
            let largest = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
            self.usage.memory_bytes_max = self.usage.memory_bytes_max.max(largest);
        }
        if let Some(peak) = self.cgroup.and_then(Cgroup::memory_bytes_max) {
            self.usage.memory_bytes_max = peak;
        }
        if left == 0 {
            // Every process is gone, so both pipes have ended.
            let [stdout, stderr] = self.streams;
            self.usage.stdout_dropped_bytes = stdout.join().unwrap_or(0);
            self.usage.stderr_dropped_bytes = stderr.join().unwrap_or(0);
        }
        let (exit_code, signal) = match self.status {
            Some(WaitStatus::Exited(_, code)) => (Some(code), None),
            Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal)),
            _ => (None, None),
        };
        let launch_error = std::fs::read_to_string(self.directory.path().join(LAUNCH_ERROR)).ok();
        // Only a program that ended by itself has an exit code: not one that was stopped or never was.
        let (state, reason, exit_code) = match (stop, launch_error) {
            (Some(stop), _) => (stop.state, Some(stop.reason), None),
            (None, Some(error)) => {
                let program = self.spec.argv.first().map_or("", String::as_str);
                (JobState::Failed, Some(format!("program `{program}` could not be started: {error}")), None)
            }
            (None, None) if exit_code == Some(0) => (JobState::Succeeded, None, exit_code),
            (None, None) => (JobState::Failed, Some(failure(self.spec, self.cgroup, exit_code, signal)), exit_code),
        };
        let mut outcome =
            Outcome { state, exit_code, signal: signal.map(|signal| signal as i32), reason, usage: self.usage };
        if left > 0 {
            let reason = outcome.reason.get_or_insert_default();
            let _ = write!(reason, "; {left} of its processes hang in the kernel and could not be killed");
        }
        outcome
    }
}

/// Makes the reason of a program that ended badly by itself.
fn failure(spec: &Spec, cgroup: Option<&Cgroup>, exit_code: Option<i32>, signal: Option<Signal>) -> String {
    match (exit_code, signal) {
        _ if cgroup.is_some_and(Cgroup::ran_out_of_memory) => {
            format!("its processes used more than {} of memory", spec.limits.memory)
        }
        (_, Some(Signal::SIGXFSZ)) => format!("it wrote a file of more than {}", spec.limits.disk),
        (_, Some(signal)) => format!("it was killed by {signal}"),
        (Some(code), None) => format!("it ended with exit code {code}"),
        (None, None) => "it ended, and nobody saw how".to_owned(),
    }
}

/// A stop for a job that is over a limit: it gets no time to use more.
fn abrupt(reason: String) -> Stop {
    Stop { state: JobState::Failed, reason, grace: Duration::ZERO }
}

/// Waits for every process that becomes our child: the program, and each orphan of the job.
fn reap(program: Pid, reaped_tx: &Sender<Reaped>) {
    loop {
        let message = match waitpid(None, None) {
            Ok(status) if status.pid() == Some(program) => Reaped::Program(status),
            Ok(_) | Err(Errno::EINTR) => continue,
            // No child, and so no descendant: a process is given to us before its parent can be waited for.
            Err(_) => Reaped::All,
        };
        let last = matches!(message, Reaped::All);
        if reaped_tx.send(message).is_err() || last {
            return;
        }
    }
}

fn duration(time: nix::sys::time::TimeVal) -> Duration {
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
}
