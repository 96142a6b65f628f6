//! The macro that makes a crate a plugin, and the functions that it calls.
//!
//! Never here: logic. A line here is a line in each plugin.

use crate::shim::bindings::exports::pilothouse::plugin::handler::Outcome as WitOutcome;
use crate::shim::bindings::pilothouse::plugin::delivery::{Context as WitContext, Failure as WitFailure};
use crate::shim::bindings::pilothouse::plugin::event::Event as WitEvent;
use crate::shim::inbound_bindings::exports::pilothouse::plugin::inbound as wit_inbound;
use crate::shim::settings_bindings::exports::pilothouse::plugin::settings::Problem as WitProblem;
use crate::{Context, Handler};

#[doc(hidden)]
pub fn __handle<H: Handler>(context: &WitContext, event: WitEvent) -> Result<WitOutcome, WitFailure> {
    let outcome = H::handle(&Context::host(context), event.into()).map_err(WitFailure::from)?;
    outcome.into_wit().map_err(WitFailure::from)
}

#[doc(hidden)]
pub fn __validate<H: Handler>(document: &str) -> Result<(), Vec<WitProblem>> {
    let problems = H::validate(document);
    if problems.is_empty() {
        return Ok(());
    }
    Err(problems.into_iter().map(|it| WitProblem { path: it.path, message: it.message }).collect())
}

#[doc(hidden)]
pub fn __receive<H: Handler>(request: wit_inbound::Request) -> Result<wit_inbound::Received, String> {
    H::receive(request.into()).map(Into::into)
}

/// Makes the crate a plugin: exports a [`Handler`], and embeds the manifest `plugin.toml` that stands beside `Cargo.toml`.
///
/// * `plugin!(MyPlugin);`
/// * `plugin!(MyPlugin, settings);` also exports [`Handler::validate`].
/// * `plugin!(MyPlugin, inbound);` also exports [`Handler::receive`]; may follow `settings`.
/// * `plugin!(MyPlugin, manifest = "other.toml");` takes another file, relative to the crate's folder; may follow both.
///
/// Does nothing in a native build but check that the manifest exists.
#[macro_export]
macro_rules! plugin {
    ($handler:ty $(,)?) => {
        $crate::plugin!($handler, manifest = "plugin.toml");
    };
    ($handler:ty, settings $(,)?) => {
        $crate::plugin!($handler, settings, manifest = "plugin.toml");
    };
    ($handler:ty, inbound $(,)?) => {
        $crate::plugin!($handler, inbound, manifest = "plugin.toml");
    };
    ($handler:ty, settings, inbound $(,)?) => {
        $crate::plugin!($handler, settings, inbound, manifest = "plugin.toml");
    };
    ($handler:ty, settings, inbound, manifest = $path:literal $(,)?) => {
        $crate::plugin!($handler, settings, manifest = $path);
        $crate::__export_inbound!($handler);
    };
    ($handler:ty, inbound, manifest = $path:literal $(,)?) => {
        $crate::plugin!($handler, manifest = $path);
        $crate::__export_inbound!($handler);
    };
    ($handler:ty, settings, manifest = $path:literal $(,)?) => {
        $crate::plugin!($handler, manifest = $path);

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;
            impl $crate::settings_bindings::exports::pilothouse::plugin::settings::Guest for Exported {
                fn validate(
                    document: String,
                ) -> Result<(), Vec<$crate::settings_bindings::exports::pilothouse::plugin::settings::Problem>>
                {
                    $crate::__validate::<$handler>(&document)
                }
            }
    $crate::settings_bindings::export_settings!(Exported with_types_in $crate::settings_bindings);
        };
    };
    ($handler:ty, manifest = $path:literal $(,)?) => {
        const _: () = {
            const MANIFEST_BYTES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));

            #[cfg(target_arch = "wasm32")]
            #[unsafe(link_section = "pilothouse:manifest")]
            // Not `#[used]`: that would put a second copy into the instance's memory.
            #[doc(hidden)]
            pub static MANIFEST: [u8; MANIFEST_BYTES.len()] =
                *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));

            // Natively the exports would be symbols of the test binary that nothing calls.
            #[cfg(not(target_arch = "wasm32"))]
            const _: usize = MANIFEST_BYTES.len();
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;
            impl $crate::bindings::exports::pilothouse::plugin::handler::Guest for Exported {
                fn handle(
                    context: &$crate::bindings::pilothouse::plugin::delivery::Context,
                    event: $crate::bindings::pilothouse::plugin::event::Event,
                ) -> Result<
                    $crate::bindings::exports::pilothouse::plugin::handler::Outcome,
                    $crate::bindings::pilothouse::plugin::delivery::Failure,
                > {
                    $crate::__handle::<$handler>(context, event)
                }
            }
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };

        const _: fn() = || {
            fn needs_handler<H: $crate::Handler>() {}
            needs_handler::<$handler>();
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_inbound {
    ($handler:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;
            impl $crate::inbound_bindings::exports::pilothouse::plugin::inbound::Guest for Exported {
                fn receive(
                    request: $crate::inbound_bindings::exports::pilothouse::plugin::inbound::Request,
                ) -> Result<$crate::inbound_bindings::exports::pilothouse::plugin::inbound::Received, String> {
                    $crate::__receive::<$handler>(request)
                }
            }
    $crate::inbound_bindings::export_inbound!(Exported with_types_in $crate::inbound_bindings);
        };
    };
}
