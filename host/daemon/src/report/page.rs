//! Shows a report as one HTML page that needs nothing else: no script, no font, no picture from outside.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use pilothouse_files::evaluation::{change, number};
use serde_json::Value;

use super::{IndicatorView, ReportView, TestView, chart};

/// What a browser may do with the page: nothing but show it.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Figures of a test in the order in which they are shown: name in the event, name for people, unit, and the factor.
const FIGURES: [(&str, &str, &str, f64); 11] = [
    ("count", "Requests", "", 1.0),
    ("errors", "Errors", "", 1.0),
    ("errorRate", "Error rate", " %", 100.0),
    ("throughput", "Throughput", "/s", 1.0),
    ("min", "Fastest", " ms", 1.0),
    ("mean", "Mean", " ms", 1.0),
    ("p50", "p50", " ms", 1.0),
    ("p90", "p90", " ms", 1.0),
    ("p95", "p95", " ms", 1.0),
    ("p99", "p99", " ms", 1.0),
    ("max", "Slowest", " ms", 1.0),
];
/// Columns of the table by label.
const LABEL_FIGURES: [usize; 6] = [0, 2, 3, 5, 8, 9];
/// Most labels of requests that are shown.
const LABELS_MAX: usize = 100;

const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}\
body{margin:0 auto;padding:24px;max-width:880px;font:15px/1.5 system-ui,sans-serif;color:#1f2937;background:#fff}\
h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}h3{font-size:15px;margin:0}\
p{margin:4px 0}small,.small{color:#6b7280;font-size:13px}code{font:13px ui-monospace,monospace}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:4px 8px;border-bottom:1px solid #e5e7eb}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.mark{display:inline-block;padding:1px 9px;border-radius:10px;font-size:13px;font-weight:600;color:#fff;background:#6b7280}\
.pass{background:#15803d}.warning{background:#b45309}.fail{background:#b91c1c}\
.card{border:1px solid #e5e7eb;border-radius:8px;padding:12px 16px;margin:12px 0;break-inside:avoid}\
.line{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}.value{font-size:20px;font-weight:600}\
svg{width:100%;height:auto;margin-top:8px}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:12px 0}\
dt{color:#6b7280}dd{margin:0;overflow-wrap:anywhere}.key{font-size:12px;color:#6b7280}\
.key i{display:inline-block;width:18px;height:0;border-top:2px solid;vertical-align:middle;margin:0 4px 0 12px}";

/// Makes the page.
pub fn page(report: &ReportView) -> String {
    let title = title(report);
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " · Pilothouse" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (mark(&report.result)) " " (report.message) }
                (facts(report))
                (verdict(report))
                (indicators(report))
                @if let Some(test) = &report.test { (figures(test, report.before.as_ref().and_then(|it| it.test.as_ref()))) }
            }
        }
    };
    body.into_string()
}

/// Makes a page that says why there is no report.
pub fn refusal(title: &str, text: &str) -> String {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) " · Pilothouse" } style { (PreEscaped(STYLE)) } }
            body { h1 { (title) } p { (text) } }
        }
    };
    body.into_string()
}

fn title(report: &ReportView) -> String {
    let what = if report.kind == "test" { "Test" } else { "Evaluation" };
    let around: Vec<&str> = [&report.project, &report.stage].into_iter().filter_map(|part| part.as_deref()).collect();
    match (&report.service, around.is_empty()) {
        (Some(service), false) => format!("{what} of {service} in {}", around.join("/")),
        (Some(service), true) => format!("{what} of {service}"),
        (None, false) => format!("{what} in {}", around.join("/")),
        (None, true) => what.to_owned(),
    }
}

fn mark(result: &str) -> Markup {
    let class = if matches!(result, "pass" | "warning" | "fail") { result } else { "" };
    html! { span class={ "mark " (class) } { (if result.is_empty() { "no result" } else { result }) } }
}

fn facts(report: &ReportView) -> Markup {
    let label = |name: &str| report.labels.get(name).and_then(Value::as_str);
    html! {
        dl {
            @if let Some(version) = label("version") { dt { "Version" } dd { (version) } }
            @if let Some(commit) = label("commit") { dt { "Commit" } dd { code { (commit) } } }
            @if let Some(author) = label("author") { dt { "Author" } dd { (author) } }
            @if let Some(window) = &report.window { dt { "Window" } dd { (window.start) " to " (window.end) } }
            dt { "Run" } dd { code { (report.run) } }
            @if let Some(url) = report.dashboard.as_deref().filter(|url| is_web(url)) {
                dt { "Dashboard" } dd { a href=(url) rel="noreferrer" { (url) } }
            }
            @if let Some(commit) = &report.commit { dt { "Configuration" } dd { code { (commit) } } }
            @if let Some(before) = &report.before {
                dt { "Before" }
                dd {
                    (before.time) " " (mark(&before.result))
                    @if let Some(score) = before.score { " score " (format!("{score:.2}")) }
                    @if let Some(version) = before.labels.get("version").and_then(Value::as_str) { " version " (version) }
                }
            }
            @for (name, value) in &report.labels {
                @if !matches!(name.as_str(), "version" | "commit" | "author") {
                    dt { (name) } dd { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) }
                }
            }
        }
    }
}

