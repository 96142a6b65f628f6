//! The events of an evaluation, held against Keptn's schemas; and what the gate needs to be granted.

use pilothouse_tests::prometheus::Prometheus;
use pilothouse_tests::{Host, Options, check_keptn, data, event, extension, plugins, root};
use serde_json::json;

const FINISHED: &str = "sh.keptn.event.evaluation.finished";

async fn host(grants: &str) -> (Host, Prometheus, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), "global: {scrape_interval: 1s}\n").await.unwrap();
    let connections = [("prometheus".to_owned(), (prometheus.url.clone(), Vec::new()))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    host.install_file(&plugins().join("quality-gate.wasm"), "quality-gate", grants, json!({})).await.unwrap();
    let provider = "keyvalue = true\nresources = true\n[connections]\nprometheus = \"prometheus\"\n";
    host.install_file(&plugins().join("prometheus.wasm"), "prometheus", provider, json!({})).await.unwrap();
    (host, prometheus, folder)
}

fn trigger() -> serde_json::Value {
    json!({
        "project": "shop", "stage": "prod", "service": "cart", "labels": { "version": "1.2.3" },
        "test": { "start": "2026-01-02T15:04:05Z", "end": "2026-01-02T15:04:35Z" },
        "deployment": { "deploymentNames": ["canary"] },
        "evaluation": {
            "slo": "spec_version: '1.0'\nfilter: {handler: Items}\nobjectives: [{sli: p95, pass: [{criteria: ['<=+10%']}]}, {sli: gone}]\ntotal_score: {pass: 90%}\n",
            "sli": "spec_version: '1.0'\nindicators: {p95: 'vector(12.5)', gone: 'vector(1) > 2'}\n",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_an_evaluation_keeps_to_keptns_schemas_and_to_one_run() {
    let grants = std::fs::read_to_string(root().join("examples/grants/quality-gate.toml")).unwrap();
    let (host, _prometheus, _folder) = host(&grants).await;
    host.send(event("e1", "sh.keptn.event.evaluation.triggered", &trigger()).unwrap()).await.unwrap();
    let finished = host.wait_for(FINISHED, |_| true).await.unwrap();
    let evaluation = data(&finished)["evaluation"].clone();
    assert_eq!(
        (&evaluation["timeStart"], &evaluation["timeEnd"]),
        (&json!("2026-01-02T15:04:05Z"), &json!("2026-01-02T15:04:35Z"))
    );
    assert_eq!(data(&finished)["labels"]["version"], "1.2.3");
    let asked = host.wait_for("sh.keptn.event.get-sli.triggered", |_| true).await.unwrap();
    assert_eq!(
        (&data(&asked)["deployment"], &data(&asked)["get-sli"]["sliProvider"]),
        (&json!("canary"), &json!("prometheus"))
    );
    for ty in ["evaluation.started", "evaluation.finished", "get-sli.triggered", "get-sli.started", "get-sli.finished"]
    {
        let rows = host.events_of(&format!("sh.keptn.event.{ty}")).await.unwrap();
        assert_eq!(rows.len(), 1, "{ty}");
        check_keptn(&rows[0]).unwrap();
        assert_eq!(extension(&rows[0], "shkeptncontext"), extension(&finished, "shkeptncontext"), "{ty}");
    }
    host.check_log().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_without_its_grants_judges_nothing_and_names_the_line_that_is_missing() {
    for (grants, missing) in [
        ("keyvalue = true\nresources = true\n", "event-log = true"),
        ("keyvalue = true\nevent-log = true\n", "resources = true"),
    ] {
        let (host, _prometheus, _folder) = host(grants).await;
        let mut data_of = trigger();
        // With files of its own, the gate would not have to ask the project.
        if missing.starts_with("resources") {
            data_of["evaluation"].as_object_mut().unwrap().remove("slo");
        }
        host.send(event("e1", "sh.keptn.event.evaluation.triggered", &data_of).unwrap()).await.unwrap();
        let finished = data(&host.wait_for(FINISHED, |_| true).await.unwrap());
        assert_eq!((&finished["status"], &finished["result"]), (&json!("errored"), &json!("fail")), "{finished}");
        assert!(finished["message"].as_str().unwrap().contains(missing), "{missing}: {finished}");
    }
}
