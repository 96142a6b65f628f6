//! A host inside the test process: the real engine, runtime and SQLite store in a folder of their own.
//!
//! [`Host::start`] is given what a test needs and nothing else; [`Host::wait_for`] waits for an event, never for a while.
//! The program as a process of its own (kill -9, command line) is in `it/process.rs`.
#![forbid(unsafe_code)]

pub mod git_server;
pub mod grafana;
pub mod prometheus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pilothouse::engine::clock::{Clock as _, SystemClock};
use pilothouse::engine::telemetry::NoTelemetry;
use pilothouse::engine::view::{Accepted, InstallRequest, InstallationView, Sender};
use pilothouse::engine::{Engine, EngineConfig, Resources};
use pilothouse::git::{Change, Repositories};
use pilothouse::project::shipyards::{KnownProjects, Shipyards};
use pilothouse::project::{Cause, Projects};
use pilothouse::report::ReportLinks;
use pilothouse::secrets::Secrets;
use pilothouse_core::Event;
use pilothouse_core::delivery::DeliveryState;
use pilothouse_core::event::{AttributeValue, EventBuilder};
use pilothouse_core::grant::{Ceiling, Grants};
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName, ProjectName, TemplateName};
use pilothouse_core::resource::FilePath;
use pilothouse_core::right::{Actor, Reach};
use pilothouse_core::scope::Scope;
use pilothouse_core::shipyard::SHIPYARD_FILE;
use pilothouse_runtime::job::{JobTemplate, JobsConfig, LocalJobs, SupervisorCommand};
use pilothouse_runtime::{Connection, Runtime, RuntimeConfig};
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{DeliveryFilter, DeliveryRow, EventFilter, EventRow, RetentionPolicy, Seq, Store};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a fact. Generous: machines are slow and shared, and a test that waits this long has failed anyway.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the host is started with.
#[derive(Clone, Default)]
pub struct Options {
    /// Program that supervises jobs; tests that start jobs give the path of `pilothouse-host`.
    pub supervisor: Option<PathBuf>,
    /// Connections: name to base URL and headers.
    pub connections: BTreeMap<String, (String, Vec<(String, String)>)>,
    /// Output directories: name to folder.
    pub outputs: BTreeMap<String, PathBuf>,
    /// Job templates: name to TOML.
    pub jobs: BTreeMap<String, String>,
    /// What no grant goes beyond.
    pub ceiling: Option<Ceiling>,
    /// Keep the data in this folder instead of a fresh one, for restarts.
    pub data: Option<PathBuf>,
    /// Calls at once; 16 when absent.
    pub permits: Option<usize>,
    /// What is kept how long; everything when absent.
    pub retention: Option<RetentionPolicy>,
}

/// A running host.
pub struct Host {
    /// The engine under test.
    pub engine: Engine,
    /// Its projects.
    pub projects: Projects,
    /// The folder of its data.
    pub data: PathBuf,
    _folder: Option<TempDir>,
}

struct Operator {
    connections: BTreeMap<String, (String, Vec<(String, String)>)>,
    outputs: BTreeMap<String, PathBuf>,
    data: PathBuf,
    counts: Mutex<u64>,
}

impl Resources for Operator {
    fn connection(&self, name: &ConnectionName) -> Result<Connection, String> {
        *self.counts.lock().map_err(|error| error.to_string())? += 1;
        let (base_url, headers) = self.connections.get(name.as_str()).ok_or(format!("no connection `{name}`"))?;
        let parse = |(name, value): &(String, String)| {
            let name = name.parse().map_err(|_| "header name".to_owned())?;
            let mut value: reqwest::header::HeaderValue = value.parse().map_err(|_| "header value".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>((name, value))
        };
        let headers = headers.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Connection { base_url: base_url.clone(), headers })
    }

    fn output_directory(&self, name: &OutputName) -> Result<PathBuf, String> {
        let _ = &self.data;
        self.outputs.get(name.as_str()).cloned().ok_or(format!("no output directory `{name}`"))
    }
}

/// The folder of the built guests.
pub fn guests() -> PathBuf {
    root().join("target/guests/out")
}