/// Whether an address leads to a page, and to nothing else that a browser knows.
fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn verdict(report: &ReportView) -> Markup {
    let Some(verdict) = &report.verdict else {
        return html! { h2 { "Verdict" } p { "Nobody judged this run: the service has no SLO file, or nothing was measured." } };
    };
    html! {
        h2 { "Verdict" }
        p { (mark(&verdict.result)) " score " (format!("{:.2}", verdict.score)) }
        p { (verdict.message) }
        @if verdict.by == "report" {
            p.small { "No evaluation of this run judged this window. This report did, by the SLO file of the run's commit; nothing follows from it." }
        }
    }
}

fn indicators(report: &ReportView) -> Markup {
    if report.indicators.is_empty() {
        return html! { h2 { "Indicators" } p { "Nothing was measured in this window." } };
    }
    html! {
        h2 { "Indicators" }
        @for indicator in &report.indicators { (card(indicator)) }
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let space = if unit.is_empty() { "" } else { " " };
    format!("{}{space}{unit}", number(value))
}

fn card(indicator: &IndicatorView) -> Markup {
    let changed = indicator.value.zip(indicator.before).and_then(|(now, before)| change(before, now));
    html! {
        div.card {
            div.line {
                h3 { (indicator.name) }
                (mark(&indicator.status))
                @match indicator.value {
                    Some(value) => { span.value { (with_unit(value, &indicator.unit)) } },
                    None => { span { "no value: " (indicator.message) } },
                }
                @if let Some(before) = indicator.before {
                    span.small {
                        "before: " (with_unit(before, &indicator.unit))
                        @if let Some(changed) = changed { " (" (changed) ")" }
                    }
                }
            }
            @if !indicator.explanation.is_empty() { p.small { (indicator.explanation) } }
            @if let Some(svg) = chart::draw(indicator) {
                (PreEscaped(svg))
                div.key {
                    i style="border-color:#2563eb" {} (indicator.name)
                    @if let Some(series) = &indicator.series { ", each value over " (series.over_seconds) " s" }
                    @if !indicator.limits.is_empty() {
                        i style="border-color:#dc2626" {} "limit: "
                        (indicator.limits.iter().map(|it| it.criteria.as_str()).collect::<Vec<_>>().join(", "))
                    }
                    @if indicator.before.is_some() { i style="border-color:#6b7280" {} "before" }
                }
            }
        }
    }
}

fn figure(figures: &Value, name: &str, factor: f64) -> Option<f64> {
    figures.get(name).and_then(Value::as_f64).map(|value| value * factor)
}

fn figures(test: &TestView, before: Option<&Value>) -> Markup {
    let known = FIGURES.iter().filter_map(|(name, title, unit, factor)| {
        Some((*name, *title, *unit, *factor, figure(&test.figures, name, *factor)?))
    });
    let labels = test.figures.get("labels").and_then(Value::as_object);
    html! {
        h2 { "Test" }
        p { (mark(&test.result)) " " (test.message) }
        table {
            thead { tr { th { "Figure" } th.n { "This run" } th.n { "Before" } th.n { "Change" } } }
            tbody {
                @for (name, title, unit, factor, value) in known {
                    @let earlier = before.and_then(|before| figure(before, name, factor));
                    tr {
                        td { (title) }
                        td.n { (number(value)) (unit) }
                        td.n { @if let Some(earlier) = earlier { (number(earlier)) (unit) } }
                        td.n { @if let Some(change) = earlier.and_then(|earlier| change(earlier, value)) { (change) } }
                    }
                }
            }
        }
        @if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            h2 { "Requests" }
            table {
                thead { tr { th { "Request" } @for column in columns() { th.n { (column.1) } } } }
                tbody {
                    @for (label, of_label) in labels.iter().take(LABELS_MAX) {
                        tr {
                            td { (label) }
                            @for (name, _, unit, factor) in columns() {
                                td.n { @if let Some(value) = figure(of_label, name, *factor) { (number(value)) (unit) } }
                            }
                        }
                    }
                }
            }
            @if labels.len() > LABELS_MAX { p.small { (labels.len() - LABELS_MAX) " more requests are in the event." } }
        }
    }
}

fn columns() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str, f64)> {
    LABEL_FIGURES.iter().filter_map(|index| FIGURES.get(*index))
}
