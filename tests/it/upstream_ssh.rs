//! An upstream behind SSH: a real client, a real server, a key for each; no host key but the known one is accepted.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pilothouse_tests::git_server::git;
use pilothouse_tests::{PATIENCE, root};
use serde_json::Value;

use crate::program::Program;

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.2
kind: Shipyard
metadata: {name: podtato}
spec:
  stages:
    - name: dev
      sequences: [{name: delivery, tasks: [{name: deployment}]}]
";

/// A server with one empty repository.
struct SshServer {
    child: Child,
    port: u16,
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a key pair.
fn key(folder: &Path, name: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

fn start(folder: &Path) -> SshServer {
    for name in ["host", "client", "other"] {
        key(folder, name);
    }
    git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "podtato.git"]).unwrap();
    let mut child = Command::new(root().join("target/venv/bin/python"))
        .arg(root().join("tests/it/ssh_server.py"))
        .args([folder.join(""), folder.join("host"), folder.join("client.pub")])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    SshServer { child, port: line.trim().parse().unwrap() }
}

#[test]
fn an_upstream_is_reached_by_ssh_with_a_key_and_only_if_its_host_key_is_the_known_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let host = Program::start(folder.path(), &[]);
    let ok = |arguments: &[&str]| -> Value {
        let out = host.ok(folder.path(), &[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_default()
    };
    let until = |is_it: &dyn Fn(&Value) -> bool| {
        let begin = Instant::now();
        loop {
            let shown = ok(&["project", "upstream", "get", "podtato"]);
            if is_it(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < PATIENCE, "{shown:#}\n{}", host.said());
        }
    };
    let known = |name: &str, key: &str| {
        let public = std::fs::read_to_string(folder.path().join(key)).unwrap();
        let words: Vec<&str> = public.split(' ').collect();
        let line = format!("[127.0.0.1]:{} {} {}\n", server.port, words[0], words[1]);
        std::fs::write(folder.path().join(name), line).unwrap();
    };
    known("right", "host.pub");
    known("wrong", "other.pub");
    std::fs::write(folder.path().join("shipyard.yaml"), SHIPYARD).unwrap();
    ok(&["project", "create", "podtato", "--shipyard", "shipyard.yaml"]);
    ok(&["secret", "set", "key", "--file", "client"]);
    ok(&["secret", "set", "other", "--file", "other"]);
    let url = format!("ssh://git@127.0.0.1:{}/podtato.git", server.port);
    let set = |secret: &str, hosts: &str| {
        ok(&["project", "upstream", "set", "podtato", &url, "--secret", secret, "--known-hosts", hosts]);
    };
    let error = |shown: &Value| shown.to_string();

    set("key", "wrong");
    let shown = until(&|shown| error(shown).contains("host key of the upstream is not the one that is known"));
    assert_ne!(shown["state"], "in-step");
    set("other", "right");
    until(&|shown| error(shown).contains("asks for a credential, or refused the one that it got"));
    set("key", "right");
    until(&|shown| shown["state"] == "in-step");
    let there = git(&folder.path().join("podtato.git"), &["show", "main:shipyard.yaml"]).unwrap();
    assert_eq!(there, SHIPYARD);
    let private = std::fs::read_to_string(folder.path().join("client")).unwrap();
    assert!(!host.said().contains(private.lines().nth(1).unwrap()), "no part of the key is in the log");
}
