//! Everything starts; and what follows from each test.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::api::Api;
use super::error::DemoError;
use super::follow::Seen;
use super::machine::Machine;
use super::peers::{free_address, start_prometheus};
use super::project::{self, SERVICE};
use super::report::{Shown, seconds};
use super::setup::{self, Peers, example_grants, write_host_config};
use super::slack_stand_in::WEBHOOK_PATH;
use super::stage::{Stage, wait};

/// The type with which the plugin `prometheus` reports on a test.
const REPORTED: &str = "io.prometheus.test.reported.v1";
/// Longest time of a test: JMeter starts in some seconds and sends requests for ten; machines are slow and shared.
pub(super) const TEST_SECONDS_MAX: u64 = 150;

/// Starts the machine, the Git server, the stand-ins for Slack and Grafana, Prometheus and the host, and installs the bundled
/// plugins.
pub(super) async fn start(stage: &mut Stage) -> Result<Shown, DemoError> {
    let started = Instant::now();
    let printer = stage.printer.clone();
    let mut units = BTreeMap::new();
    for name in ["hardening", "production"] {
        let address = free_address()?;
        units.insert(format!("{SERVICE}-{name}"), address);
        stage.services.insert(name.to_owned(), format!("http://{address}"));
    }
    let (machine, manager) = Machine::start(stage.folder.join("units"), units).await?;
    stage.machine = Some(machine);
    printer.note(&format!("a machine to deploy to        its service manager is http://{manager}"));
    stage.git_url = project::start_git_server(stage).await?;
    printer.note(&format!("an empty Git repository       {}", stage.git_url));
    let slack = slack(stage).await?;
    let grafana = format!("http://{}", stage.grafana.start().await?);
    printer.note(&format!("stand-in for Grafana's API    {grafana}"));
    let listen = free_address()?;
    stage.alertmanager = Some(free_address()?);
    let prometheus = start_prometheus(&stage.programs.prometheus, &stage.folder, listen, stage.alertmanager)?;
    stage.keep(prometheus);
    let url = format!("http://{listen}");
    let api = Api::new(&url, "")?;
    let ready = || async { Ok(api.is_well("/-/ready").await.then_some(())) };
    stage.poll(wait("Prometheus to become ready", 60, None), ready).await?;
    printer.note(&format!("Prometheus                    {url}"));
    stage.prometheus_api = Some(api);

    let listen = free_address()?;
    let jmeter = stage.programs.jmeter.clone();
    let manager = format!("http://{manager}");
    let services = stage.services.clone();
    let peers = Peers {
        listen,
        prometheus: &url,
        grafana: &grafana,
        slack: &slack,
        jmeter: &jmeter,
        manager: &manager,
        services: &services,
    };
    let config = write_host_config(&stage.folder, &peers)?;
    stage.start_host(config, listen).await?;
    printer.note(&format!("the host                      http://{listen}"));

    let installed = install_all(stage).await?;
    Ok(Shown {
        summary: format!("the host and {} plugins were ready after {} s", installed.len(), seconds(started)),
        facts: json!({ "host": format!("http://{listen}"), "prometheus": url, "installed": installed }),
    })
}

/// Installs the bundled plugins that the story needs; returns what each is granted.
async fn install_all(stage: &Stage) -> Result<serde_json::Map<String, Value>, DemoError> {
    let load = json!({ "script": setup::SCRIPT, "workload": setup::WORKLOAD, "progress-seconds": 5 });
    let grants = [
        ("job", json!({}), setup::JOB_GRANTS),
        ("jmeter", load, setup::JMETER_GRANTS),
        ("quality-gate", json!({}), setup::QUALITY_GATE_GRANTS),
        ("approval", json!({}), setup::APPROVAL_GRANTS),
        ("prometheus", json!({}), setup::PROMETHEUS_GRANTS),
        ("grafana", json!({}), setup::GRAFANA_GRANTS),
        ("remediation", json!({}), setup::REMEDIATION_GRANTS),
        ("slack", json!({}), setup::SLACK_GRANTS),
    ];
    let mut installed = serde_json::Map::new();
    for (name, settings, grants) in grants {
        let grants = example_grants(grants)?;
        install(stage, name, name, &settings, &grants).await?;
        installed.insert(name.to_owned(), grants);
    }
    Ok(installed)
}

