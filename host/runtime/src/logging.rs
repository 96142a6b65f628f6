//! `wasi:logging/logging`: lines of the call's log, see [`crate::log`].

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::wasi::logging::logging::{self, Level};
use crate::log::LogLevel;
use crate::state::State;

impl logging::Host for State {
    async fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        };
        self.log.push(level, &context, &message);
        Ok(())
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
