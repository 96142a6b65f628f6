//! `wasi:config/store`: an installation's settings. No secrets ever stand here.

use wasmtime::component::Linker;
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use crate::call::Settings;
use crate::state::State;

/// The key that holds the whole settings document.
const DOCUMENT_KEY: &str = "settings";

/// Makes what a guest sees. The document wins over a property that is called `settings` too.
pub(crate) fn variables(settings: &Settings) -> WasiConfigVariables {
    let mut variables: WasiConfigVariables = settings.properties.iter().cloned().collect();
    variables.insert(DOCUMENT_KEY, &settings.document);
    variables
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |state: &mut State| WasiConfig::from(&state.config))
}
