//! The act in which a project is created: from a shipyard, with an upstream reached over HTTP, changed from both sides.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilothouse_core::host_event::PROJECT_COMMITTED;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::command::{run, show};
use super::error::DemoError;
use super::follow::Seen;
use super::git_server;
use super::report::Shown;
use super::setup::{self, write_private};
use super::stage::{Stage, wait};

/// The project.
pub(super) const NAME: &str = "shop";
/// Its service.
pub(super) const SERVICE: &str = "carts";
/// What the Git server asks for, as user and password.
const GIT_LOGIN: (&str, &str) = ("git", "demo-git-token");
/// What the Git server signs its push webhooks with.
const HOOK_SECRET: &str = "demo-hook-secret";

/// Starts a Git server with an empty repository; returns the repository's address.
pub(super) async fn start_git_server(stage: &Stage) -> Result<String, DemoError> {
    let root = stage.folder.join("git");
    let bare = root.join("shop.git");
    git(&root, &["init", "--quiet", "--bare", "--initial-branch=main", &bare.display().to_string()]).await?;
    git(&bare, &["config", "http.receivepack", "true"]).await?;
    let login = STANDARD.encode(format!("{}:{}", GIT_LOGIN.0, GIT_LOGIN.1));
    let app = git_server::router(root, Some(format!("Basic {login}"))).await.map_err(DemoError::io("git"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("no free port"))?;
    let address = listener.local_addr().map_err(DemoError::io("no address"))?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/shop.git"))
}

/// Creates the project, and changes it through the command line, through the API, and by a push to its upstream.
pub(super) async fn project(stage: &mut Stage) -> Result<Shown, DemoError> {
    let folder = stage.folder.join("project");
    let files = setup::PROJECT.into_iter().chain([("git-token", GIT_LOGIN.1), ("git-hook", HOOK_SECRET)]);
    for (name, text) in files {
        write_private(&folder.join(name), text)?;
    }
    let admin = stage.admin().to_owned();
    let cli = async |arguments: &[&str]| run(stage, &admin, arguments).await;
    show(stage, &admin, &["project", "create", NAME, "--shipyard", "shipyard.yaml"]).await?;
    cli(&["secret", "set", "git-token", "--file", "git-token"]).await?;
    cli(&["secret", "set", "git-hook", "--file", "git-hook"]).await?;
    let upstream = stage.git_url.clone();
    let secrets = ["--secret", "git-token", "--user", GIT_LOGIN.0, "--webhook-secret", "git-hook", "--interval", "24h"];
    cli(&[&["project", "upstream", "set", NAME, &upstream], &secrets[..]].concat()).await?;
    cli(&["service", "create", NAME, SERVICE]).await?;
    let added = ["resource", "add", NAME, "jobs.yaml", "deploy.yaml", "rollback.yaml", "inventory.yaml"];
    show(stage, &admin, &[&added[..], &["-m", "Deploy with Ansible"]].concat()).await?;

    let change = json!({ "path": "slo.yaml", "service": SERVICE, "content": setup::SLO });
    let commits = format!("/v1/projects/{NAME}/commits");
    let written = stage.api()?.post(&commits, &json!({ "message": "Promise 600 ms", "changes": [change] })).await?;
    let head = written.get("commit").and_then(Value::as_str).unwrap_or_default().to_owned();
    stage.printer.note(&format!("POST {commits} wrote slo.yaml in commit {}", short(&head)));

    let bare = stage.folder.join("git").join("shop.git");
    arrived_upstream(stage, &bare, &head).await?;
    let log = git(&bare, &["log", "--reverse", "--format=%an: %s", "main"]).await?;
    stage.printer.note("the upstream has, by `git log`:");
    for line in log.lines() {
        stage.printer.note(&format!("  │ {line}"));
    }

    let pushed = push(stage, &bare).await?;
    stage.printer.note(&format!("a developer pushes commit {} to the upstream: 300 ms instead of 600", short(&pushed)));
    stage.api()?.pushed(&format!("/v1/projects/{NAME}/upstream/webhook"), HOOK_SECRET).await?;
    let is_told = |seen: &Seen| seen.text("type") == PROJECT_COMMITTED && seen.text("/data/commit") == pushed;
    let told = stage.wait_for(wait("the commit event of the push", 60, None), is_told).await?;
    Ok(Shown {
        summary: "a project has two stages and an upstream, and each commit of either side is an event".to_owned(),
        facts: json!({
            "upstream-log": log.lines().collect::<Vec<_>>(), "head": head, "pushed": pushed,
            "told": told.event.get("data"),
        }),
    })
}

async fn arrived_upstream(stage: &Stage, bare: &Path, head: &str) -> Result<(), DemoError> {
    let arrived = || async {
        let there = git(bare, &["rev-parse", "--verify", "--quiet", "main"]).await.unwrap_or_default();
        Ok((there.trim() == head).then_some(()))
    };
    stage.poll(wait("the commits to arrive upstream", 60, None), arrived).await
}

/// Changes the promise in a clone and pushes it, as a developer would; returns the commit.
async fn push(stage: &Stage, bare: &Path) -> Result<String, DemoError> {
    let copy: PathBuf = stage.folder.join("git").join("clone");
    git(stage.folder.path(), &["clone", "--quiet", &bare.display().to_string(), &copy.display().to_string()]).await?;
    let file = copy.join("services").join(SERVICE).join("slo.yaml");
    let text = std::fs::read_to_string(&file).map_err(DemoError::io("the clone has no slo.yaml"))?;
    write_private(&file, &text.replace("<600", "<300").replace("600 ms", "300 ms"))?;
    git(&copy, &["commit", "--quiet", "--all", "-m", "Promise 300 ms"]).await?;
    git(&copy, &["push", "--quiet", "origin", "HEAD:main"]).await?;
    Ok(git(&copy, &["rev-parse", "HEAD"]).await?.trim().to_owned())
}

/// Runs Git with nobody's settings; returns what it printed.
async fn git(folder: &Path, arguments: &[&str]) -> Result<String, DemoError> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Developer", "-c", "user.email=developer@example.com"]).args(arguments);
    command.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let output = command.output().await.map_err(DemoError::io("cannot start git"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(DemoError::Wrong(format!("git {} failed: {}", arguments.join(" "), said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}
