//! The act in which an alert heals: the service gets slow, and everything from Prometheus to the end happens by itself.

use std::time::Instant;

use serde_json::json;

use super::command::{run, show};
use super::error::DemoError;
use super::follow::Seen;
use super::peers::{free_address, start_alertmanager};
use super::project::SERVICE;
use super::report::{Shown, seconds};
use super::setup::write_private;
use super::stage::{Stage, wait};
use super::story;

/// What Alertmanager proves itself with.
const SECRET: &str = "demo-alertmanager-secret";
/// Alertmanager's configuration, without the part that the command line puts in.
const ALERTMANAGER: &str = "route:\n  receiver: nobody\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1m\nreceivers:\n- name: nobody\n";
/// Clients of the service, one after the other each; enough that most of a window's requests are recent.
const CLIENTS: usize = 4;

/// Gives Alertmanager its route, and starts it.
async fn alertmanager(stage: &mut Stage) -> Result<(), DemoError> {
    let admin = stage.admin().to_owned();
    let folder = stage.folder.join("project");
    write_private(&folder.join("alertmanager-secret"), SECRET)?;
    write_private(&folder.join("alertmanager.yml"), ALERTMANAGER)?;
    run(stage, &admin, &["secret", "set", "alertmanager", "--file", "alertmanager-secret"]).await?;
    let route = ["inbound", "set", "alertmanager", "--plugin", "prometheus", "--verify", "bearer"];
    run(stage, &admin, &[&route[..], &["--secret", "alertmanager"]].concat()).await?;
    let url = format!("{}/v1/inbound/alertmanager", stage.api()?.base());
    let secret = folder.join("alertmanager-secret").display().to_string();
    let generate = ["monitoring", "alertmanager", "alertmanager.yml", "--receiver-url", &url, "--secret-file", &secret];
    run(stage, &admin, &generate).await?;
    stage
        .printer
        .note("Alertmanager's receiver and route were put into its configuration, and all else left as it was");
    let process = start_alertmanager(&stage.programs.alertmanager, &stage.folder, stage.alertmanager, free_address()?)?;
    stage.keep(process);
    Ok(())
}

/// Makes the running service slow, and waits until it is well again and the problem has ended.
pub(super) async fn heal(stage: &mut Stage) -> Result<Shown, DemoError> {
    alertmanager(stage).await?;
    let url = stage.services.get("production").cloned().unwrap_or_default();
    let traffic = (0..CLIENTS).map(|_| tokio::spawn(visit(format!("{url}/carts"))));
    let traffic: Vec<_> = traffic.collect();
    let client = crate::client::http_client().map_err(|error| DemoError::Wrong(error.to_string()))?;
    let degraded = client.post(format!("{url}/degrade")).send().await.is_ok_and(|answer| answer.status().is_success());
    if !degraded {
        return Err(DemoError::Wrong("the service cannot be made slow".to_owned()));
    }
    let begun = Instant::now();
    stage.printer.note("the running service in production gets slow");
    let outcome = follow(stage, begun).await;
    traffic.iter().for_each(tokio::task::JoinHandle::abort);
    outcome
}

/// Asks for the service's page again and again, as customers do.
async fn visit(url: String) {
    let Ok(client) = crate::client::http_client() else { return };
    loop {
        let _ = client.get(&url).send().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn follow(stage: &Stage, begun: Instant) -> Result<Shown, DemoError> {
    let first = |ty: &'static str| move |seen: &Seen| seen.text("type") == ty;
    let triggered = "sh.keptn.event.production.remediation.triggered";
    let alert = stage.wait_for(wait("the alert", 90, None), first(triggered)).await?;
    let run = alert.run.clone().unwrap_or_default();
    let after = seconds(begun);
    stage.printer.note(&format!(
        "after {after} s an alert has triggered a remediation: {}",
        alert.text("/data/problem/problemTitle")
    ));
    let in_run = |ty: &'static str| {
        let run = run.clone();
        move |seen: &Seen| seen.run.as_deref() == Some(&run) && seen.text("type") == ty
    };
    let chosen =
        stage.wait_for(wait("the action", 30, Some(alert.seq)), in_run("sh.keptn.event.get-action.finished")).await?;
    stage.printer.note(chosen.text("/data/message"));
    let begun_action = in_run("sh.keptn.event.action.triggered");
    let begun_action = stage.wait_for(wait("the action to begin", 30, Some(alert.seq)), begun_action).await?;
    let alert_to_action =
        story::millis(&begun_action).zip(story::millis(&alert)).map(|(to, from)| (to - from) as f64 / 1_000.0);
    let acted = stage.wait_for(wait("Ansible", 90, Some(alert.seq)), in_run("sh.keptn.event.action.finished")).await?;
    stage.printer.note(&format!("Ansible: {}", acted.text("/data/message")));
    let resolved = in_run("io.prometheus.alert.resolved.v1");
    stage.wait_for(wait("the alert to be resolved", 120, Some(alert.seq)), resolved).await?;
    stage.printer.note(&format!("Alertmanager says after {} s that the alert is over", seconds(begun)));
    stage.printer.note("the evaluation looks at the minute after the action, so it comes a minute later");
    let judged = in_run("sh.keptn.event.evaluation.finished");
    let judged = stage.wait_for(wait("the evaluation", 150, Some(alert.seq)), judged).await?;
    let ended = in_run("sh.keptn.event.production.remediation.finished");
    let ended = stage.wait_for(wait("the end", 30, Some(alert.seq)), ended).await?;
    if ended.text("/data/result") != "pass" {
        return Err(DemoError::Wrong(format!(
            "the remediation ended with `{}`: {}",
            ended.text("/data/result"),
            judged.text("/data/message")
        )));
    }
    let message = story::message_about(stage, &judged, "Evaluation passed").await?;
    let report = story::opened(judged.text("/data/evaluation/reportUrl")).await?;
    stage.printer.note("the report opens by its link, without a token");
    let admin = stage.admin().to_owned();
    let problem = show(stage, &admin, &["problem", "get", &run]).await?;
    let view = stage.api()?.get(&format!("/v1/problems/{run}")).await?;
    Ok(Shown {
        summary: format!("{SERVICE} was healed {} s after it had become slow, and nobody did anything", seconds(begun)),
        facts: json!({
            "problem": view, "chosen": chosen.text("/data/message"), "report": report, "slack": message,
            "alert-to-action-seconds": alert_to_action, "action": acted.text("/data/message"), "shown": problem.lines().collect::<Vec<_>>(),
        }),
    })
}
