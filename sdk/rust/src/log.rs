//! Log lines, kept by the host with the delivery that they belong to, up to the installation's limit.
//!
//! `log::info!("loaded {count} rules")` and so on. Never log a secret or the event's data: operators read it.
//! In a native build the lines go to standard error.

use crate::INSIDE_COMPONENT;
pub use crate::shim::bindings::wasi::logging::logging::Level;
use crate::shim::bindings::wasi::logging::logging::log;
#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// Writes one line at a level, with a context: any text that groups lines, empty for none.
pub fn write(level: Level, context: &str, message: &str) {
    if INSIDE_COMPONENT {
        log(level, context, message);
    } else {
        use std::io::Write as _;
        // A test that cannot print is still a test.
        let _ = writeln!(std::io::stderr(), "{level:?} {context} {message}");
    }
}

/// Logs what helps to follow the code step by step.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($arg:tt)+) => { $crate::log::write($crate::log::Level::Trace, "", &format!($($arg)+)) }; }
/// Logs what helps to find a bug.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($arg:tt)+) => { $crate::log::write($crate::log::Level::Debug, "", &format!($($arg)+)) }; }
/// Logs what an operator may want to know.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($arg:tt)+) => { $crate::log::write($crate::log::Level::Info, "", &format!($($arg)+)) }; }
/// Logs what an operator should look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($arg:tt)+) => { $crate::log::write($crate::log::Level::Warn, "", &format!($($arg)+)) }; }
/// Logs what went wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($arg:tt)+) => { $crate::log::write($crate::log::Level::Error, "", &format!($($arg)+)) }; }
