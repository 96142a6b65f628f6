//! The log of one call: bounded, escaped, and in the order written, whatever way the lines came.
//!
//! Never here: tracing. A guest's text reaches the host's own log only as a field of what the engine writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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

/// Longest context kept, in bytes after escaping: it groups lines and is no text of its own.
const CONTEXT_BYTES_MAX: usize = 64;
/// What a kept line costs of the call's budget besides its text, so that a flood of empty lines ends too.
const LINE_OVERHEAD_BYTES: usize = 32;

/// The log of one call; clones write to the same log.
#[derive(Clone)]
pub(crate) struct CallLog(Arc<Mutex<Inner>>);

struct Inner {
    started: Instant,
    budget: usize,
    lines: Vec<LogLine>,
    dropped: u64,
    partial: [Vec<u8>; 2],
}

/// A standard stream of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn index(self) -> usize {
        match self {
            Self::Out => 0,
            Self::Err => 1,
        }
    }

    fn name(self) -> (&'static str, LogLevel) {
        match self {
            Self::Out => ("stdout", LogLevel::Info),
            Self::Err => ("stderr", LogLevel::Error),
        }
    }
}

impl CallLog {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            started: Instant::now(),
            budget: bytes_max,
            lines: Vec::new(),
            dropped: 0,
            partial: [Vec::new(), Vec::new()],
        })))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        // A panic while the lock was held leaves at worst a line half written.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a line of the guest's.
    pub(crate) fn push(&self, level: LogLevel, context: &str, message: &str) {
        self.with(|inner| inner.push(level, context, message));
    }

    /// Adds a remark of the host's, such as why a request was denied.
    pub(crate) fn remark(&self, message: &str) {
        self.push(LogLevel::Warn, "host", message);
    }

    /// Takes bytes of a standard stream; full lines are added, the rest waits.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.with(|inner| inner.write(stream, bytes));
    }

    /// Adds what stands without a newline and takes the lines and the number of dropped ones.
    pub(crate) fn take(&self) -> (Vec<LogLine>, u64) {
        self.with(|inner| {
            for stream in [Stream::Out, Stream::Err] {
                inner.flush(stream);
            }
            (std::mem::take(&mut inner.lines), inner.dropped)
        })
    }

    /// Returns what standard error says about a trap: the panic's first line with its message, or a traceback's last
    /// line. Call it before [`CallLog::take`].
    pub(crate) fn trap_text(&self) -> Option<String> {
        self.with(|inner| {
            inner.flush(Stream::Err);
            let mut stderr =
                inner.lines.iter().filter(|line| line.context == "stderr").map(|line| line.message.as_str());
            let mut first = stderr.clone().find(|line| line.contains("panicked at"));
            if let Some(panic) = first {
                stderr.by_ref().find(|line| *line == panic);
            } else {
                first = stderr.next();
            }
            let first = first?;
            if first.starts_with("Traceback") {
                return stderr.next_back().map(str::to_owned);
            }
            match stderr.next() {
                Some(second) if first.ends_with(':') => Some(format!("{first} {second}")),
                _ => Some(first.to_owned()),
            }
        })
    }
}

impl Inner {
    fn push(&mut self, level: LogLevel, context: &str, message: &str) {
        // Cheap to refuse: escaping is not paid for a flood that is dropped anyway.
        if self.budget == 0 {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let message = escape(message, LOG_LINE_BYTES_MAX);
        let context = escape(context, CONTEXT_BYTES_MAX);
        let cost = message.len().saturating_add(context.len()).saturating_add(LINE_OVERHEAD_BYTES);
        if cost > self.budget {
            self.budget = 0;
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.budget = self.budget.saturating_sub(cost);
        let offset_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lines.push(LogLine { offset_ms, level, context, message });
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.budget == 0 {
            // What is dropped anyway is neither copied nor decoded: a flood must not cost the host more than the guest.
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            self.dropped = self.dropped.saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
            return;
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.append(stream, line);
            self.flush(stream);
            rest = after.get(1..).unwrap_or_default();
        }
        self.append(stream, rest);
    }

    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(partial) = self.partial.get_mut(stream.index()) {
            // One byte more than a line, so that the cut is seen and marked.
            let room = (LOG_LINE_BYTES_MAX + 1).saturating_sub(partial.len());
            partial.extend(bytes.iter().take(room));
        }
    }

    fn flush(&mut self, stream: Stream) {
        let Some(partial) = self.partial.get_mut(stream.index()).map(std::mem::take) else { return };
        let text = String::from_utf8_lossy(&partial);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            let (context, level) = stream.name();
            self.push(level, context, text);
        }
    }
}