/// Returns where messages go: a real channel, or a stand-in that is started.
async fn slack(stage: &Stage) -> Result<String, DemoError> {
    let stand_in = stage.slack.start().await?;
    if let Some(webhook) = &stage.webhook {
        stage.printer.note("Slack                         the channel of your webhook");
        return Ok(webhook.clone());
    }
    stage.printer.note(&format!("stand-in for Slack's webhook  http://{stand_in}"));
    Ok(format!("http://{stand_in}{WEBHOOK_PATH}"))
}

/// Installs a bundled plugin over the API, and says what it was granted.
pub(super) async fn install(
    stage: &Stage,
    bundled: &str,
    name: &str,
    settings: &Value,
    grants: &Value,
) -> Result<Value, DemoError> {
    let component = crate::bundle::find(bundled).ok_or_else(|| {
        DemoError::Wrong(format!("the plugin `{bundled}` is not in this program; build it by `cargo xtask demo`"))
    })?;
    stage.printer.progress(&format!("compiling the plugin {bundled} ({} KiB)", component.len() / 1024));
    let api = stage.api()?;
    let uploaded = api.upload(component).await?;
    let digest = uploaded.get("digest").cloned().unwrap_or_default();
    let view = api.install(name, &json!({ "digest": digest, "settings": settings, "grants": grants })).await?;
    stage.printer.note(&format!("{name:<13} is granted {}", granted(grants)));
    Ok(view)
}

