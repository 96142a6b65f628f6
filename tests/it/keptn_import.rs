//! A Keptn V1 repository, in both of its layouts, becomes a project: over a real Git server and from a folder.

use std::path::Path;

use pilothouse_tests::git_server::{GitServer, git};
use serde_json::{Value, json};

use crate::program::{Program, run};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: shipyard-podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}, {name: test}]}]
    - name: prod
      sequences:
        - name: delivery
          triggeredOn: [{event: dev.delivery.finished}]
          tasks: [{name: deployment}, {name: notify}]
";
const JOB: &str = "apiVersion: v2
actions:
  - name: Load test
    events: [{name: sh.keptn.event.test.triggered}]
    tasks:
      - name: locust
        files: [locust/basic.py]
        image: locustio/locust:2
        cmd: [locust]
        args: [--host, $(HOST)]
        env: [{name: HOST, value: '$.data.deployment.deploymentURIsLocal[0]', valueFrom: event}]
";
const WEBHOOK: &str = r#"apiVersion: webhookconfig.keptn.sh/v1beta1
kind: WebhookConfig
metadata: {name: webhook-configuration}
spec:
  webhooks:
    - type: sh.keptn.event.notify.triggered
      subscriptionID: s1
      sendFinished: true
      requests:
        - url: https://hooks.example.com/notify
          method: POST
          headers: [{key: Content-Type, value: application/json}]
          payload: '{"text": "{{.data.service}} is in {{.data.stage}}"}'
"#;
const SLO: &str = "spec_version: '1.0'
objectives: [{sli: response_time_p95, pass: [{criteria: ['<=600']}]}]
total_score: {pass: '90%', warning: '75%'}
";
/// `x-access-token:s3cret` as HTTP Basic sends it.
const AUTHORIZATION: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";

/// What Keptn's `configuration-service` had of a stage, below the folder that is the stage's.
const STAGE_DEV: [(&str, &str); 6] = [
    ("metadata.yaml", "stageName: dev\n"),
    ("hello/metadata.yaml", "serviceName: hello\n"),
    ("hello/slo.yaml", SLO),
    ("hello/job/config.yaml", JOB),
    ("hello/locust/basic.py", "print('load')\n"),
    ("hello/helm/hello.tgz", "\u{0}binary"),
];
const STAGE_PROD: [(&str, &str); 3] = [
    ("metadata.yaml", "stageName: prod\n"),
    ("hello/metadata.yaml", "serviceName: hello\n"),
    ("webhook/webhook.yaml", WEBHOOK),
];

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn commit(copy: &Path, message: &str) {
    git(copy, &["add", "--all"]).unwrap();
    git(copy, &["commit", "--quiet", "-m", message]).unwrap();
}

/// Makes a repository with a branch per stage on a server; returns its address.
fn branch_per_stage(server: &GitServer, name: &str) -> String {
    let url = server.create(name).unwrap();
    let copy = server.clone_of(name).unwrap();
    write(&copy, &[("shipyard.yaml", SHIPYARD), ("metadata.yaml", "projectName: podtato\n"), ("slo.yaml", SLO)]);
    commit(&copy, "the project");
    for (stage, files) in [("dev", STAGE_DEV.as_slice()), ("prod", STAGE_PROD.as_slice())] {
        git(&copy, &["checkout", "--quiet", "-b", stage, "main"]).unwrap();
        write(&copy, files);
        std::os::unix::fs::symlink("/etc/passwd", copy.join("link")).unwrap();
        commit(&copy, stage);
    }
    git(&copy, &["push", "--quiet", "origin", "main", "dev", "prod"]).unwrap();
    url
}

/// Makes a repository with stages below `.keptn-stages` on a server.
fn stages_folder(server: &GitServer, name: &str) -> String {
    let url = server.create(name).unwrap();
    let copy = server.clone_of(name).unwrap();
    let metadata = "projectName: podtato\nisUsingDirectoryStructure: true\n";
    write(&copy, &[("shipyard.yaml", SHIPYARD), ("metadata.yaml", metadata), ("slo.yaml", SLO)]);
    write(&copy.join(".keptn-stages/dev"), &STAGE_DEV);
    write(&copy.join(".keptn-stages/prod"), &STAGE_PROD);
    commit(&copy, "the project");
    git(&copy, &["push", "--quiet", "origin", "main"]).unwrap();
    url
}

/// Runs the program against a host, or without one.
fn cli(folder: &Path, host: Option<&Program>, arguments: &[&str]) -> (i32, String, String) {
    let mut environment = vec![("PILOTHOUSE_GIT_TOKEN", "s3cret")];
    if let Some(host) = host {
        environment.push(("PILOTHOUSE_URL", &host.url));
        environment.push(("PILOTHOUSE_TOKEN", host.token.as_deref().unwrap()));
    }
    run(folder, arguments, &environment)
}

