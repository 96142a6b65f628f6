//! A project and its upstream, a real Git server over HTTP: both are kept in step, and nothing is ever overwritten.

use std::path::Path;
use std::time::Instant;

use pilothouse_tests::PATIENCE;
use pilothouse_tests::git_server::{GitServer, git, push_file};
use serde_json::Value;

use crate::program::{Program, client, run};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}]}]
";

/// `x-access-token:s3cret` as HTTP Basic sends it.
const AUTHORIZATION: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";
const COMMITTED: &str = "dev.pilothouse.project.committed.v1";

/// A host with one project, and a Git server for its upstream.
struct Bench {
    host: Program,
    server: GitServer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(authorization: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = GitServer::start(authorization).unwrap();
        let bench = Self { host: Program::start(folder.path(), &[]), server, folder };
        std::fs::write(bench.folder.path().join("shipyard.yaml"), SHIPYARD).unwrap();
        bench.ok(&["project", "create", "podtato", "--shipyard", "shipyard.yaml"]);
        bench
    }

    /// Starts with an upstream that both sides are in step with; returns a developer's clone of it too.
    fn in_step() -> (Self, std::path::PathBuf) {
        let bench = Self::new(None);
        let url = bench.server.create("podtato").unwrap();
        bench.ok(&["project", "upstream", "set", "podtato", &url]);
        bench.until_state("in-step");
        let copy = bench.server.clone_of("podtato").unwrap();
        (bench, copy)
    }

    fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let token = self.host.token.clone().unwrap();
        let environment = [("PILOTHOUSE_URL", self.host.url.as_str()), ("PILOTHOUSE_TOKEN", token.as_str())];
        run(self.folder.path(), &[arguments, &["--output", "json"]].concat(), &environment)
    }

    /// Runs a command that must work; returns what it printed.
    fn ok(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.cli(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_default()
    }

    /// Waits until the upstream is in a state; returns what is shown of it.
    fn until_state(&self, state: &str) -> Value {
        until(|| {
            let shown = self.ok(&["project", "upstream", "get", "podtato"]);
            if shown["state"] == state { Ok(shown) } else { Err(format!("{shown}\n{}", self.host.said())) }
        })
    }

    /// Waits until a commit of the project is told of by an event; returns its data.
    fn until_told(&self, commit: &str) -> Value {
        until(|| {
            let found = self.commits().into_iter().find(|data| data["commit"] == commit);
            found.ok_or_else(|| format!("no event tells of {commit}: {:?}", self.commits()))
        })
    }

    /// The data of all commit events, newest first.
    fn commits(&self) -> Vec<Value> {
        self.events(COMMITTED)
    }

    /// The data of all events of a type, newest first.
    fn events(&self, ty: &str) -> Vec<Value> {
        let request = client().get(format!("{}/v1/events?type={ty}&data=true", self.host.url));
        let request = request.bearer_auth(self.host.token.as_ref().unwrap());
        let listed: Value = block_on(async { request.send().await.unwrap().json().await.unwrap() });
        listed["items"].as_array().unwrap().iter().map(|item| item["event"]["data"].clone()).collect()
    }

    /// A file of the upstream, as its branch has it.
    fn upstream_file(&self, branch: &str, path: &str) -> Result<String, String> {
        git(&self.server.path("podtato"), &["show", &format!("{branch}:{path}")]).map_err(|error| error.to_string())
    }

    fn add(&self, path: &str, content: &str) -> String {
        std::fs::write(self.folder.path().join("file"), content).unwrap();
        let written = self.ok(&["resource", "add", "podtato", "file", "--to", path, "-m", "From the host"]);
        written["commit"].as_str().unwrap().to_owned()
    }

    fn file(&self, path: &str) -> String {
        let (code, out, err) = self.cli(&["resource", "get", "podtato", path]);
        assert_eq!(code, 0, "{path}: {err}");
        out
    }
}

/// Waits for a fact; `look` says what is there instead.
fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if begin.elapsed() > PATIENCE => panic!("waited for too long; it is: {state}"),
            Err(_) => block_on(async { tokio::time::sleep(std::time::Duration::from_millis(50)).await }),
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn sync(bench: &Bench) {
    bench.ok(&["project", "upstream", "sync", "podtato"]);
}

