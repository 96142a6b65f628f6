//! Runs jobs on this machine, each under a supervisor process.
//!
//! All that is known of a job lies in its directory; in memory there is only who watches it. So a host that starts
//! again knows as much as the one before. See `directory` for what proves that a supervisor lives.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::cgroup::Cgroup;
use super::directory::{JobDirectory, Outcome, Spec};
use super::process::sweep;
use super::template::{STREAMS, find_program};
use super::{Artifact, JOB_VARIABLE, JobEnded, JobRunner, JobTemplate, PreparedJob};
use crate::outputs::{Missing, TreeError, create_file, open_parent, open_root};
use crate::services::{JobError, JobFile, JobRequest, JobState, JobStatus};

/// Most jobs that wait or run at one time. Each is a directory with its input files; more than this is a plugin that
/// starts jobs in a loop.
pub const JOBS_OPEN_MAX: usize = 1_000;
/// Ends that wait for the engine to take them; a watcher with one more waits.
const ENDED_QUEUE_LENGTH: usize = 64;
/// Time between two looks at a supervisor that is not our child.
const ADOPTED_INTERVAL: Duration = Duration::from_millis(200);
/// The `PATH` of a job whose template sets none.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest id of a job, so that it fits into a file name with a prefix.
const ID_LENGTH_MAX: usize = 128;

/// How a supervisor is started: this program with these arguments, and then the path of a specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SupervisorCommand {
    /// The program, an absolute path: one that calls [`super::supervise`].
    pub program: PathBuf,
    /// Its first arguments, such as `supervise`.
    pub arguments: Vec<String>,
}

/// Where and how jobs run.
#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// The directory that holds a directory for each job. Made if it is not there, for the host's user alone.
    pub directory: PathBuf,
    /// How a supervisor is started.
    pub supervisor: SupervisorCommand,
    /// Most jobs that run at one time; the others wait in the order of their start.
    pub concurrent_max: usize,
    /// The cgroup in which jobs get groups of their own: [`super::delegated_cgroup`], or the operator's word.
    pub cgroup: Option<PathBuf>,
}

/// Runs jobs on this machine.
pub struct LocalJobs(Arc<Jobs>);

struct Jobs {
    config: JobsConfig,
    places: Semaphore,
    ended_tx: mpsc::Sender<JobEnded>,
    /// The jobs that have a watcher, each with the bell that a cancel rings.
    watched: Mutex<HashMap<String, Arc<Notify>>>,
}

impl LocalJobs {
    /// Opens the jobs' directory. The receiver gets the end of each job; while nobody takes from it, ends wait on disk.
    ///
    /// # Errors
    /// The directory cannot be made or is not ours.
    pub fn new(config: JobsConfig) -> io::Result<(Self, mpsc::Receiver<JobEnded>)> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.directory)?;
        let config = JobsConfig { directory: config.directory.canonicalize()?, ..config };
        let (ended_tx, ended_rx) = mpsc::channel(ENDED_QUEUE_LENGTH);
        let places = Semaphore::new(config.concurrent_max.clamp(1, JOBS_OPEN_MAX));
        let jobs = Jobs { config, places, ended_tx, watched: Mutex::default() };
        Ok((Self(Arc::new(jobs)), ended_rx))
    }

    /// Removes the jobs that ended before `before` and are acknowledged, with their artifacts; returns how many.
    ///
    /// # Errors
    /// The jobs' directory cannot be read.
    pub async fn remove_ended_before(&self, before: SystemTime) -> io::Result<usize> {
        let jobs = Arc::clone(&self.0);
        let removed = blocking(move || {
            let mut removed = 0;
            for id in jobs.stored()? {
                let directory = jobs.directory(&id);
                let ended =
                    directory.spec_path().with_file_name("outcome.json").metadata().and_then(|file| file.modified());
                let old = ended.is_ok_and(|ended| ended < before);
                if old && directory.is_acknowledged() && std::fs::remove_dir_all(directory.path()).is_ok() {
                    removed += 1;
                }
            }
            Ok(removed)
        });
        removed.await
    }
}

