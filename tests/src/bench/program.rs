//! The host as a process of its own, started on data that was prepared, and its API as far as the bench needs it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::{Body, Load};

/// Longest wait for the host to do what it is asked.
const PATIENCE: Duration = Duration::from_secs(180);
/// Time between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// The data of a host that is not running: components compiled and installed, and the token that it takes.
pub(crate) struct Template {
    folder: TempDir,
    token: String,
}

/// A component to install.
pub(crate) struct Install {
    pub(crate) name: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) grants: Value,
}

impl Install {
    /// Reads the guest `name` of `tests/guests`, with one text inside it exchanged for another of the same length.
    ///
    /// # Errors
    /// It is not built, or the text is not in it.
    pub(crate) fn guest(guest: &str, name: &str, exchange: Option<(&str, &str)>, grants: Value) -> Result<Self> {
        let file = pilothouse_tests::guests().join(format!("{guest}.wasm"));
        let mut wasm = std::fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))?;
        if let Some((from, to)) = exchange {
            ensure!(from.len() == to.len(), "`{from}` and `{to}` differ in length");
            let at = wasm.windows(from.len()).position(|part| part == from.as_bytes());
            let at = at.with_context(|| format!("`{from}` is not in {}", file.display()))?;
            wasm.splice(at..at + from.len(), to.bytes());
        }
        Ok(Self { name: name.to_owned(), wasm, grants })
    }
}

impl Template {
    /// Starts a host once to install everything, and stops it.
    ///
    /// # Errors
    /// The host does not start, or refuses one of them.
    pub(crate) async fn new(work: &Path, installs: &[Install]) -> Result<Self> {
        let folder = tempfile::tempdir_in(work)?;
        let mut host = Program::spawn(folder.path().to_owned(), None)?;
        host.wait_ready().await?;
        host.token = host.first_token().await?;
        for install in installs {
            let digest = host.upload(install.wasm.clone()).await?;
            host.install(&install.name, &digest, &install.grants).await?;
        }
        let token = host.token.clone();
        host.stop()?;
        Ok(Self { folder, token })
    }

    /// Opens the store, to put into it what would take a host long.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn store(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::open(SqliteConfig::new(self.folder.path().join("data/pilothouse.db")))?)
    }

    /// Starts a host on a copy of the data, and waits until it is ready and every plugin is loaded.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(&self) -> Result<Program> {
        let work = self.folder.path().parent().context("a work folder")?;
        let copy = tempfile::tempdir_in(work)?;
        let from = format!("{}/.", self.folder.path().display());
        let copied = Command::new("cp").arg("-a").arg(from).arg(copy.path()).status()?;
        ensure!(copied.success(), "cp ended with {copied}");
        // Otherwise the copy is written back during the measurement, and the host's syncs wait for it.
        let synced = Command::new("sync").arg("-f").arg(copy.path()).status()?;
        ensure!(synced.success(), "sync ended with {synced}");
        let mut host = Program::spawn(copy.path().to_owned(), Some(copy))?;
        host.token.clone_from(&self.token);
        host.wait_ready().await?;
        host.wait_active().await?;
        Ok(host)
    }
}

/// A running host.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) spawned: Instant,
    data: PathBuf,
    client: reqwest::Client,
    copy: Option<TempDir>,
}