#[test]
fn what_is_added_here_arrives_upstream_and_what_is_pushed_there_is_told_of_here() {
    let bench = Bench::new(Some(AUTHORIZATION));
    let url = bench.server.create("podtato").unwrap();
    std::fs::write(bench.folder.path().join("token"), "s3cret\n").unwrap();
    bench.ok(&["secret", "set", "forge", "--file", "token"]);
    bench.ok(&["project", "upstream", "set", "podtato", &url, "--secret", "forge", "--user", "x-access-token"]);
    bench.until_state("in-step");
    assert_eq!(bench.upstream_file("main", "shipyard.yaml").unwrap(), SHIPYARD);

    bench.add("services/hello/limits.yaml", "a: 1\n");
    until(|| bench.upstream_file("main", "services/hello/limits.yaml"));
    let log = git(&bench.server.path("podtato"), &["log", "--format=%an|%s", "-1", "main"]).unwrap();
    assert_eq!(log.trim(), "token:admin|From the host");

    let copy = bench.server.clone_of("podtato").unwrap();
    let pushed = push_file(&copy, "services/hello/limits.yaml", "a: 2\n", "Promise less").unwrap();
    sync(&bench);
    let told = bench.until_told(&pushed);
    assert_eq!(
        (&told["origin"], &told["author"], &told["message"]),
        (&"upstream".into(), &"Dev".into(), &"Promise less".into())
    );
    assert_eq!(told["paths"][0]["path"], "services/hello/limits.yaml");
    assert_eq!(bench.file("services/hello/limits.yaml"), "a: 2\n");
    assert!(!bench.host.said().contains("s3cret"));
}