/// The folder of the built plugins.
pub fn plugins() -> PathBuf {
    root().join("target/plugins")
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The sender of the tests: may do everything.
pub fn sender() -> Sender {
    Sender { actor: Actor::token("test"), may_send: Reach::All, may_trigger: Reach::All }
}

/// Makes an event of `ty` with JSON data.
pub fn event(id: &str, ty: &str, data: &Value) -> Result<Event> {
    Ok(EventBuilder::new(id, "/test", ty).json(data).build()?)
}

impl Host {
    /// Starts a host.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(options: Options) -> Result<Self> {
        let (folder, data) = match &options.data {
            Some(data) => (None, data.clone()),
            None => {
                let folder = tempfile::tempdir()?;
                let data = folder.path().to_owned();
                (Some(folder), data)
            }
        };
        std::fs::create_dir_all(data.join("jobs"))?;
        let store = SqliteStore::open(SqliteConfig::new(data.join("log.db")))?;
        // The code cache is shared by all tests of a build: compiling is not what they are about.
        let cache_dir = Some(root().join("target/test-code-cache"));
        let runtime = Runtime::new(RuntimeConfig { cache_dir, instances_max: 64, ..RuntimeConfig::default() })?;
        let program = options.supervisor.clone().unwrap_or_else(|| PathBuf::from("/nonexistent/supervisor"));
        let (jobs, jobs_ended) = LocalJobs::new(JobsConfig {
            directory: data.join("jobs"),
            supervisor: SupervisorCommand { program, arguments: vec!["supervise".to_owned()] },
            concurrent_max: 4,
            cgroup: None,
        })?;
        let mut job_templates = BTreeMap::new();
        for (name, toml) in &options.jobs {
            job_templates.insert(TemplateName::new(name)?, toml_template(toml)?);
        }
        let operator = Operator {
            connections: options.connections,
            outputs: options.outputs,
            data: data.clone(),
            counts: Mutex::new(0),
        };
        let store: Arc<dyn Store> = Arc::new(store);
        let clock = Arc::new(SystemClock);
        let repositories = Arc::new(Repositories::new(data.join("repositories")));
        let shipyards = Arc::new(Shipyards::new(Arc::clone(&repositories)));
        let known = KnownProjects { store: Arc::clone(&store), shipyards: Arc::clone(&shipyards) };
        let secrets = Arc::new(Secrets::new(Arc::clone(&store), Arc::clone(&clock) as _, data.join("secrets.key"))?);
        let report_links =
            ReportLinks::open(&store, clock.now(), "http://127.0.0.1", Duration::from_secs(3_600)).await?;
        let engine = Engine::start(EngineConfig {
            store,
            report_links,
            project_files: Arc::new(known),
            runtime: Arc::new(runtime),
            clock,
            resources: Arc::new(operator),
            jobs: Arc::new(jobs),
            jobs_ended,
            job_templates,
            telemetry: Arc::new(NoTelemetry),
            components_dir: data.join("components"),
            outputs_dir: data.join("outputs"),
            ceiling: options.ceiling.unwrap_or_default(),
            permits: options.permits.unwrap_or(16),
            retention: options.retention,
        })
        .await?;
        let projects = Projects::new(engine.clone(), repositories, shipyards, secrets);
        projects.announce_all().await;
        Ok(Self { engine, projects, data, _folder: folder })
    }

    /// Installs a component from a file.
    ///
    /// # Errors
    /// The file is missing (build the guests with `cargo xtask guests`), or the engine refuses it.
    pub async fn install_file(
        &self,
        file: &Path,
        name: &str,
        grants: &str,
        settings: Value,
    ) -> Result<InstallationView> {
        let wasm = std::fs::read(file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))?;
        let inspection = self.engine.upload(wasm).await?;
        let request = InstallRequest {
            name: InstallationName::new(name)?,
            digest: inspection.digest,
            settings,
            grants: grants_from(grants)?,
            scope: Scope::default(),
        };
        Ok(self.engine.install(request, &Actor::token("test")).await?)
    }

    /// Installs a guest of `tests/guests` under its own name.
    ///
    /// # Errors
    /// As for [`Host::install_file`].
    pub async fn install(&self, guest: &str, grants: &str, settings: Value) -> Result<InstallationView> {
        let name = guest.replace('_', "-");
        self.install_file(&guests().join(format!("{guest}.wasm")), &name, grants, settings).await
    }

    /// Checks every event of Keptn's types that the host made: see [`check_keptn`]. Returns how many there are.
    ///
    /// # Errors
    /// One of them breaks its schema.
    pub async fn check_log(&self) -> Result<usize> {
        let mut checked = 0;
        let mut from = Seq(1);
        loop {
            let rows = self.store().read_log(from, 500).await?;
            let Some(last) = rows.last() else { return Ok(checked) };
            from = Seq(last.seq.0 + 1);
            for row in &rows {
                let made = row.event.source() == "/pilothouse" || row.event.source().starts_with("/plugins/");
                if made && row.event.ty().starts_with("sh.keptn.event.") {
                    check_keptn(row)?;
                    checked += 1;
                } else if made && row.event.ty().starts_with("dev.pilothouse.") {
                    check_published(row)?;
                    checked += 1;
                }
            }
        }
    }

    /// Creates a project from its shipyard.
    ///
    /// # Errors
    /// It is refused.
    pub async fn create_project(&self, name: &str, shipyard: &str) -> Result<()> {
        let cause = Cause { actor: Actor::token("test"), message: "Create it".to_owned(), origin: "api" };
        let path = FilePath::new(SHIPYARD_FILE)?;
        let files = vec![Change { path, content: Some(shipyard.as_bytes().to_vec()) }];
        self.projects.create(&ProjectName::new(name)?, files, "", &cause).await?;
        Ok(())
    }

    /// Writes a file of a project; returns the commit.
    ///
    /// # Errors
    /// It is refused.
    pub async fn write(&self, project: &str, path: &str, content: &str) -> Result<String> {
        let cause = Cause { actor: Actor::token("test"), message: format!("Write {path}"), origin: "api" };
        let change = Change { path: FilePath::new(path)?, content: Some(content.as_bytes().to_vec()) };
        Ok(self.projects.write(&ProjectName::new(project)?, vec![change], None, &cause).await?.commit)
    }

    /// Sends one event.
    ///
    /// # Errors
    /// It is refused.
    pub async fn send(&self, event: Event) -> Result<Accepted> {
        let accepted = self.engine.ingest(vec![event], &sender()).await?;
        accepted.into_iter().next().context("one event, one answer")
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.engine.store()
    }

    /// Waits until the log has an event of type `ty` that `is_it` accepts.
    ///
    /// # Errors
    /// There is none within [`PATIENCE`]; the error lists what there is.
    pub async fn wait_for(&self, ty: &str, is_it: impl Fn(&EventRow) -> bool) -> Result<EventRow> {
        let mut head = self.store().head();
        let search = async {
            loop {
                head.mark_unchanged();
                let filter = EventFilter { ty: Some(ty.to_owned()), ..EventFilter::default() };
                let page = self.store().events(&filter, None, 500).await?;
                if let Some(row) = page.items.into_iter().find(|row| is_it(row)) {
                    return anyhow::Ok(row);
                }
                head.changed().await?;
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => bail!("no `{ty}` event came; the log has:\n{}", self.describe().await?),
        }
    }

    /// Waits until the deliveries that `filter` selects are all in `state`, and there are `count` of them.
    ///
    /// # Errors
    /// They are not within [`PATIENCE`].
    pub async fn wait_deliveries(
        &self,
        filter: DeliveryFilter,
        state: DeliveryState,
        count: usize,
    ) -> Result<Vec<DeliveryRow>> {
        let begun = tokio::time::Instant::now();
        loop {
            let rows = self.store().deliveries(&filter, None, 10_000).await?.items;
            if rows.len() == count && rows.iter().all(|row| row.state == state) {
                return Ok(rows);
            }
            if begun.elapsed() > PATIENCE {
                bail!("deliveries are not {state:?}: {rows:#?}\n{}", self.describe().await?);
            }
            // Settling appends no event where a plugin returns none, so there is nothing to be woken by.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the one delivery of the event at `seq` is in `state`.
    ///
    /// # Errors
    /// As for [`Host::wait_deliveries`].
    pub async fn wait_delivery(&self, seq: u64, state: DeliveryState) -> Result<DeliveryRow> {
        let filter = DeliveryFilter { event: Some(Seq(seq)), ..DeliveryFilter::default() };
        let mut rows = self.wait_deliveries(filter, state, 1).await?;
        rows.pop().context("one delivery")
    }

    /// Returns the log lines of the last attempt of a delivery.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn log_of(&self, row: &DeliveryRow) -> Result<String> {
        let attempts = self.store().attempts(row.id).await?;
        Ok(attempts.last().map(|it| String::from_utf8_lossy(&it.log).into_owned()).unwrap_or_default())
    }

    /// Lists the events of one type, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events_of(&self, ty: &str) -> Result<Vec<EventRow>> {
        let filter = EventFilter { ty: Some(ty.to_owned()), ..EventFilter::default() };
        let mut rows = self.store().events(&filter, None, 10_000).await?.items;
        rows.sort_by_key(|row| row.seq);
        Ok(rows)
    }

    /// Describes the whole log, for messages of failed tests.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn describe(&self) -> Result<String> {
        let mut text = String::new();
        for row in self.store().read_log(Seq(1), 200).await? {
            let data = row.event.data_json().map(|data| data.to_string()).unwrap_or_default();
            let cut: String = data.chars().take(400).collect();
            text.push_str(&format!("{} {} {} {cut}\n", row.seq, row.event.ty(), row.event.source()));
            let filter = DeliveryFilter { event: Some(row.seq), ..DeliveryFilter::default() };
            for delivery in self.store().deliveries(&filter, None, 20).await?.items {
                let (state, reason) = (delivery.state.as_str(), delivery.reason.clone().unwrap_or_default());
                text.push_str(&format!(
                    "    -> {} {state} attempt {} {reason}\n",
                    delivery.consumer, delivery.attempts
                ));
            }
        }
        Ok(text)
    }
}

