//! Builds the one engine of the process: which WebAssembly is accepted, where its memory comes from, its clock.

use std::path::PathBuf;

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
