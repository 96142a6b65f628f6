//! Quality gates: what judging costs in the sandbox, how many whole evaluations a host does per second, and how quickly a load
//! test's results are read.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse_core::event::json as event_json;
use pilothouse_files::evaluation::input;
use pilothouse_runtime::ResourceLevel;
use pilothouse_testing::{Cause, JobResult, TestHost};
use pilothouse_tests::prometheus::Prometheus;
use pilothouse_tests::{Host, Options, data, event, plugins, root};
use serde_json::{Value, json};

use crate::report::{Better, Goal, Report};
use crate::stats::median;

/// Objectives of the SLO that is judged, and earlier results that it is compared with.
const OBJECTIVES: usize = 50;
const EARLIER: usize = 20;
/// Evaluations of one measurement.
const ROUNDS: usize = 15;
/// Samples of the load test.
const SAMPLES: usize = 1_000_000;
/// Whole evaluations of the measurement of the rate, and those that are made before.
const EVALUATIONS: usize = 300;
const WARM: usize = 30;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures.
///
/// # Errors
/// A plugin, Prometheus or the disk fails.
pub(crate) async fn run(report: &mut Report, work: &Path) -> Result<()> {
    report.section("quality gates")?;
    // `TestHost` has a runtime of its own, which must not end on a thread of this one.
    let judged = tokio::task::spawn_blocking(judging).await??;
    for (name, value) in [("natively", judged.0), ("in the sandbox, a fresh instance for each", judged.1)] {
        let name = format!("evaluation of {OBJECTIVES} objectives against {EARLIER} earlier results, {name}");
        report.push(&name, value, "ms", Better::Lower, Goal::None);
    }
    let name = "the same: the sandbox's share of native";
    report.push(name, judged.1 / judged.0, "ratio", Better::Lower, Goal::Relative(4.0));

    let (native, sandbox, memory) = tokio::task::spawn_blocking(reading).await??;
    report.push("JTL of 1,000,000 samples read and summarised, natively", native, "s", Better::Lower, Goal::None);
    report.push("the same in the sandbox, streamed", sandbox, "s", Better::Lower, Goal::None);
    report.push("the same: share of native speed", native / sandbox, "ratio", Better::Higher, Goal::Relative(0.25));
    report.push("the same: most memory in the sandbox", memory, "MiB", Better::Lower, Goal::None);

    let rate = rate(work).await?;
    let name =
        "whole evaluations with 5 SLIs: trigger, get-sli from a local Prometheus, evaluate, finished, all durable";
    report.push(name, rate, "evaluations/s", Better::Higher, Goal::Absolute(30.0));
    Ok(())
}

fn slo(objectives: usize) -> String {
    let mut text = String::from(
        "spec_version: '1.0'\ncomparison: {compare_with: several_results, number_of_comparison_results: 20, include_result_with_score: all, aggregate_function: avg}\nobjectives:\n",
    );
    for number in 0..objectives {
        text.push_str(&format!(
            "- {{sli: sli_{number}, displayName: Indicator {number}, unit: ms, weight: 2, pass: [{{criteria: ['<=+10%', '<600']}}], warning: [{{criteria: ['<=+30%', '<800']}}]}}\n"
        ));
    }
    text.push_str("total_score: {pass: 90%, warning: 75%}\n");
    text
}

/// What a provider answers.
fn measured(shift: f64) -> Value {
    let one = |number: usize| json!({ "metric": format!("sli_{number}"), "value": 100.0 + number as f64 + shift, "success": true, "message": "" });
    let values: Vec<Value> = (0..OBJECTIVES).map(one).collect();
    json!({
        "project": "shop", "stage": "dev", "service": "cart", "result": "pass", "status": "succeeded", "message": "",
        "get-sli": { "start": "2026-01-31T12:00:00Z", "end": "2026-01-31T12:05:00Z", "indicatorValues": values },
    })
}