fn listed(folder: &Path, host: &Program, project: &str) -> Vec<String> {
    let (code, out, err) = cli(folder, Some(host), &["resource", "list", project, "--output", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let listed: Value = serde_json::from_str(&out).unwrap();
    let path = |item: &Value| item["path"].as_str().unwrap().to_owned();
    listed["items"].as_array().unwrap().iter().map(path).collect()
}

#[test]
fn both_layouts_of_keptn_become_the_same_project() {
    let folder = tempfile::tempdir().unwrap();
    let server = GitServer::start(Some(AUTHORIZATION)).unwrap();
    let mut host = Program::start(folder.path(), &[]);
    let urls = [branch_per_stage(&server, "branches"), stages_folder(&server, "folders")];
    let github = ["--user", "x-access-token"];
    let expected = [
        "quality-gate.yaml",
        "services/hello/service.yaml",
        "shipyard.yaml",
        "slo.yaml",
        "stages/dev/services/hello/helm/hello.tgz",
        "stages/dev/services/hello/jobs.yaml",
        "stages/dev/services/hello/locust/basic.py",
        "stages/dev/services/hello/slo.yaml",
        "stages/prod/webhooks.yaml",
    ];
    for (url, (name, layout)) in urls.iter().zip([("podtato", "branch-per-stage"), ("other", "stages-folder")]) {
        let named: &[&str] = if name == "podtato" { &[] } else { &["--project", name] };
        let import = ["project", "import", url, "--output", "json"];
        let (code, out, err) = cli(folder.path(), Some(&host), &[&import, &github[..], named].concat());
        assert_eq!(code, 0, "{out}{err}");
        let imported: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&imported["project"], &imported["layout"]), (&json!(name), &json!(layout)));
        assert_eq!(imported["files"], json!(expected));
        assert_eq!((&imported["stages"], &imported["services"]), (&json!(["dev", "prod"]), &json!(["hello"])));
        assert!(out.contains("[jobs.locust]") && out.contains("[connections.hooks-example-com]"), "{out}");
        assert_eq!(out.contains("it is a link"), name == "podtato", "{out}");
        assert_eq!(listed(folder.path(), &host, name), expected);
        let of_jobs = ["resource", "get", name, "jobs.yaml", "--stage", "dev", "--service", "hello"];
        let (_, jobs, _) = cli(folder.path(), Some(&host), &of_jobs);
        assert!(jobs.contains("pointer: /deployment/deploymentURIsLocal/0"), "{jobs}");
        let (_, history, _) = cli(folder.path(), Some(&host), &["project", "history", name]);
        assert!(history.contains("Import from http://"), "{history}");
        let (code, out, err) = cli(folder.path(), Some(&host), &["validate", "--project", name]);
        assert_eq!(code, 0, "{out}{err}");
    }
    let again = [&["project", "import", &urls[0]], &github[..]].concat();
    let (code, out, err) = cli(folder.path(), Some(&host), &again);
    assert_eq!(code, 5, "{out}{err}");
    assert!(err.contains("`podtato`") && err.contains("--project"), "{err}");
    assert!(host.stop().success());
}

#[test]
fn a_dry_run_needs_no_host_and_takes_a_working_copy_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = GitServer::start(None).unwrap();
    let url = branch_per_stage(&server, "branches");
    // A fresh clone has one branch of its own; those of the stages are its origin's.
    let clone = folder.path().join("clone");
    git(folder.path(), &["clone", "--quiet", &url, &clone.display().to_string()]).unwrap();
    for repository in [url.as_str(), "clone"] {
        let (code, out, err) = cli(folder.path(), None, &["project", "import", repository, "--dry-run"]);
        assert_eq!(code, 0, "{out}{err}");
        for part in [
            "Translated:\n  dev:hello/job/config.yaml\n    became `stages/dev/services/hello/jobs.yaml`",
            "  [jobs.locust]\n",
            "  stages/prod/webhooks.yaml\n",
            "a branch per stage; stages: dev, prod; services: hello; 9 files\nwould create `podtato`; nothing was changed\n",
        ] {
            assert!(out.contains(part), "{part}\n{out}");
        }
        assert!(err.contains("things were not translated"), "{err}");
    }
}

#[test]
fn what_cannot_be_imported_is_said_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let server = GitServer::start(Some("Basic other")).unwrap();
    let locked = server.create("locked").unwrap();
    let open = GitServer::start(None).unwrap();
    let empty = open.create("empty").unwrap();
    let plain = open.create("plain").unwrap();
    let copy = open.clone_of("plain").unwrap();
    write(&copy, &[("README.md", "not Keptn's")]);
    commit(&copy, "a readme");
    git(&copy, &["push", "--quiet", "origin", "main"]).unwrap();
    std::fs::create_dir(folder.path().join("bare-folder")).unwrap();
    let old = open.create("old").unwrap();
    let copy = open.clone_of("old").unwrap();
    write(&copy, &[("shipyard.yaml", "stages: [{name: dev, deployment_strategy: direct}]\n")]);
    commit(&copy, "of Keptn 0.7");
    git(&copy, &["push", "--quiet", "origin", "main"]).unwrap();
    let gone = open.url.clone() + "/gone.git";
    for (repository, code, part) in [
        (locked.as_str(), 1, "--token-file"),
        (&gone, 1, "cannot be reached"),
        (&empty, 2, "it is empty, or"),
        (&plain, 2, "`main` has no `shipyard.yaml`"),
        (&old, 2, "`main:shipyard.yaml` is of version 0.1"),
        ("bare-folder", 2, "cannot be read as a Git repository"),
        ("no-such-folder", 2, "there is no such folder"),
        ("git@example.com:team/shop.git", 2, "--known-hosts"),
        ("https://user:pass@example.com/x", 2, "must not have a user or password"),
    ] {
        let (found, out, err) = cli(folder.path(), None, &["project", "import", repository, "--dry-run"]);
        assert_eq!(found, code, "{repository}: {out}{err}");
        assert!(err.contains(part) && !err.contains("s3cret"), "{repository}: {err}");
    }
    let (code, _, err) = cli(folder.path(), None, &["project", "import", &plain, "--branch", "trunk", "--dry-run"]);
    assert!(code == 2 && err.contains("no branch `trunk`"), "{err}");
}