#[async_trait::async_trait]
impl JobRunner for LocalJobs {
    fn prepare(&self, template: &JobTemplate, request: &JobRequest) -> Result<(), JobError> {
        let prepared = template.prepare(request, &self.0.config.directory)?;
        let path = prepared.environment.get("PATH").map_or(PATH_DEFAULT, String::as_str);
        if find_program(&template.program, path).is_none() {
            let looked = if template.program.starts_with('/') { String::new() } else { format!("; looked in {path}") };
            return Err(JobError::Unavailable(format!(
                "program `{}` of job template `{}` is not installed on the host{looked}",
                template.program, request.template
            )));
        }
        if self.0.watched().len() >= JOBS_OPEN_MAX {
            return Err(JobError::QuotaExceeded);
        }
        Ok(())
    }

    async fn start(&self, id: &str, template: &JobTemplate, request: &JobRequest) -> Result<(), JobError> {
        let directory = self.0.checked(id)?;
        let prepared = template.prepare(request, &directory.scratch())?;
        let spec = self.0.spec(id, template, prepared.clone(), &directory);
        let files = request.files.clone();
        let jobs = Arc::clone(&self.0);
        let known = blocking(move || jobs.store(&directory, &spec, &files, &prepared)).await.map_err(unavailable)?;
        if known.is_none_or(|outcome| outcome.is_none()) {
            self.0.watch(id);
        }
        Ok(())
    }

    async fn status(&self, id: &str) -> Result<JobStatus, JobError> {
        let directory = self.0.existing(id)?;
        blocking(move || status(&directory)).await.map_err(unavailable)
    }

    async fn cancel(&self, id: &str) -> Result<(), JobError> {
        let directory = self.0.existing(id)?;
        blocking(move || if directory.outcome()?.is_some() { Ok(()) } else { directory.mark_cancelled() })
            .await
            .map_err(unavailable)?;
        if let Some(bell) = self.0.watched().get(id) {
            bell.notify_one();
        }
        Ok(())
    }

    async fn open(&self, id: &str, artifact: &str) -> Result<Artifact, JobError> {
        let directory = self.0.existing(id)?;
        let artifact = artifact.to_owned();
        let opened = blocking(move || {
            let spec = directory.read_spec()?;
            if !STREAMS.contains(&artifact.as_str()) && !spec.artifacts.contains(&artifact) {
                return Ok(None);
            }
            match directory.open_artifact(&artifact) {
                Ok(file) => Ok(Some((file.metadata()?.len(), file))),
                Err(TreeError::System(errno)) => Err(errno.into()),
                Err(TreeError::NotFound | TreeError::NotPlain(_)) => Ok(None),
            }
        });
        let (length, file) = opened.await.map_err(unavailable)?.ok_or(JobError::NotFound)?;
        // What there is by now: a job that goes on writing would make a stream without an end.
        Ok(Box::new(tokio::fs::File::from_std(file).take(length)))
    }

    async fn adopt(&self) -> Result<Vec<(String, JobState)>, JobError> {
        let jobs = Arc::clone(&self.0);
        let found = blocking(move || {
            let mut found = Vec::new();
            for id in jobs.stored()? {
                let directory = jobs.directory(&id);
                if directory.is_acknowledged() {
                    continue;
                }
                match status(&directory) {
                    Ok(status) => found.push((id, status.state)),
                    // One damaged directory must not keep the host from starting.
                    Err(error) => tracing::error!(job = id, %error, "the job's directory cannot be read"),
                }
            }
            Ok(found)
        });
        let found = found.await.map_err(unavailable)?;
        for (id, _) in &found {
            self.0.watch(id);
        }
        Ok(found)
    }

    async fn acknowledge(&self, id: &str) -> Result<(), JobError> {
        let directory = self.0.existing(id)?;
        blocking(move || directory.mark_acknowledged()).await.map_err(unavailable)
    }

    async fn remove(&self, id: &str) -> Result<(), JobError> {
        let Ok(directory) = self.0.existing(id) else { return Ok(()) };
        let ended = blocking(move || {
            let ended = directory.outcome()?.is_some();
            if ended {
                std::fs::remove_dir_all(directory.path())?;
            }
            Ok(ended)
        });
        match ended.await.map_err(unavailable)? {
            true => Ok(()),
            false => Err(JobError::Invalid("the job has not ended; cancel it first".to_owned())),
        }
    }
}

