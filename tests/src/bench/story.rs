//! How soon one tool follows another: from one run of the demo, with real Prometheus, Alertmanager, JMeter, Ansible and Git.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::report::{Better, Goal, Report};

/// Measures.
///
/// # Errors
/// The demo fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("from tool to tool")?;
    let file = work.join("demo.json");
    let program = std::env::current_exe()?.with_file_name("pilothouse-host");
    report.note("the demo plays; it takes about three minutes");
    let mut demo = tokio::process::Command::new(program);
    demo.args(["demo", "--plain", "--report"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    ensure!(demo.status().await?.success(), "the demo failed");
    let told: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let acts = told["acts"].as_array().context("acts")?;
    let fact = |act: &str, name: &str| -> Result<f64> {
        let act = acts.iter().find(|it| it["name"] == act).with_context(|| format!("no act `{act}`"))?;
        act["facts"][name].as_f64().with_context(|| format!("no `{name}` in {act}"))
    };
    for (name, act, key, goal) in [
        (
            "git push with a webhook: time to the new rule in Prometheus and limit in the dashboard",
            "commit",
            "moved-after-seconds",
            5.0,
        ),
        ("alert received: time to the action's trigger", "heal", "alert-to-action-seconds", 1.0),
        ("evaluation finished: time to the message in Slack", "delivery", "gate-to-slack-seconds", 1.0),
    ] {
        report.push(name, fact(act, key)?, "s", Better::Lower, Goal::Absolute(goal));
    }
    Ok(())
}
