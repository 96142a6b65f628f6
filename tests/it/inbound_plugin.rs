//! A plugin that makes events of a tool's requests: by its export `inbound`, behind the host's check of the caller.

use pilothouse_tests::guests;
use serde_json::{Value, json};

use crate::program::{Program, client};

const SECRET: &str = "hush-hush";

/// A host with the plugin, and a route to it.
struct Bench {
    host: Program,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { host: Program::start(folder.path(), &[]), folder };
        std::fs::write(bench.folder.path().join("secret"), SECRET).unwrap();
        std::fs::write(bench.folder.path().join("settings.json"), r#"{"shop": "north"}"#).unwrap();
        let guest = guests().join("tool_hook").with_extension("wasm");
        let install = ["plugin", "install", guest.to_str().unwrap(), "--name", "orders", "--yes"];
        bench.ok(&[&install[..], &["--settings", "settings.json"]].concat());
        bench.ok(&["secret", "set", "tool", "--file", "secret"]);
        bench.ok(&["inbound", "set", "orders", "--plugin", "orders", "--verify", "bearer", "--secret", "tool"]);
        bench
    }

    fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        self.host.cli(self.folder.path(), arguments)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.host.ok(self.folder.path(), arguments)
    }

    /// Sends as the tool; returns the status and the body.
    fn send(&self, secret: &str, content_type: &str, path: &str, body: &str) -> (u16, String) {
        let request = client().post(format!("{}/v1/inbound/{path}", self.host.url)).bearer_auth(secret);
        let request = request.header("content-type", content_type).body(body.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    fn json(&self, body: &Value) -> (u16, String) {
        self.send(SECRET, "application/json", "orders", &body.to_string())
    }

    /// The orders in the log, newest first, each with its source.
    fn orders(&self) -> Vec<Value> {
        let request = client().get(format!("{}/v1/events?type=com.example.order.placed.v1&data=true", self.host.url));
        let request = request.bearer_auth(self.host.token.as_ref().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listed: Value = runtime.block_on(async { request.send().await.unwrap().json().await.unwrap() });
        listed["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect()
    }
}

#[test]
fn a_request_becomes_what_the_plugin_makes_of_it_and_a_repeat_has_no_effect() {
    let bench = Bench::new();
    for _ in 0..2 {
        let (status, answer) = bench.send(SECRET, "application/json", "orders/eu/west?dry=1", r#"{"order": "o-1"}"#);
        assert_eq!((status, answer.as_str()), (201, r#"{"taken":true}"#));
    }
    let orders = bench.orders();
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!((&orders[0]["source"], &orders[0]["id"]), (&json!("/plugins/orders"), &json!("o-1")));
    let data = &orders[0]["data"];
    assert_eq!(
        (&data["settings"]["shop"], &data["path"], &data["query"]),
        (&json!("north"), &json!("eu/west"), &json!("dry=1"))
    );
    let headers = data["headers"].to_string();
    assert!(headers.contains("content-type") && !headers.contains("authorization"), "{headers}");
    let log = bench.ok(&["inbound", "log"]);
    assert!(log.contains("1 events, 1 of them known already"), "{log}");
    assert!(bench.ok(&["inbound", "list"]).contains("orders"));
}

#[test]
fn a_form_and_a_challenge_are_the_plugins_to_understand() {
    let bench = Bench::new();
    let form = "application/x-www-form-urlencoded";
    for _ in 0..2 {
        assert_eq!(bench.send(SECRET, form, "orders", "command=%2Fdeploy&text=now").0, 202);
    }
    assert_eq!(bench.orders().len(), 1, "an event without an id of its own is known by its content");
    assert_eq!(bench.json(&json!({ "challenge": "abc" })), (200, "abc".to_owned()));
}

#[test]
fn a_stranger_is_refused_before_the_plugin_runs_and_a_bad_plugin_harms_nobody() {
    let bench = Bench::new();
    let (status, answer) = bench.send("guess", "application/json", "orders", r#"{"do": "loop"}"#);
    assert!(status == 401 && answer.contains("signature-wrong"), "{status} {answer}");
    for (body, status, part) in [
        (json!({ "no": "order" }), 422, "there is no `order` in the body"),
        (json!({ "do": "trap" }), 502, "inbound-plugin-failed"),
        (json!({ "do": "loop" }), 502, "CPU time"),
        (json!({ "do": "spoof" }), 502, "is not in the manifest's `emits`"),
        (json!({ "do": "status" }), 502, "the response's status is 500"),
    ] {
        let (found, answer) = bench.json(&body);
        assert!(found == status && answer.contains(part), "{body}: {found} {answer}");
        assert!(bench.ok(&["inbound", "log"]).contains("refused"), "{body}");
    }
    assert!(bench.orders().is_empty());
    assert_eq!(bench.json(&json!({ "order": "o-1" })).0, 201);
}

#[test]
fn a_route_needs_a_plugin_that_asks_for_one_and_tells_when_it_is_gone() {
    let bench = Bench::new();
    let set = |plugin: &str| {
        bench.cli(&["inbound", "set", "other", "--plugin", plugin, "--verify", "bearer", "--secret", "tool"])
    };
    let (code, _, err) = set("nobody");
    assert!(code == 5 && err.contains("`nobody` is not installed"), "{err}");
    let echo = guests().join("echo.wasm");
    bench.ok(&["plugin", "install", echo.to_str().unwrap(), "--name", "echo", "--yes"]);
    let (code, _, err) = set("echo");
    assert!(code == 5 && err.contains("has no [inbound]"), "{err}");
    bench.ok(&["plugin", "remove", "orders"]);
    let (status, answer) = bench.json(&json!({ "order": "o-1" }));
    assert!(status == 503 && answer.contains("`orders` is not installed any more"), "{status} {answer}");
}
