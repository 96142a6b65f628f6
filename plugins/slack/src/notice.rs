//! Reads an event as a notice: what people should see of it, in plain words. One function per kind of event.
//!
//! Never here: Slack's format (`message`), or who wants to see it (`channel`).

use serde::Deserialize;
use serde_json::Value;

use crate::text::number;

/// The type of reports on finished tests, from the plugin `prometheus`.
pub const TEST_REPORTED: &str = "io.prometheus.test.reported.v1";
/// A delivery was given up.
pub const DEAD_LETTERED: &str = "dev.pilothouse.delivery.dead-lettered.v1";
/// A monitoring tool found a problem.
pub const PROBLEM: &str = "sh.keptn.events.problem";

/// An alert is over.
const ALERT_RESOLVED: &str = "io.prometheus.alert.resolved.v1";
/// People are to decide, or some have.
pub const APPROVAL_CHANGED: &str = "sh.keptn.event.approval.status.changed";

/// Longest address that is made a link: browsers and proxies take that much.
const ADDRESS_BYTES_MAX: usize = 2_000;

/// A kind of notice, by which a channel is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A report on a finished test, with what monitoring measured meanwhile.
    TestReport,
    /// A finished test itself.
    Test,
    /// A finished evaluation.
    Evaluation,
    /// People are to decide, or have decided.
    Approval,
    /// A problem from monitoring, or its end.
    Problem,
    /// What is done about a problem.
    Remediation,
    /// Any other task or sequence that failed.
    Failure,
    /// A delivery that was given up.
    DeadLetter,
}

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All is well.
    Pass,
    /// Worth a look.
    Warning,
    /// Not good, or it could not be done.
    Fail,
}

/// What people should see. All texts are plain and may come from anyone.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// Where: project.
    pub project: String,
    /// Where: stage.
    pub stage: String,
    /// Where: service.
    pub service: String,
    /// The result, for kinds that have one.
    pub outcome: Option<Outcome>,
    /// One line.
    pub title: String,
    /// One paragraph.
    pub text: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
    /// Lines of a list.
    pub lines: Vec<String>,
    /// Small print.
    pub context: Vec<String>,
    /// Address of the host's report.
    pub report: Option<String>,
    /// The approval that people can decide with buttons.
    pub approval: Option<String>,
    /// Whose change it is about, as the run's labels say.
    pub author: String,
    /// The member to mention.
    pub mention: Option<String>,
}

/// Reads a member as text: numbers and booleans too, since V1's tools are not strict.
fn text(data: &Value, pointer: &str) -> String {
    match data.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => String::new(),
    }
}

