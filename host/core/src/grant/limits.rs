//! The limits of an installation's calls: asked for, replaced by the operator, cut by the ceiling.

use std::time::Duration;

use crate::manifest::LimitsRequest;
use crate::quantity::{ByteSize, Span};

/// What one installation may use. Every field is in force; none means "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance in bytes, summed over all of its memories.
    pub memory_bytes_max: u64,
    /// CPU time of one call.
    pub cpu: Duration,
    /// Wall-clock time of one call, waits included.
    pub timeout: Duration,
    /// Deliveries handled at once.
    pub concurrency: u32,
    /// Attempts of one delivery, the first included.
    pub attempts_max: u32,
    /// Log text kept of one call, in bytes.
    pub log_bytes_max: u64,
}

/// What an installation gets when nobody says otherwise: room for a JavaScript guest, one slow HTTP request, and few
/// enough calls at once that ten installations leave a small machine usable.
pub const LIMITS_DEFAULT: Limits = Limits {
    memory_bytes_max: 64 * 1024 * 1024,
    cpu: Duration::from_secs(1),
    timeout: Duration::from_secs(10),
    concurrency: 4,
    attempts_max: 5,
    log_bytes_max: 64 * 1024,
};

impl Default for Limits {
    fn default() -> Self {
        LIMITS_DEFAULT
    }
}

/// The most that the operator of the host gives any installation.
///
/// Defaults: memory 256 MiB (what the runtime reserves per instance), CPU 10 s, timeout 60 s, 64 calls at once,
/// 20 attempts, 1 MiB of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling(pub Limits);

impl Default for Ceiling {
    fn default() -> Self {
        Self(Limits {
            memory_bytes_max: 256 * 1024 * 1024,
            cpu: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            concurrency: 64,
            attempts_max: 20,
            log_bytes_max: 1024 * 1024,
        })
    }
}

impl Ceiling {
    /// Makes a ceiling of what a configuration says; what it leaves out is the default's.
    pub fn from_request(request: &LimitsRequest) -> Self {
        Self(request.over(&Self::default().0))
    }
}

impl LimitsRequest {
    /// Returns these limits, completed from `rest`.
    pub fn over(&self, rest: &Limits) -> Limits {
        Limits {
            memory_bytes_max: self.memory.map_or(rest.memory_bytes_max, |ByteSize(bytes)| bytes),
            cpu: self.cpu.map_or(rest.cpu, |Span(time)| time),
            timeout: self.timeout.map_or(rest.timeout, |Span(time)| time),
            concurrency: self.concurrency.unwrap_or(rest.concurrency),
            attempts_max: self.attempts.unwrap_or(rest.attempts_max),
            log_bytes_max: self.log.map_or(rest.log_bytes_max, |ByteSize(bytes)| bytes),
        }
    }

    /// Returns the name of the first limit that is zero, which would stop the plugin from ever working. A log of zero
    /// bytes is allowed: it means that nothing is kept.
    pub fn zero(&self) -> Option<&'static str> {
        let zeros = [
            ("memory", self.memory == Some(ByteSize(0))),
            ("cpu", self.cpu == Some(Span(Duration::ZERO))),
            ("timeout", self.timeout == Some(Span(Duration::ZERO))),
            ("concurrency", self.concurrency == Some(0)),
            ("attempts", self.attempts == Some(0)),
        ];
        zeros.into_iter().find(|(_, zero)| *zero).map(|(name, _)| name)
    }
}

impl Limits {
    /// Returns the smaller of each pair, and says in words where `ceiling` was the smaller one.
    pub(super) fn under(&self, ceiling: &Limits) -> (Limits, Vec<String>) {
        let mut notes = Vec::new();
        let mut note = |name: &str, wanted: String, given: String| {
            if wanted != given {
                notes.push(format!("limit `{name}`: {wanted} is over the operator's ceiling; {given} is in force"));
            }
        };
        let size = |bytes: u64| ByteSize(bytes).to_string();
        let time = |time: Duration| Span(time).to_string();
        let limits = Limits {
            memory_bytes_max: self.memory_bytes_max.min(ceiling.memory_bytes_max),
            cpu: self.cpu.min(ceiling.cpu),
            timeout: self.timeout.min(ceiling.timeout),
            concurrency: self.concurrency.min(ceiling.concurrency),
            attempts_max: self.attempts_max.min(ceiling.attempts_max),
            log_bytes_max: self.log_bytes_max.min(ceiling.log_bytes_max),
        };
        note("memory", size(self.memory_bytes_max), size(limits.memory_bytes_max));
        note("cpu", time(self.cpu), time(limits.cpu));
        note("timeout", time(self.timeout), time(limits.timeout));
        note("concurrency", self.concurrency.to_string(), limits.concurrency.to_string());
        note("attempts", self.attempts_max.to_string(), limits.attempts_max.to_string());
        note("log", size(self.log_bytes_max), size(limits.log_bytes_max));
        (limits, notes)
    }
}
