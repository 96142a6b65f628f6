//! A call's log in the form in which attempts keep it: one JSON object per line.

use pilothouse_runtime::CallReport;

/// Writes the log lines; already bounded and escaped by the runtime.
pub(super) fn to_json_lines(report: &CallReport) -> Vec<u8> {
    let mut lines = Vec::new();
    for line in &report.log {
        let object = serde_json::json!({
            "offset-ms": line.offset_ms, "level": line.level.as_str(), "context": line.context, "message": line.message,
        });
        lines.extend(object.to_string().into_bytes());
        lines.push(b'\n');
    }
    if report.log_dropped > 0 {
        let object = serde_json::json!({ "level": "warn", "context": "host", "message": format!("{} lines dropped", report.log_dropped) });
        lines.extend(object.to_string().into_bytes());
        lines.push(b'\n');
    }
    lines
}
