//! Jobs whose host or supervisor dies.

use super::*;

/// Runs `work` with a host of its own, and lets that host die: no watcher and no message survives.
fn with_host<T>(folder: &tempfile::TempDir, work: impl AsyncFnOnce(&mut Host) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(async { work(&mut Host::new(folder)).await });
    runtime.shutdown_background();
    result
}

#[tokio::test]
async fn a_job_whose_supervisor_is_killed_is_lost_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    host.start("job", &shell(ESCAPE)).await;
    let (main, escaped) = (host.process("job", "main").await, host.process("job", "escaped").await);
    kill(Pid::from_raw(parent(main).try_into().unwrap()), Signal::SIGKILL).unwrap();
    let ended = host.ended().await;
    assert_eq!((ended.state, ended.exit_code), (JobState::Lost, None));
    assert_eq!(ended.reason.unwrap(), "its supervisor died; what it left running was killed");
    until(|| !runs(main) && !runs(escaped)).await;
}

#[test]
fn a_job_outlives_its_host_and_its_end_is_told_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let template = shell(UNTIL_TOLD);
    with_host(&folder, async |host| {
        host.start("job", &template).await;
        host.process("job", "main").await;
    });
    with_host(&folder, async |host| {
        assert_eq!(host.jobs.adopt().await.unwrap(), [("job".to_owned(), JobState::Running)]);
        host.start("job", &template).await;
        std::fs::write(host.scratch("job").join("go"), "").unwrap();
        let ended = host.ended().await;
        assert_eq!((ended.id.as_str(), ended.state), ("job", JobState::Succeeded));
        assert!(host.ended_rx.try_recv().is_err(), "told once");
    });
    with_host(&folder, async |host| {
        assert_eq!(host.jobs.adopt().await.unwrap(), [("job".to_owned(), JobState::Succeeded)]);
        assert_eq!(host.ended().await.state, JobState::Succeeded);
        host.jobs.acknowledge("job").await.unwrap();
    });
    with_host(&folder, async |host| {
        assert_eq!(host.jobs.adopt().await.unwrap(), []);
        assert_eq!(std::fs::read_to_string(host.scratch("job").join("runs")).unwrap(), "run\n");
        assert_eq!(host.jobs.remove_ended_before(SystemTime::UNIX_EPOCH).await.unwrap(), 0);
        let later = host.folder.join("job/outcome.json").metadata().unwrap().modified().unwrap() + PATIENCE;
        assert_eq!(host.jobs.remove_ended_before(later).await.unwrap(), 1);
        assert!(matches!(host.jobs.status("job").await, Err(JobError::NotFound)));
    });
}

#[test]
fn a_job_that_ended_or_was_lost_while_no_host_ran_is_told_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = with_host(&folder, async |host| {
        host.start("ends", &shell(UNTIL_TOLD)).await;
        host.start("lost", &shell(UNTIL_TOLD)).await;
        host.process("ends", "main").await;
        parent(host.process("lost", "main").await)
    });
    std::fs::write(folder.path().join("jobs/ends/scratch/go"), "").unwrap();
    kill(Pid::from_raw(supervisor.try_into().unwrap()), Signal::SIGKILL).unwrap();
    with_host(&folder, async |host| {
        let outcome = folder.path().join("jobs/ends/outcome.json");
        until(|| outcome.exists()).await;
        assert_eq!(host.jobs.adopt().await.unwrap().len(), 2);
        let mut ends = [host.ended().await, host.ended().await].map(|ended| (ended.id, ended.state));
        ends.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(ends, [("ends".to_owned(), JobState::Succeeded), ("lost".to_owned(), JobState::Lost)]);
    });
}

/// The host died after it stored the job and before its supervisor got anywhere.
#[test]
fn a_job_that_waited_when_its_host_died_is_started_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let host = Host::with(&folder, |config| config.concurrent_max = 1);
        host.start("first", &shell(UNTIL_TOLD)).await;
        host.process("first", "main").await;
        host.start("second", &shell("echo run >> runs")).await;
    });
    runtime.shutdown_background();
    with_host(&folder, async |host| {
        let adopted = host.jobs.adopt().await.unwrap();
        let states = [("first".to_owned(), JobState::Running), ("second".to_owned(), JobState::Waiting)];
        assert_eq!(adopted, states);
        assert_eq!(host.ended().await.id, "second");
        std::fs::write(host.scratch("first").join("go"), "").unwrap();
        assert_eq!(host.ended().await.state, JobState::Succeeded);
    });
}

#[tokio::test]
async fn a_supervisor_that_does_not_work_ends_the_job_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::with(&folder, |config| config.supervisor.program = "/no/such/supervisor".into());
    let ended = host.run(&shell("true")).await;
    assert_eq!(ended.state, JobState::Failed);
    assert!(ended.reason.as_deref().unwrap().contains("`/no/such/supervisor`"), "{:?}", ended.reason);

    let other = tempfile::tempdir().unwrap();
    let mut host = Host::with(&other, |config| config.supervisor.program = "/bin/false".into());
    let ended = host.run(&shell("true")).await;
    assert_eq!(ended.state, JobState::Failed);
    assert!(ended.reason.as_deref().unwrap().contains("before it started the job"), "{:?}", ended.reason);
}

/// The job got its end while it waited, and then a supervisor that an earlier host had started gets its turn.
#[tokio::test]
async fn a_supervisor_that_comes_too_late_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::with(&folder, |config| config.concurrent_max = 1);
    host.start("first", &shell(UNTIL_TOLD)).await;
    host.start("job", &shell("echo run >> runs")).await;
    host.jobs.cancel("job").await.unwrap();
    assert_eq!(host.ended().await.state, JobState::Cancelled);
    // Only the outcome is left to tell.
    std::fs::remove_file(host.folder.join("job/cancel")).unwrap();
    let status = tokio::process::Command::new(&host.supervisor.program)
        .args(&host.supervisor.arguments)
        .arg(host.folder.join("job/spec.json"))
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.await.unwrap().success());
    assert!(!host.scratch("job").join("runs").exists());
    assert_eq!(host.jobs.status("job").await.unwrap().state, JobState::Cancelled);
    std::fs::write(host.scratch("first").join("go"), "").unwrap();
    assert_eq!(host.ended().await.id, "first");
}
