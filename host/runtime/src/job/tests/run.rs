//! What a job gets, what it leaves, and how it is asked about.

use super::*;

#[tokio::test]
async fn a_job_gets_its_files_and_parameters_and_leaves_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let template: JobTemplate = toml::from_str(
        r#"
        program = "sh"
        arguments = ["-c", 'cat "$1" > result.txt; echo "$2"; echo oops >&2; pwd', "sh", "{file:in/plan.txt}", "{text}"]
        artifacts = ["result.txt", "missing.txt"]
        files = {}
        parameters.text = { pattern = ".*" }
        "#,
    )
    .unwrap();
    assert_eq!(template.check(), []);
    let text = "a  b; $(touch injected) * `id`";
    let request = JobRequest {
        parameters: [("text".to_owned(), text.to_owned())].into(),
        files: vec![JobFile { name: "in/plan.txt".to_owned(), content: b"the plan".to_vec() }],
        ..request()
    };
    host.jobs.start("job", &template, &request).await.unwrap();
    let ended = host.ended().await;
    assert_eq!(
        (ended.id.as_str(), ended.state, ended.exit_code, ended.reason),
        ("job", JobState::Succeeded, Some(0), None)
    );
    assert_eq!(ended.usage.limiter, "rlimits");
    assert!(ended.usage.memory_bytes_max > 0);
    assert_eq!(host.read("job", "result.txt").await, "the plan");
    assert_eq!(host.read("job", "stdout").await, format!("{text}\n{}\n", host.scratch("job").display()));
    assert_eq!(host.read("job", "stderr").await, "oops\n");
    let status = host.jobs.status("job").await.unwrap();
    assert_eq!(status.artifacts, ["stdout", "stderr", "result.txt"]);
    for absent in ["missing.txt", "in/plan.txt", "../spec.json", "spec.json", ""] {
        assert!(matches!(host.jobs.open("job", absent).await, Err(JobError::NotFound)), "{absent}");
    }
    assert!(!host.scratch("job").join("injected").exists());
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(host.folder.clone()), mode(host.folder.join("job"))), (0o700, 0o700));
}

#[tokio::test]
async fn an_exit_code_a_signal_and_a_missing_program_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    for (id, script, code, reason) in [
        ("code", "exit 3", Some(3), "it ended with exit code 3"),
        ("signal", "kill -9 $$", None, "it was killed by SIGKILL"),
    ] {
        host.start(id, &shell(script)).await;
        let ended = host.ended().await;
        assert_eq!((ended.state, ended.exit_code, ended.reason.as_deref()), (JobState::Failed, code, Some(reason)));
    }
    let missing = JobTemplate { program: "no-such-program".to_owned(), ..shell("") };
    let refused = host.jobs.prepare(&missing, &request());
    assert!(matches!(&refused, Err(JobError::Unavailable(text)) if text.contains("`no-such-program`")), "{refused:?}");
    host.jobs.start("missing", &missing, &request()).await.unwrap();
    let ended = host.ended().await;
    let reason = ended.reason.unwrap();
    assert_eq!((ended.state, ended.exit_code), (JobState::Failed, None));
    assert!(reason.starts_with("program `no-such-program` could not be started: No such file"), "{reason}");
}

#[tokio::test]
async fn a_job_has_nothing_of_the_hosts_environment_and_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let open = std::fs::File::open("/dev/null").unwrap();
    // As if a library had opened it without the mark that closes it on exec.
    nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut template = shell("env | sort > env; ls /proc/self/fd; readlink /proc/self/fd/0; umask");
    template.environment.insert("PLACE".to_owned(), "in {scratch}".to_owned());
    template.artifacts.push("env".to_owned());
    assert_eq!(host.run(&template).await.state, JobState::Succeeded);
    let scratch = host.scratch("job");
    let scratch = scratch.to_str().unwrap();
    let expected = [
        format!("HOME={scratch}"),
        "LANG=C.UTF-8".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("PILOTHOUSE_JOB={}", host.folder.join("job").display()),
        format!("PLACE=in {scratch}"),
        format!("PWD={scratch}"),
        format!("TMPDIR={scratch}"),
    ];
    let text = host.read("job", "env").await;
    // The shell adds these by itself.
    let given: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("_=") && !line.starts_with("SHLVL=") && !line.starts_with("OLDPWD"))
        .collect();
    assert_eq!(given, expected);
    // 3 is the listing's own.
    assert_eq!(host.read("job", "stdout").await, "0\n1\n2\n3\n/dev/null\n0077\n");
    drop(open);
}

