//! The quality gate as people use it: files, one command, a real Prometheus, and a result with its exit code.

use std::path::Path;

use pilothouse_tests::prometheus::Prometheus;
use pilothouse_tests::{plugins, root};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, client, run};

pub(crate) const SLO: &str = "spec_version: '1.0'
comparison: {compare_with: single_result, include_result_with_score: pass}
objectives:
  - sli: p95
    displayName: p95
    unit: ms
    pass: [{criteria: ['<=+10%', '<600']}]
    warning: [{criteria: ['<=+30%', '<800']}]
  - sli: errors
    pass: [{criteria: ['<=0.05']}]
    weight: 2
    key_sli: true
  - sli: throughput
total_score: {pass: '90%', warning: '70%'}
";

/// A host with the gate and a real Prometheus as provider. No project, no shipyard, no upstream.
pub(crate) struct Gate {
    folder: TempDir,
    pub(crate) program: Program,
    _prometheus: Prometheus,
}

impl Gate {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prometheus = Prometheus::start(folder.path(), "global: {scrape_interval: 1s}\n").await.unwrap();
        Self::with(folder, prometheus)
    }

    fn with(folder: TempDir, prometheus: Prometheus) -> Self {
        let path = folder.path();
        std::fs::write(
            path.join("pilothouse.toml"),
            format!("[connections.prometheus]\nurl = {:?}\nauth = \"none\"\n", prometheus.url),
        )
        .unwrap();
        let config = path.join("pilothouse.toml");
        let program = Program::start(path, &[("PILOTHOUSE_CONFIG", config.to_str().unwrap())]);
        let this = Self { folder, program, _prometheus: prometheus };
        this.install("quality-gate", "event-log = true\nkeyvalue = true\nresources = true\n");
        this.install("prometheus", "keyvalue = true\nresources = true\n[connections]\nprometheus = \"prometheus\"\n");
        this
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn install(&self, name: &str, grants: &str) {
        self.write("grants.toml", grants);
        let file = plugins().join(format!("{name}.wasm"));
        self.program
            .ok(self.path(), &["plugin", "install", file.to_str().unwrap(), "--grants", "grants.toml", "--yes"]);
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    /// Writes an SLI file whose queries have these values; without a value, a query without a result.
    pub(crate) fn measures(&self, values: &Value) {
        let query = |value: &Value| match value {
            Value::Null => "vector(1) > 2".to_owned(),
            value => format!("vector({value})"),
        };
        let indicators: Vec<String> =
            values.as_object().unwrap().iter().map(|(name, value)| format!("  {name}: '{}'\n", query(value))).collect();
        self.write("sli.yaml", &format!("spec_version: '1.0'\nindicators:\n{}", indicators.concat()));
    }

    const TRIGGER: [&str; 13] = [
        "evaluation",
        "trigger",
        "--project",
        "shop",
        "--stage",
        "prod",
        "--service",
        "cart",
        "--slo",
        "slo.yaml",
        "--sli",
        "sli.yaml",
        "--wait",
    ];

    /// Has the values judged; returns the exit code and the API's answer.
    fn judge(&self, values: &Value) -> (i32, Value) {
        self.measures(values);
        let arguments = [&Self::TRIGGER[..], &["--output", "json"]].concat();
        let (code, out, err) = self.program.cli(self.path(), &arguments);
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out}{err}\n{}", self.program.said())))
    }

    fn text(&self, arguments: &[&str]) -> (i32, String, String) {
        self.program.cli(self.path(), arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_and_one_command_judge_a_service_without_a_project_and_name_what_got_worse() {
    let gate = Gate::start().await;
    gate.write("slo.yaml", SLO);
    let (code, first) = gate.judge(&json!({ "p95": 412, "errors": 0.01, "throughput": 7 }));
    assert_eq!((code, &first["result"], &first["score"]), (0, &json!("pass"), &json!(100.0)), "{first}");
    assert!(first["message"].as_str().unwrap().contains("no baseline"), "{first}");
    let (code, worse) = gate.judge(&json!({ "p95": 655, "errors": 0.01, "throughput": 7 }));
    assert_eq!((code, &worse["result"]), (1, &json!("fail")), "{worse}");
    let explained = worse["evaluation"]["indicatorResults"][0]["explanation"].as_str().unwrap();
    assert_eq!(explained, "p95 412 → 655 ms, +59 %; misses <=+10% (453.2) and <600, missed by 201.8 ms");
    let (code, warned) = gate.judge(&json!({ "p95": 500, "errors": 0.01, "throughput": 7 }));
    assert_eq!((code, &warned["result"]), (3, &json!("warning")), "{warned}");
    // Only the one that passed counts as a baseline.
    assert_eq!(warned["evaluation"]["comparedEvents"].as_array().unwrap().len(), 1);
    let (code, missing) = gate.judge(&json!({ "p95": 400, "errors": null, "throughput": 7 }));
    assert_eq!(code, 1, "{missing}");
    assert!(missing["message"].as_str().unwrap().contains("query did not return any values"), "{missing}");

    let listed: Value = serde_json::from_str(
        &gate.program.ok(gate.path(), &["evaluation", "list", "--project", "shop", "--output", "json"]),
    )
    .unwrap();
    let results: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|it| it["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["fail", "warning", "fail", "pass"]);
    // What was wrong with the first: then there is nothing to compare with.
    let id = first["id"].as_str().unwrap();
    gate.program.ok(gate.path(), &["evaluation", "invalidate", id, "--comment", "wrong data"]);
    let (code, again) = gate.judge(&json!({ "p95": 500, "errors": 0.01, "throughput": 7 }));
    assert_eq!(code, 0, "{again}");
    assert!(again["evaluation"]["comparedEvents"].as_array().unwrap().is_empty(), "{again}");
    let (_, table, _) = gate.text(&["evaluation", "list"]);
    assert!(table.contains("pass (invalid)"), "{table}");
    let (_, table, _) = gate.text(&["evaluation", "get", id]);
    assert!(table.contains("p95") && table.contains("412 ms") && table.contains("wrong data"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_the_api_and_the_plugin_in_the_sandbox_come_to_the_same_result() {
    let gate = Gate::start().await;
    let slos = [
        SLO.to_owned(),
        SLO.replace("single_result, include_result_with_score: pass", "several_results, aggregate_function: p90"),
        "spec_version: '1.0'\nobjectives: [{sli: p95}, {sli: errors}]\ntotal_score: {pass: '100%'}\n".to_owned(),
        "spec_version: '1.0'\nobjectives: []\ntotal_score: {pass: '90%'}\n".to_owned(),
    ];
    let measured = [
        json!({ "p95": 412.25, "errors": 0.1, "throughput": 1e-7 }),
        json!({ "p95": 0.1, "errors": 0, "throughput": null }),
        json!({ "p95": 599.999_999_9, "errors": 0.05, "throughput": 12345678.9 }),
        json!({ "p95": null, "errors": 0.05, "throughput": 3 }),
    ];
    let mut previous: Vec<String> = Vec::new();
    for (number, slo) in slos.iter().enumerate() {
        for (index, values) in measured.iter().enumerate() {
            gate.write("slo.yaml", slo);
            let (code, answer) = gate.judge(values);
            let event = format!("event-{number}-{index}.json");
            let offline = {
                gate.write("values.json", &offline_values(slo, values).to_string());
                let mut arguments = vec!["evaluate", "--slo", "slo.yaml", "--sli", "values.json", "--output", "json"];
                arguments.extend(previous.iter().flat_map(|file| ["--previous", file.as_str()]));
                run(gate.path(), &arguments, &[])
            };
            let printed: Value = serde_json::from_str(&offline.1).unwrap_or_else(|_| panic!("{offline:?}"));
            assert_eq!(code, offline.0, "{answer} {offline:?}");
            let api = by_api(&gate, slo, &offline_values(slo, values), &previous).await;
            assert_eq!(comparable(&printed), comparable(&api), "{values}");
            assert_eq!(comparable(&printed), comparable(&answer["evaluation"]), "{values}");
            gate.write(&event, &offline.1);
            previous.push(event);
        }
    }
}

/// Those values that the SLO asks for: a provider is asked for no others.
fn offline_values(slo: &str, values: &Value) -> Value {
    let asked = values.as_object().unwrap().iter().filter(|(name, _)| slo.contains(&format!("sli: {name}")));
    asked.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

async fn by_api(gate: &Gate, slo: &str, values: &Value, previous: &[String]) -> Value {
    let previous: Vec<Value> = previous
        .iter()
        .map(|file| serde_json::from_slice(&std::fs::read(gate.path().join(file)).unwrap()).unwrap())
        .collect();
    let body = json!({ "slo": slo, "sli": values, "previous": previous });
    let request = client().post(format!("{}/v1/evaluate", gate.program.url));
    let answer = request.bearer_auth(gate.program.token.as_deref().unwrap()).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

/// Leaves out what only the host knows: the window, the events' ids, and what the provider says of a missing value.
fn comparable(evaluation: &Value) -> Value {
    let mut evaluation = evaluation.clone();
    let members = evaluation.as_object_mut().unwrap();
    for name in ["timeStart", "timeEnd", "comparedEvents", "message", "reportUrl"] {
        members.remove(name);
    }
    for result in members["indicatorResults"].as_array_mut().unwrap() {
        if result["value"]["success"] == false {
            result["value"]["message"] = "".into();
            result["explanation"] = "".into();
        }
    }
    evaluation
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_is_bad_input_and_says_why() {
    let gate = Gate::start().await;
    gate.measures(&json!({ "p95": 1 }));
    let refused = |slo: &str, more: &[&str], expected: &str| {
        gate.write("slo.yaml", slo);
        let (code, out, err) = gate.text(&[&Gate::TRIGGER[..], more].concat());
        assert_eq!(code, 2, "{out}{err}");
        assert!(err.contains(expected), "{expected}: {out}{err}");
    };
    refused("objectives: [", &[], "the SLO file has errors");
    refused(&SLO.replace("'<600'", "'<600ms'"), &[], "`<600ms` is not a criterion");
    refused(SLO, &["--sli-provider", "nobody"], "no executor");
    refused(SLO, &["--timeframe", "soon"], "`timeframe` is `soon`");
    refused(SLO, &["--end", "2026-01-31T12:00:00Z"], "`end` needs `start`");
    refused(SLO, &["--stage", "no stage"], "cannot be used");
    gate.write("sli.yaml", "indicators: 5\n");
    refused(SLO, &[], "the SLI file has errors");
    // Nothing says what to measure nor how: the query's own error is the value's.
    gate.write(
        "sli.yaml",
        "spec_version: '1.0'\nindicators: {p95: 'sum(', errors: 'vector(1)', throughput: 'vector(2) or vector(3)'}\n",
    );
    gate.write("slo.yaml", SLO);
    let (code, out, _) = gate.text(&Gate::TRIGGER);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("p95 has no value") && out.contains("parse error"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_gone_ends_as_an_error_of_its_own_and_nothing_hangs() {
    let gate = Gate::start().await;
    gate.write("slo.yaml", SLO);
    gate.measures(&json!({ "p95": 1, "errors": 0, "throughput": 1 }));
    let Gate { folder, program, _prometheus } = gate;
    drop(_prometheus);
    let arguments = [&Gate::TRIGGER[..], &["--wait-max", "3m"]].concat();
    let (code, out, err) = program.cli(folder.path(), &arguments);
    assert_eq!(code, 2, "{out}{err}");
    assert!(err.contains("nothing was judged") && err.contains("Prometheus"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_its_own_files_and_names_its_provider() {
    let gate = Gate::start().await;
    let shipyard = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: s}\nspec:\n  stages:\n  - name: prod\n    sequences:\n    - name: delivery\n      tasks: [{name: evaluation, properties: {timeframe: 5m}}]\n";
    gate.write("shipyard.yaml", shipyard);
    gate.program.ok(gate.path(), &["project", "create", "shop", "--shipyard", "shipyard.yaml"]);
    gate.program.ok(gate.path(), &["service", "create", "shop", "cart"]);
    let add = |file: &str, place: &[&str]| {
        let arguments = [&["resource", "add", "shop", file, "--to", file][..], place].concat();
        gate.program.ok(gate.path(), &arguments);
    };
    let trigger = [
        "evaluation",
        "trigger",
        "--project",
        "shop",
        "--stage",
        "prod",
        "--service",
        "cart",
        "--wait",
        "--output",
        "json",
    ];
    // Nothing says what is good enough.
    let (code, out, err) = gate.text(&trigger);
    assert_eq!(code, 3, "{out}{err}");
    assert!(out.contains("nothing was judged"), "{out}");
    gate.write("slo.yaml", SLO);
    std::fs::create_dir(gate.path().join("prometheus")).unwrap();
    let sli = |values: &str| format!("spec_version: '1.0'\nindicators: {{{values}}}\n");
    add("slo.yaml", &["--stage", "prod", "--service", "cart"]);
    gate.write("prometheus/sli.yaml", &sli("p95: 'vector(100)', errors: 'vector(0)', throughput: 'vector(9)'"));
    add("prometheus/sli.yaml", &[]);
    // The nearer file wins, name by name.
    gate.write("prometheus/sli.yaml", &sli("p95: 'vector(200)'"));
    add("prometheus/sli.yaml", &["--stage", "prod"]);
    gate.write("prometheus/sli.yaml", &sli("errors: 'vector(0.01)'"));
    add("prometheus/sli.yaml", &["--stage", "prod", "--service", "cart"]);
    let (code, out, err) = gate.text(&trigger);
    assert_eq!(code, 0, "{out}{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let values: Vec<f64> = answer["evaluation"]["indicatorResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["value"]["value"].as_f64().unwrap())
        .collect();
    assert_eq!(values, [200.0, 0.01, 9.0]);
    assert!(answer["commit"].as_str().is_some_and(|commit| commit.len() == 40), "{answer}");
    // The task of a sequence is judged the same, and its sequence has the result.
    let sequence =
        ["sequence", "trigger", "delivery", "--project", "shop", "--stage", "prod", "--service", "cart", "--watch"];
    let (code, out, err) = gate.text(&sequence);
    assert_eq!(code, 0, "{out}{err}");
    gate.write("quality-gate.yaml", "spec_version: '1.0'\nsliProvider: dynatrace\nwithoutSlo: pass\n");
    add("quality-gate.yaml", &[]);
    let (code, out, err) = gate.text(&trigger);
    assert_eq!(code, 2, "{out}{err}");
    assert!(err.contains("no executor"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_keptn_are_taken_over_and_compared_with() {
    let gate = Gate::start().await;
    gate.write("slo.yaml", SLO);
    let of = |id: &str, value: f64, result: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "lighthouse-service", "type": "sh.keptn.event.evaluation.finished",
            "time": "2023-05-01T10:00:00Z", "shkeptncontext": "c", "triggeredid": format!("t-{id}"),
            "data": { "project": "shop", "stage": "prod", "service": "cart", "result": result, "status": "succeeded",
                "evaluation": { "result": result, "score": 100, "timeStart": "a", "timeEnd": "b", "sloFileContent": "",
                    "comparedEvents": null, "indicatorResults": [{ "score": 1, "status": "pass",
                        "value": { "metric": "p95", "value": value, "success": true, "message": "" },
                        "passTargets": null, "warningTargets": null }] } },
        })
    };
    // Keptn's API gave the newest first.
    gate.write("v1.json", &json!({ "events": [of("b", 300.0, "pass"), of("a", 100.0, "pass")] }).to_string());
    let import = ["evaluation", "import", "--project", "shop", "v1.json"];
    assert!(gate.program.ok(gate.path(), &import).contains("2 evaluations"));
    gate.program.ok(gate.path(), &import);
    let (code, answer) = gate.judge(&json!({ "p95": 310, "errors": 0, "throughput": 1 }));
    assert_eq!(code, 0, "{answer}");
    assert_eq!(answer["evaluation"]["indicatorResults"][0]["value"]["comparedValue"], 300.0);
    assert_eq!(answer["evaluation"]["comparedEvents"], json!(["b"]));
    for (events, expected) in [
        (json!([of("c", 1.0, "pass"), { "type": "x" }]), "event 1"),
        (json!([{ "specversion": "1.0", "id": "1", "source": "s", "type": "a.b", "data": {} }]), "only `sh.keptn"),
        (json!({ "events": 5 }), "`events` is no list"),
        (json!(7), "neither an event"),
    ] {
        gate.write("bad.json", &events.to_string());
        let (code, out, err) = gate.text(&["evaluation", "import", "--project", "shop", "bad.json"]);
        assert_ne!(code, 0, "{out}");
        assert!(err.contains(expected), "{err}");
    }
    let (_, out, err) = gate.text(&["evaluation", "import", "--project", "other", "v1.json"]);
    assert!(err.contains("it is of the project `shop`, and not of `other`"), "{out}{err}");
    let (_, listed, _) = gate.text(&["evaluation", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 3, "nothing of a refused import was taken");
}

#[test]
fn evaluate_needs_no_host_and_its_exit_code_is_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write("slo.yaml", SLO);
    write("pass.json", r#"{"p95": 100, "errors": 0, "throughput": 5}"#);
    write("warning.json", r#"{"p95": 700, "errors": 0, "throughput": 5}"#);
    write("fail.json", r#"{"p95": 100, "errors": null}"#);
    let judge = |sli: &str, more: &[&str]| {
        run(folder.path(), &[&["evaluate", "--slo", "slo.yaml", "--sli", sli][..], more].concat(), &[])
    };
    for (sli, expected) in [("pass.json", 0), ("warning.json", 3), ("fail.json", 1)] {
        let (code, out, err) = judge(sli, &[]);
        assert_eq!(code, expected, "{out}{err}");
        assert!(err.is_empty(), "{err}");
    }
    let (_, table, _) = judge("warning.json", &[]);
    assert!(table.contains("OBJECTIVE") && table.contains("700 ms") && table.contains("warning, score"), "{table}");
    let (_, json, _) = judge("fail.json", &["--output", "json"]);
    let printed: Value = serde_json::from_str(&json).unwrap();
    let status: Vec<&str> =
        printed["indicatorResults"].as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["pass", "fail", "info"]);
    let (_, junit, _) = judge("fail.json", &["--output", "junit"]);
    assert!(junit.starts_with("<?xml") && junit.contains("failures=\"2\"") && junit.contains("key SLI"), "{junit}");
    let (_, markdown, _) = judge("fail.json", &["--output", "markdown"]);
    assert!(markdown.contains("| errors | – |") && markdown.contains("| fail (key) |"), "{markdown}");
    // The output of one is the baseline of the next; the oldest is given first.
    let (_, first, _) = judge("pass.json", &["--output", "json"]);
    write("first.json", &first);
    let (code, out, _) = judge("warning.json", &["--previous", "first.json"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("100 → 700 ms, +600 %"), "{out}");
}

#[test]
fn openslo_becomes_files_that_the_gate_takes() {
    let folder = tempfile::tempdir().unwrap();
    let cli = |arguments: &[&str]| run(folder.path(), arguments, &[]);
    std::fs::copy(root().join("examples/openslo/cart.yaml"), folder.path().join("cart.yaml")).unwrap();
    let (code, out, err) = cli(&["slo", "import", "cart.yaml", "--dry-run"]);
    assert!(code == 0 && out.contains("would write") && !folder.path().join("services").exists(), "{out}{err}");
    let (code, out, err) = cli(&["slo", "import", "cart.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("its `target`"), "what is lost is told: {err}");
    let (code, out, err) = cli(&["validate", "services"]);
    assert_eq!(code, 0, "{out}{err}");
    std::fs::write(folder.path().join("values.json"), r#"{"availability": 0.9995, "latency_p95": 0.7}"#).unwrap();
    let (code, out, err) = cli(&["evaluate", "--slo", "services/cart/slo.yaml", "--sli", "values.json"]);
    assert_eq!(code, 1, "{out}{err}");
    let (code, _, err) = cli(&["slo", "import", "cart.yaml"]);
    assert!(code == 1 && err.contains("is there already"), "{err}");
    let (code, _, err) = cli(&["slo", "import", "values.json"]);
    assert!(code == 2 && err.contains("openslo/v1"), "{err}");
}

#[test]
fn evaluate_says_which_input_is_bad_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write("slo.yaml", SLO);
    write("bad-slo.yaml", &SLO.replace("'<600'", "'<6oo'"));
    write("values.json", r#"{"p95": 100}"#);
    write("text.json", "p95: 100");
    write("list.json", "[1]");
    for (arguments, expected) in [
        (vec!["--slo", "bad-slo.yaml", "--sli", "values.json"], "7:34: `pass` of objective `p95`: `<6oo`"),
        (vec!["--slo", "none.yaml", "--sli", "values.json"], "none.yaml cannot be read"),
        (vec!["--slo", "slo.yaml", "--sli", "text.json"], "text.json cannot be read"),
        (vec!["--slo", "slo.yaml", "--sli", "list.json"], "no JSON object"),
        (vec!["--slo", "slo.yaml", "--sli", "values.json", "--previous", "values.json"], "no evaluation"),
        (vec!["--slo", "slo.yaml"], "--sli"),
    ] {
        let (code, out, err) = run(folder.path(), &[&["evaluate"][..], &arguments].concat(), &[]);
        assert_eq!(code, 2, "{arguments:?} {out}{err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(folder.path(), &["event", "list", "--output", "junit"], &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("are for evaluations"), "{err}");
    assert!(root().join("examples/grants/quality-gate.toml").exists());
}
