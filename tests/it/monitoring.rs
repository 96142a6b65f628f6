//! Prometheus in step with a project's files: a real one, that scrapes a real service and loads real rules.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use pilothouse_tests::prometheus::{Alertmanager, Prometheus, free_address};
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

pub(crate) fn slo(limit: u32) -> String {
    format!(
        "spec_version: '1.0'\nobjectives:\n- sli: busy\n  pass: [{{criteria: ['<{limit}', '>=0']}}]\n\
         - sli: grown\n  pass: [{{criteria: ['<=+5%']}}]\ntotal_score: {{pass: 90%}}\n"
    )
}

/// A service that counts requests: at each scrape there were as many more as `step` says.
async fn service(step: Arc<AtomicU64>) -> String {
    let count = Arc::new(AtomicU64::new(0));
    let answer = move || {
        let requests = count.fetch_add(step.load(Ordering::Relaxed), Ordering::Relaxed);
        async move { format!("# TYPE http_requests_total counter\nhttp_requests_total{{status=\"200\"}} {requests}\n") }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(answer))).await.unwrap() });
    address
}

pub(crate) struct Monitoring {
    folder: TempDir,
    pub(crate) program: Program,
    pub(crate) prometheus: Prometheus,
    target: String,
    /// Requests per second.
    step: Arc<AtomicU64>,
    /// Where Prometheus sends its alerts.
    alertmanager: SocketAddr,
}

impl Monitoring {
    pub(crate) async fn start() -> Self {
        Self::start_with("", &[], &[]).await
    }

