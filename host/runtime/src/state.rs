//! Everything that one instance may touch: made for a call, dropped with its store.

use std::sync::Arc;
use std::time::Instant;

use pilothouse_core::grant::EffectiveGrants;
use pilothouse_core::manifest::Manifest;
use pilothouse_core::name::InstallationName;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::call::Settings;
use crate::http::{Clients, Egress, Hooks};
use crate::limits::{self, Limits};
use crate::log::{CallLog, Capture, Stream};
use crate::services::Services;
use crate::{config, delivery, event_log, granted_outputs, jobs, key_value, logging, resources};

/// The data of a store.
pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
    pub(crate) log: CallLog,
    pub(crate) config: WasiConfigVariables,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) installation: InstallationName,
    pub(crate) grants: Arc<EffectiveGrants>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) writes: key_value::Writes,
    pub(crate) jobs: jobs::Requested,
    pub(crate) emitted: u32,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
}

/// What a state is made of.
pub(crate) struct Parts<'a> {
    pub(crate) installation: InstallationName,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) settings: &'a Settings,
    pub(crate) grants: Arc<EffectiveGrants>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) clients: &'a Arc<Clients>,
    pub(crate) log: CallLog,
    pub(crate) deadline: Instant,
    pub(crate) memory_ceiling: u64,
}

impl State {
    pub(crate) fn new(parts: Parts<'_>) -> Self {
        let capture = |stream| Capture { log: parts.log.clone(), stream };
        // Nothing is added: no arguments, environment, files or sockets.
        let wasi = WasiCtx::builder()
            .stdout(capture(Stream::Out))
            .stderr(capture(Stream::Err))
            .max_random_size(limits::RANDOM_BYTES_MAX)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits::FIELD_BYTES_MAX);
        let egress = Egress {
            installation: parts.installation.clone(),
            grants: Arc::clone(&parts.grants),
            services: Arc::clone(&parts.services),
            log: parts.log.clone(),
            client: parts.clients.client(),
            deadline: parts.deadline,
        };
        Self {
            table: ResourceTable::new(),
            limits: Limits::new(&parts.grants.limits, parts.memory_ceiling),
            log: parts.log,
            config: config::variables(parts.settings),
            manifest: parts.manifest,
            installation: parts.installation,
            grants: parts.grants,
            services: parts.services,
            writes: key_value::Writes::default(),
            jobs: jobs::Requested::default(),
            emitted: 0,
            wasi,
            http,
            hooks: Hooks(Arc::new(egress)),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Links every interface that this host offers, granted or not: what is not granted answers with a denial that names
/// the grant.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    config::link(linker)?;
    logging::link(linker)?;
    key_value::link(linker)?;
    delivery::link(linker)?;
    event_log::link(linker)?;
    jobs::link(linker)?;
    granted_outputs::link(linker)?;
    resources::link(linker)
}
