//! The first act: a project is created from a shipyard, with an upstream reached over HTTP; then one pushed commit moves every tool.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

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
/// The panel of the response time in a dashboard: the objective's name.
const PANEL: &str = "Response time, 95th percentile (ms)";
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
    let monitoring = monitoring_files(stage);
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
    let added = ["resource", "add", NAME, "jobs.yaml", "deploy.yaml", "rollback.yaml", "heal.yaml", "inventory.yaml"];
    show(stage, &admin, &[&added[..], &["-m", "Deploy with Ansible"]].concat()).await?;

    let of_service = |path: &str, content: &str| json!({ "path": path, "service": SERVICE, "content": content });
    let mut changes = vec![
        of_service("slo.yaml", &slo()),
        of_service("prometheus/sli.yaml", setup::SLI),
        of_service("remediation.yaml", setup::REMEDIATION),
    ];
    changes.extend(monitoring);
    let commits = format!("/v1/projects/{NAME}/commits");
    let written = stage.api()?.post(&commits, &json!({ "message": "Promise 600 ms", "changes": changes })).await?;
    let head = written.get("commit").and_then(Value::as_str).unwrap_or_default().to_owned();
    stage.printer.note(&format!("POST {commits} wrote SLI, SLO and remediation in commit {}", short(&head)));

    promised(stage, 600).await?;
    let bare = stage.folder.join("git").join("shop.git");
    arrived_upstream(stage, &bare).await?;
    let log = git(&bare, &["log", "--reverse", "--format=%an: %s", "main"]).await?;
    stage.printer.note("the upstream has, by `git log`:");
    for line in log.lines() {
        stage.printer.note(&format!("  │ {line}"));
    }

    let pushed = push(stage, &bare).await?;
    stage.printer.note(&format!("a developer pushes commit {} to the upstream: 300 ms instead of 600", short(&pushed)));
    let begun = Instant::now();
    stage.api()?.pushed(&format!("/v1/projects/{NAME}/upstream/webhook"), HOOK_SECRET).await?;
    promised(stage, 300).await?;
    let moved = begun.elapsed().as_secs_f64();
    stage.printer.note(&format!("{moved:.1} s later Prometheus has the rule, and the dashboard shows the limit"));
    let is_told = |seen: &Seen| seen.text("type") == PROJECT_COMMITTED && seen.text("/data/commit") == pushed;
    let told = stage.wait_for(wait("the commit event of the push", 60, None), is_told).await?;
    Ok(Shown {
        summary: format!("{moved:.1} s after a push, Prometheus alerts at 300 ms and the dashboard shows it"),
        facts: json!({
            "upstream-log": log.lines().collect::<Vec<_>>(), "head": head, "pushed": pushed, "moved-after-seconds": moved,
            "rules": rules(stage).await?, "limits": stage.grafana.limits(PANEL), "told": told.event.get("data"),
        }),
    })
}

/// The SLO of the examples, judged by its limits alone: how long an answer takes on this machine differs too much from run to run.
fn slo() -> String {
    let leave_out = [
        "      # Within 10% of the last good run, and never above 600 ms.\n",
        "\"<=+10%\", ",
        "    warning:\n      - criteria: [\"<=800\"]\n",
    ];
    leave_out.iter().fold(setup::SLO.to_owned(), |text, part| text.replace(part, ""))
}

/// What is scraped in each stage, and how soon it alerts: production at once, for the demo's sake.
fn monitoring_files(stage: &Stage) -> Vec<Value> {
    let file = |(name, url): (&String, &String)| {
        let hold = if name == "production" { "2s" } else { "1h" };
        let target = url.trim_start_matches("http://");
        let content = format!("spec_version: '1.0'\ntargets: ['{target}']\nalertFor: {hold}\nalertWindow: 10s\n");
        json!({ "path": "prometheus/monitoring.yaml", "stage": name, "content": content })
    };
    stage.services.iter().map(file).collect()
}

/// Returns the expressions of all rules that Prometheus has.
async fn rules(stage: &Stage) -> Result<Vec<String>, DemoError> {
    let prometheus = stage.prometheus_api.as_ref();
    let prometheus = prometheus.ok_or_else(|| DemoError::Wrong("Prometheus does not run".to_owned()))?;
    let found = prometheus.get("/api/v1/rules").await?;
    let groups = found.pointer("/data/groups").and_then(Value::as_array).into_iter().flatten();
    let rules = groups.filter_map(|group| group.get("rules")?.as_array()).flatten();
    Ok(rules.filter_map(|rule| rule.get("query")?.as_str().map(str::to_owned)).collect())
}

/// Waits until Prometheus alerts at this many milliseconds, and the dashboard shows the limit, in both stages.
async fn promised(stage: &Stage, limit: u32) -> Result<(), DemoError> {
    let text = format!(">= {limit}");
    let is_there = || async {
        let of_rules = rules(stage).await?.iter().filter(|rule| rule.ends_with(&text)).count();
        let shown = stage.grafana.limits(PANEL);
        let of_panels = shown.iter().filter(|shown| **shown == f64::from(limit)).count();
        Ok((of_rules == stage.services.len() && of_panels == stage.services.len()).then_some(()))
    };
    stage.poll(wait(&format!("Prometheus and the dashboard to have {limit} ms"), 60, None), is_there).await
}

/// Waits until the upstream has what the project has: the plugin `grafana` keeps its dashboard there too.
async fn arrived_upstream(stage: &Stage, bare: &Path) -> Result<(), DemoError> {
    let api = stage.api()?;
    let arrived = || async {
        let project = api.get(&format!("/v1/projects/{NAME}")).await?;
        let head = project.get("commit").and_then(Value::as_str).unwrap_or_default().to_owned();
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