#[tokio::test]
async fn an_artifact_that_is_a_link_or_no_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let script =
        format!("ln -s {0} link; ln -s {1} dir; mkfifo pipe; mkdir folder", secret.display(), folder.path().display());
    let artifacts = ["link", "dir/secret", "pipe", "folder"].map(str::to_owned);
    let template = JobTemplate { artifacts: artifacts.to_vec(), ..shell(&script) };
    assert_eq!(host.run(&template).await.state, JobState::Succeeded);
    for artifact in artifacts {
        assert!(matches!(host.jobs.open("job", &artifact).await, Err(JobError::NotFound)), "{artifact}");
    }
    assert_eq!(host.jobs.status("job").await.unwrap().artifacts, ["stdout", "stderr"]);
}

#[tokio::test]
async fn a_running_jobs_output_is_read_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    host.start("job", &shell("echo half; echo $$ > main; while [ ! -e go ]; do sleep 0.02; done; echo rest")).await;
    host.process("job", "main").await;
    let stdout = host.folder.join("job/stdout");
    until(|| std::fs::read_to_string(&stdout).unwrap().ends_with("half\n")).await;
    assert_eq!(host.read("job", "stdout").await, "half\n");
    assert_eq!(host.jobs.status("job").await.unwrap().state, JobState::Running);
    assert!(matches!(host.jobs.remove("job").await, Err(JobError::Invalid(_))));
    std::fs::write(host.scratch("job").join("go"), "").unwrap();
    host.ended().await;
    assert_eq!(host.read("job", "stdout").await, "half\nrest\n");
}

#[tokio::test]
async fn the_same_id_starts_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(&folder);
    let template = shell(UNTIL_TOLD);
    let request = request();
    let start = || host.jobs.start("job", &template, &request);
    let (one, two, three) = tokio::join!(start(), start(), start());
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    host.process("job", "main").await;
    host.start("job", &template).await;
    std::fs::write(host.scratch("job").join("go"), "").unwrap();
    host.ended().await;
    host.start("job", &template).await;
    assert!(host.ended_rx.try_recv().is_err());
    assert_eq!(std::fs::read_to_string(host.scratch("job").join("runs")).unwrap(), "run\n");
    host.jobs.remove("job").await.unwrap();
    host.jobs.remove("job").await.unwrap();
    assert_eq!(std::fs::read_dir(&host.folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_job_waits_for_a_place_and_can_be_cancelled_while_it_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::with(&folder, |config| config.concurrent_max = 1);
    host.start("first", &shell(UNTIL_TOLD)).await;
    host.process("first", "main").await;
    host.start("second", &shell(UNTIL_TOLD)).await;
    host.start("third", &shell("true")).await;
    let status = host.jobs.status("second").await.unwrap();
    assert_eq!((status.state, status.artifacts), (JobState::Waiting, vec!["stdout".to_owned(), "stderr".to_owned()]));
    assert_eq!(host.read("second", "stdout").await, "");
    host.jobs.cancel("second").await.unwrap();
    let ended = host.ended().await;
    assert_eq!((ended.id.as_str(), ended.state), ("second", JobState::Cancelled));
    assert!(!host.scratch("second").join("runs").exists());
    std::fs::write(host.scratch("first").join("go"), "").unwrap();
    assert_eq!(host.ended().await.id, "first");
    assert_eq!(host.ended().await.id, "third");
}

#[tokio::test]
async fn an_id_that_is_not_a_plain_name_names_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(&folder);
    for id in ["", ".", "..", "a/b", "../jobs", "a\0b", &"a".repeat(129)] {
        assert_eq!(host.jobs.start(id, &shell("true"), &request()).await, Err(JobError::NotFound), "{id}");
        assert_eq!(host.jobs.status(id).await, Err(JobError::NotFound), "{id}");
    }
}
