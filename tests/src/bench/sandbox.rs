//! What a call costs: by wasmtime alone, and through all of the runtime, in four languages.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::{EventBuilder, json};
use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName};
use pilothouse_core::scope::Place;
use pilothouse_runtime::outputs::{OutputDirectory, OutputError};
use pilothouse_runtime::{
    Call, CallContext, Connection, EmitError, JobError, JobRequest, JobStatus, Plugin, Runtime, RuntimeConfig,
    Services, Settings,
};

use crate::bare::Bare;
use crate::load::event_json;
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, percentile, ratio};

/// Calls of one measurement.
const CALLS: usize = 4_000;
/// Calls that are made before.
const WARM_CALLS: usize = 500;
/// Calls under way at once, on one thread of guests, so that the time between two ends is the cost of one.
const IN_FLIGHT: usize = 8;
/// What the echo subscribes to.
const SAID: &str = "com.example.said.v1";

/// Services of a call that asks for nothing.
struct Nothing;

#[async_trait]
impl Services for Nothing {
    async fn emit(&self, _: u32, _: EventBuilder) -> Result<(), EmitError> {
        Ok(())
    }

    async fn key_value(&self, _: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    async fn keys(&self, _: Option<&str>, _: usize) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn connection(&self, name: &ConnectionName) -> Result<Connection, String> {
        Err(format!("no connection `{name}`"))
    }

    fn output_directory(&self, name: &OutputName) -> Result<OutputDirectory, OutputError> {
        Err(OutputError::Unavailable(format!("no directory `{name}`")))
    }

    async fn prepare_job(&self, _: JobRequest) -> Result<String, JobError> {
        Err(JobError::Unavailable("no jobs".to_owned()))
    }

    async fn job_status(&self, _: &str) -> Result<JobStatus, JobError> {
        Err(JobError::Unavailable("no jobs".to_owned()))
    }

    async fn open_artifact(&self, _: &str, _: &str) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError> {
        Err(JobError::Unavailable("no jobs".to_owned()))
    }
}

/// A plugin in a runtime of its own.
struct Sandbox {
    runtime: Arc<Runtime>,
    plugin: Arc<Plugin>,
    event: Event,
    installation: InstallationName,
    settings: Arc<Settings>,
    grants: Arc<EffectiveGrants>,
    services: Arc<dyn Services>,
}

impl Sandbox {
    async fn new(runtime: &Arc<Runtime>, wasm: Vec<u8>, event: Event) -> Result<Self> {
        Ok(Self {
            runtime: Arc::clone(runtime),
            plugin: runtime.load(wasm).await?,
            event,
            installation: InstallationName::new("guest")?,
            settings: Arc::new(Settings::none()),
            grants: Arc::new(EffectiveGrants::default()),
            services: Arc::new(Nothing),
        })
    }

    async fn call(&self) -> Result<()> {
        let installation = self.installation.clone();
        let context = CallContext {
            delivery: DeliveryId::derive(self.event.source(), self.event.id(), &installation, Cause::Observed.as_str()),
            installation,
            attempt: 1,
            task: None,
            place: Place::default(),
            commit: None,
            run: None,
            traceparent: None,
        };
        let report = self.runtime.call(
            &self.plugin,
            Call {
                context,
                event: self.event.clone(),
                settings: Arc::clone(&self.settings),
                grants: Arc::clone(&self.grants),
                services: Arc::clone(&self.services),
            },
        );
        let outcome = report.await.outcome?;
        ensure!(outcome.events.len() == 1, "the guest returned {} events", outcome.events.len());
        Ok(())
    }

    /// Returns the median time of one call at a time, in microseconds: with the way to the guests' thread and back.
    async fn alone_us(&self, count: usize) -> Result<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            self.call().await?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(percentile(&mut times, 0.5))
    }

    /// Returns the time between the ends of two calls, in microseconds, while the one thread of guests is busy.
    async fn busy_us(self: &Arc<Self>, count: usize) -> Result<f64> {
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let sandbox = Arc::clone(self);
            tasks.spawn(async move {
                for _ in 0..count / IN_FLIGHT {
                    sandbox.call().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / count as f64)
    }
}

fn guest(name: &str) -> Result<Vec<u8>> {
    let file = pilothouse_tests::guests().join(format!("{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))
}

/// Measures.
///
/// # Errors
/// A guest fails.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.section("sandbox")?;
    let event = json::parse(event_json(SAID).as_bytes()).context("the bench's own event")?;
    let data = event.data_json().context("data")?.to_string();
    let bare = Bare::new(&guest("echo")?, SAID, &data)?;
    let cache_dir = Some(pilothouse_tests::root().join("target/bench-code-cache"));
    let config = RuntimeConfig { cache_dir, guest_threads: 1, ..RuntimeConfig::default() };
    let runtime = Arc::new(Runtime::new(config)?);
    let echo = Arc::new(Sandbox::new(&runtime, guest("echo")?, event).await?);
    bare.fresh_us(WARM_CALLS).await?;
    echo.busy_us(WARM_CALLS).await?;

    let (mut instantiate, mut living, mut alone, mut pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        instantiate.push(bare.instantiate_us(CALLS).await?);
        living.push(bare.living_us(CALLS).await?);
        let fresh = bare.fresh_us(CALLS).await?;
        pairs.push((echo.busy_us(CALLS).await?, fresh));
        alone.push(echo.alone_us(CALLS / 4).await?);
    }
    let (through, fresh): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let mut push = |name: &str, value, goal| report.push(name, value, "us", Better::Lower, goal);
    push("bare wasmtime: instantiate echo", median(&instantiate), Goal::None);
    push("bare wasmtime: fresh call of echo, 1 KiB event", median(&fresh), Goal::None);
    push("bare wasmtime: call of a living echo", median(&living), Goal::None);
    push("through the runtime: fresh call of echo, one guest thread kept busy", median(&through), Goal::None);
    push("through the runtime: one call at a time, thread changes included", median(&alone), Goal::None);
    let name = "through the runtime: share of the bare fresh call";
    report.push(name, ratio(&pairs), "ratio", Better::Lower, Goal::Relative(1.5));

    for (name, language) in [("c", "C"), ("js", "JavaScript"), ("python", "Python")] {
        report.note(&format!("the {language} guest (compiled at the first run only)"));
        let event = EventBuilder::new("1", "/bench", SAID).json(&serde_json::json!({ "do": "echo" })).build()?;
        let sandbox = Sandbox::new(&runtime, guest(name)?, event).await?;
        sandbox.alone_us(5).await?;
        let time = sandbox.alone_us(60).await?;
        report.push(&format!("through the runtime: fresh call, {language}"), time, "us", Better::Lower, Goal::None);
    }
    Ok(())
}
