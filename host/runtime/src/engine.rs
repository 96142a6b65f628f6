//! Builds the one engine of the process: which WebAssembly is accepted, where its memory comes from, its clock.

use std::path::PathBuf;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// How the runtime is sized.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Calls that can run at once. Default 256. A component with several memories counts once for each.
    pub instances_max: u32,
    /// Ceiling of linear memory of one instance, in bytes; the pool reserves address space for it. Default 256 MiB.
    pub memory_bytes_max: u64,
    /// Folder of compiled components, which only the host may write. Made with mode 0700 where it is missing; without
    /// it every start compiles afresh.
    pub cache_dir: Option<PathBuf>,
    /// Threads that run guests, apart from those that serve HTTP. Default: one per processor.
    pub guest_threads: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            instances_max: 256,
            memory_bytes_max: 256 << 20,
            cache_dir: None,
            guest_threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        }
    }
}

/// Why the runtime cannot be built; always the host's or its configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// wasmtime refused the configuration.
    #[error("failed to set up the WebAssembly engine: {0}")]
    Engine(String),
    /// Threads could not be started.
    #[error("failed to start the threads for plugins")]
    Threads(#[source] std::io::Error),
    /// The code cache is not safe to use.
    #[error("the code cache `{}` cannot be used: {reason}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The client for outbound HTTP could not be made.
    #[error("failed to set up outbound HTTP: {0}")]
    Http(String),
}

/// Room per component instance and per core instance for what the engine keeps of it; JavaScript and Python guests
/// need more than wasmtime's 1 MiB.
const INSTANCE_BYTES_MAX: usize = 10 << 20;
/// Memory that a slot keeps for its next guest: page faults cost more than all the rest of an instantiation. Only with
/// `PAGEMAP_SCAN` (Linux 6.7), without which the whole of it would be cleared each time.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// Slots that stay bound to a component which no longer runs.
const WARM_SLOTS_MAX: u32 = 64;
/// Slots that are given back to the system at once.
const DECOMMIT_BATCH: usize = 16;
/// Stack of a guest, and of the fiber that it and the host calls beneath it run on.
const GUEST_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Frames of a trap's backtrace: they end in a line for people.
const BACKTRACE_FRAMES: usize = 16;

/// Builds the engine: with a pool of slots where the address space allows it, else with memory on demand.
///
/// # Errors
/// Neither way is accepted by wasmtime.
pub(crate) fn build(config: &RuntimeConfig) -> Result<Engine, RuntimeError> {
    let error = |error: &wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
    match Engine::new(&pooled_settings(config)) {
        Ok(engine) => {
            tracing::info!(instances_max = config.instances_max, allocator = "pool", "EngineBuilt");
            Ok(engine)
        }
        // The pool reserves terabytes of addresses, which containers with RLIMIT_AS do not have.
        Err(refused) => {
            let engine = Engine::new(&settings(InstanceAllocationStrategy::OnDemand)).map_err(|it| error(&it))?;
            tracing::warn!(allocator = "on-demand", reason = %format!("{refused:#}"), "EngineBuilt");
            Ok(engine)
        }
    }
}

/// Returns the engine's settings, with the pool, for the bench: its bare loop has to run on the same ones.
#[doc(hidden)]
pub fn pooled_settings(config: &RuntimeConfig) -> Config {
    settings(InstanceAllocationStrategy::Pooling(pool(config)))
}

fn pool(config: &RuntimeConfig) -> PoolingAllocationConfig {
    let instances = config.instances_max.max(1);
    let resident = if PoolingAllocationConfig::is_pagemap_scan_available() { KEEP_RESIDENT_BYTES } else { 0 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(limits::CORE_INSTANCES_MAX))
        // A call takes a permit for each memory of its component, so one slot for each permit is enough.
        .total_memories(instances.max(limits::MEMORIES_MAX))
        .total_tables(instances.saturating_mul(limits::TABLES_MAX))
        .total_stacks(instances)
        .max_memory_size(usize::try_from(config.memory_bytes_max).unwrap_or(usize::MAX))
        .max_memories_per_component(limits::MEMORIES_MAX)
        .max_tables_per_component(limits::TABLES_MAX)
        .max_core_instances_per_component(limits::CORE_INSTANCES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_tables_per_module(limits::TABLES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(resident)
        // Tables too: giving them back interrupts every processor that runs a thread of the host.
        .table_keep_resident(resident)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}

fn settings(strategy: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(strategy)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // No export of the contract is asynchronous, and calls are four times cheaper without.
        .concurrency_support(false)
        // What no guest needs is surface that nobody tests.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false);
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES));
    config
}