impl Program {
    fn spawn(data: PathBuf, copy: Option<TempDir>) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = std::env::current_exe()?.with_file_name("pilothouse-host");
        let log = std::fs::File::create(data.join("stderr.log"))?;
        let output = std::fs::File::create(data.join("stdout.log"))?;
        let spawned = Instant::now();
        let child = Command::new(&program)
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &data)
            .env("PILOTHOUSE_DATA_DIR", data.join("data"))
            .env("PILOTHOUSE_LISTEN", address.to_string())
            // The bench's own log is short, and hostile guests would fill the disk.
            .env("RUST_LOG", "error")
            .current_dir(&data)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}: build it in the same profile", program.display()))?;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { child, address, token: String::new(), spawned, data, client, copy })
    }

    /// Returns a load on this host.
    pub(crate) fn load(&self, body: Body, connections: usize, duration: Duration) -> Load {
        Load { address: self.address, token: self.token.clone(), body, connections, duration, rate: None }
    }

    /// Returns the id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the host answers that it takes events; returns the time since it was started.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub(crate) async fn wait_ready(&mut self) -> Result<Duration> {
        loop {
            let asked = self.client.get(format!("http://{}/readyz", self.address)).send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return Ok(self.spawned.elapsed());
            }
            self.check("ready")?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every installation is loaded; returns the time since the host was started.
    ///
    /// # Errors
    /// One fails, or it takes too long.
    pub(crate) async fn wait_active(&mut self) -> Result<Duration> {
        loop {
            let list = self.get("/v1/installations").await?;
            let states: Vec<&str> =
                list["items"].as_array().into_iter().flatten().filter_map(|item| item["state"].as_str()).collect();
            if states.contains(&"failed") {
                bail!("an installation failed: {list}");
            }
            if states.iter().all(|state| *state == "active") {
                return Ok(self.spawned.elapsed());
            }
            self.check("active")?;
            tokio::time::sleep(LOOK).await;
        }
    }

    fn check(&mut self, what: &str) -> Result<()> {
        let said = || std::fs::read_to_string(self.data.join("stderr.log")).unwrap_or_default();
        if let Some(status) = self.child.try_wait()? {
            bail!("the host ended with {status}:\n{}", said());
        }
        ensure!(self.spawned.elapsed() < PATIENCE, "the host is not {what}:\n{}", said());
        Ok(())
    }

    async fn first_token(&self) -> Result<String> {
        loop {
            let output = std::fs::read_to_string(self.data.join("stdout.log"))?;
            if let Some(line) = output.lines().next() {
                return Ok(line.trim().to_owned());
            }
            ensure!(self.spawned.elapsed() < PATIENCE, "the host showed no token");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads JSON from the API.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("http://{}{path}", self.address)).bearer_auth(&self.token);
        answer(request, path).await
    }

    /// Sends JSON to the API.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.client.post(format!("http://{}{path}", self.address)).bearer_auth(&self.token);
        answer(request.json(body), path).await
    }

    /// Puts JSON to the API.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.client.put(format!("http://{}{path}", self.address)).bearer_auth(&self.token);
        answer(request.json(body), path).await
    }

    /// Sends one event, or a list of them as a batch.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn send(&self, events: &Value) -> Result<Value> {
        let form = if events.is_array() { "cloudevents-batch" } else { "cloudevents" };
        let request = self.client.post(format!("http://{}/v1/events", self.address)).bearer_auth(&self.token);
        let request = request.header("content-type", format!("application/{form}+json"));
        answer(request.body(events.to_string()), "send").await
    }

    /// Tells the host of a push, as GitLab does.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn pushed(&self, path: &str, secret: &str) -> Result<()> {
        let request = self.client.post(format!("http://{}{path}", self.address)).header("x-gitlab-token", secret);
        answer(request.body(r#"{"ref":"refs/heads/main"}"#), path).await.map(drop)
    }

    /// Uploads a component and returns its digest.
    ///
    /// # Errors
    /// The host refuses it.
    pub(crate) async fn upload(&self, wasm: Vec<u8>) -> Result<String> {
        let request = self.client.post(format!("http://{}/v1/plugins", self.address)).bearer_auth(&self.token);
        let view = answer(request.header("content-type", "application/wasm").body(wasm), "upload").await?;
        Ok(view["digest"].as_str().context("a digest")?.to_owned())
    }

    /// Installs what was uploaded.
    ///
    /// # Errors
    /// The host refuses it.
    pub(crate) async fn install(&self, name: &str, digest: &str, grants: &Value) -> Result<()> {
        let body = json!({ "digest": digest, "grants": grants });
        let request = self.client.put(format!("http://{}/v1/installations/{name}", self.address));
        answer(request.bearer_auth(&self.token).json(&body), name).await?;
        Ok(())
    }

    /// Sends a batch of events of one type.
    ///
    /// # Errors
    /// The host refuses it.
    pub(crate) async fn send_batch(&self, ty: &str, count: usize) -> Result<()> {
        let events: Vec<String> = (0..count).map(|_| crate::load::event_json(ty)).collect();
        let request = self.client.post(format!("http://{}/v1/events", self.address)).bearer_auth(&self.token);
        let request = request.header("content-type", "application/cloudevents-batch+json");
        answer(request.body(format!("[{}]", events.join(","))), ty).await?;
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        let request = self.client.get(format!("http://{}/metrics", self.address)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// Counts deliveries of `installation` that are owed: ready or running.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn owed(&self, installation: &str) -> Result<u64> {
        let text = self.metrics().await?;
        let count = |state: &str| {
            let series = format!("pilothouse_queue_deliveries{{installation=\"{installation}\",state=\"{state}\"}}");
            value(&text, &series) as u64
        };
        Ok(count("ready") + count("running"))
    }

    /// Says in words what the store did since the host was started.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) async fn commits(&self) -> Result<String> {
        let text = self.metrics().await?;
        let commits = value(&text, "pilothouse_store_fsync_seconds_count");
        let batches = value(&text, "pilothouse_store_batches_total");
        let mean_ms = |part: &str| value(&text, &format!("pilothouse_store_{part}_seconds_sum")) * 1_000.0 / commits;
        let (append, sync) = (mean_ms("append"), mean_ms("fsync"));
        Ok(format!("{commits:.0} commits of {:.1} batches, {append:.2} + {sync:.2} ms each", batches / commits))
    }

    /// Waits until nothing is owed to `installation`.
    ///
    /// # Errors
    /// It takes too long.
    pub(crate) async fn wait_drained(&mut self, installation: &str) -> Result<()> {
        let begun = Instant::now();
        while self.owed(installation).await? > 0 {
            ensure!(begun.elapsed() < PATIENCE, "the deliveries to `{installation}` do not end");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    }

    /// Stops the host and waits for its end.
    ///
    /// # Errors
    /// It ends badly.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// Stops the host and opens its store, to look at what happened. The folder goes with what is returned.
    ///
    /// # Errors
    /// It ends badly.
    pub(crate) fn into_store(mut self) -> Result<(SqliteStore, Option<TempDir>)> {
        self.stop()?;
        let store = SqliteStore::open(SqliteConfig::new(self.data.join("data/pilothouse.db")))?;
        Ok((store, self.copy.take()))
    }

    /// Stops the host and starts it again on the same data.
    ///
    /// # Errors
    /// It ends badly, or does not start.
    pub(crate) fn restart(mut self) -> Result<Self> {
        self.stop()?;
        let mut host = Self::spawn(self.data.clone(), self.copy.take())?;
        host.token.clone_from(&self.token);
        Ok(host)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A process that has ended already is not there to be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one series; 0 where it is not there yet.
fn value(metrics: &str, series: &str) -> f64 {
    let found = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok());
    found.unwrap_or(0.0)
}

async fn answer(request: reqwest::RequestBuilder, what: &str) -> Result<Value> {
    let answer = request.send().await.with_context(|| format!("{what}: no answer"))?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{what}: {status}: {text}");
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