fn as_event(ty: &str, id: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/bench", "type": ty, "datacontenttype": "application/json",
        "triggeredid": format!("t-{id}"), "shkeptncontext": "r", "data": data })
}

/// Judges natively and in the sandbox, from the same texts; returns the median times in milliseconds.
fn judging() -> Result<(f64, f64)> {
    let slo = slo(OBJECTIVES);
    let values = measured(0.0);
    let mut earlier: Vec<Value> = Vec::new();
    for number in 0..EARLIER {
        let values = measured(number as f64 / 10.0);
        let (evaluation, _) =
            input::evaluate(slo.as_bytes(), &values, &[]).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let data =
            json!({ "project": "shop", "stage": "dev", "service": "cart", "result": "pass", "evaluation": evaluation });
        earlier.push(as_event("sh.keptn.event.evaluation.finished", &format!("e{number}"), &data));
    }
    let texts: Vec<String> = earlier.iter().map(Value::to_string).collect();
    let answer = values.to_string();
    let mut native = Vec::new();
    for _ in 0..ROUNDS * 4 {
        let begun = Instant::now();
        let values: Value = serde_json::from_str(&answer)?;
        let earlier: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
        let (evaluation, _) =
            input::evaluate(slo.as_bytes(), &values, &earlier).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        ensure!(serde_json::to_string(&evaluation)?.len() > 1_000, "it judged nothing");
        native.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let mut host = TestHost::load(plugins().join("quality-gate.wasm"))?
        .grants(&std::fs::read_to_string(root().join("examples/grants/quality-gate.toml"))?)?
        .resource(ResourceLevel::ServiceInStage, "slo.yaml", slo.clone());
    for event in &earlier {
        host = host.earlier_event(event_json::parse(event.to_string().as_bytes())?);
    }
    let mut sandbox = Vec::new();
    for round in 0..ROUNDS {
        let task = format!("task-{round}");
        let data = json!({ "project": "shop", "stage": "dev", "service": "cart", "evaluation": { "timeframe": "5m" } });
        let place = |event| host.delivery(event).place("shop", "dev", "cart");
        let trigger = pilothouse_testing::event("sh.keptn.event.evaluation.triggered", &data);
        place(trigger).task("evaluation", Cause::Triggered, &task).deliver()?;
        let answer = pilothouse_testing::event("sh.keptn.event.get-sli.finished", &values);
        let begun = Instant::now();
        let delivered = place(answer).task("evaluation", Cause::TaskFinished, &task).deliver()?;
        sandbox.push(begun.elapsed().as_secs_f64() * 1e3);
        let judged = delivered.output();
        ensure!(judged["indicatorResults"].as_array().is_some_and(|it| it.len() == OBJECTIVES), "{delivered:?}");
        ensure!(judged["comparedEvents"].as_array().is_some_and(|it| it.len() == EARLIER), "{judged}");
    }
    Ok((median(&native), median(&sandbox)))
}

/// Makes the result file of a load test.
fn jtl(samples: usize) -> Vec<u8> {
    let mut text = String::from(
        "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,bytes,grpThreads,allThreads,Latency,IdleTime,Connect\n",
    );
    for number in 0..samples {
        let (label, time) = (["home", "cart", "checkout"][number % 3], 5 + number % 97);
        let (code, success) = if number % 500 == 0 { ("500", "false") } else { ("200", "true") };
        let at = 1_700_000_000_000_u64 + number as u64;
        text.push_str(&format!("{at},{time},{label},{code},OK,Users 1-{},{success},512,5,5,{time},0,1\n", number % 5));
    }
    text.into_bytes()
}

/// Reads a load test's results natively and in the sandbox; returns the times in seconds, and the memory in MiB.
fn reading() -> Result<(f64, f64, f64)> {
    let file = jtl(SAMPLES);
    let begun = Instant::now();
    let summary = plugin_jmeter::jtl::summarize(file.as_slice()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let native = begun.elapsed().as_secs_f64();
    ensure!(summary.total.elapsed.count() == SAMPLES as u64, "not every sample was read");
    let host = TestHost::load(plugins().join("jmeter.wasm"))?
        .settings(&json!({ "script": "<jmeterTestPlan/>" }))?
        .grants(&std::fs::read_to_string(root().join("examples/grants/jmeter.toml"))?)?
        .job(move |_| JobResult::exit(0).file("result.jtl", file.clone()));
    let data = json!({ "project": "shop", "stage": "dev", "service": "cart", "test": { "teststrategy": "functional" },
        "deployment": { "deploymentURIsLocal": ["http://127.0.0.1:1"] } });
    let trigger = pilothouse_testing::event("sh.keptn.event.test.triggered", &data);
    let started = host.delivery(trigger).task("test", Cause::Triggered, "t").deliver()?;
    let job = started.jobs.first().with_context(|| format!("no job: {started:?}"))?.id.clone();
    let begun = Instant::now();
    let ended = host.delivery(host.job_event(&job)?).task("test", Cause::JobEnded, "t").deliver()?;
    let sandbox = begun.elapsed().as_secs_f64();
    ensure!(ended.output()["count"] == SAMPLES, "{:?} {}", ended.failure, ended.output());
    Ok((native, sandbox, ended.memory_bytes_max as f64 / f64::from(1 << 20)))
}

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: s}\nspec:\n  stages:\n  - name: dev\n    sequences: []\n";
const SLI: &str = "spec_version: '1.0'\nindicators: {sli_0: vector(100), sli_1: vector(101), sli_2: vector(102), sli_3: vector(103), sli_4: vector(104)}\n";

/// Returns how many whole evaluations a host does per second, with a real Prometheus beside it.
async fn rate(work: &Path) -> Result<f64> {
    let folder = tempfile::tempdir_in(work)?;
    let prometheus = Prometheus::start(folder.path(), "global: {scrape_interval: 5s}\n").await?;
    let connections = [("prometheus".to_owned(), (prometheus.url.clone(), Vec::new()))].into();
    let data_folder = tempfile::tempdir_in(work)?;
    let options = Options { connections, data: Some(data_folder.path().join("data")), ..Options::default() };
    let host = Host::start(options).await?;
    for (name, grants) in [
        ("prometheus", "keyvalue = true\nresources = true\n[connections]\nprometheus = \"prometheus\"\n"),
        ("quality-gate", "event-log = true\nkeyvalue = true\nresources = true\n"),
    ] {
        host.install_file(&plugins().join(format!("{name}.wasm")), name, grants, json!({})).await?;
    }
    host.create_project("shop", SHIPYARD).await?;
    host.write("shop", "services/cart/slo.yaml", &slo(5)).await?;
    host.write("shop", "services/cart/prometheus/sli.yaml", SLI).await?;
    evaluations(&host, "warm", WARM).await?;
    let begun = Instant::now();
    evaluations(&host, "counted", EVALUATIONS).await?;
    Ok(EVALUATIONS as f64 / begun.elapsed().as_secs_f64())
}

/// Triggers evaluations, and waits until all have passed.
async fn evaluations(host: &Host, name: &str, count: usize) -> Result<()> {
    let asked = json!({ "project": "shop", "stage": "dev", "service": "cart", "evaluation": { "timeframe": "5m" } });
    let before = host.events_of("sh.keptn.event.evaluation.finished").await?.len();
    for number in 0..count {
        host.send(event(&format!("{name}-{number}"), "sh.keptn.event.evaluation.triggered", &asked)?).await?;
    }
    let begun = Instant::now();
    loop {
        let ended = host.events_of("sh.keptn.event.evaluation.finished").await?;
        if ended.len() >= before + count {
            let failed = ended.iter().map(data).find(|data| data["result"] != "pass");
            ensure!(failed.is_none(), "not every evaluation passed: {failed:?}");
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{} of {count} evaluations ended", ended.len() - before);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
