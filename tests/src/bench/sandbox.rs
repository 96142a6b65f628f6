//! What a call costs: by wasmtime alone, and through all of the runtime, in four languages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use nix::sys::resource::{UsageWho, getrusage};
use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::{EventBuilder, json};
use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName};
use pilothouse_core::resource::FilePath;
use pilothouse_core::scope::Place;
use pilothouse_runtime::outputs::{OutputDirectory, OutputError};
use pilothouse_runtime::{
    Call, CallContext, Connection, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery, Plugin,
    ResourceError, ResourceLevel, Runtime, RuntimeConfig, Services, Settings,
};

use crate::bare::Bare;
use crate::load::event_json;
use crate::report::{Better, Goal, Report};
use crate::stats::{PAIRS, median, percentile, ratio};

/// Calls of one measurement.
const CALLS: usize = 4_000;
/// Calls that are made before.
const WARM_CALLS: usize = 500;
/// Calls under way at once, as in a host that has work.
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

    async fn resource(&self, _: Option<ResourceLevel>, _: &FilePath) -> Result<Vec<u8>, ResourceError> {
        Err(ResourceError::NotFound)
    }

    async fn resources(&self, _: ResourceLevel, _: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        Ok(Vec::new())
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        Ok(Vec::new())
    }

    async fn earlier_events(&self, _: LogQuery) -> Result<LogPage, LogError> {
        Ok(LogPage::default())
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

    /// Returns the CPU time of one call over all threads, in microseconds, while several are under way.
    async fn cpu_us(self: &Arc<Self>, count: usize) -> Result<f64> {
        let begun = cpu_seconds()?;
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
        Ok((cpu_seconds()? - begun) * 1e6 / count as f64)
    }
}

/// Returns the CPU time of this process so far.
fn cpu_seconds() -> Result<f64> {
    cpu_seconds_of(UsageWho::RUSAGE_SELF)
}

fn cpu_seconds_of(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn guest(name: &str) -> Result<Vec<u8>> {
    let file = pilothouse_tests::guests().join(format!("{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("{}: run `cargo xtask guests`", file.display()))
}

/// Measures, on one thread beside the guests' one, so that only these two cost CPU time.
///
/// # Errors
/// A guest fails.
pub(crate) async fn run(report: &mut Report) -> Result<()> {
    report.section("sandbox")?;
    let measured = std::thread::Builder::new().name("calls".to_owned()).spawn(|| {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        threads.block_on(measure())
    })?;
    // Nothing else is to be done meanwhile.
    let rows = tokio::task::spawn_blocking(|| measured.join()).await?;
    for (name, value, unit, goal) in rows.map_err(|_| anyhow::anyhow!("the measurement panicked"))?? {
        report.push(&name, value, unit, Better::Lower, goal);
    }
    Ok(())
}

/// Returns the CPU time of a fresh call by wasmtime alone, in microseconds, while another thread of the process computes:
/// what changes the memory map has to interrupt the other processor then.
async fn beside_a_thread_us(bare: &Bare) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let busy = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let begun = cpu_seconds_of(UsageWho::RUSAGE_THREAD)?;
    let called = bare.fresh_us(CALLS).await;
    let used = cpu_seconds_of(UsageWho::RUSAGE_THREAD)? - begun;
    stop.store(true, Ordering::Relaxed);
    busy.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))?;
    called?;
    Ok(used * 1e6 / CALLS as f64)
}

/// A row to be: name, value, unit, goal.
type Figure = (String, f64, &'static str, Goal);

async fn measure() -> Result<Vec<Figure>> {
    let event = json::parse(event_json(SAID).as_bytes()).context("the bench's own event")?;
    let data = event.data_json().context("data")?.to_string();
    let bare = Bare::new(&guest("echo")?, SAID, &data)?;
    let cache_dir = Some(pilothouse_tests::root().join("target/bench-code-cache"));
    let config = RuntimeConfig { cache_dir, guest_threads: 1, ..RuntimeConfig::default() };
    let runtime = Arc::new(Runtime::new(config)?);
    let echo = Arc::new(Sandbox::new(&runtime, guest("echo")?, event).await?);
    bare.fresh_us(WARM_CALLS).await?;
    echo.cpu_us(WARM_CALLS).await?;

    let (mut instantiate, mut living, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut cpu, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        instantiate.push(bare.instantiate_us(CALLS).await?);
        living.push(bare.living_us(CALLS).await?);
        let begun = cpu_seconds()?;
        let fresh_us = bare.fresh_us(CALLS).await?;
        let bare_cpu = (cpu_seconds()? - begun) * 1e6 / CALLS as f64;
        fresh.push(fresh_us);
        beside.push(beside_a_thread_us(&bare).await?);
        cpu.push((echo.cpu_us(CALLS).await?, bare_cpu));
        alone.push((echo.alone_us(CALLS / 4).await?, fresh_us));
    }
    let (through, bare_cpu): (Vec<f64>, Vec<f64>) = cpu.iter().copied().unzip();
    let times: Vec<f64> = alone.iter().map(|(time, _)| *time).collect();
    let none = Goal::None;
    let named = |name: &str, value, unit, goal| (name.to_owned(), value, unit, goal);
    let mut rows = vec![
        named("bare wasmtime: instantiate echo", median(&instantiate), "us", none),
        named("bare wasmtime: fresh call of echo, 1 KiB event", median(&fresh), "us", none),
        named("bare wasmtime: fresh call of echo, CPU time", median(&bare_cpu), "us", none),
        named("bare wasmtime: fresh call of echo, CPU time, beside a busy thread", median(&beside), "us", none),
        named("bare wasmtime: call of a living echo", median(&living), "us", none),
        named(
            "through the runtime: fresh call of echo, one at a time, two thread changes included",
            median(&times),
            "us",
            none,
        ),
        named(
            "through the runtime: fresh call of echo, CPU time of all threads, 8 at once",
            median(&through),
            "us",
            none,
        ),
        named(
            "through the runtime: share of the bare fresh call, by CPU time",
            ratio(&cpu),
            "ratio",
            Goal::Relative(1.5),
        ),
        named(
            "through the runtime: share of the bare fresh call, one at a time, by the clock",
            ratio(&alone),
            "ratio",
            none,
        ),
    ];
    for (name, language) in [("c", "C"), ("js", "JavaScript"), ("python", "Python")] {
        let event = EventBuilder::new("1", "/bench", SAID).json(&serde_json::json!({ "do": "echo" })).build()?;
        let sandbox = Sandbox::new(&runtime, guest(name)?, event).await?;
        sandbox.alone_us(5).await?;
        let time = sandbox.alone_us(60).await?;
        rows.push((format!("through the runtime: fresh call, {language}"), time, "us", none));
    }
    Ok(rows)
}
