//! The log of one call: bounded, escaped, and in the order written, whatever way the lines came.
//!
//! Never here: tracing. A guest's text reaches the host's own log only as a field of what the engine writes.

/// Longest line kept, in bytes after escaping. Longer ones are cut, with a mark: four pages of a stack trace fit.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024;

/// How important a line is, from least to most (`wasi:logging`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Finer than debugging needs.
    Trace,
    /// For debugging.
    Debug,
    /// Worth a note; also the level of standard output.
    Info,
    /// Worth a look; also the level of the host's remarks on denied calls.
    Warn,
    /// Something failed; also the level of standard error.
    Error,
    /// Nothing works.
    Critical,
}

impl LogLevel {
    /// Returns the word used in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// One line of a call's log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogLine {
    /// Milliseconds since the call started.
    pub offset_ms: u64,
    /// How important it is.
    pub level: LogLevel,
    /// The group that the guest gave, or `stdout`, `stderr`, `host`. Escaped.
    pub context: String,
    /// The text. Escaped: no control characters, at most [`LOG_LINE_BYTES_MAX`] bytes.
    pub message: String,
}
