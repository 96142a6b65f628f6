//! `pilothouse plugin run`: one delivery, here and now, under the same limits and grants as on a host.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::{EventBuilder, json};
use pilothouse_core::grant::{EffectiveGrants, Limits};
use pilothouse_core::host_event::plugin_source;
use pilothouse_core::keptn::{self, TaskEventKind, parse_task_event};
use pilothouse_core::name::InstallationName;
use pilothouse_core::task::Answer;
use pilothouse_runtime::{Call, CallContext, CallReport, Inspection, Runtime, RuntimeConfig, Settings, TaskInfo};
use serde_json::{Value, json as json_value};

use super::inspect::fatal;
use super::services::LocalServices;
use super::{inspected, read_component, read_grants, read_settings, read_text};
use crate::cli::config::ConfigSource;
use crate::cli::terminal::Format;
use crate::cli::{CliError, Exit, Terminal};
use crate::config::{Config, Connections};
use crate::resources::ConfiguredResources;

/// Instances that one run needs; a component may have several memories, each of which takes a place.
const INSTANCES: u32 = 16;

#[derive(Debug, Args)]
pub(in crate::cli) struct RunCommand {
    /// The component, or the name of a bundled plugin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The event to deliver (JSON).
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// What is granted (TOML); nothing when left out.
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// The plugin's settings (JSON, or TOML).
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
}

impl RunCommand {
    pub(in crate::cli) async fn run(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let config = Arc::new(self.source.load(terminal)?);
        let wasm = read_component(&self.file)?;
        let inspection = inspected(&wasm)?;
        fatal(&inspection)?;
        let event = self.event(terminal)?;
        let Value::Object(settings) = read_settings(self.settings.as_deref())? else {
            return Err(CliError::new(Exit::Usage, "settings are an object"));
        };
        let grants = read_grants(self.grants.as_deref())?;
        let (effective, notes) = EffectiveGrants::new(&inspection.manifest, &grants, &config.ceiling.limits())
            .map_err(|error| CliError::of(Exit::Usage, &error))?;
        for note in notes {
            terminal.note(&format!("note: {note}"));
        }
        let runtime = runtime(&config)?;
        let plugin = runtime.load(wasm).await.map_err(|error| CliError::of(Exit::Failed, &error))?;
        let settings = Settings::from_object(&settings);
        if let Err(problems) = runtime.validate_settings(&plugin, &settings.document).await {
            let error = CliError::new(Exit::Usage, "the plugin does not accept the settings");
            return Err(problems.iter().fold(error, |error, it| error.because(format!("{} {}", it.path, it.message))));
        }
        let connections = Arc::new(Connections::read(&config.connections, &Default::default()));
        let installation = InstallationName::new(inspection.manifest.name.as_str())
            .map_err(|error| CliError::of(Exit::Usage, &error))?;
        let services = LocalServices::new(ConfiguredResources::new(connections, config), installation.clone())
            .map_err(|error| CliError::new(Exit::Failed, "cannot make a temporary folder").caused_by(&error))?;
        let services = Arc::new(services);
        let limits = effective.limits;
        let context = context(&inspection, installation, &event);
        let call = Call {
            context,
            event,
            settings: Arc::new(settings),
            grants: Arc::new(effective),
            services: Arc::clone(&services) as _,
        };
        let (delivery, source) = (call.context.delivery, plugin_source(&call.context.installation));
        let report = runtime.call(&plugin, call).await;
        let shown = Shown { delivery, source, emitted: services.emitted(), report, limits };
        // The runtime owns threads, which must not be joined on one of tokio's.
        let _ = tokio::task::spawn_blocking(move || drop((plugin, runtime))).await;
        shown.print(terminal)
    }

    fn event(&self, terminal: &mut Terminal) -> Result<Event, CliError> {
        let text = read_text(&self.event)?;
        let wrong = |reason: String| {
            CliError::new(Exit::Usage, format!("`{}` is not an event", self.event.display())).because(reason)
        };
        if let Ok(event) = json::parse(text.as_bytes()) {
            return Ok(event);
        }
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let (mut value, changes) = json::repair_v1(value);
        for change in changes {
            terminal.note(&format!("{}: {change}", self.event.display()));
        }
        if let Some(members) = value.as_object_mut() {
            members.entry("id").or_insert_with(|| Value::from(uuid::Uuid::new_v4().to_string()));
        }
        json::parse(value.to_string().as_bytes()).map_err(|error| wrong(error.message))
    }
}

