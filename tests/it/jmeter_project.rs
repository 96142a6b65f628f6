//! The plugin `jmeter` on a project's files: which plan it runs with what beside it, and the health check before.
//!
//! A shell script stands for JMeter, so that the test says what a run finds; the demo runs the real one on such files.

use std::fs;
use std::path::PathBuf;

use pilothouse_tests::{Host, Options, data, event, plugins, root};
use serde_json::{Value, json};

const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: s}\nspec:\n  stages:\n  - name: dev\n    sequences: [{name: delivery, tasks: [{name: test}]}]\n";

/// Writes down what it was given, and a sample that fails where the plan says so.
const JMETER: &str = r#"
cat "$1" >> "$3"; ls -R . >> "$3"
ok=true; grep -q BROKEN "$1" && ok=false
echo timeStamp,elapsed,label,responseCode,success > "$2/result.jtl"
echo "1767366245000,12,GET,200,$ok" >> "$2/result.jtl"
"#;

/// A host with a project of one service, and a place where the runs are written down.
async fn host(log: &std::path::Path) -> Host {
    let config = fs::read_to_string(root().join("examples/config/pilothouse.toml")).unwrap();
    let mut template = toml::from_str::<toml::Table>(&config).unwrap()["jobs"]["jmeter"].clone();
    template["program"] = "/bin/sh".into();
    let arguments = ["-c", JMETER, "sh", "{file:plan.jmx}", "{scratch}", log.to_str().unwrap()];
    template["arguments"] = arguments.to_vec().into();
    let jobs = [("jmeter".to_owned(), toml::to_string(&template).unwrap())].into();
    let supervisor = Some(PathBuf::from(env!("CARGO_BIN_EXE_pilothouse-host")));
    let host = Host::start(Options { jobs, supervisor, ..Options::default() }).await.unwrap();
    let grants = fs::read_to_string(root().join("examples/grants/jmeter.toml")).unwrap();
    let settings = json!({ "progress-seconds": 0 });
    host.install_file(&plugins().join("jmeter.wasm"), "jmeter", &grants, settings).await.unwrap();
    host.create_project("shop", SHIPYARD).await.unwrap();
    host
}

async fn tested(host: &Host, id: &str) -> Value {
    let data_of = json!({
        "project": "shop", "stage": "dev", "service": "cart", "test": { "teststrategy": "performance" },
        "deployment": { "deploymentURIsLocal": ["http://127.0.0.1:1/"] },
    });
    host.send(event(id, "sh.keptn.event.test.triggered", &data_of).unwrap()).await.unwrap();
    let its_own = |row: &_| pilothouse_tests::extension(row, "triggeredid").as_deref() == Some(id);
    data(&host.wait_for("sh.keptn.event.test.finished", its_own).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_plan_runs_with_the_files_beside_it_after_its_health_check() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("runs");
    let host = host(&log).await;
    // Keptn passed a test without a script.
    let missing = tested(&host, "t0").await;
    assert_eq!((&missing["status"], &missing["result"]), (&json!("errored"), &json!("fail")), "{missing}");
    assert!(missing["message"].as_str().unwrap().contains("add a file `jmeter/load.jmx`"), "{missing}");

    host.write("shop", "jmeter/load.jmx", "LOAD OF THE PROJECT").await.unwrap();
    host.write("shop", "services/cart/jmeter/load.jmx", "LOAD OF THE SERVICE").await.unwrap();
    host.write("shop", "services/cart/jmeter/data/users.csv", "ann,ben").await.unwrap();
    let passed = tested(&host, "t1").await;
    assert_eq!(passed["result"], "pass", "{passed}");
    let runs = fs::read_to_string(&log).unwrap();
    assert!(runs.contains("LOAD OF THE SERVICE") && !runs.contains("LOAD OF THE PROJECT"), "the nearest one: {runs}");
    assert!(runs.contains("users.csv"), "{runs}");

    host.write("shop", "jmeter/basiccheck.jmx", "CHECK").await.unwrap();
    fs::remove_file(&log).unwrap();
    let passed = tested(&host, "t2").await;
    assert_eq!(passed["result"], "pass", "{passed}");
    let runs = fs::read_to_string(&log).unwrap();
    let (check, load) = (runs.find("CHECK").unwrap(), runs.find("LOAD OF THE SERVICE").unwrap());
    assert!(check < load, "the check comes first: {runs}");

    host.write("shop", "jmeter/basiccheck.jmx", "BROKEN").await.unwrap();
    fs::remove_file(&log).unwrap();
    let failed = tested(&host, "t3").await;
    assert_eq!((&failed["status"], &failed["result"]), (&json!("succeeded"), &json!("fail")), "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("the health check failed"), "{failed}");
    assert!(!fs::read_to_string(&log).unwrap().contains("LOAD"), "the test itself is not run");
}