/// Writes grants as a person reads them.
fn granted(grants: &Value) -> String {
    let mut parts = Vec::new();
    for (what, words) in [("connections", "connection"), ("jobs", "job template"), ("outputs", "output folder")] {
        for (_, name) in grants.get(what).and_then(Value::as_object).into_iter().flatten() {
            parts.push(format!("{words} {}", name.as_str().unwrap_or_default()));
        }
    }
    if grants.get("keyvalue").and_then(Value::as_bool) == Some(true) {
        parts.push("state between deliveries".to_owned());
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// Waits for the end of a test, its one report, and the message about it; checks that they belong together.
///
/// # Errors
/// Something did not happen in its time, or not as it must.
pub(super) async fn follow_test(stage: &Stage, id: &str, seq: Option<u64>) -> Result<Value, DemoError> {
    let is_finished = |seen: &Seen| seen.answers("sh.keptn.event.test.finished", id);
    let finished = stage.wait_for(wait("test.finished", TEST_SECONDS_MAX, seq), is_finished).await?;
    must_pass(&finished)?;
    let is_report = |seen: &Seen| seen.text("type") == REPORTED && seen.cause == Some(finished.seq);
    let report = stage.wait_for(wait("the report on the test", 60, Some(finished.seq)), is_report).await?;
    for end in ["start", "end"] {
        let (of_test, of_report) = (finished.text(&format!("/data/test/{end}")), report.text(&format!("/data/{end}")));
        if of_test.is_empty() || of_test != of_report {
            return Err(DemoError::Wrong(format!("the report's {end} is `{of_report}`, the test's `{of_test}`")));
        }
    }
    let indicators = report.event.pointer("/data/indicatorValues").cloned().unwrap_or_default();
    let list = indicators.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() || list.iter().any(|it| it.get("success").and_then(Value::as_bool) != Some(true)) {
        return Err(DemoError::Wrong(format!("an indicator has no value: {indicators}")));
    }
    for indicator in list {
        let (name, value) = (indicator.get("metric").and_then(Value::as_str), indicator.get("value"));
        let value = value.and_then(Value::as_f64).unwrap_or_default();
        stage.printer.note(&format!("{:<20} {value:.2}", name.unwrap_or_default()));
    }
    let message = message_about(stage, &report, "Test passed").await?;
    let opened = opened(finished.text("/data/test/reportUrl")).await?;
    // All that follows from the test is on disk by now, so what is there once stays once.
    let reports =
        count(stage, &format!("type={REPORTED}&context={}", report.run.as_deref().unwrap_or_default())).await?;
    let ends = count(stage, &format!("type=sh.keptn.event.test.finished&triggered-id={id}")).await?;
    if (reports, ends) != (1, 1) {
        return Err(DemoError::Wrong(format!("there are {reports} reports and {ends} ends of one test")));
    }
    Ok(json!({
        "result": finished.text("/data/result"),
        "start": finished.text("/data/test/start"),
        "end": finished.text("/data/test/end"),
        "requests": finished.event.pointer("/data/test/count"),
        "indicators": indicators,
        "reports": reports,
        "finished": ends,
        "slack": message,
        "report": opened,
    }))
}

/// Waits until Slack has the message about an event, and shows it: the newest one that has `part` in it.
///
/// # Errors
/// It was not posted in its time.
pub(super) async fn message_about(stage: &Stage, event: &Seen, part: &str) -> Result<Option<String>, DemoError> {
    let path = format!("/v1/deliveries?event={}&installation=slack&state=done", event.seq);
    let api = stage.api()?;
    let posted = || async {
        let page = api.get(&path).await?;
        Ok(page.get("items").and_then(Value::as_array).filter(|items| !items.is_empty()).map(|_| ()))
    };
    stage.poll(wait("Slack to take the message", 60, Some(event.seq)), posted).await?;
    if stage.webhook.is_some() {
        stage.printer.note("Slack took the message: look into the channel");
        return Ok(None);
    }
    let message = stage.slack.messages().into_iter().rev().find(|(_, message)| message.contains(part));
    let missing = || DemoError::Wrong(format!("the delivery to Slack is done, and Slack has no message with `{part}`"));
    let (_, message) = message.ok_or_else(missing)?;
    stage.printer.note("Slack shows:");
    for line in message.lines() {
        stage.printer.note(&format!("  │ {line}"));
    }
    Ok(Some(message))
}

/// Opens a report by its link; returns its title.
pub(super) async fn opened(url: &str) -> Result<Value, DemoError> {
    let wrong = |why: String| DemoError::Wrong(format!("the report at `{url}` does not open: {why}"));
    let client = crate::client::http_client().map_err(|error| wrong(error.to_string()))?;
    let answer = client.get(url).send().await.map_err(|error| wrong(error.to_string()))?;
    let status = answer.status();
    let page = answer.text().await.map_err(|error| wrong(error.to_string()))?;
    let title = page.split_once("<h1>").and_then(|(_, rest)| Some(rest.split_once("</h1>")?.0.to_owned()));
    match title {
        Some(title) if status.is_success() && page.contains("<svg") => Ok(title.into()),
        _ => Err(wrong(format!("status {status}"))),
    }
}

/// Returns how long after an event Slack had the newest message with `part` in it, in seconds; for a stand-in alone.
pub(super) fn slack_after(stage: &Stage, event: &Seen, part: &str) -> Option<f64> {
    let (came, _) = stage.slack.messages().into_iter().rev().find(|(_, message)| message.contains(part))?;
    Some((came - millis(event)?) as f64 / 1_000.0)
}

/// Returns when an event was made, in milliseconds since 1970.
pub(super) fn millis(event: &Seen) -> Option<i64> {
    pilothouse_core::time::Timestamp::parse_rfc3339(event.text("time")).map(pilothouse_core::time::Timestamp::as_millis)
}

/// Counts the events of a listing.
///
/// # Errors
/// The host does not answer.
pub(super) async fn count(stage: &Stage, query: &str) -> Result<usize, DemoError> {
    let page = stage.api()?.get(&format!("/v1/events?{query}&limit=500")).await?;
    Ok(page.get("items").and_then(Value::as_array).map_or(0, Vec::len))
}

/// Returns the position that the host gave an event.
pub(super) fn seq(accepted: &Value) -> Option<u64> {
    accepted.get("seq").and_then(Value::as_u64)
}

fn must_pass(finished: &Seen) -> Result<(), DemoError> {
    match finished.text("/data/result") {
        "pass" => Ok(()),
        result => Err(DemoError::Wrong(format!(
            "{} ended with the result `{result}`: {}",
            finished.text("type"),
            finished.text("/data/message")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_written_as_a_person_reads_them() {
        assert_eq!(granted(&json!({})), "nothing");
        let grants = json!({ "jobs": { "jmeter": "jmeter" }, "keyvalue": true });
        assert_eq!(granted(&grants), "job template jmeter, state between deliveries");
    }
}