#[test]
fn a_signed_push_webhook_is_followed_at_once_and_a_forged_one_is_not() {
    let (bench, copy) = Bench::in_step();
    std::fs::write(bench.folder.path().join("hook"), "hush").unwrap();
    bench.ok(&["secret", "set", "hook", "--file", "hook"]);
    let url = format!("{}/podtato.git", bench.server.url);
    // The next look by the clock is far away: what arrives came by the webhook.
    bench.ok(&["project", "upstream", "set", "podtato", &url, "--webhook-secret", "hook", "--interval", "24h"]);
    bench.until_state("in-step");
    let pushed = push_file(&copy, "a.yaml", "1\n", "By a developer").unwrap();
    let send = |header: &str, value: &str| {
        let request = client().post(format!("{}/v1/projects/podtato/upstream/webhook", bench.host.url));
        let request = request.header(header, value).body(r#"{"ref":"refs/heads/main"}"#);
        block_on(async { request.send().await.unwrap().status().as_u16() })
    };
    assert_eq!(send("x-gitlab-token", "guess"), 404);
    assert_eq!(send("x-hub-signature-256", "sha256=00"), 404);
    assert!(bench.commits().iter().all(|data| data["commit"] != pushed.as_str()), "a forged webhook does nothing");
    assert_eq!(send("x-gitlab-token", "hush"), 202);
    bench.until_told(&pushed);
}

#[test]
fn changes_of_different_files_on_both_sides_are_brought_together() {
    let (bench, copy) = Bench::in_step();
    // Neither side knows of the other's commit when it makes its own.
    let theirs = push_file(&copy, "theirs.yaml", "1\n", "Theirs").unwrap();
    let ours = bench.add("ours.yaml", "2\n");
    until(|| bench.upstream_file("main", "ours.yaml"));
    assert_eq!(bench.upstream_file("main", "theirs.yaml").unwrap(), "1\n");
    assert_eq!((bench.file("ours.yaml"), bench.file("theirs.yaml")), ("2\n".to_owned(), "1\n".to_owned()));
    let log = git(&bench.server.path("podtato"), &["log", "--format=%H", "main"]).unwrap();
    assert!(log.contains(&theirs) && log.contains(&ours), "both are in the history: {log}");
    bench.until_state("in-step");
}

#[test]
fn changes_of_one_file_on_both_sides_wait_for_a_person_and_either_side_can_be_taken() {
    for (side, kept) in [("ours", "host\n"), ("theirs", "developer\n")] {
        let (bench, copy) = Bench::in_step();
        push_file(&copy, "a.yaml", "developer\n", "Theirs").unwrap();
        bench.add("a.yaml", "host\n");
        let shown = bench.until_state("conflict");
        assert_eq!(shown["conflicts"][0], "a.yaml");
        assert_eq!(bench.file("a.yaml"), "host\n");
        assert_eq!(bench.upstream_file("main", "a.yaml").unwrap(), "developer\n", "nothing is overwritten");
        let told = bench.events("dev.pilothouse.project.conflicted.v1");
        assert_eq!((told.len(), &told[0]["files"][0]), (1, &"a.yaml".into()), "{told:?}");
        let conflict = bench.ok(&["project", "conflict", "show", "podtato"]);
        let difference = conflict["files"][0]["difference"].as_str().unwrap();
        assert!(difference.contains("-host") && difference.contains("+developer"), "{difference}");
        // The project can still be changed meanwhile.
        bench.add("b.yaml", "more\n");
        let (code, _, err) = bench.cli(&["project", "conflict", "take", "podtato", side, "--path", "c.yaml"]);
        assert!(code == 5 && err.contains("`c.yaml` is not in conflict; these are: a.yaml"), "{code} {err}");
        bench.ok(&["project", "conflict", "take", "podtato", side]);
        bench.until_state("in-step");
        assert_eq!(bench.file("a.yaml"), kept);
        assert_eq!(until(|| bench.upstream_file("main", "b.yaml")), "more\n");
        assert_eq!(bench.upstream_file("main", "a.yaml").unwrap(), kept);
        let (code, _, err) = bench.cli(&["project", "conflict", "show", "podtato"]);
        assert!(code == 5 && err.contains("no conflict"), "{code} {err}");
    }
}

#[test]
fn a_rewritten_history_is_not_followed_until_a_person_says_so() {
    let (bench, copy) = Bench::in_step();
    push_file(&copy, "a.yaml", "1\n", "To be rewritten").unwrap();
    sync(&bench);
    until(|| if bench.commits().len() == 2 { Ok(()) } else { Err(format!("{:?}", bench.commits())) });
    git(&copy, &["commit", "--quiet", "--amend", "-m", "Rewritten"]).unwrap();
    git(&copy, &["push", "--quiet", "--force", "origin", "HEAD:main"]).unwrap();
    let rewritten = git(&copy, &["rev-parse", "HEAD"]).unwrap();
    sync(&bench);
    let shown = bench.until_state("conflict");
    assert!(shown["reason"].as_str().unwrap().contains("history was rewritten"), "{shown}");
    bench.ok(&["project", "conflict", "take", "podtato", "theirs"]);
    bench.until_state("in-step");
    bench.until_told(bench.ok(&["project", "get", "podtato"])["commit"].as_str().unwrap());
    let log = git(&bench.server.path("podtato"), &["log", "--format=%H", "main"]).unwrap();
    assert!(log.contains(rewritten.trim()), "{log}");
}

#[test]
fn a_branch_that_refuses_pushes_gets_a_branch_of_our_own_beside_it() {
    let (bench, _) = Bench::in_step();
    let hook = bench.server.path("podtato").join("hooks/pre-receive");
    let script = "#!/bin/sh\nwhile read old new ref; do [ \"$ref\" = refs/heads/main ] && { echo 'main is protected' >&2; exit 1; }; done; exit 0\n";
    write_program(&hook, script);
    bench.add("a.yaml", "1\n");
    let shown = bench.until_state("own-branch");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("refuses pushes to `main`"), "{reason}");
    let branch = reason.split("on its branch `").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(bench.upstream_file(branch, "a.yaml").unwrap(), "1\n");
    assert!(bench.upstream_file("main", "a.yaml").is_err(), "the protected branch is as it was");
    // Somebody merges it there.
    std::fs::remove_file(&hook).unwrap();
    let bare = bench.server.path("podtato");
    git(&bare, &["update-ref", "refs/heads/main", &format!("refs/heads/{branch}")]).unwrap();
    sync(&bench);
    bench.until_state("in-step");
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_upstream_that_refuses_or_is_away_is_named_and_tried_again_and_the_project_works_on() {
    let bench = Bench::new(Some(AUTHORIZATION));
    let url = bench.server.create("podtato").unwrap();
    std::fs::write(bench.folder.path().join("token"), "wrong").unwrap();
    bench.ok(&["secret", "set", "forge", "--file", "token"]);
    let set = |url: &str| {
        let arguments = ["project", "upstream", "set", "podtato", url, "--secret", "forge", "--user", "x-access-token"];
        bench.ok(&[&arguments[..], &["--interval", "5s"]].concat());
    };
    // Port 1 of loopback: nothing listens there.
    set("http://127.0.0.1:1/podtato.git");
    let away = bench.until_state("failed");
    assert!(away["reason"].as_str().unwrap().contains("127.0.0.1"), "{away}");
    set(&url);
    let refused = until(|| {
        let shown = bench.until_state("failed");
        let reason = shown["reason"].as_str().unwrap().to_owned();
        if reason.contains("credential") || reason.contains("sign") { Ok(reason) } else { Err(reason) }
    });
    assert!(!refused.contains("wrong"), "{refused}");
    bench.add("a.yaml", "1\n");
    assert_eq!(bench.file("a.yaml"), "1\n", "the project works on");
    std::fs::write(bench.folder.path().join("token"), "s3cret").unwrap();
    bench.ok(&["secret", "set", "forge", "--file", "token"]);
    sync(&bench);
    bench.until_state("in-step");
    assert_eq!(bench.upstream_file("main", "a.yaml").unwrap(), "1\n");
    for (url, contains) in [
        ("https://u:p@example.com/x.git", "password"),
        ("file:///etc", "names no host"),
        ("ssh://git@h/x", "private key"),
    ] {
        let (code, _, err) = bench.cli(&["project", "upstream", "set", "podtato", url]);
        assert!(code == 5 && err.contains(contains), "{url}: {code} {err}");
    }
}
