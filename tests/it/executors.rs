//! Outside executors over real HTTP: registered, handed their tasks with a lease, and answering with events.

use pilothouse_tests::PATIENCE;
use serde_json::{Value, json};

use crate::program::{Program, client, run};

/// The program, a token for an outside executor, and one for a stranger.
struct Bench {
    host: Program,
    folder: tempfile::TempDir,
    admin: String,
    deployer: String,
    stranger: String,
    client: reqwest::Client,
}

impl Bench {
    fn new() -> Self {
        Self::with("", &[])
    }

    fn with(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pilothouse.toml");
        std::fs::write(&file, config).unwrap();
        let named = [("PILOTHOUSE_CONFIG", file.to_str().unwrap())];
        let host = Program::start(folder.path(), &[&named, environment].concat());
        let admin = host.token.clone().unwrap();
        let mut bench =
            Self { host, folder, admin, deployer: String::new(), stranger: String::new(), client: client() };
        let make = |name: &str| bench.ok(&["token", "create", name, "--right", "ingest"]).trim().to_owned();
        (bench.deployer, bench.stranger) = (make("deployer"), make("stranger"));
        bench
    }

    fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let environment = [("PILOTHOUSE_URL", self.host.url.as_str()), ("PILOTHOUSE_TOKEN", self.admin.as_str())];
        run(self.folder.path(), arguments, &environment)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.cli(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    fn register(&self, more: &[&str]) {
        self.ok(
            &[&["executor", "register", "release-bot", "--task", "release", "--for-token", "deployer"], more].concat()
        );
    }

    async fn post(&self, token: &str, path: &str, ty: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.host.url)).bearer_auth(token);
        let answer = request.header("content-type", ty).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.host.url)).bearer_auth(&self.admin);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn trigger(&self, id: &str, data: Value) {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/test", "type": "sh.keptn.event.release.triggered", "data": data,
        });
        let (status, answer) = self.post(&self.admin, "/v1/events", "application/cloudevents+json", &event).await;
        assert_eq!(status, 202, "{answer}");
    }

    async fn lease(&self, token: &str, body: Value) -> (u16, Value) {
        self.post(token, "/v1/executors/release-bot/lease", "application/json", &body).await
    }

    /// Leases one task; it must be there in time.
    async fn leased(&self, lease: &str) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let (status, answer) = self.lease(&self.deployer, json!({"lease": lease, "wait": "30s"})).await;
            assert_eq!(status, 200, "{answer}");
            if let Some(item) = answer["items"].get(0) {
                return item.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "nothing was handed out");
        }
    }

    async fn answer(&self, token: &str, id: &str, kind: &str, task: &str, data: Value) -> (u16, Value) {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/release-bot", "type": format!("sh.keptn.event.release.{kind}"),
            "triggeredid": task, "data": data,
        });
        self.post(token, "/v1/events", "application/cloudevents+json", &event).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_executor_fetches_its_task_tells_of_progress_and_answers_once() {
    let bench = Bench::new();
    bench.register(&[]);
    bench.trigger("t1", json!({"project": "p", "release": {"version": "2"}})).await;
    let leased = bench.leased("60s").await;
    assert_eq!((&leased["task"], &leased["attempt"]), (&json!("t1"), &json!(1)));
    assert_eq!(leased["event"]["data"]["release"]["version"], "2");
    let (status, nothing) = bench.lease(&bench.deployer, json!({})).await;
    assert_eq!((status, &nothing["items"]), (200, &json!([])), "it is handed out once");

    let (status, told) = bench.answer(&bench.deployer, "a1", "status.changed", "t1", json!({"message": "half"})).await;
    assert_eq!(status, 202, "{told}");
    let (status, stranger) = bench.answer(&bench.stranger, "a2", "finished", "t1", json!({"result": "pass"})).await;
    assert_eq!((status, &stranger["code"]), (403, &json!("answer-not-asked")), "{stranger}");
    let (status, wrong) = bench.answer(&bench.deployer, "a3", "finished", "t1", json!({"result": "good"})).await;
    assert_eq!((status, &wrong["code"]), (422, &json!("answer-invalid")), "{wrong}");
    let data =
        json!({"result": "warning", "message": "released", "labels": {"build": 7}, "release": {"url": "http://a"}});
    let (status, accepted) = bench.answer(&bench.deployer, "a4", "finished", "t1", data).await;
    assert_eq!(status, 202, "{accepted}");
    let (status, again) = bench.answer(&bench.deployer, "a5", "finished", "t1", json!({"result": "fail"})).await;
    assert_eq!((status, &again["code"]), (403, &json!("answer-not-asked")), "the first answer counts: {again}");

    let task = bench.get("/v1/tasks/t1").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("ended"), &json!("warning")));
    let finished = bench.get("/v1/events?type=sh.keptn.event.release.finished&data=true").await;
    let event = &finished["items"][0]["event"];
    assert_eq!(
        (&event["source"], &event["data"]["release"]["url"]),
        (&json!("/plugins/release-bot"), &json!("http://a"))
    );
    assert_eq!((&event["data"]["labels"]["build"], &event["data"]["message"]), (&json!("7"), &json!("released")));
    assert_eq!(finished["items"].as_array().unwrap().len(), 1);
    let started = bench.get("/v1/events?type=sh.keptn.event.release.started").await;
    assert_eq!(started["items"].as_array().unwrap().len(), 1, "the host says that it began");
    let refused = bench.get("/v1/events?type=dev.pilothouse.answer.refused.v1").await;
    assert_eq!(refused["items"].as_array().unwrap().len(), 2, "the stranger's, and the second answer");
    let shown = bench.ok(&["executor", "list"]);
    assert!(shown.contains("release-bot") && shown.contains("outside"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_in_the_time_of_its_lease_is_handed_out_again() {
    let bench = Bench::new();
    bench.register(&[]);
    bench.trigger("t1", json!({"project": "p"})).await;
    assert_eq!(bench.leased("1s").await["attempt"], 1);
    let again = bench.leased("60s").await;
    assert_eq!((&again["task"], &again["attempt"]), (&json!("t1"), &json!(2)));
    let listed = bench.get("/v1/executors").await;
    assert_eq!(listed["items"][0]["last-error"], "`release-bot` did not answer within its lease");
    assert_eq!((&listed["items"][0]["waiting"], &listed["items"][0]["open"]), (&json!(0), &json!(1)));
    let (status, _) = bench.answer(&bench.deployer, "a1", "finished", "t1", json!({})).await;
    assert_eq!(status, 202, "left out, the result is a pass");
    assert_eq!(bench.get("/v1/tasks/t1").await["result"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_and_a_registration_outlive_a_killed_host() {
    let mut bench = Bench::new();
    bench.register(&[]);
    bench.trigger("t1", json!({"project": "p"})).await;
    bench.leased("1h").await;
    bench.host.kill();
    bench.host = Program::start(bench.folder.path(), &[]);
    // Whoever had it can still answer.
    let (status, answer) = bench.answer(&bench.deployer, "a1", "finished", "t1", json!({"result": "pass"})).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(bench.get("/v1/tasks/t1").await["result"], "pass");
    let (_, nothing) = bench.lease(&bench.deployer, json!({})).await;
    assert_eq!(nothing["items"], json!([]), "an answered task is not handed out");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_pushed_to_is_sent_its_task_until_it_takes_it_and_answers_later() {
    use std::sync::{Arc, Mutex};
    type Sent = Vec<(Option<String>, Value)>;
    let sent: Arc<Mutex<Sent>> = Arc::default();
    let kept = Arc::clone(&sent);
    let app = axum::Router::new().fallback(move |headers: axum::http::HeaderMap, body: axum::body::Bytes| {
        let kept = Arc::clone(&kept);
        async move {
            let mut kept = kept.lock().unwrap();
            let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            kept.push((authorization, serde_json::from_slice(&body).unwrap_or_default()));
            // It is busy at first.
            if kept.len() == 1 { axum::http::StatusCode::SERVICE_UNAVAILABLE } else { axum::http::StatusCode::ACCEPTED }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tasks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config =
        format!("[connections.bot]\nurl = {url:?}\nauth = \"bearer\"\ncredential = {{ env = \"BOT_TOKEN\" }}\n");
    let bench = Bench::with(&config, &[("BOT_TOKEN", "s3cret")]);
    let (code, _, err) = bench.cli(&["executor", "register", "release-bot", "--task", "release", "--push", "nowhere"]);
    assert!(code == 5 && err.contains("there is no connection `nowhere`"), "{code} {err}");
    bench.register(&["--push", "bot"]);
    bench.trigger("t1", json!({"project": "p"})).await;
    let begin = std::time::Instant::now();
    while sent.lock().unwrap().len() < 2 {
        assert!(begin.elapsed() < PATIENCE, "{:?}", sent.lock().unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (authorization, event) = sent.lock().unwrap()[1].clone();
    assert_eq!((authorization.as_deref(), &event["id"]), (Some("Bearer s3cret"), &json!("t1")));
    let listed = bench.get("/v1/executors").await;
    assert_eq!(listed["items"][0]["last-error"], "`bot` answered with status 503 Service Unavailable");
    let (status, answer) = bench.answer(&bench.deployer, "a1", "finished", "t1", json!({"result": "pass"})).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(bench.get("/v1/tasks/t1").await["result"], "pass");
    assert_eq!(sent.lock().unwrap().len(), 2, "what was taken is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_matching_tasks_are_handed_out_and_only_to_their_executor_and_a_removed_one_leaves_nothing_open() {
    let bench = Bench::new();
    bench.register(&["--match", "/release/kind=helm", "--project", "p"]);
    for (id, data) in [
        ("t1", json!({"project": "p", "release": {"kind": "apt"}})),
        ("t2", json!({"project": "q", "release": {"kind": "helm"}})),
        ("t3", json!({"project": "p", "release": {"kind": "helm"}})),
    ] {
        bench.trigger(id, data).await;
    }
    let (status, answer) = bench.lease(&bench.stranger, json!({})).await;
    assert_eq!(status, 403, "{answer}");
    assert_eq!(bench.leased("60s").await["task"], "t3");
    for (body, status) in [(json!({"lease": "2h"}), 422), (json!({"lease": "soon"}), 400), (json!({"coun": 1}), 400)] {
        assert_eq!(bench.lease(&bench.deployer, body.clone()).await.0, status, "{body}");
    }
    bench.ok(&["executor", "remove", "release-bot", "--yes"]);
    let task = bench.get("/v1/tasks/t3").await;
    assert_eq!((&task["state"], &task["result"]), (&json!("ended"), &json!("fail")));
    assert!(task["reason"].as_str().unwrap().contains("was removed by token:admin"), "{task}");
    assert_eq!(bench.lease(&bench.deployer, json!({})).await.0, 404);
    let (code, _, err) = bench.cli(&["executor", "register", "x", "--task", "t", "--for-token", "nobody"]);
    assert!(code == 5 && err.contains("there is no token `nobody`"), "{code} {err}");
}

/// Who was bound to a task, by the host's own word; the answers of all others are refused and recorded.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_providers_and_action_executors_side_by_side_exactly_the_meant_one_is_bound() {
    let bench = Bench::new();
    let executors = [
        ("prometheus-sli", "get-sli", "/get-sli/sliProvider=prometheus"),
        ("datadog-sli", "get-sli", "/get-sli/sliProvider=datadog"),
        ("scaler", "action", "/action/action=scale"),
        ("restarter", "action", "/action/action=restart"),
        ("flags", "action", "/action/action=toggle-feature"),
    ];
    let mut tokens = std::collections::BTreeMap::new();
    for (name, task, matches) in executors {
        tokens.insert(name, bench.ok(&["token", "create", name, "--right", "ingest"]).trim().to_owned());
        bench.ok(&["executor", "register", name, "--task", task, "--for-token", name, "--match", matches]);
    }
    for (number, (meant, task, matches)) in executors.into_iter().enumerate() {
        let (pointer, value) = matches.split_once('=').unwrap();
        let member = pointer.rsplit('/').next().unwrap();
        let id = format!("task-{number}");
        let ty = format!("sh.keptn.event.{task}.triggered");
        let event = json!({ "specversion": "1.0", "id": id, "source": "/test", "type": ty,
            "data": { "project": "p", "stage": "s", "service": "c", task: { member: value } } });
        let (status, answer) = bench.post(&bench.admin, "/v1/events", "application/cloudevents+json", &event).await;
        assert_eq!((status, answer["events"][0]["deliveries"].as_u64()), (202, Some(1)), "{answer}");
        let bound = bench.get(&format!("/v1/tasks/{id}")).await["executors"].to_string();
        for (other, ..) in executors {
            assert_eq!(bound.contains(other), other == meant, "{id} is for {meant}: {bound}");
        }
        for (other, token) in &tokens {
            let finished = json!({ "specversion": "1.0", "id": format!("{id} by {other}"), "source": "/executor",
                "type": format!("sh.keptn.event.{task}.finished"), "triggeredid": id, "data": { "result": "pass" } });
            let answered = bench.post(token, "/v1/events", "application/cloudevents+json", &finished).await;
            let wanted = if *other == meant { 202 } else { 403 };
            assert_eq!(answered.0, wanted, "{other} answers {id} of {meant}: {}", answered.1);
        }
        assert_eq!(bench.get(&format!("/v1/tasks/{id}")).await["result"], "pass");
    }
    let refused = bench.get("/v1/events?type=dev.pilothouse.answer.refused.v1&limit=500").await;
    assert_eq!(refused["items"].as_array().unwrap().len(), 5 * 4, "each refusal is recorded");
}
