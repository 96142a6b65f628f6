//! What the engine tells whoever measures: one trait, implemented by the metrics of the HTTP side.

use std::time::Duration;

use pilothouse_core::delivery::FailureKind;
use pilothouse_runtime::CallReport;

/// The end of one attempt, settlement included.
pub struct DeliveryEnded<'a> {
    /// The installation.
    pub installation: &'a str,
    /// What failed; `None` for a success.
    pub failure: Option<FailureKind>,
    /// From the start of the call to the end of the commit.
    pub elapsed: Duration,
}

/// Counts what happens. Calls must not block.
pub trait Telemetry: Send + Sync + 'static {
    /// A call of a plugin ended.
    fn call_ended(&self, installation: &str, report: &CallReport);
    /// An attempt was settled.
    fn delivery_ended(&self, ended: &DeliveryEnded<'_>);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn call_ended(&self, _installation: &str, _report: &CallReport) {}
    fn delivery_ended(&self, _ended: &DeliveryEnded<'_>) {}
}