/// Writes guest text so that no terminal, log file or web page takes it for more than text, at most `bytes_max` long.
///
/// Control characters, line and paragraph separators and the marks that change the direction of text are escaped.
pub(crate) fn escape(text: &str, bytes_max: usize) -> String {
    const CUT: &str = " … (cut)";
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for char in text.chars() {
        let at = out.len();
        if char.is_control() || is_invisible(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
        if out.len() > bytes_max {
            out.truncate(at);
            while out.len() + CUT.len() > bytes_max && out.pop().is_some() {}
            out.push_str(CUT);
            break;
        }
    }
    out
}

fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A guest's standard stream, as WASI sees it. Never blocks and never fails: what is too much is dropped and counted.
#[derive(Clone)]
pub(crate) struct Capture {
    pub(crate) log: CallLog,
    pub(crate) stream: Stream,
}

/// Bytes that a guest may write to a standard stream at once.
const CAPTURE_BYTES_MAX: usize = 64 << 10;

impl wasmtime_wasi::cli::IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl wasmtime_wasi::cli::StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which the linker does not offer.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl wasmtime_wasi::p2::Pollable for Capture {
    async fn ready(&mut self) {}
}

impl wasmtime_wasi::p2::OutputStream for Capture {
    fn write(&mut self, bytes: bytes::Bytes) -> wasmtime_wasi::p2::StreamResult<()> {
        self.log.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> wasmtime_wasi::p2::StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> wasmtime_wasi::p2::StreamResult<usize> {
        Ok(CAPTURE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &CallLog) -> Vec<String> {
        log.take()
            .0
            .into_iter()
            .map(|line| format!("{} {} {}", line.level.as_str(), line.context, line.message))
            .collect()
    }

    #[test]
    fn escapes_of_terminals_and_forged_lines_stay_text() {
        let log = CallLog::new(10_000);
        log.push(LogLevel::Info, "a\nb", "\u{1b}[2Jwiped\n{\"fake\":\"json\"}\u{202e}\u{9b}x");
        log.write(Stream::Out, b"one\r\ntwo\x07\xff\n\nrest");
        assert_eq!(
            lines(&log),
            [
                "info a\\nb \\u{1b}[2Jwiped\\n{\"fake\":\"json\"}\\u{202e}\\u{9b}x",
                "info stdout one",
                "info stdout two\\u{7}\u{fffd}",
                "info stdout rest",
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_and_marked_at_a_character() {
        let log = CallLog::new(1 << 20);
        log.push(LogLevel::Info, "", &"é".repeat(10_000_000));
        log.write(Stream::Err, &vec![b'x'; 10 << 20]);
        let (lines, dropped) = log.take();
        assert_eq!(dropped, 0);
        for line in lines {
            assert!(line.message.len() <= LOG_LINE_BYTES_MAX && line.message.len() > LOG_LINE_BYTES_MAX - 4);
            assert!(line.message.ends_with(" … (cut)"));
        }
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let log = CallLog::new(1_000);
        for _ in 0..1_000_000 {
            log.push(LogLevel::Info, "", "");
        }
        for _ in 0..1_000 {
            log.write(Stream::Out, b"one\ntwo\n");
        }
        let (lines, dropped) = log.take();
        assert_eq!(u64::try_from(lines.len()).unwrap() + dropped, 1_002_000);
        assert!(lines.len() <= 1_000 / LINE_OVERHEAD_BYTES);
    }

    #[test]
    fn the_text_of_a_trap_is_the_panic_or_the_last_line_of_a_traceback() {
        let text = |stderr: &str| {
            let log = CallLog::new(10_000);
            log.write(Stream::Err, stderr.as_bytes());
            log.trap_text()
        };
        assert_eq!(text(""), None);
        assert_eq!(
            text("warming up\n\nthread 'main' panicked at src/lib.rs:3:5:\nno such file\nnote: run with\n").as_deref(),
            Some("thread 'main' panicked at src/lib.rs:3:5: no such file")
        );
        assert_eq!(
            text("Traceback (most recent call last):\n  File x\nValueError: no").as_deref(),
            Some("ValueError: no")
        );
        assert_eq!(text("Error: boom\n    at x.js:1").as_deref(), Some("Error: boom"));
    }
}
