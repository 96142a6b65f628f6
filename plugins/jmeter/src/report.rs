//! Words what came of a run: the output (`data.test`), progress events, and why a run that broke off did.
//!
//! Never here: whether a test that ran was good enough (`verdict`).

use std::collections::VecDeque;
use std::io::Read;

use jiff::Timestamp;
use pilothouse_sdk::Event;
use pilothouse_sdk::jobs::State;
use serde_json::{Map, Value, json};

use crate::jtl::{Statistics, Summary};
use crate::workload::Workload;

/// The type of progress events.
pub const STATUS_CHANGED: &str = "sh.keptn.event.test.status.changed";
/// Last lines of JMeter's output that an error message quotes.
const TAIL_LINES_MAX: usize = 8;
/// Bytes kept for those lines: eight lines of usual length, and a message that still fits on a screen.
const TAIL_BYTES_MAX: usize = 1_500;
/// Labels whose figures stand in the output. With more, the event would outgrow what other tools take.
const LABELS_SHOWN_MAX: usize = crate::jtl::LABELS_MAX + 1;

/// Makes the output of a run that has samples; it becomes `data.test`.
pub fn output(summary: &Summary, workload: &Workload, commit: Option<&str>) -> Value {
    let mut output = statistics(&summary.total);
    if let Some((start, end)) = summary.total.window {
        output.insert("start".to_owned(), rfc3339(start).into());
        output.insert("end".to_owned(), rfc3339(end).into());
    }
    if let Some(commit) = commit {
        output.insert("gitCommit".to_owned(), commit.into());
    }
    let labels: Map<String, Value> = summary
        .labels
        .iter()
        .take(LABELS_SHOWN_MAX)
        .map(|(label, of_label)| (label.clone(), Value::Object(statistics(of_label))))
        .collect();
    output.insert("teststrategy".to_owned(), workload.strategy.clone().into());
    output.insert("users".to_owned(), workload.users.into());
    output.insert("loops".to_owned(), workload.loops.into());
    output.insert("labels".to_owned(), Value::Object(labels));
    output.insert("failures".to_owned(), json!(summary.failures));
    output.insert("malformedLines".to_owned(), summary.malformed.into());
    Value::Object(output)
}

fn statistics(of: &Statistics) -> Map<String, Value> {
    let elapsed = &of.elapsed;
    let figures = [
        ("count", json!(elapsed.count())),
        ("errors", json!(of.errors)),
        ("errorRate", json!(of.error_rate())),
        ("throughput", json!(of.throughput())),
        ("min", json!(elapsed.min())),
        ("mean", json!(elapsed.mean())),
        ("p50", json!(elapsed.percentile(50))),
        ("p90", json!(elapsed.percentile(90))),
        ("p95", json!(elapsed.percentile(95))),
        ("p99", json!(elapsed.percentile(99))),
        ("max", json!(elapsed.max())),
    ];
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes milliseconds since 1970 as RFC 3339 with milliseconds, as Keptn does.
fn rfc3339(milliseconds: i64) -> String {
    let instant = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{instant:.3}")
}

/// Makes a progress event for the task whose trigger had `data`.
pub fn status_changed(triggered_id: &str, place: &Place, message: &str, progress: Value) -> Event {
    let data = json!({
        "project": place.project,
        "stage": place.stage,
        "service": place.service,
        "status": "succeeded",
        "message": message,
        "test": progress,
    });
    Event::builder(STATUS_CHANGED)
        .extension_str("triggeredid", triggered_id)
        .text("application/json", data.to_string())
        .build()
}

/// Where the test belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Project, or empty.
    pub project: String,
    /// Stage, or empty.
    pub stage: String,
    /// Service, or empty.
    pub service: String,
}

/// Says why a job that did not succeed broke off; `reason` is the host's word on it, `tail` the job's last words.
pub fn broke_off(state: State, exit_code: Option<i32>, reason: Option<&str>, tail: &str) -> String {
    let mut message = match (state, exit_code) {
        (State::TimedOut, _) => {
            "JMeter was stopped: the test took longer than it may (the setting `timeout-seconds`, or \
                                 the job template's limit)"
                .to_owned()
        }
        (State::Cancelled, _) => "the test was cancelled".to_owned(),
        (State::Lost, _) => {
            "the test was lost: the host cannot say what became of the job; trigger it again".to_owned()
        }
        (_, Some(127)) => "JMeter is missing: the job template's program was not found (status 127)".to_owned(),
        (_, Some(code)) => format!("JMeter failed with status {code}"),
        (_, None) => "JMeter could not be run, or was killed".to_owned(),
    };
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        message.push_str(&format!(": {reason}"));
    }
    with_tail(message, tail)
}

