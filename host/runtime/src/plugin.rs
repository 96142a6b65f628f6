//! A loaded plugin, and the way there: inspect, compile or read from the cache, link.

use std::sync::Arc;

use pilothouse_core::manifest::Manifest;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::pilothouse::plugin::{handler, inbound, settings};
use crate::cache::Cache;
use crate::inspect::{self, Inspection};
use crate::limits;
use crate::state::State;

/// A component that is compiled, linked and known to start. Shared by all calls.
pub struct Plugin {
    pub(crate) inspection: Inspection,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) handler: handler::GuestIndices,
    pub(crate) settings: Option<settings::GuestIndices>,
    pub(crate) inbound: Option<inbound::GuestIndices>,
    /// Permits that one call takes: one for each memory, for memories are what the pool has fewest of.
    pub(crate) permits: u32,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.manifest.name)
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// Returns what the component says about itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns `sha256:` and the hex digest of the component's bytes.
    pub fn digest(&self) -> &str {
        &self.inspection.digest
    }

    /// Tells whether the component exports `settings`, and so checks settings itself.
    pub fn validates_settings(&self) -> bool {
        self.settings.is_some()
    }

    /// Tells whether the component exports `inbound`, and so makes events of requests.
    pub fn receives_requests(&self) -> bool {
        self.inbound.is_some()
    }
}

/// Why a component cannot be loaded. All but [`LoadError::Host`] are the component's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not a component that can be read.
    #[error("this is not a plugin: {0}")]
    NotAComponent(String),
    /// Over the limit of size.
    #[error("the component has {size} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// No manifest, several, or one that cannot be read.
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    /// Imports or exports do not fit this host or the manifest.
    #[error("the plugin does not fit this host: {0}")]
    Unfit(String),
    /// It does not compile, or not within the host's limits.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// It does not start.
    #[error("the component does not start: {0}")]
    Start(String),
    /// The host failed.
    #[error("{0}")]
    Host(String),
}

/// Inspects, compiles and links. Blocks for seconds.
///
/// # Errors
/// See [`LoadError`]; never [`LoadError::Start`], for nothing is run.
pub(crate) fn prepare(
    engine: &Engine,
    linker: &Linker<State>,
    cache: Option<&Cache>,
    wasm: &[u8],
) -> Result<Plugin, LoadError> {
    let inspection = inspect::inspect(wasm)?;
    let fatal: Vec<&str> =
        inspection.problems.iter().filter(|it| it.fatal).map(|problem| problem.message.as_str()).collect();
    if !fatal.is_empty() {
        return Err(LoadError::Unfit(fatal.join("; ")));
    }
    let component = match cache.and_then(|cache| cache.load(engine, &inspection.digest)) {
        Some(component) => component,
        None => {
            // `from_binary`, for `new` also takes text where some dependency turns that on.
            let component =
                Component::from_binary(engine, wasm).map_err(|error| LoadError::Compile(one_line(&error)))?;
            if let Some(cache) = cache {
                cache.store(engine, &inspection.digest, &component);
            }
            component
        }
    };
    // Without the numbers (a component that imports modules) the most is assumed.
    let memories = component.resources_required().map_or(limits::MEMORIES_MAX, |required| required.num_memories);
    if memories > limits::MEMORIES_MAX {
        let max = limits::MEMORIES_MAX;
        return Err(LoadError::Compile(format!("it has {memories} memories; at most {max} are accepted")));
    }
    let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::Unfit(unlinked(&error)))?;
    let handler = handler::GuestIndices::new(&pre).map_err(|error| LoadError::Unfit(one_line(&error)))?;
    let exports = |interface: &str| inspection.exports.iter().any(|export| export.starts_with(interface));
    let unfit = |error: wasmtime::Error| LoadError::Unfit(one_line(&error));
    let settings = exports(inspect::SETTINGS).then(|| settings::GuestIndices::new(&pre)).transpose().map_err(unfit)?;
    let inbound = exports(inspect::INBOUND).then(|| inbound::GuestIndices::new(&pre)).transpose().map_err(unfit)?;
    let manifest = Arc::new(inspection.manifest.clone());
    Ok(Plugin { inspection, manifest, pre, handler, settings, inbound, permits: memories.max(1) })
}

/// Says in the user's words what wasmtime says about an import that does not fit.
fn unlinked(error: &wasmtime::Error) -> String {
    let text = one_line(error);
    if text.contains("function implementation is missing") || text.contains("was not found") {
        return format!("it was built against another version of an interface than this host offers ({text})");
    }
    text
}

fn one_line(error: &wasmtime::Error) -> String {
    crate::log::escape(&format!("{error:#}").replace('\n', " "), 1_000)
}
