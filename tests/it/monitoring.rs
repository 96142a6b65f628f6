//! Prometheus in step with a project's files: a real one, that scrapes a real service and loads real rules.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use pilothouse_tests::prometheus::Prometheus;
use pilothouse_tests::{PATIENCE, plugins};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, client};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3
kind: Shipyard
metadata: {name: s}
spec:
  stages:
  - name: dev
    sequences: [{name: delivery, tasks: [{name: evaluation, properties: {timeframe: 1m}}]}]
  - name: prod
    sequences: [{name: delivery, tasks: [{name: evaluation, properties: {timeframe: 1m}}]}]
";

fn slo(limit: u32) -> String {
    format!(
        "spec_version: '1.0'\nobjectives:\n- sli: busy\n  pass: [{{criteria: ['<{limit}', '>=0']}}]\n\
         - sli: grown\n  pass: [{{criteria: ['<=+5%']}}]\ntotal_score: {{pass: 90%}}\n"
    )
}

/// A service that counts what it is asked.
async fn service() -> String {
    let count = Arc::new(AtomicU64::new(0));
    let answer = move || {
        let requests = count.fetch_add(3, Ordering::Relaxed);
        async move { format!("# TYPE http_requests_total counter\nhttp_requests_total{{status=\"200\"}} {requests}\n") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(answer))).await.unwrap() });
    address
}

struct Monitoring {
    folder: TempDir,
    program: Program,
    prometheus: Prometheus,
    target: String,
}