/// Reads the first member that has text: V1 writes some names in two spellings.
fn first(data: &Value, pointers: &[&str]) -> String {
    pointers.iter().map(|pointer| text(data, pointer)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn figure(data: &Value, pointer: &str, unit: &str) -> Option<String> {
    let value = data.pointer(pointer)?.as_f64()?;
    Some(format!("{}{unit}", number(value)))
}

fn outcome(data: &Value) -> Outcome {
    match (text(data, "/status").as_str(), text(data, "/result").as_str()) {
        ("errored" | "aborted", _) => Outcome::Fail,
        (_, "pass") => Outcome::Pass,
        (_, "warning") => Outcome::Warning,
        // As in Keptn, a result that nobody knows is not good.
        _ => Outcome::Fail,
    }
}

fn verb(data: &Value) -> &'static str {
    match (text(data, "/status").as_str(), outcome(data)) {
        ("errored", _) => "could not be done",
        ("aborted", _) => "was aborted",
        (_, Outcome::Pass) => "passed",
        (_, Outcome::Warning) => "passed with a warning",
        (_, Outcome::Fail) => "failed",
    }
}

/// Names the place: `cart in shop/dev`, or as much of it as is known.
fn of_place(data: &Value) -> String {
    let (project, stage, service) = (text(data, "/project"), text(data, "/stage"), text(data, "/service"));
    let around: Vec<String> = [project, stage].into_iter().filter(|part| !part.is_empty()).collect();
    match (service.is_empty(), around.is_empty()) {
        (false, false) => format!("{service} in {}", around.join("/")),
        (false, true) => service,
        (true, _) => around.join("/"),
    }
}

fn titled(what: &str, data: &Value) -> String {
    let place = of_place(data);
    if place.is_empty() { what.to_owned() } else { format!("{what}: {place}") }
}

fn labels(data: &Value) -> Vec<String> {
    let labels = data.get("labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(name, value)| Some(format!("{name}: {}", value.as_str()?))).collect()
}

fn notice(kind: Kind, data: &Value, title: String) -> Notice {
    Notice {
        kind,
        project: text(data, "/project"),
        stage: text(data, "/stage"),
        service: text(data, "/service"),
        outcome: None,
        title,
        text: text(data, "/message"),
        fields: Vec::new(),
        lines: Vec::new(),
        context: labels(data),
        report: None,
        approval: None,
        author: text(data, "/labels/author"),
        mention: None,
    }
}

/// Reads an event of type `ty`; `None` if there is nothing to show.
pub fn read(ty: &str, data: &Value) -> Option<Notice> {
    match ty {
        TEST_REPORTED => Some(test(Kind::TestReport, "Test", data)),
        DEAD_LETTERED => Some(dead_letter(data)),
        PROBLEM => Some(problem(data)),
        ALERT_RESOLVED => Some(told_problem(data, true)),
        APPROVAL_CHANGED => Some(approval(data)),
        "sh.keptn.event.approval.finished" => Some(decided(data)),
        "sh.keptn.event.get-action.finished" => action(ty, data),
        "sh.keptn.event.test.finished" => Some(test(Kind::Test, "Test", data)),
        "sh.keptn.event.evaluation.finished" => Some(evaluation(data)),
        // An escalation is the same problem.
        _ if ty.ends_with(".remediation.triggered") => {
            data.pointer("/get-action").is_none().then(|| told_problem(data, false))
        }
        _ => failure(ty, data),
    }
}

/// Reads a report on a test, or the end of a test: they share their figures.
fn test(kind: Kind, what: &str, data: &Value) -> Notice {
    let mut notice = notice(kind, data, titled(&format!("{what} {}", verb(data)), data));
    notice.outcome = Some(outcome(data));
    let percent =
        data.pointer("/test/errorRate").and_then(Value::as_f64).map(|rate| format!("{} %", number(rate * 100.0)));
    let figures = [
        ("Requests", figure(data, "/test/count", "")),
        (
            "Errors",
            figure(data, "/test/errors", "").map(|count| match &percent {
                Some(percent) => format!("{count} ({percent})"),
                None => count,
            }),
        ),
        ("Throughput", figure(data, "/test/throughput", "/s")),
        ("Mean", figure(data, "/test/mean", " ms")),
        ("p95", figure(data, "/test/p95", " ms")),
        ("p99", figure(data, "/test/p99", " ms")),
    ];
    notice.fields.extend(figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let indicators = data.get("indicatorValues").and_then(Value::as_array).into_iter().flatten();
    notice.lines.extend(indicators.map(|it| {
        let name = text(it, "/metric");
        match (it.get("success").and_then(Value::as_bool), it.get("value").and_then(Value::as_f64)) {
            (Some(true), Some(value)) => format!("{name}: {}", number(value)),
            _ => format!("{name}: no value ({})", text(it, "/message")),
        }
    }));
    let start = first(data, &["/start", "/test/start"]);
    if !start.is_empty() {
        notice.context.insert(0, format!("{start} to {}", first(data, &["/end", "/test/end"])));
    }
    notice.report = address(data, "/test/reportUrl");
    notice
}

fn evaluation(data: &Value) -> Notice {
    let mut notice = notice(Kind::Evaluation, data, titled(&format!("Evaluation {}", verb(data)), data));
    notice.outcome = Some(outcome(data));
    if let Some(score) = data.pointer("/evaluation/score").and_then(Value::as_f64) {
        notice.fields.push(("Score".to_owned(), format!("{score:.2}")));
    }
    let results = data.pointer("/evaluation/indicatorResults").and_then(Value::as_array).into_iter().flatten();
    notice.lines.extend(results.map(|it| {
        // The quality gate says it all: what was measured, asked for and missed, and what it was before.
        let explained = text(it, "/explanation");
        if !explained.is_empty() {
            return format!("{} {explained}", sign(&text(it, "/status")));
        }
        let name = first(it, &["/displayName", "/value/metric"]);
        let has_value = it.pointer("/value/success") != Some(&Value::Bool(false));
        let value = it.pointer("/value/value").and_then(Value::as_f64).filter(|_| has_value);
        let value = value.map_or_else(|| "no value".to_owned(), number);
        let targets = it.get("passTargets").and_then(Value::as_array).into_iter().flatten();
        let targets: Vec<String> = targets.map(|target| text(target, "/criteria")).collect();
        let wanted = if targets.is_empty() { String::new() } else { format!(" (wanted {})", targets.join(", ")) };
        format!("{} {name}: {value}{wanted}", sign(&text(it, "/status")))
    }));
    let start = text(data, "/evaluation/timeStart");
    if !start.is_empty() {
        notice.context.insert(0, format!("{start} to {}", text(data, "/evaluation/timeEnd")));
    }
    notice.report = address(data, "/evaluation/reportUrl");
    notice
}

/// Reads the address of a page; `None` for what could mean anything else in Slack's markup.
fn address(data: &Value, pointer: &str) -> Option<String> {
    let address = text(data, pointer);
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    let is_plain = address.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '|' | '"' | '\\' | '`'));
    (is_web && is_plain && address.len() <= ADDRESS_BYTES_MAX).then_some(address)
}

fn sign(status: &str) -> &'static str {
    match status {
        "pass" => "✓",
        "warning" => "!",
        "info" => "·",
        _ => "✗",
    }
}

