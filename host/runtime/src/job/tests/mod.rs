//! Real processes under real supervisors.
//!
//! The supervisor is this test binary: [`supervisor_process`] is the test that it runs as one.

mod bounds;
mod restart;
mod run;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pilothouse_core::name::TemplateName;
use pilothouse_core::quantity::{ByteSize, Span};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::*;
use crate::services::JobFile;

/// Becomes a supervisor when it is started with the path of a specification, and is empty otherwise.
#[test]
fn supervisor_process() {
    if let Some(path) = std::env::args().next_back().filter(|path| path.ends_with(".json")) {
        supervise(path.as_ref());
    }
}

/// What the test harness writes before it runs the one test. The second stage writes it into the job's output.
const HARNESS: &str = "\nrunning 1 test\n";

struct Host {
    folder: PathBuf,
    jobs: LocalJobs,
    ended_rx: mpsc::Receiver<JobEnded>,
    supervisor: SupervisorCommand,
}

impl Host {
    fn new(folder: &tempfile::TempDir) -> Self {
        Self::with(folder, |_| {})
    }

    fn with(folder: &tempfile::TempDir, change: impl FnOnce(&mut JobsConfig)) -> Self {
        let arguments = ["job::tests::supervisor_process", "--exact", "--nocapture", "--test-threads=1", "-q"];
        let supervisor = SupervisorCommand {
            program: std::env::current_exe().unwrap(),
            arguments: arguments.map(str::to_owned).to_vec(),
        };
        let directory = folder.path().join("jobs");
        let mut config = JobsConfig { directory: directory.clone(), supervisor, concurrent_max: 4, cgroup: None };
        change(&mut config);
        let supervisor = config.supervisor.clone();
        let (jobs, ended_rx) = LocalJobs::new(config).unwrap();
        Self { folder: directory.canonicalize().unwrap(), jobs, ended_rx, supervisor }
    }

    fn scratch(&self, id: &str) -> PathBuf {
        self.folder.join(id).join("scratch")
    }

    async fn start(&self, id: &str, template: &JobTemplate) {
        self.jobs.prepare(template, &request()).unwrap();
        self.jobs.start(id, template, &request()).await.unwrap();
    }

    async fn ended(&mut self) -> JobEnded {
        tokio::time::timeout(PATIENCE, self.ended_rx.recv()).await.expect("the job ends").unwrap()
    }

    async fn run(&mut self, template: &JobTemplate) -> JobEnded {
        self.start("job", template).await;
        let ended = self.ended().await;
        assert_eq!(self.jobs.status("job").await.unwrap().state, ended.state);
        ended
    }

    async fn read(&self, id: &str, artifact: &str) -> String {
        let mut text = String::new();
        self.jobs.open(id, artifact).await.unwrap().read_to_string(&mut text).await.unwrap();
        text.strip_prefix(HARNESS).map(str::to_owned).unwrap_or(text)
    }

    /// Waits until the job has written a process id into this file of its directory.
    async fn process(&self, id: &str, file: &str) -> u32 {
        let path = self.scratch(id).join(file);
        let read = || std::fs::read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok();
        until(|| read().is_some()).await;
        read().unwrap()
    }
}

/// Only to end a test that hangs; no test needs more than a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(fact: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Says whether the process runs; one that has ended and was not waited for by its new parent does not.
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

fn parent(process: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn shell(script: &str) -> JobTemplate {
    JobTemplate {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.replace('{', "{{").replace('}', "}}")],
        environment: Default::default(),
        parameters: Default::default(),
        files: None,
        artifacts: Vec::new(),
        limits: JobLimits { grace: Span(Duration::from_millis(100)), ..JobLimits::default() },
    }
}

fn request() -> JobRequest {
    JobRequest {
        template: TemplateName::new("test").unwrap(),
        parameters: Default::default(),
        files: Vec::new(),
        idempotency_key: "key".to_owned(),
        timeout: None,
    }
}

/// A process that left the job's session and lost its parent, and one that ignores the request to stop.
const ESCAPE: &str = "
    trap '' TERM
    (setsid sh -c 'trap \"\" TERM; echo $$ > escaped.new; mv escaped.new escaped; while :; do sleep 1000; done' &)
    echo $$ > main.new; mv main.new main
    while :; do sleep 1000; done";

/// A job that says when it runs, and runs until it is told.
const UNTIL_TOLD: &str = "echo run >> runs; echo $$ > main; while [ ! -e go ]; do sleep 0.02; done";
