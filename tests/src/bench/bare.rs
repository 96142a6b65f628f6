//! The limit of what a sandbox can cost: wasmtime on the runtime's own settings, with imports that do nothing, no limits,
//! no log and no threads between.

use std::time::Instant;

use anyhow::{Result, ensure};
use pilothouse_runtime::{RuntimeConfig, pooled_settings};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::stats::percentile;
use bindings::exports::pilothouse::plugin::handler::GuestIndices;
use bindings::pilothouse::plugin::delivery::{self, EmitError, TaskInfo};
use bindings::pilothouse::plugin::event::{self, Event, Payload};
use bindings::wasi::logging::logging::{self, Level};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "pilothouse:plugin/plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:random": wasmtime_wasi::p2::bindings::random,
            "pilothouse:plugin/delivery.context": super::Context,
        },
    });
}

/// Epochs that no loop of the bench reaches: the clock stands still.
const NO_DEADLINE: u64 = 1 << 40;

/// The context of a call, of which the guest asks for the attempt.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Context;

/// The data of a store.
struct State {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl event::Host for State {}
impl delivery::Host for State {}

impl delivery::HostContext for State {
    async fn id(&mut self, _: Resource<Context>) -> wasmtime::Result<String> {
        Ok(String::new())
    }

    async fn attempt(&mut self, _: Resource<Context>) -> wasmtime::Result<u32> {
        Ok(1)
    }

    async fn task(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<TaskInfo>> {
        Ok(None)
    }

    async fn remaining_ms(&mut self, _: Resource<Context>) -> wasmtime::Result<u64> {
        Ok(0)
    }

    async fn traceparent(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    async fn project(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    async fn stage(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    async fn service(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    async fn commit(&mut self, _: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    async fn emit(&mut self, _: Resource<Context>, _: Event) -> wasmtime::Result<Result<(), EmitError>> {
        Ok(Err(EmitError::Denied))
    }

    async fn drop(&mut self, context: Resource<Context>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl logging::Host for State {
    async fn log(&mut self, _: Level, _: String, _: String) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The echo guest, compiled and linked.
pub(crate) struct Bare {
    engine: Engine,
    pre: InstancePre<State>,
    handler: GuestIndices,
    event: Event,
}

impl Bare {
    /// Compiles the guest.
    ///
    /// # Errors
    /// wasmtime refuses it.
    pub(crate) fn new(wasm: &[u8], ty: &str, data: &str) -> Result<Self> {
        let engine = Engine::new(&pooled_settings(&RuntimeConfig::default()))?;
        let component = Component::from_binary(&engine, wasm)?;
        let mut linker = Linker::<State>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        event::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        delivery::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        logging::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(&component)?;
        let handler = GuestIndices::new(&pre)?;
        let event = Event {
            id: "1".to_owned(),
            source: "/bench".to_owned(),
            type_: ty.to_owned(),
            subject: None,
            time: None,
            datacontenttype: Some("application/json".to_owned()),
            dataschema: None,
            extensions: Vec::new(),
            data: Some(Payload::Text(data.to_owned())),
        };
        Ok(Self { engine, pre, handler, event })
    }

    fn store(&self) -> Store<State> {
        let state = State { table: ResourceTable::new(), wasi: WasiCtx::builder().build() };
        let mut store = Store::new(&self.engine, state);
        store.set_epoch_deadline(NO_DEADLINE);
        store
    }

    async fn call(&self, store: &mut Store<State>, instance: &wasmtime::component::Instance) -> Result<()> {
        let guest = self.handler.load(&mut *store, instance)?;
        let lent = store.data_mut().table.push(Context)?;
        let rep = lent.rep();
        let returned = guest.call_handle(&mut *store, Resource::new_borrow(rep), &self.event).await?;
        store.data_mut().table.delete(lent)?;
        ensure!(returned.is_ok_and(|outcome| outcome.events.len() == 1), "the guest returned something else");
        Ok(())
    }

    /// Returns the median time of an instantiation, in microseconds, the end of the instance included.
    ///
    /// # Errors
    /// wasmtime fails.
    pub(crate) async fn instantiate_us(&self, count: usize) -> Result<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            let mut store = self.store();
            self.pre.instantiate_async(&mut store).await?;
            drop(store);
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(percentile(&mut times, 0.5))
    }

    /// Returns the mean time of a call in a fresh instance, in microseconds, one after the other.
    ///
    /// # Errors
    /// The guest fails.
    pub(crate) async fn fresh_us(&self, count: usize) -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..count {
            let mut store = self.store();
            let instance = self.pre.instantiate_async(&mut store).await?;
            self.call(&mut store, &instance).await?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / count as f64)
    }

    /// Returns the mean time of a call in an instance that lives, in microseconds.
    ///
    /// # Errors
    /// The guest fails.
    pub(crate) async fn living_us(&self, count: usize) -> Result<f64> {
        let mut store = self.store();
        let instance = self.pre.instantiate_async(&mut store).await?;
        let begun = Instant::now();
        for _ in 0..count {
            self.call(&mut store, &instance).await?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / count as f64)
    }
}