fn runtime(config: &Config) -> Result<Runtime, CliError> {
    let config = RuntimeConfig {
        instances_max: INSTANCES,
        memory_bytes_max: config.ceiling.memory.0,
        cache_dir: None,
        guest_threads: 1,
    };
    Runtime::new(config).map_err(|error| CliError::of(Exit::Failed, &error))
}

fn context(inspection: &Inspection, installation: InstallationName, event: &Event) -> CallContext {
    let run = keptn::run(event);
    let task_name = match parse_task_event(event.ty()) {
        Some((task, TaskEventKind::Triggered)) => {
            inspection.manifest.tasks.iter().any(|it| it.name == task).then_some(task)
        }
        _ => None,
    };
    let cause = if task_name.is_some() { Cause::Triggered } else { Cause::Observed };
    let task = task_name.map(|name| TaskInfo {
        name,
        triggered_id: event.id().to_owned(),
        run: run.clone().unwrap_or_default(),
        cause,
    });
    CallContext {
        delivery: DeliveryId::derive(event.source(), event.id(), &installation, cause.as_str()),
        installation,
        attempt: 1,
        task,
        place: keptn::place(event, event.data_json().as_ref()),
        commit: event.extension_str(keptn::COMMIT_EXTENSION).map(str::to_owned),
        run,
        traceparent: event.extension_str("traceparent").map(str::to_owned),
    }
}

/// What a run did, ready to be printed.
struct Shown {
    delivery: DeliveryId,
    source: String,
    emitted: Vec<EventBuilder>,
    report: CallReport,
    limits: Limits,
}

impl Shown {
    fn print(self, terminal: &mut Terminal) -> Result<(), CliError> {
        let (events, answer) = match &self.report.outcome {
            Ok(outcome) => (outcome.events.clone(), outcome.answer.clone()),
            Err(_) => (Vec::new(), None),
        };
        let emitted = self.events(&self.emitted)?;
        let events = self.events(&events)?;
        if terminal.format == Format::Json {
            terminal.json(&json_value!({
                "emitted": emitted, "events": events, "answer": answer,
                "failure": self.report.outcome.as_ref().err().map(|failure| json_value!({"kind": failure.kind, "reason": failure.reason})),
                "log": self.report.log, "log-dropped": self.report.log_dropped,
                "cpu-us": u64::try_from(self.report.cpu.as_micros()).unwrap_or(u64::MAX),
                "wall-us": u64::try_from(self.report.wall.as_micros()).unwrap_or(u64::MAX),
                "memory-bytes-max": self.report.memory_bytes_max,
            }))?;
        } else {
            self.print_lines(&emitted, &events, answer.as_ref(), terminal)?;
        }
        match self.report.outcome {
            Ok(_) => Ok(()),
            Err(failure) => Err(CliError::new(Exit::Failed, format!("the plugin failed ({})", failure.kind.as_str()))
                .because(failure.reason)),
        }
    }

    /// Gives events the ids and the source that a host would give them.
    fn events(&self, events: &[EventBuilder]) -> Result<Vec<Value>, CliError> {
        let build = |(index, event): (usize, &EventBuilder)| {
            let event = event.clone().id(self.delivery.returned_event_id(index)).source(self.source.clone()).build();
            let event = event.map_err(|error| CliError::of(Exit::Failed, &error))?;
            Ok(serde_json::from_slice(&json::to_vec(&event)).unwrap_or_default())
        };
        events.iter().enumerate().map(build).collect()
    }

    fn print_lines(
        &self,
        emitted: &[Value],
        events: &[Value],
        answer: Option<&Answer>,
        terminal: &mut Terminal,
    ) -> Result<(), CliError> {
        for line in &self.report.log {
            terminal.note(&format!("{:>6} ms  {:?} {}: {}", line.offset_ms, line.level, line.context, line.message));
        }
        if self.report.log_dropped > 0 {
            terminal.note(&format!("{} more log lines were dropped", self.report.log_dropped));
        }
        for event in emitted {
            terminal.line("emitted:")?;
            terminal.json(event)?;
        }
        for event in events {
            terminal.line("event:")?;
            terminal.json(event)?;
        }
        if let Some(answer) = answer {
            terminal.line("answer:")?;
            terminal.json(answer)?;
        }
        let report = &self.report;
        terminal.note(&format!(
            "cpu {:?} of {:?} · wall {:?} of {:?} · memory {} of {} bytes",
            report.cpu,
            self.limits.cpu,
            report.wall,
            self.limits.timeout,
            report.memory_bytes_max,
            self.limits.memory_bytes_max
        ));
        Ok(())
    }
}