impl Jobs {
    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        // The map is whole after every statement that changes it, so a panic elsewhere does not spoil it.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self, id: &str) -> JobDirectory {
        JobDirectory::new(self.config.directory.join(id))
    }

    fn checked(&self, id: &str) -> Result<JobDirectory, JobError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > ID_LENGTH_MAX || !id.bytes().all(plain) {
            return Err(JobError::NotFound);
        }
        Ok(self.directory(id))
    }

    fn existing(&self, id: &str) -> Result<JobDirectory, JobError> {
        let directory = self.checked(id)?;
        if directory.spec_path().exists() { Ok(directory) } else { Err(JobError::NotFound) }
    }

    /// Returns the ids of all jobs on disk. What starts with a dot was never finished being stored.
    fn stored(&self) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.config.directory)? {
            let name = entry?.file_name();
            ids.extend(name.to_str().filter(|name| self.existing(name).is_ok()).map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    fn spec(&self, id: &str, template: &JobTemplate, prepared: PreparedJob, directory: &JobDirectory) -> Spec {
        let scratch = directory.scratch().to_string_lossy().into_owned();
        let own = [("PATH", PATH_DEFAULT), ("HOME", &scratch), ("TMPDIR", &scratch), ("LANG", "C.UTF-8")];
        let mut environment: BTreeMap<String, String> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        environment.extend(prepared.environment);
        environment.insert(JOB_VARIABLE.to_owned(), directory.path().to_string_lossy().into_owned());
        let mut argv = prepared.argv;
        let path = environment.get("PATH").map_or(PATH_DEFAULT, String::as_str);
        // Where it is not found the launch fails and says so: the job ends, and is not refused.
        if let Some(program) = find_program(&template.program, path)
            && let Some(first) = argv.first_mut()
        {
            *first = program.to_string_lossy().into_owned();
        }
        Spec {
            id: id.to_owned(),
            argv,
            environment,
            timeout: prepared.timeout,
            limits: template.limits.clone(),
            artifacts: template.artifacts.clone(),
            cgroup: self.config.cgroup.clone(),
            supervisor: self.config.supervisor.clone(),
        }
    }

    /// Stores the job, all or nothing. Returns the outcome so far of one that is stored already.
    fn store(
        &self,
        directory: &JobDirectory,
        spec: &Spec,
        files: &[JobFile],
        prepared: &PreparedJob,
    ) -> io::Result<Option<Option<Outcome>>> {
        if directory.spec_path().exists() {
            return directory.outcome().map(Some);
        }
        let own = std::fs::Permissions::from_mode(0o700);
        let new = tempfile::Builder::new().prefix(".new-").permissions(own).tempdir_in(&self.config.directory)?;
        let stored = JobDirectory::new(new.path().to_owned());
        std::fs::DirBuilder::new().mode(0o700).create(stored.scratch())?;
        for stream in STREAMS {
            File::options().write(true).create_new(true).mode(0o600).open(stored.stream(stream))?;
        }
        for (file, path) in files.iter().zip(&prepared.files) {
            let missing = Missing::Create { mode: 0o700, made: &mut Vec::new() };
            open_root(&stored.scratch())
                .and_then(|root| open_parent(root, path, missing))
                .and_then(|folder| create_file(folder, path.name(), &file.content, 0o600))
                .map_err(|error| io::Error::other(format!("input file `{path}`: {error}")))?;
        }
        stored.write_spec(spec)?;
        match std::fs::rename(new.path(), directory.path()) {
            Ok(()) => {
                // Nothing is left to remove under the old name.
                let _ = new.keep();
                File::open(&self.config.directory)?.sync_all()?;
                Ok(None)
            }
            // Another start of the same job was faster; ours is removed.
            Err(_) if directory.spec_path().exists() => directory.outcome().map(Some),
            Err(error) => Err(error),
        }
    }

    /// Gives the job a watcher, unless it has one.
    fn watch(self: &Arc<Self>, id: &str) {
        let bell = Arc::new(Notify::new());
        match self.watched().entry(id.to_owned()) {
            std::collections::hash_map::Entry::Occupied(_) => return,
            std::collections::hash_map::Entry::Vacant(place) => place.insert(Arc::clone(&bell)),
        };
        let (jobs, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            let outcome = jobs.see_through(&id, &bell).await.unwrap_or_else(|error| {
                tracing::error!(job = id, %error, "the job cannot be watched");
                Outcome::without_end(JobState::Lost, format!("the host cannot read the job's directory: {error}"))
            });
            // Before the message: whoever gets it may ask about the job, or start it again.
            jobs.watched().remove(&id);
            // Fails when the host ends; the next one finds the outcome on disk.
            let _ = jobs.ended_tx.send(outcome.into_ended(&id)).await;
        });
    }

    /// Waits for a place, starts the supervisor, and waits for the outcome.
    async fn see_through(&self, id: &str, bell: &Notify) -> io::Result<Outcome> {
        let directory = self.directory(id);
        if directory.outcome()?.is_none() {
            if directory.has_started() || directory.is_supervised()? {
                // An earlier host's. It runs already, so it does not wait for a place, but it takes one if it can.
                let _place = self.places.try_acquire();
                let mut interval = tokio::time::interval(ADOPTED_INTERVAL);
                while directory.outcome()?.is_none() && directory.is_supervised()? {
                    interval.tick().await;
                }
            } else {
                let _place = loop {
                    // First, as it may have been rung before we listened.
                    if directory.is_cancelled() {
                        break None;
                    }
                    tokio::select! {
                        place = self.places.acquire() => break place.ok(),
                        () = bell.notified() => {}
                    }
                };
                if !directory.is_cancelled() {
                    self.run_supervisor(&directory).await?;
                }
            }
        }
        let (jobs_cgroup, id) = (self.config.cgroup.clone(), id.to_owned());
        blocking(move || settle(&directory, &id, jobs_cgroup.as_deref())).await
    }

    async fn run_supervisor(&self, directory: &JobDirectory) -> io::Result<()> {
        let log =
            File::options().append(true).create(true).mode(0o600).open(directory.path().join("supervisor.log"))?;
        let spawned = Command::new(&self.config.supervisor.program)
            .args(&self.config.supervisor.arguments)
            .arg(directory.spec_path())
            .env_clear()
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        match spawned {
            // How it ended does not matter: the outcome does, or that there is none.
            Ok(mut child) => child.wait().await.map(drop),
            Err(error) => {
                let program = self.config.supervisor.program.display();
                let reason = format!("the host could not start the supervisor `{program}`: {error}");
                let _lock = directory.lock()?;
                directory.write_outcome(&Outcome::without_end(JobState::Failed, reason))
            }
        }
    }
}

