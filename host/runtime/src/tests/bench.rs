//! The host around a guest under test: a small runtime, services that remember, and one call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pilothouse_core::Event;
use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName, TaskName};
use pilothouse_core::resource::FilePath;
use pilothouse_core::scope::Place;

use super::guest::Guest;
use crate::outputs::{OutputDirectory, OutputError};
use crate::services::NoServices;
use crate::{
    Call, CallContext, CallReport, Connection, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery,
    Plugin, ResourceError, ResourceLevel, Runtime, RuntimeConfig, Services, Settings, TaskInfo,
};

/// What a key of the store does when it is read.
pub(crate) const KEY_THAT_NEVER_ANSWERS: &str = "never";
/// The same.
pub(crate) const KEY_THAT_PANICS: &str = "panic";

/// Services with key-value state and a list of what was emitted.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) values: BTreeMap<String, Vec<u8>>,
    pub(crate) emitted: Mutex<Vec<Event>>,
}

#[async_trait::async_trait]
impl Services for Memory {
    async fn emit(&self, index: u32, event: EventBuilder) -> Result<(), EmitError> {
        let mut emitted = self.emitted.lock().unwrap();
        assert_eq!(u32::try_from(emitted.len()).unwrap(), index);
        emitted.push(event.id(index.to_string()).source("/plugins/test").build().unwrap());
        Ok(())
    }

    async fn key_value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        match key {
            KEY_THAT_NEVER_ANSWERS => std::future::pending().await,
            KEY_THAT_PANICS => panic!("a bug of the host"),
            key => Ok(self.values.get(key).cloned()),
        }
    }

    async fn keys(&self, _after: Option<&str>, limit: usize) -> Result<Vec<String>, String> {
        Ok(self.values.keys().take(limit).cloned().collect())
    }

    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String> {
        NoServices.connection(operator_name)
    }

    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        NoServices.output_directory(operator_name)
    }

    async fn resource(&self, level: Option<ResourceLevel>, path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        NoServices.resource(level, path).await
    }

    async fn resources(&self, level: ResourceLevel, prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        NoServices.resources(level, prefix).await
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        Ok(Vec::new())
    }

    async fn earlier_events(&self, _: LogQuery) -> Result<LogPage, LogError> {
        Ok(LogPage::default())
    }

    async fn prepare_job(&self, request: JobRequest) -> Result<String, JobError> {
        NoServices.prepare_job(request).await
    }

    async fn job_status(&self, id: &str) -> Result<JobStatus, JobError> {
        NoServices.job_status(id).await
    }

    async fn open_artifact(
        &self,
        id: &str,
        artifact: &str,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError> {
        NoServices.open_artifact(id, artifact).await
    }
}

/// A runtime, and what its calls share.
pub(crate) struct Bench {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) services: Arc<Memory>,
    pub(crate) grants: EffectiveGrants,
    pub(crate) task: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::sized(8)
    }

    /// Makes a runtime with so many places and one thread for guests, so that one guest is in another's way.
    pub(crate) fn sized(instances_max: u32) -> Self {
        let config = RuntimeConfig { instances_max, memory_bytes_max: 64 << 20, cache_dir: None, guest_threads: 1 };
        Self {
            runtime: Arc::new(Runtime::new(config).unwrap()),
            services: Arc::new(Memory::default()),
            grants: EffectiveGrants { keyvalue: true, ..EffectiveGrants::default() },
            task: false,
        }
    }

    pub(crate) async fn load(&self, guest: &Guest) -> Arc<Plugin> {
        self.runtime.load(guest.wasm()).await.unwrap()
    }

    pub(crate) fn call_for(&self, _plugin: &Plugin) -> Call {
        let installation = InstallationName::new("my-guest").unwrap();
        let event = EventBuilder::new("1", "/ci", "dev.example.built").build().unwrap();
        let task = self.task.then(|| TaskInfo {
            name: TaskName::new("test").unwrap(),
            triggered_id: "t1".into(),
            run: "r1".into(),
            cause: Cause::Triggered,
        });
        Call {
            context: CallContext {
                delivery: DeliveryId::derive("/ci", "1", &installation, "observed"),
                installation,
                attempt: 1,
                task,
                place: Place::default(),
                commit: None,
                run: None,
                traceparent: None,
            },
            event,
            settings: Arc::new(Settings::none()),
            grants: Arc::new(self.grants.clone()),
            services: Arc::clone(&self.services) as Arc<dyn Services>,
        }
    }

    pub(crate) async fn call(&self, plugin: &Arc<Plugin>) -> CallReport {
        self.runtime.call(plugin, self.call_for(plugin)).await
    }

    pub(crate) async fn run(&self, guest: &Guest) -> CallReport {
        let plugin = self.load(guest).await;
        self.call(&plugin).await
    }

    /// Proves that the runtime still serves others.
    pub(crate) async fn assert_alive(&self) {
        let report = self.run(&Guest::new("")).await;
        assert!(report.outcome.is_ok(), "{report:?}");
    }
}