fn problem(data: &Value) -> Notice {
    let title = first(data, &["/ProblemTitle", "/problemTitle", "/problem/ProblemTitle", "/problem/problemTitle"]);
    let state = first(data, &["/State", "/state", "/problem/State"]);
    let closed = ["CLOSED", "RESOLVED"].iter().any(|it| state.eq_ignore_ascii_case(it));
    let title = if title.is_empty() { "Problem".to_owned() } else { title };
    let mut notice =
        notice(Kind::Problem, data, titled(&format!("{title}{}", if closed { " (closed)" } else { "" }), data));
    let details = [
        "/ProblemDetails",
        "/problemDetails",
        "/ProblemDetails/problemDetails",
        "/problem/ProblemDetails/problemDetails",
    ];
    let details = first(data, &details);
    if !details.is_empty() {
        notice.text = details;
    }
    let fields = [
        ("State", state),
        ("Impacted", first(data, &["/ImpactedEntity", "/impactedEntity"])),
        ("Root cause", first(data, &["/RootCause", "/rootCause"])),
        ("Link", first(data, &["/ProblemURL", "/problemURL"])),
    ];
    notice.fields.extend(
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)),
    );
    notice
}

/// Reads what monitoring told of: the beginning or the end of a problem.
fn told_problem(data: &Value, over: bool) -> Notice {
    let title = first(data, &["/problem/problemTitle", "/problem/ProblemTitle", "/problem/rootCause"]);
    let title = if title.is_empty() { "Problem".to_owned() } else { title };
    let mut notice =
        notice(Kind::Problem, data, titled(&format!("{title}{}", if over { " (resolved)" } else { "" }), data));
    notice.outcome = over.then_some(Outcome::Pass);
    let details = text(data, "/problem/problemDetails/problemDetails");
    if !details.is_empty() && !over {
        notice.text = details;
    }
    notice
}

/// Reads what is done about a problem; the end of the escalation is a failure as any other.
fn action(ty: &str, data: &Value) -> Option<Notice> {
    if outcome(data) == Outcome::Fail {
        return failure(ty, data);
    }
    Some(notice(Kind::Remediation, data, titled(&format!("Remediation: {}", text(data, "/action/name")), data)))
}

