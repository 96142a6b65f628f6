//! Dashboards that are generated from SLIs and SLOs: in a Grafana that checks them, their queries on a real Prometheus.

use pilothouse_tests::grafana::Grafana;
use serde_json::Value;

use crate::monitoring::{Monitoring, slo};

const TOKEN: &str = "glsa_test";

fn config(grafana: &Grafana, token: &std::path::Path) -> String {
    format!(
        "[connections.grafana]\nurl = {:?}\nauth = \"bearer\"\ncredential = {{ file = {:?} }}\n",
        grafana.url,
        token.display().to_string()
    )
}

/// A monitored service, and its dashboard in a Grafana.
async fn with_dashboard() -> (Monitoring, Grafana) {
    let grafana = Grafana::start(TOKEN).await.unwrap();
    let token = std::env::temp_dir().join(format!("grafana-token-{}-{}", std::process::id(), grafana.url.len()));
    std::fs::write(&token, TOKEN).unwrap();
    let grants = include_str!("../../examples/grants/grafana.toml");
    let monitoring =
        Monitoring::start_with(&config(&grafana, &token), &[("grafana", grants)], &[]).await.monitored(600).await;
    (monitoring, grafana)
}

fn dashboard(grafana: &Grafana) -> Option<Value> {
    grafana.held().dashboards.values().find(|it| it["title"] == "cart (shop)").cloned()
}

/// Panels with a query, each with the title of its row.
fn panels(dashboard: &Value) -> Vec<(String, Value)> {
    let mut row = String::new();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        match panel["type"].as_str().unwrap() {
            "row" => row = panel["title"].as_str().unwrap().to_owned(),
            _ => found.push((row.clone(), panel.clone())),
        }
    }
    found
}

fn limit(grafana: &Grafana) -> Option<f64> {
    let dashboard = dashboard(grafana)?;
    let (_, busy) = panels(&dashboard).into_iter().find(|(_, panel)| panel["title"] == "busy")?;
    busy["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array()?.last()?["value"].as_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_has_a_dashboard_whose_queries_return_data_and_that_follows_each_commit() {
    let (monitoring, grafana) = with_dashboard().await;
    monitoring.until("the dashboard", async || limit(&grafana) == Some(600.0)).await;
    let found = panels(&dashboard(&grafana).unwrap());
    assert_eq!(found.len(), 4, "two indicators in two stages: {found:?}");
    for (stage, panel) in &found {
        // What Grafana puts in for its variable, for a scrape each second.
        let query = panel["targets"][0]["expr"].as_str().unwrap().replace("$__rate_interval", "10s");
        let path = reqwest::Url::parse_with_params("http://x/api/v1/query", [("query", &query)]).unwrap();
        let path = format!("{}?{}", path.path(), path.query().unwrap());
        let has_data = async || monitoring.api(&path).await["result"].as_array().is_some_and(|it| !it.is_empty());
        monitoring.until(&format!("data of {} in {stage}: {query}", panel["title"]), has_data).await;
    }
    monitoring.add("slo.yaml", &slo(300), &["--stage", "dev", "--service", "cart"]);
    monitoring.until("the new limit", async || limit(&grafana) == Some(300.0)).await;
    assert!(
        grafana.held().messages.iter().all(|it| it.starts_with("Pilothouse, commit ")),
        "each version names its commit"
    );

    // The JSON is kept in Git, and its commit is the last one: there is no loop.
    let kept = || monitoring.ok(&["resource", "get", "shop", "services/cart/grafana/dashboard.json"]);
    let is_kept = async || {
        serde_json::from_str::<Value>(&kept()).is_ok_and(|it| it["panels"] == dashboard(&grafana).unwrap()["panels"])
    };
    monitoring.until("the JSON in Git", is_kept).await;
    let history = monitoring.ok(&["project", "history", "shop"]);
    assert!(history.contains("plugin:grafana") && history.contains("Dashboards generated"), "{history}");

    // Somebody edits by hand.
    monitoring.until("all is in step", async || monitoring.status().0 == 0).await;
    for dashboard in grafana.held().dashboards.values_mut() {
        dashboard["title"] = "mine".into();
    }
    let (code, items) = monitoring.status();
    let item = items.iter().find(|it| it["tool"] == "grafana").unwrap();
    assert_eq!(
        (code, &item["state"], &item["reason"]),
        (1, &"drifted".into(), &"the dashboard was changed by hand".into())
    );
    monitoring.ok(&["monitoring", "sync", "--project", "shop"]);
    assert!(dashboard(&grafana).is_some(), "it is put back");

    monitoring.ok(&["service", "delete", "shop", "cart", "--yes"]);
    monitoring.until("no dashboard", async || grafana.held().dashboards.is_empty()).await;
    assert_eq!(grafana.held().refused, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_marked_once_and_a_link_shows_its_time() {
    let (monitoring, grafana) = with_dashboard().await;
    let place = ["--project", "shop", "--stage", "dev", "--service", "cart", "--label", "version=1.4"];
    let (_, out, err) = monitoring.program.cli(
        monitoring.path(),
        &[&["evaluation", "trigger", "--timeframe", "1m", "--wait", "--output", "json"][..], &place].concat(),
    );
    let evaluation: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    monitoring.until("the mark", async || !grafana.held().annotations.is_empty()).await;
    let mark = grafana.held().annotations[0].clone();
    let run = evaluation["run"].as_str().unwrap();
    let tags: Vec<&str> = mark["tags"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    for tag in ["project:shop", "stage:dev", "service:cart", "version:1.4", &format!("run:{run}")] {
        assert!(tags.contains(&tag), "{tag}: {tags:?}");
    }
    assert_eq!(mark["timeEnd"].as_i64().unwrap() - mark["time"].as_i64().unwrap(), 60_000);
    let report = || -> Value {
        let id = evaluation["id"].as_str().unwrap();
        serde_json::from_str(&monitoring.ok(&["report", "get", id, "--output", "json"])).unwrap()
    };
    monitoring.until("the link in the report", async || report()["dashboard"].is_string()).await;
    let report = report();
    let url = report["dashboard"].as_str().unwrap();
    let uid = grafana.held().dashboards.keys().next().unwrap().clone();
    assert!(url.starts_with(&format!("/d/{uid}/cart?from=")), "{url}");
    assert!(url.contains("&var-run="), "{url}");
}