/// Returns an event's data, for assertions.
///
/// # Panics
/// The event has no JSON data.
pub fn data(row: &EventRow) -> Value {
    row.event.data_json().unwrap_or(Value::Null)
}

/// Checks an event's data against the schema that is published for its type.
///
/// # Errors
/// There is no schema in `docs/events`, or the data breaks it.
pub fn check_published(row: &EventRow) -> Result<()> {
    let file = root().join(format!("docs/events/{}.schema.json", row.event.ty()));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&text)?).context("the schema")?;
    let data = data(row);
    let wrong: Vec<String> = schema.iter_errors(&data).map(|error| error.to_string()).collect();
    if !wrong.is_empty() {
        bail!("{} does not keep to {}: {wrong:?}", data, file.display());
    }
    Ok(())
}

/// Checks the data of one of Keptn's events that the host made against its schema in `docs/schemas/events`.
///
/// # Errors
/// The data breaks the schema, or an attribute that such an event has is missing.
pub fn check_keptn(row: &EventRow) -> Result<()> {
    let ty = row.event.ty();
    let folder = root().join("docs/schemas/events");
    let parts: Vec<&str> = ty.trim_start_matches("sh.keptn.event.").split('.').collect();
    let general = match parts.as_slice() {
        [_, "status", "changed"] => "task.status.changed",
        [_, "triggered"] => "task.triggered",
        [_, "started"] => "task.started",
        [_, "finished"] => "task.finished",
        [_, _, "triggered"] => "sequence.triggered",
        [_, _, "finished"] => "sequence.finished",
        _ => bail!("`{ty}` is none of Keptn's types"),
    };
    let own = folder.join(format!("{ty}.schema.json"));
    let file = if own.is_file() { own } else { folder.join(format!("{general}.schema.json")) };
    let schema = jsonschema::validator_for(&serde_json::from_str(&std::fs::read_to_string(&file)?)?)?;
    let data = data(row);
    let wrong: Vec<String> = schema.iter_errors(&data).map(|error| error.to_string()).collect();
    if !wrong.is_empty() {
        bail!("{ty} {data} does not keep to {}: {wrong:?}", file.display());
    }
    let mut needed = vec!["shkeptncontext", "shkeptnspecversion"];
    if matches!(general, "task.started" | "task.finished" | "sequence.finished") && own_kind(&parts) {
        needed.push("triggeredid");
    }
    match needed.into_iter().find(|name| row.event.extension_str(name).is_none()) {
        Some(missing) => bail!("{ty} of {} has no `{missing}`", row.event.source()),
        None => Ok(()),
    }
}

/// Events about projects and services themselves answer nothing.
fn own_kind(parts: &[&str]) -> bool {
    !matches!(parts.first(), Some(&"project" | &"service"))
}

/// Returns a string extension.
pub fn extension(row: &EventRow, name: &str) -> Option<String> {
    row.event.extension(name).map(AttributeValue::to_string)
}

fn grants_from(toml: &str) -> Result<Grants> {
    Ok(toml_from(toml)?)
}

fn toml_template(toml: &str) -> Result<JobTemplate> {
    Ok(toml_from(toml)?)
}

fn toml_from<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
    toml::from_str(text)
}