/// Says that JMeter claims success but there is nothing to judge.
pub fn without_results(tail: &str) -> String {
    let message = "JMeter ended without an error, but its result file has no sample: the test plan has no enabled sampler, \
                   or JMeter could not load it";
    with_tail(message.to_owned(), tail)
}

fn with_tail(mut message: String, tail: &str) -> String {
    if tail.is_empty() {
        message.push_str("; it wrote nothing to its log");
    } else {
        message.push_str("; its last lines:\n");
        message.push_str(tail);
    }
    message
}

/// Reads a log to its end and returns its last lines without control characters, in constant memory.
pub fn tail(mut log: impl Read) -> String {
    let mut kept: VecDeque<u8> = VecDeque::with_capacity(TAIL_BYTES_MAX);
    let mut chunk = [0; 4096];
    // What there is up to an error is still the best there is.
    while let Ok(count @ 1..) = log.read(&mut chunk) {
        kept.extend(chunk.iter().take(count));
        let surplus = kept.len().saturating_sub(TAIL_BYTES_MAX);
        kept.drain(..surplus);
    }
    let bytes: Vec<u8> = kept.into();
    let text = String::from_utf8_lossy(&bytes);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES_MAX);
    lines.get(skipped..).unwrap_or_default().join("\n")
}

/// Returns the last line of JMeter's own running summary in a log's tail.
pub fn progress_line(tail: &str) -> Option<&str> {
    tail.lines().rev().find(|line| line.starts_with("summary "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jtl, workload};

    #[test]
    fn the_output_has_the_window_and_the_figures_in_total_and_per_label() {
        let file = "timeStamp,elapsed,label,responseCode,success\n\
                    1700000000000,100,home,200,true\n1700000000500,300,cart,500,false\n";
        let summary = jtl::summarize(file.as_bytes()).unwrap();
        let workload = workload::select(None, "functional").unwrap();
        let output = output(&summary, &workload, Some("abc"));
        assert_eq!(
            output,
            json!({
                "start": "2023-11-14T22:13:20.000Z", "end": "2023-11-14T22:13:20.800Z", "gitCommit": "abc",
                "teststrategy": "functional", "users": 1, "loops": 1,
                "count": 2, "errors": 1, "errorRate": 0.5, "throughput": 2.5,
                "min": 100, "mean": 200.0, "p50": 100, "p90": 300, "p95": 300, "p99": 300, "max": 300,
                "labels": {
                    "home": { "count": 1, "errors": 0, "errorRate": 0.0, "throughput": 10.0,
                              "min": 100, "mean": 100.0, "p50": 100, "p90": 100, "p95": 100, "p99": 100, "max": 100 },
                    "cart": { "count": 1, "errors": 1, "errorRate": 1.0, "throughput": 1000.0 / 300.0,
                              "min": 300, "mean": 300.0, "p50": 300, "p90": 300, "p95": 300, "p99": 300, "max": 300 },
                },
                "failures": { "500": 1 },
                "malformedLines": 0,
            })
        );
    }

    #[test]
    fn a_run_that_broke_off_says_how_and_with_which_last_words() {
        let cases = [
            ("failed", State::Failed, Some(1), None, "JMeter failed with status 1; its last lines:\nboom"),
            ("missing", State::Failed, Some(127), None, "JMeter is missing"),
            (
                "not run",
                State::Failed,
                None,
                Some("no such program"),
                "JMeter could not be run, or was killed: no such program",
            ),
            ("timed out", State::TimedOut, None, None, "longer than it may"),
            ("cancelled", State::Cancelled, None, None, "the test was cancelled"),
            ("lost", State::Lost, None, None, "trigger it again"),
        ];
        for (name, state, code, reason, expected) in cases {
            let message = broke_off(state, code, reason, "boom");
            assert!(message.contains(expected), "{name}: {message}");
        }
        assert!(without_results("").ends_with("it wrote nothing to its log"));
    }

    #[test]
    fn a_tail_is_the_last_lines_without_terminal_escapes() {
        let log: String = (0..10_000).map(|line| format!("line {line}\r\n\n")).collect();
        let got = tail(log.as_bytes());
        assert_eq!(got.lines().count(), TAIL_LINES_MAX);
        assert!(got.ends_with("line 9999"), "{got}");
        assert_eq!(tail(&b"\x1b[31mred\x07\xff"[..]), "[31mred\u{fffd}");
        assert_eq!(tail(&b""[..]), "");
    }

    #[test]
    fn progress_is_jmeters_newest_summary() {
        let log = "Starting\nsummary +  10 in 1s\nsummary =  30 in 3s\nWarning";
        assert_eq!(progress_line(log), Some("summary =  30 in 3s"));
        assert_eq!(progress_line("Starting"), None);
    }
}
