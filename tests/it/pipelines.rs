//! The example pipelines, run step by step as their build servers run them; and what `scm-status` tells the servers of code.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use pilothouse_core::delivery::DeliveryState;
use pilothouse_store::{DeliveryFilter, Seq};
use pilothouse_tests::{Host, Options, event, plugins, root};
use serde_json::{Value, json};

use crate::evaluation::{Gate, SLO};
use crate::program;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn example(name: &str) -> String {
    std::fs::read_to_string(root().join("examples/pipelines").join(name)).unwrap()
}

/// Runs a step with the program on its PATH, in the folder of a checkout; returns its exit code and what it said.
fn step(gate: &Gate, script: &str, variables: &[(&str, &str)]) -> (i32, String) {
    let bin = gate.path().join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(program::path(), bin.join("pilothouse")).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-e", "-c", script])
        .current_dir(gate.path())
        .env("PATH", path)
        .env("PILOTHOUSE_URL", &gate.program.url)
        .env("PILOTHOUSE_TOKEN", gate.program.token.as_deref().unwrap())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

fn checkout(gate: &Gate, p95: u32) {
    gate.write("slo.yaml", SLO);
    gate.measures(&json!({ "p95": p95, "errors": 0, "throughput": 1 }));
    let folder = gate.path().join("prometheus");
    if !folder.exists() {
        std::fs::create_dir(&folder).unwrap();
    }
    std::fs::copy(gate.path().join("sli.yaml"), folder.join("sli.yaml")).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_pipelines_pass_warn_and_fail_as_the_gate_says() {
    let gate = Gate::start().await;
    let yaml = |name: &str| serde_saphyr::from_str::<Value>(&example(name)).unwrap();
    let github = yaml("github-actions.yml")["jobs"]["gate"]["steps"][1]["run"].as_str().unwrap().to_owned();
    let gitlab = yaml("gitlab-ci.yml");
    let gitlab_script = gitlab["gate"]["script"][0].as_str().unwrap().to_owned();
    assert_eq!(gitlab["gate"]["allow_failure"]["exit_codes"], 3, "a warning does not stop the pipeline");
    let jenkins = example("Jenkinsfile").split("'''").nth(1).unwrap().to_owned();
    let summary = gate.path().join("summary.md");
    for (p95, github_code, code) in [(100, 0, 0), (125, 0, 3), (900, 1, 1)] {
        checkout(&gate, p95);
        let variables = [
            ("GITHUB_SHA", COMMIT),
            ("GITHUB_ACTOR", "ann"),
            ("GITHUB_REPOSITORY", "o/r"),
            ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ];
        let (found, said) = step(&gate, &github, &variables);
        assert_eq!(found, github_code, "{said}");
        assert!(read(&summary).contains(&format!("{p95} ms")), "{}", read(&summary));
        let variables = [("CI_COMMIT_SHA", COMMIT), ("GITLAB_USER_LOGIN", "ann"), ("CI_PROJECT_PATH", "g/r")];
        let (found, said) = step(&gate, &gitlab_script, &variables);
        assert_eq!(found, code, "{said}");
        let junit = gate.path().join("evaluation.xml");
        assert!(read(&junit).contains("<testsuite name=\"evaluation\""), "{}", read(&junit));
        std::fs::remove_file(&junit).unwrap();
        let (found, said) = step(&gate, &jenkins, &[("GIT_COMMIT", COMMIT), ("BUILD_NUMBER", "7")]);
        assert_eq!(found, code, "{said}");
        assert!(read(&junit).contains("total score"), "{}", read(&junit));
    }
    let listed: Value =
        serde_json::from_str(&gate.program.ok(gate.path(), &["evaluation", "list", "--output", "json"])).unwrap();
    assert_eq!(listed["items"][1]["labels"], json!({ "commit": COMMIT, "author": "ann", "repository": "g/r" }));
}

/// A request as the server of code saw it.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: HeaderMap,
    body: Value,
}

/// A stand-in for the APIs of GitHub and GitLab: it takes what they document and nothing else.
#[derive(Clone, Default)]
struct Scm {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// How many requests are answered with 503 first.
    busy: Arc<Mutex<u32>>,
}

impl Scm {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

async fn answer(
    State(scm): State<Scm>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let mut busy = scm.busy.lock().unwrap();
    if *busy > 0 {
        *busy -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = uri.path().to_owned();
    scm.asked.lock().unwrap().push(Asked { path: path.clone(), headers: headers.clone(), body: body.clone() });
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    let known = |known: &[&str], names: &[&str]| {
        known.contains(&text("state").as_str())
            && body.as_object().unwrap().keys().all(|key| names.contains(&key.as_str()))
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let good = match parts.as_slice() {
        ["repos", "o", "r", "statuses", COMMIT] => {
            is("accept", "application/vnd.github+json")
                && headers.contains_key("user-agent")
                && is("authorization", "Bearer secret")
                && text("description").chars().count() <= 140
                && known(
                    &["error", "failure", "pending", "success"],
                    &["state", "description", "context", "target_url"],
                )
        }
        ["api", "v4", "projects", "g%2Fsub%2Fr" | "o%2Fr", "statuses", COMMIT] => {
            is("authorization", "Bearer secret")
                && text("description").chars().count() <= 255
                && known(
                    &["pending", "running", "success", "failed", "canceled", "skipped"],
                    &["state", "description", "name", "target_url", "ref", "coverage", "pipeline_id"],
                )
        }
        _ => return (StatusCode::NOT_FOUND, json!({ "message": "Not Found" }).to_string()),
    };
    match method == Method::POST && good {
        true => (StatusCode::CREATED, "{}".to_owned()),
        false => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "message": "Validation Failed" }).to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_gets_the_status_of_its_evaluation_on_github_and_on_gitlab() {
    let scm = Scm::default();
    *scm.busy.lock().unwrap() = 1;
    let secret = vec![("authorization".to_owned(), "Bearer secret".to_owned())];
    let connections: BTreeMap<_, _> = [("scm".to_owned(), (scm.serve().await, secret))].into();
    let host = Host::start(Options { connections, ..Options::default() }).await.unwrap();
    let plugin = plugins().join("scm-status.wasm");
    let grants = "[connections]\nscm = \"scm\"\n";
    host.install_file(&plugin, "github", grants, json!({})).await.unwrap();
    let gitlab = json!({ "api": "gitlab", "repository": "g/sub/r", "context": "gate", "warning": "failure" });
    host.install_file(&plugin, "gitlab", grants, gitlab).await.unwrap();
    // Nobody executes evaluations here, so that the host itself ends each: as an error.
    let evaluate = async |id: &str, labels: Value| {
        let data = json!({ "project": "p", "stage": "prod", "service": "s", "labels": labels, "evaluation": {} });
        let sent = host.send(event(id, "sh.keptn.event.evaluation.triggered", &data).unwrap()).await.unwrap();
        let its_own = |row: &_| pilothouse_tests::extension(row, "triggeredid").as_deref() == Some(id);
        let finished = host.wait_for("sh.keptn.event.evaluation.finished", its_own).await.unwrap();
        for seq in [Seq(sent.seq), finished.seq] {
            let filter = DeliveryFilter { event: Some(seq), ..DeliveryFilter::default() };
            host.wait_deliveries(filter, DeliveryState::Done, 2).await.unwrap();
        }
        std::mem::take(&mut *scm.asked.lock().unwrap())
    };
    let told = |asked: &[Asked], prefix: &str| -> Vec<(String, String)> {
        let text = |it: &Asked, name: &str| it.body[name].as_str().unwrap_or_default().to_owned();
        let of = asked.iter().filter(|it| it.path.starts_with(prefix));
        of.map(|it| (text(it, "state"), text(it, "context") + &text(it, "name"))).collect()
    };
    let pair = |state: &str, name: &str| (state.to_owned(), name.to_owned());
    let asked = evaluate("e1", json!({ "commit": COMMIT, "repository": "o/r" })).await;
    assert_eq!(told(&asked, "/repos/"), [pair("pending", "pilothouse/prod"), pair("error", "pilothouse/prod")]);
    assert_eq!(told(&asked, "/api/"), [pair("pending", "gate"), pair("failed", "gate")]);
    assert!(asked.iter().all(|it| !it.body.to_string().contains("secret") && it.headers.contains_key("authorization")));
    // Without the label, the setting says where; who has none tells nothing.
    let asked = evaluate("e2", json!({ "commit": COMMIT })).await;
    assert_eq!(told(&asked, "/repos/"), []);
    assert_eq!(told(&asked, "/api/v4/projects/g%2Fsub%2Fr/"), [pair("pending", "gate"), pair("failed", "gate")]);
    assert!(evaluate("e3", json!({ "repository": "o/r" })).await.is_empty());
}
