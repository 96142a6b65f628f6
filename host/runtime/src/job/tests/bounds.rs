//! What bounds a job, and that nothing of it goes on after its end.

use super::*;

#[tokio::test]
async fn a_timeout_ends_every_process_also_in_another_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let mut template = shell(ESCAPE);
    template.limits.timeout = Span(Duration::from_secs(3));
    host.start("job", &template).await;
    let (main, escaped) = (host.process("job", "main").await, host.process("job", "escaped").await);
    assert!(runs(main) && runs(escaped));
    let ended = host.ended().await;
    assert_eq!((ended.state, ended.exit_code), (JobState::TimedOut, None));
    assert_eq!(ended.reason.unwrap(), "it ran longer than 3000 ms");
    assert!(!runs(main) && !runs(escaped));
}

#[tokio::test]
async fn a_cancelled_job_may_end_in_order_and_takes_its_processes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let script = "(setsid sleep 1000 & echo $! > escaped)
        trap 'echo closed > result; exit 0' TERM; echo $$ > main; while :; do sleep 0.05; done";
    let mut template = shell(script);
    template.limits.grace = Span(PATIENCE);
    template.artifacts.push("result".to_owned());
    host.start("job", &template).await;
    let (main, escaped) = (host.process("job", "main").await, host.process("job", "escaped").await);
    host.jobs.cancel("job").await.unwrap();
    let ended = host.ended().await;
    assert_eq!((ended.state, ended.reason.as_deref()), (JobState::Cancelled, Some("it was cancelled")));
    assert_eq!(host.read("job", "result").await, "closed\n");
    assert!(!runs(main) && !runs(escaped));
    host.jobs.cancel("job").await.unwrap();
    assert!(matches!(host.jobs.cancel("other").await, Err(JobError::NotFound)));
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let ended = host.run(&shell("setsid sleep 1000 & echo $! > left; echo $$ > main")).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert!(!runs(host.process("job", "left").await));
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let mut template = shell("head -c 3000000 /dev/zero; head -c 100 /dev/zero >&2");
    template.limits.output = ByteSize(65536);
    let ended = host.run(&template).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert_eq!(std::fs::metadata(host.folder.join("job/stdout")).unwrap().len(), 65536);
    assert_eq!(std::fs::metadata(host.folder.join("job/stderr")).unwrap().len(), 100);
    assert_eq!(ended.usage.stdout_dropped_bytes, 3_000_000 + HARNESS.len() as u64 - 65536);
    assert_eq!(ended.usage.stderr_dropped_bytes, 0);
}

#[tokio::test]
async fn a_job_that_fills_the_disk_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let many = "i=0; while :; do i=$((i+1)); head -c 500000 /dev/zero > f$i; done";
    let quick = "for i in 1 2 3 4; do head -c 500000 /dev/zero > f$i; done";
    let single = "exec head -c 100000000 /dev/zero > large";
    let scripts =
        [("many", many, "held more than 1MiB"), ("quick", quick, "held more"), ("single", single, "a file of more")];
    for (id, script, says) in scripts {
        let mut template = shell(script);
        template.limits.disk = ByteSize(1 << 20);
        host.start(id, &template).await;
        let ended = host.ended().await;
        assert_eq!(ended.state, JobState::Failed, "{id}");
        assert!(ended.reason.as_deref().unwrap().contains(says), "{:?}", ended.reason);
    }
    assert!(host.scratch("single").join("large").metadata().unwrap().len() <= 1 << 20);
}

#[tokio::test]
async fn a_job_that_forks_without_end_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    // Ends by itself where the limit does not work, so that a broken test does not fill the machine.
    let mut template = shell("i=0; while [ $i -lt 300 ]; do setsid sleep 1000 & i=$((i+1)); done; wait");
    template.limits.processes = 20;
    let ended = host.run(&template).await;
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.reason.unwrap(), "it had more than 20 processes and threads");
    assert!(ended.usage.processes_max > 20);
}

#[tokio::test]
async fn memory_is_limited_for_one_process_and_for_all_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let mut template = shell("head -c 300000000 /dev/zero | tail");
    template.limits.memory = ByteSize(48 << 20);
    host.start("one", &template).await;
    let ended = host.ended().await;
    assert_ne!(ended.state, JobState::Succeeded);
    assert!(ended.usage.memory_bytes_max < 300_000_000, "{}", ended.usage.memory_bytes_max);

    // Each process stays under the limit, all of them do not; `tail` holds what it read until its input ends.
    let script = "for i in 1 2 3 4; do (head -c 30000000 /dev/zero; sleep 1000) | tail & done; wait";
    host.start("all", &JobTemplate { arguments: vec!["-c".to_owned(), script.to_owned()], ..template }).await;
    let ended = host.ended().await;
    assert_eq!(ended.reason.as_deref(), Some("its processes used more than 48MiB of memory"));
}

#[tokio::test]
async fn a_directory_that_is_no_cgroup_means_rlimits() {
    let folder = tempfile::tempdir().unwrap();
    let no_cgroup = folder.path().join("no-cgroup");
    std::fs::create_dir(&no_cgroup).unwrap();
    let mut host = Host::with(&folder, |config| config.cgroup = Some(no_cgroup.clone()));
    let ended = host.run(&shell("true")).await;
    assert_eq!((ended.state, ended.usage.limiter.as_str()), (JobState::Succeeded, "rlimits"));
    assert_eq!(std::fs::read_dir(no_cgroup).unwrap().count(), 0);
}