/// Reads that people are to decide.
fn approval(data: &Value) -> Notice {
    let mut notice = notice(Kind::Approval, data, titled("Approval", data));
    notice.report = address(data, "/approval/reportUrl");
    notice
}

/// Reads how people decided.
fn decided(data: &Value) -> Notice {
    let mut notice = notice(Kind::Approval, data, titled(&format!("Approval {}", verb(data)), data));
    notice.outcome = Some(outcome(data));
    notice
}

fn dead_letter(data: &Value) -> Notice {
    let installation = text(data, "/installation");
    let mut notice = notice(Kind::DeadLetter, data, titled(&format!("Given up by {installation}"), data));
    notice.text = text(data, "/reason");
    notice.fields =
        vec![("Event".to_owned(), text(data, "/event/type")), ("Attempts".to_owned(), text(data, "/attempts"))];
    notice.context = vec![format!("try again: pilothouse delivery redrive {}", text(data, "/delivery"))];
    notice
}

/// Reads the end of any other task or sequence, if it is not a good one.
fn failure(ty: &str, data: &Value) -> Option<Notice> {
    let name = ty.strip_prefix("sh.keptn.event.")?.strip_suffix(".finished")?;
    // Without a result it is no end of a task: `service.create.finished` has none, say.
    let judged = !text(data, "/result").is_empty() || !text(data, "/status").is_empty();
    if !judged || outcome(data) != Outcome::Fail {
        return None;
    }
    let mut notice = notice(Kind::Failure, data, titled(&format!("{name} {}", verb(data)), data));
    notice.outcome = Some(Outcome::Fail);
    Some(notice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_report_shows_figures_and_indicators() {
        let data = json!({
            "project": "shop", "stage": "dev", "service": "cart", "labels": { "build": "7" }, "result": "pass",
            "status": "succeeded", "message": "fine", "start": "S", "end": "E",
            "test": { "count": 600, "errors": 3, "errorRate": 0.005, "throughput": 48.26, "mean": 12.5, "p95": 25 },
            "indicatorValues": [
                { "metric": "throughput", "value": 47.9, "success": true, "message": "" },
                { "metric": "error_rate", "value": 0, "success": false, "message": "query did not return any values" },
            ],
        });
        let got = read(TEST_REPORTED, &data).unwrap();
        assert_eq!((got.kind, got.outcome), (Kind::TestReport, Some(Outcome::Pass)));
        assert_eq!(got.title, "Test passed: cart in shop/dev");
        let fields: Vec<String> = got.fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(fields, ["Requests 600", "Errors 3 (0.5 %)", "Throughput 48.3/s", "Mean 12.5 ms", "p95 25 ms"]);
        assert_eq!(got.lines, ["throughput: 47.9", "error_rate: no value (query did not return any values)"]);
        assert_eq!(got.context, ["S to E", "build: 7"]);
    }

    #[test]
    fn a_title_says_how_it_ended_and_where() {
        let cases = [
            ("pass", json!({ "result": "pass", "status": "succeeded", "service": "cart" }), "Test passed: cart"),
            ("warning", json!({ "result": "warning", "stage": "dev" }), "Test passed with a warning: dev"),
            ("fail", json!({ "result": "fail", "project": "shop", "stage": "dev" }), "Test failed: shop/dev"),
            ("failed", json!({ "result": "failed" }), "Test failed"),
            ("errored", json!({ "result": "pass", "status": "errored" }), "Test could not be done"),
            ("nothing", json!({}), "Test failed"),
        ];
        for (name, data, title) in cases {
            assert_eq!(read("sh.keptn.event.test.finished", &data).unwrap().title, title, "{name}");
        }
    }

    #[test]
    fn an_evaluation_shows_its_score_and_each_indicator() {
        let data = json!({
            "project": "shop", "stage": "dev", "service": "cart", "result": "warning", "status": "succeeded", "message": "no baseline",
            "evaluation": { "score": 83.333333, "timeStart": "S", "timeEnd": "E", "indicatorResults": [
                { "displayName": "P95", "status": "pass", "value": { "metric": "p95", "value": 120.0 }, "passTargets": [{ "criteria": "<600" }, { "criteria": "<=+10%" }] },
                { "displayName": "", "status": "fail", "value": { "metric": "errors", "value": 0.2, "success": true }, "passTargets": [{ "criteria": "<0.1" }] },
                { "status": "info", "value": null },
                { "status": "fail", "value": { "metric": "gone", "value": 0, "success": false } },
                { "status": "fail", "explanation": "p95 412 → 655 ms, +59 %; misses <600, missed by 55 ms", "value": { "metric": "p95", "value": 655 } },
            ] },
        });
        let got = read("sh.keptn.event.evaluation.finished", &data).unwrap();
        assert_eq!(got.fields, [("Score".to_owned(), "83.33".to_owned())]);
        assert_eq!(
            got.lines,
            [
                "✓ P95: 120 (wanted <600, <=+10%)",
                "✗ errors: 0.2 (wanted <0.1)",
                "· : no value",
                "✗ gone: no value",
                "✗ p95 412 → 655 ms, +59 %; misses <600, missed by 55 ms",
            ]
        );
        assert_eq!((got.text.as_str(), got.context[0].as_str()), ("no baseline", "S to E"));
    }

    #[test]
    fn a_problem_is_read_in_each_of_keptns_spellings() {
        let cases = [
            (
                "spec",
                json!({ "State": "OPEN", "ProblemTitle": "CPU high", "ProblemDetails": "text", "ImpactedEntity": "cart-1", "ProblemURL": "http://x", "labels": null, "service": "cart" }),
            ),
            (
                "object",
                json!({ "State": "OPEN", "problemTitle": "CPU high", "ProblemDetails": { "problemDetails": "text" }, "ImpactedEntity": "cart-1", "ProblemURL": "http://x", "service": "cart" }),
            ),
        ];
        for (name, data) in cases {
            let got = read(PROBLEM, &data).unwrap();
            assert_eq!((got.title.as_str(), got.text.as_str()), ("CPU high: cart", "text"), "{name}");
            let names: Vec<&str> = got.fields.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["State", "Impacted", "Link"], "{name}");
            assert_eq!(got.outcome, None);
        }
        assert_eq!(read(PROBLEM, &json!({ "State": "resolved" })).unwrap().title, "Problem (closed)");
    }

    #[test]
    fn a_dead_letter_says_what_was_given_up_and_how_to_try_again() {
        let data = json!({ "delivery": "d-1", "installation": "slack", "attempts": 5, "reason": "Slack answered 503",
            "event": { "type": "sh.keptn.event.test.finished" }, "project": "shop" });
        let got = read(DEAD_LETTERED, &data).unwrap();
        assert_eq!((got.title.as_str(), got.text.as_str()), ("Given up by slack: shop", "Slack answered 503"));
        assert_eq!(got.fields[1].1, "5");
        assert_eq!(got.context, ["try again: pilothouse delivery redrive d-1"]);
    }

    #[test]
    fn other_tasks_and_sequences_are_shown_only_when_they_fail() {
        let failed = json!({ "result": "fail", "status": "succeeded", "service": "cart" });
        assert_eq!(read("sh.keptn.event.deployment.finished", &failed).unwrap().title, "deployment failed: cart");
        assert_eq!(read("sh.keptn.event.dev.delivery.finished", &failed).unwrap().title, "dev.delivery failed: cart");
        let aborted = json!({ "result": "fail", "status": "aborted" });
        assert_eq!(read("sh.keptn.event.dev.delivery.finished", &aborted).unwrap().title, "dev.delivery was aborted");
        for (name, ty, data) in [
            ("passed", "sh.keptn.event.deployment.finished", json!({ "result": "pass", "status": "succeeded" })),
            ("warning", "sh.keptn.event.deployment.finished", json!({ "result": "warning" })),
            ("without a result", "sh.keptn.event.service.create.finished", json!({})),
            ("not finished", "sh.keptn.event.deployment.started", failed.clone()),
            ("other type", "com.example.finished", failed),
        ] {
            assert_eq!(read(ty, &data), None, "{name}");
        }
    }
}
