//! Work outside of wasm: started after the commit, its end delivered, its executor answering.

use std::path::PathBuf;

use pilothouse_tests::{Host, Options, data, event};
use serde_json::{Value, json};

const FINISHED: &str = "sh.keptn.event.run-script.finished";

fn template(script: &str) -> String {
    format!(
        r#"
        program = "/bin/sh"
        arguments = ["-c", '''{script}''']
        [parameters.name]
        pattern = "[a-z]{{1,32}}"
        default = "nobody"
        [files]
        pattern = "[a-z.]{{1,32}}"
        "#
    )
}

async fn run(script: &str) -> (Host, Value) {
    let jobs = [("script".to_owned(), template(script))].into();
    let supervisor = Some(PathBuf::from(env!("CARGO_BIN_EXE_pilothouse-host")));
    let host = Host::start(Options { jobs, supervisor, ..Options::default() }).await.unwrap();
    let grants = "jobs = { script = \"script\" }\nkeyvalue = true";
    host.install("job_runner", grants, json!({})).await.unwrap();
    let task = json!({ "project": "shop", "run-script": { "name": "ahoy", "input": "some text" } });
    host.send(event("t1", "sh.keptn.event.run-script.triggered", &task).unwrap()).await.unwrap();
    let finished = data(&host.wait_for(FINISHED, |_| true).await.unwrap());
    (host, finished)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_after_the_commit_and_its_end_is_delivered_to_its_task() {
    let (host, finished) = run("echo out of a job").await;
    assert_eq!(finished["result"], "pass", "{finished}");
    assert!(finished["run-script"].to_string().contains("out of a job"), "{finished}");
    let ended = &host.events_of("dev.pilothouse.job.finished.v1").await.unwrap()[0];
    pilothouse_tests::check_published(ended).unwrap();
    assert_eq!(data(ended)["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_gives_a_failed_answer_with_its_exit_code() {
    let (_, finished) = run("echo going down >&2; exit 3").await;
    assert_ne!(finished["result"], "pass", "{finished}");
    assert!(finished.to_string().contains('3'), "{finished}");
}