    /// Starts with more configuration and more plugins, each with its grants.
    pub(crate) async fn start_with(config: &str, more: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let more_config = config;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["targets", "rules"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        let alertmanager = free_address().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{1}']}}]}}]}}\nrule_files: ['{0}/rules/*.yml']\nscrape_configs:\n\
             - job_name: pilothouse\n  file_sd_configs: [{{files: ['{0}/targets/*.json']}}]\n",
            path.display(),
            alertmanager
        );
        let prometheus = Prometheus::start(path, &config).await.unwrap();
        let toml = format!(
            "[connections.prometheus]\nurl = {:?}\nauth = \"none\"\n[outputs.prometheus-targets]\npath = {:?}\n\
             [outputs.prometheus-rules]\npath = {:?}\n{more_config}",
            prometheus.url,
            path.join("targets").display().to_string(),
            path.join("rules").display().to_string()
        );
        std::fs::write(path.join("pilothouse.toml"), toml).unwrap();
        let config = path.join("pilothouse.toml");
        let named = [("PILOTHOUSE_CONFIG", config.to_str().unwrap())];
        let program = Program::start(path, &[&named[..], settings].concat());
        let step = Arc::new(AtomicU64::new(3));
        let this = Self { folder, program, prometheus, target: service(Arc::clone(&step)).await, step, alertmanager };
        let usual = [
            ("prometheus", include_str!("../../examples/grants/prometheus.toml")),
            ("quality-gate", include_str!("../../examples/grants/quality-gate.toml")),
        ];
        for (name, grants) in usual.iter().chain(more) {
            this.write("grants.toml", grants);
            let file = plugins().join(format!("{name}.wasm"));
            this.ok(&["plugin", "install", file.to_str().unwrap(), "--grants", "grants.toml", "--yes"]);
        }
        this.write("shipyard.yaml", SHIPYARD);
        this.ok(&["project", "create", "shop", "--shipyard", "shipyard.yaml"]);
        this.ok(&["service", "create", "shop", "cart"]);
        this
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.program.ok(self.path(), arguments)
    }

    /// Adds a file to the project, in one commit.
    pub(crate) fn add(&self, to: &str, content: &str, place: &[&str]) {
        self.write("file", content);
        self.ok(&[&["resource", "add", "shop", "file", "--to", to][..], place].concat());
    }

    pub(crate) async fn api(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.prometheus.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["data"].clone()
    }

    /// Waits for a fact; returns how long it took.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) -> Duration {
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

    /// Checks the report on the newest evaluation: what Prometheus measured, as curve too, and its link.
    async fn has_a_report(&self) {
        let json = |arguments: &[&str]| -> Value { serde_json::from_str(&self.ok(arguments)).unwrap() };
        let list = json(&["evaluation", "list", "--output", "json"]);
        let id = list["items"][0]["id"].as_str().unwrap();
        let report = json(&["report", "get", id, "--output", "json"]);
        let busy = report["indicators"].as_array().unwrap().iter().find(|it| it["metric"] == "busy").unwrap();
        assert!(busy["value"].as_f64().unwrap() > 0.0 && busy["status"] == "pass", "{report}");
        let curve = busy["series"]["values"].as_array().unwrap_or_else(|| panic!("{report}"));
        assert!(curve.len() > 50 && curve.iter().any(|it| it.as_f64().is_some_and(|it| it > 0.0)), "{curve:?}");
        let evaluation = json(&["evaluation", "get", id, "--output", "json"]);
        let of_event = evaluation["evaluation"]["reportUrl"].as_str().unwrap().to_owned();
        let printed = self.ok(&["report", "open", id, "--print"]).trim().to_owned();
        for url in [of_event, printed] {
            let page = client().get(&url).send().await.unwrap();
            assert_eq!(page.status(), 200, "{url}");
            let page = page.text().await.unwrap();
            assert!(page.contains("Evaluation of cart in shop/dev") && page.contains("<svg"), "{page}");
        }
        self.ok(&["report", "get", id, "--html", "report.html"]);
        assert!(std::fs::read_to_string(self.path().join("report.html")).unwrap().contains("limit: &lt;300"));
        let (code, _, err) = self.program.cli(self.path(), &["report", "get", "nothing"]);
        assert!(code == 5 && err.contains("there is no report `nothing`"), "{code} {err}");
    }

    pub(crate) fn status(&self) -> (i32, Vec<Value>) {
        let (code, out, err) =
            self.program.cli(self.path(), &["monitoring", "status", "--project", "shop", "--output", "json"]);
        let answer: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        (code, answer["items"].as_array().unwrap().clone())
    }
}

const SLI: &str = "spec_version: '1.0'
indicators:
  busy: sum(rate(http_requests_total{job=\"$SERVICE-$PROJECT-$STAGE\"}[$DURATION_SECONDS]))
  grown: vector(1)
";
const GROUP: &str = "cart shop-dev alerts";

/// A service that is scraped, and alerted on as its SLO says.
async fn monitored(limit: u32) -> Monitoring {
    Monitoring::start().await.monitored(limit).await
}

impl Monitoring {
    pub(crate) async fn monitored(self, limit: u32) -> Self {
        let monitoring = self;
        let target = &monitoring.target;
        let file = format!(
            "spec_version: '1.0'\ntargets: ['{target}']\nlabels: {{team: shop}}\nalertFor: 1s\nalertWindow: 10s\n"
        );
        monitoring.add("prometheus/monitoring.yaml", &file, &[]);
        monitoring.add("prometheus/sli.yaml", SLI, &[]);
        monitoring.add("slo.yaml", &slo(limit), &["--stage", "dev", "--service", "cart"]);
        let text = format!(">= {limit}");
        monitoring.until("the rule of the SLO", async || monitoring.has_rule(GROUP, &text).await).await;
        monitoring
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_moves_prometheus_without_a_command() {
    let monitoring = monitored(600).await;
    monitoring.add("slo.yaml", &slo(300), &["--stage", "dev", "--service", "cart"]);
    monitoring.until("the changed rule", async || monitoring.has_rule(GROUP, ">= 300").await).await;
    assert!(!monitoring.has_rule(GROUP, ">= 600").await);
    let budget =
        slo(300).replace("  pass: [{criteria: ['<300'", "  errorBudget: {target: 99%}\n  pass: [{criteria: ['<300'");
    monitoring.add("slo.yaml", &budget, &["--stage", "dev", "--service", "cart"]);
    let recorded = "pilothouse:sli_error:ratio_rate3d";
    monitoring.until("the budget's alerts", async || monitoring.has_rule(GROUP, recorded).await).await;
    let rules = monitoring.path().join("rules/shop.cart.rules.yml");
    let checked = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    monitoring.ok(&["service", "create", "shop", "stock"]);
    monitoring.until("the new service", async || monitoring.is_scraped("stock-shop-prod").await).await;
    monitoring.until("all is loaded", async || monitoring.status().0 == 0).await;
    let (_, items) = monitoring.status();
    assert_eq!(items.len(), 4, "{items:?}");
    assert!(items.iter().all(|it| it["state"] == "in-step" && it["commit"].as_str().unwrap().len() == 40), "{items:?}");
    assert_eq!(items[0]["skipped"][0]["sli"], "grown", "what is no threshold is named: {items:?}");

    // Prometheus measures what it scrapes, for the gate too.
    let rate = "/api/v1/query?query=rate(http_requests_total{job=\"cart-shop-dev\"}[1m])";
    let is_there = async || monitoring.api(rate).await["result"].as_array().is_some_and(|it| !it.is_empty());
    monitoring.until("a rate", is_there).await;
    let place = ["--project", "shop", "--stage", "dev", "--service", "cart"];
    let table = monitoring.ok(&[&["evaluation", "trigger", "--timeframe", "1m", "--wait"][..], &place].concat());
    assert!(table.contains("busy") && table.contains("pass, score 100"), "{table}");
    monitoring.has_a_report().await;

    monitoring.ok(&["project", "delete", "shop", "--yes"]);
    let left = |name: &str| std::fs::read_dir(monitoring.path().join(name)).unwrap().count();
    monitoring.until("nothing is left", async || left("rules") == 0 && left("targets") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_step_says_so_and_is_put_right() {
    let monitoring = monitored(300).await;
    monitoring.until("all is loaded", async || monitoring.status().0 == 0).await;
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
    monitoring.add("prometheus/sli.yaml", &SLI.replace("sum(rate", "sum(("), &[]);
    let (code, out, _) = monitoring.program.cli(monitoring.path(), &["monitoring", "sync", "--project", "shop"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("Prometheus refuses the query of SLI `busy`"), "{out}");
    assert!(monitoring.has_rule(GROUP, ">= 300").await);
    monitoring.add("prometheus/sli.yaml", SLI, &[]);
    monitoring.until("all is well again", async || monitoring.status().0 == 0).await;
    let (code, _, err) = monitoring.program.cli(monitoring.path(), &["monitoring", "status", "--project", "nobody"]);
    assert!(code != 0 && err.contains("nobody"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_edit_is_put_back_without_a_commit_or_a_command() {
    let monitoring = Monitoring::start_with("", &[], &[("PILOTHOUSE_TOOLS_CHECK", "1s")]).await.monitored(300).await;
    let rules = monitoring.path().join("rules/shop.cart.rules.yml");
    let good = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, good.replace(">= 300", ">= 9000")).unwrap();
    let text = || std::fs::read_to_string(&rules).unwrap();
    monitoring.until("the rules as they should be", async || text().contains(">= 300")).await;
    assert!(!text().contains("9000"));
}

impl Monitoring {
    /// Gives Alertmanager a route, and returns the part of its configuration that sends there.
    fn route(&self) -> String {
        self.write("secret", "a-secret-of-twenty-characters");
        self.ok(&["secret", "set", "alertmanager", "--file", "secret"]);
        self.ok(&[
            "inbound",
            "set",
            "alertmanager",
            "--plugin",
            "prometheus",
            "--verify",
            "bearer",
            "--secret",
            "alertmanager",
        ]);
        let config = "route:\n  receiver: team\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1s\nreceivers:\n- name: team\n";
        self.write("alertmanager.yml", config);
        let url = format!("{}/v1/inbound/alertmanager", self.program.url);
        let secret = self.path().join("secret").display().to_string();
        self.ok(&["monitoring", "alertmanager", "alertmanager.yml", "--receiver-url", &url, "--secret-file", &secret]);
        let written = std::fs::read_to_string(self.path().join("alertmanager.yml")).unwrap();
        assert_eq!(pilothouse_core::alertmanager::without_marks(&written).unwrap(), config);
        written
    }

    /// All events of a type, newest first.
    async fn events(&self, ty: &str) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let url = format!("{}/v1/events?type={ty}&data=true{cursor}", self.program.url);
            let request = client().get(url).bearer_auth(self.program.token.as_ref().unwrap());
            let listed: Value = request.send().await.unwrap().json().await.unwrap();
            events.extend(listed["items"].as_array().unwrap().iter().map(|item| item["event"].clone()));
            match listed.get("next").filter(|next| !next.is_null()) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alert_triggers_one_remediation_and_its_end_is_told_in_the_same_run() {
    // The service is asked three times a second, which is over the limit at once.
    let monitoring = monitored(1).await;
    let alertmanager = Alertmanager::start(monitoring.path(), monitoring.alertmanager, &monitoring.route()).unwrap();
    let ty = "sh.keptn.event.dev.remediation.triggered";
    monitoring.until("the remediation", async || !monitoring.events(ty).await.is_empty()).await;
    let event = monitoring.events(ty).await.remove(0);
    assert_eq!(event["source"], "/plugins/prometheus");
    let problem = &event["data"]["problem"];
    assert_eq!((&problem["problemTitle"], &problem["state"]), (&"busy".into(), &"OPEN".into()), "{event}");
    assert!(problem["problemDetails"]["problemDetails"].as_str().unwrap().contains("wanted is <1"), "{event}");
    // Alertmanager repeats itself each second; then there are no more requests, and the problem ends.
    monitoring.step.store(0, Ordering::Relaxed);
    let resolved = "io.prometheus.alert.resolved.v1";
    monitoring.until("the end", async || !monitoring.events(resolved).await.is_empty()).await;
    assert_eq!(monitoring.events(resolved).await[0]["shkeptncontext"], event["shkeptncontext"]);
    assert_eq!(monitoring.events(ty).await.len(), 1, "one problem is one remediation");
    drop(alertmanager);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_of_fifty_problems_are_fifty_remediations() {
    let monitoring = Monitoring::start().await;
    monitoring.route();
    let alert = |number: usize| {
        serde_json::json!({
            "status": "firing", "fingerprint": format!("f{}", number % 50), "startsAt": "2026-01-02T15:04:05Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "annotations": {},
            "labels": { "alertname": "busy", "project": "shop", "stage": "dev", "service": "cart" },
        })
    };
    let url = format!("{}/v1/inbound/alertmanager", monitoring.program.url);
    for batch in 0..10 {
        let alerts: Vec<Value> = (0..1_000).map(|number| alert(batch * 1_000 + number)).collect();
        let body = serde_json::json!({ "version": "4", "status": "firing", "alerts": alerts });
        let request = client().post(&url).bearer_auth("a-secret-of-twenty-characters").json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    }
    assert_eq!(monitoring.events("sh.keptn.event.dev.remediation.triggered").await.len(), 50);
}