/// Returns the outcome of a job whose supervisor is gone, and makes one if it left none.
fn settle(directory: &JobDirectory, id: &str, cgroup: Option<&Path>) -> io::Result<Outcome> {
    // A supervisor that comes late waits here, and then finds the outcome.
    let _lock = directory.lock()?;
    if let Some(outcome) = directory.outcome()? {
        return Ok(outcome);
    }
    let outcome = if directory.has_started() {
        if let Some(parent) = cgroup {
            Cgroup::clear(parent, id);
        }
        let swept = sweep(JOB_VARIABLE, &directory.path().to_string_lossy());
        let rest = if swept { "what it left running was killed" } else { "some of its processes may still run" };
        Outcome::without_end(JobState::Lost, format!("its supervisor died; {rest}"))
    } else if directory.is_cancelled() {
        Outcome::without_end(JobState::Cancelled, "cancelled before it started")
    } else {
        let log = std::fs::read_to_string(directory.path().join("supervisor.log")).unwrap_or_default();
        let said = log.lines().last().unwrap_or("it said nothing");
        Outcome::without_end(JobState::Failed, format!("its supervisor ended before it started the job: {said}"))
    };
    directory.write_outcome(&outcome)?;
    Ok(outcome)
}

fn status(directory: &JobDirectory) -> io::Result<JobStatus> {
    let spec = directory.read_spec()?;
    let outcome = directory.outcome()?;
    let state = match &outcome {
        Some(outcome) => outcome.state,
        None if directory.has_started() => JobState::Running,
        None => JobState::Waiting,
    };
    let there = spec.artifacts.into_iter().filter(|name| directory.open_artifact(name).is_ok());
    let artifacts = STREAMS.into_iter().map(str::to_owned).chain(there).collect();
    Ok(JobStatus { state, exit_code: outcome.and_then(|outcome| outcome.exit_code), artifacts })
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn unavailable(error: io::Error) -> JobError {
    JobError::Unavailable(format!("the job's directory cannot be used: {error}"))
}