impl Monitoring {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["targets", "rules"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{0}/rules/*.yml']\nscrape_configs:\n\
             - job_name: pilothouse\n  file_sd_configs: [{{files: ['{0}/targets/*.json']}}]\n",
            path.display()
        );
        let prometheus = Prometheus::start(path, &config).await.unwrap();
        let toml = format!(
            "[connections.prometheus]\nurl = {:?}\nauth = \"none\"\n[outputs.prometheus-targets]\npath = {:?}\n\
             [outputs.prometheus-rules]\npath = {:?}\n",
            prometheus.url,
            path.join("targets").display().to_string(),
            path.join("rules").display().to_string()
        );
        std::fs::write(path.join("pilothouse.toml"), toml).unwrap();
        let config = path.join("pilothouse.toml");
        let program = Program::start(path, &[("PILOTHOUSE_CONFIG", config.to_str().unwrap())]);
        let this = Self { folder, program, prometheus, target: service().await };
        for (name, grants) in [
            ("prometheus", include_str!("../../examples/grants/prometheus.toml")),
            ("quality-gate", include_str!("../../examples/grants/quality-gate.toml")),
        ] {
            this.write("grants.toml", grants);
            let file = plugins().join(format!("{name}.wasm"));
            this.ok(&["plugin", "install", file.to_str().unwrap(), "--grants", "grants.toml", "--yes"]);
        }
        this.write("shipyard.yaml", SHIPYARD);
        this.ok(&["project", "create", "shop", "--shipyard", "shipyard.yaml"]);
        this.ok(&["service", "create", "shop", "cart"]);
        this
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.program.ok(self.path(), arguments)
    }

    /// Adds a file to the project, in one commit.
    fn add(&self, to: &str, content: &str, place: &[&str]) {
        self.write("file", content);
        self.ok(&[&["resource", "add", "shop", "file", "--to", to][..], place].concat());
    }

    async fn api(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.prometheus.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["data"].clone()
    }

    /// Waits for a fact; returns how long it took.
    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) -> Duration {
        let begun = Instant::now();
        while !is_so().await {
            assert!(begun.elapsed() < PATIENCE, "{what} never came; the host said:\n{}", self.program.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    }

    /// Tells whether Prometheus has a rule with this text in its expression.
    async fn has_rule(&self, group: &str, text: &str) -> bool {
        let rules = self.api("/api/v1/rules").await;
        let groups = rules["groups"].as_array().cloned().unwrap_or_default();
        let of = groups.iter().filter(|it| it["name"] == group).flat_map(|it| it["rules"].as_array().unwrap());
        of.into_iter().any(|rule| rule["query"].as_str().unwrap().contains(text))
    }

    async fn is_scraped(&self, job: &str) -> bool {
        let targets = self.api("/api/v1/targets").await;
        let active = targets["activeTargets"].as_array().cloned().unwrap_or_default();
        active.iter().any(|it| it["labels"]["job"] == job && it["health"] == "up")
    }

    fn status(&self) -> (i32, Vec<Value>) {
        let (code, out, err) =
            self.program.cli(self.path(), &["monitoring", "status", "--project", "shop", "--output", "json"]);
        let answer: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        (code, answer["items"].as_array().unwrap().clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_moves_prometheus_and_what_is_not_in_step_says_so() {
    let monitoring = Monitoring::start().await;
    let target =
        format!("spec_version: '1.0'\ntargets: ['{}']\nlabels: {{team: shop}}\nalertFor: 1s\n", monitoring.target);
    monitoring.add("prometheus/monitoring.yaml", &target, &[]);
    let sli = "spec_version: '1.0'\nindicators:\n  busy: sum(rate(http_requests_total{job=\"$SERVICE-$PROJECT-$STAGE\"}[$DURATION_SECONDS]))\n  grown: vector(1)\n";
    monitoring.add("prometheus/sli.yaml", sli, &[]);
    monitoring.add("slo.yaml", &slo(600), &["--stage", "dev", "--service", "cart"]);
    let group = "cart shop-dev alerts";
    monitoring.until("the rule of the SLO", async || monitoring.has_rule(group, ">= 600").await).await;
    monitoring.add("slo.yaml", &slo(300), &["--stage", "dev", "--service", "cart"]);
    let took = monitoring.until("the changed rule", async || monitoring.has_rule(group, ">= 300").await).await;
    println!("commit to new rule: {took:?}");
    assert!(!monitoring.has_rule(group, ">= 600").await);
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(monitoring.path().join("rules/shop.cart.rules.yml"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // A new service is scraped without a command.
    monitoring.ok(&["service", "create", "shop", "stock"]);
    let took = monitoring.until("the new service", async || monitoring.is_scraped("stock-shop-prod").await).await;
    println!("service create to scraped: {took:?}");
    monitoring.until("all is loaded", async || monitoring.status().0 == 0).await;
    let (_, items) = monitoring.status();
    assert_eq!(items.len(), 4, "{items:?}");
    assert!(items.iter().all(|it| it["state"] == "in-step" && it["commit"].as_str().unwrap().len() == 40), "{items:?}");
    assert_eq!(items[0]["skipped"][0]["sli"], "grown", "what is no threshold is named: {items:?}");

    // Somebody edits by hand.
    let rules = monitoring.path().join("rules/shop.cart.rules.yml");
    let good = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, good.replace(">= 300", ">= 9000")).unwrap();
    let (code, items) = monitoring.status();
    assert_eq!((code, &items[0]["state"]), (1, &"drifted".into()), "{items:?}");
    let table = monitoring.ok(&["monitoring", "sync", "--project", "shop"]);
    assert!(table.contains("in-step"), "{table}");
    let again = std::fs::read_to_string(&rules).unwrap();
    assert!(again.contains(">= 300") && !again.contains("9000"), "{again}");
    // A query that Prometheus cannot parse leaves what there is, and is told by name.
    monitoring.add("prometheus/sli.yaml", &sli.replace("sum(rate", "sum(("), &[]);
    let synced = monitoring.ok(&["event", "list", "--type", "io.prometheus.monitoring.synced.v1", "--output", "json"]);
    assert!(synced.contains("items"), "{synced}");
    let (code, out, _) = monitoring.program.cli(monitoring.path(), &["monitoring", "sync", "--project", "shop"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("Prometheus refuses the query of SLI `busy`"), "{out}");
    assert!(monitoring.has_rule(group, ">= 300").await);
    monitoring.add("prometheus/sli.yaml", sli, &[]);
    monitoring.until("all is well again", async || monitoring.status().0 == 0).await;

    // Prometheus measures what it scrapes, for the gate too.
    monitoring
        .until("a rate", async || {
            let data = monitoring.api("/api/v1/query?query=rate(http_requests_total{job=\"cart-shop-dev\"}[1m])").await;
            data["result"].as_array().is_some_and(|it| !it.is_empty())
        })
        .await;
    let trigger = [
        "evaluation",
        "trigger",
        "--project",
        "shop",
        "--stage",
        "dev",
        "--service",
        "cart",
        "--timeframe",
        "1m",
        "--wait",
    ];
    let table = monitoring.ok(&trigger);
    assert!(table.contains("busy") && table.contains("pass, score 100"), "{table}");

    monitoring.ok(&["project", "delete", "shop", "--yes"]);
    monitoring
        .until("nothing is left", async || {
            let left = |name: &str| std::fs::read_dir(monitoring.path().join(name)).unwrap().count();
            left("rules") == 0 && left("targets") == 0
        })
        .await;
}
