//! Approvals that people decide in Slack: a message with buttons, and what Slack sends when somebody presses one.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use hmac::{Hmac, KeyInit as _, Mac as _};
use pilothouse::engine::clock::{Clock as _, SystemClock};
use pilothouse_tests::{PATIENCE, plugins};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::program::{Program, client};

/// Slack's signing secret of the app.
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const SHIPYARD: &str = "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {name: shop}\nspec:\n  stages:\n  - name: prod\n    sequences: [{name: delivery, tasks: [{name: approval, properties: {pass: manual, warning: manual}}]}]\n";

type Messages = Arc<Mutex<Vec<Value>>>;

async fn slack(messages: Messages) -> String {
    let take = async |State(messages): State<Messages>, body: String| {
        messages.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        "ok"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T/B/x", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take).with_state(messages)).await });
    url
}

struct Bench {
    host: Program,
    folder: tempfile::TempDir,
    messages: Messages,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let messages = Messages::default();
        let url = slack(Arc::clone(&messages)).await;
        let config = format!("[connections.slack-releases]\nurl = {url:?}\nauth = \"none\"\n");
        for (name, text) in [
            ("pilothouse.toml", config.as_str()),
            ("secret", SECRET),
            ("shipyard.yaml", SHIPYARD),
            ("slack.json", r#"{"buttons": true, "mentions": {"ann@example.org": "U0ANN"}}"#),
            ("slack.toml", include_str!("../../examples/grants/slack.toml")),
            ("approval.toml", "keyvalue = true\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = folder.path().join("pilothouse.toml");
        let host = Program::start(folder.path(), &[("PILOTHOUSE_CONFIG", config.to_str().unwrap())]);
        let bench = Self { host, folder, messages };
        for name in ["slack", "approval"] {
            let (file, grants) = (plugins().join(format!("{name}.wasm")), format!("{name}.toml"));
            let install = ["plugin", "install", file.to_str().unwrap(), "--grants", &grants, "--yes"];
            let settings: &[&str] = if name == "slack" { &["--settings", "slack.json"] } else { &[] };
            bench.ok(&[&install[..], settings].concat());
        }
        bench.ok(&["project", "create", "shop", "--shipyard", "shipyard.yaml"]);
        bench.ok(&["service", "create", "shop", "cart"]);
        bench.ok(&["token", "create", "ann", "--role", "approver@shop"]);
        bench.ok(&["token", "create", "bob", "--right", "read"]);
        bench.ok(&["secret", "set", "slack-signing", "--file", "secret"]);
        let actors = ["--actor", "U0ANN=ann", "--actor", "U0BOB=bob", "--actor", "U0OLD=gone"];
        let route = ["inbound", "set", "slack", "--plugin", "slack", "--verify", "slack", "--secret", "slack-signing"];
        bench.ok(&[&route[..], &actors].concat());
        bench
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.host.ok(self.folder.path(), arguments)
    }

    /// Triggers a delivery that needs an approval, and waits for its message; returns the approval's id.
    async fn asked(&self) -> String {
        let place = ["--project", "shop", "--stage", "prod", "--service", "cart", "--label", "author=ann@example.org"];
        self.ok(&[&["sequence", "trigger", "delivery"][..], &place].concat());
        let is = |message: &Value| message["text"].as_str().unwrap().contains("Approval: cart in shop/prod");
        let message = self.message(is).await;
        let blocks = message["blocks"].as_array().unwrap();
        let buttons = &blocks.iter().find(|block| block["type"] == "actions").unwrap()["elements"];
        assert_eq!((&buttons[0]["action_id"], &buttons[1]["action_id"]), (&json!("approve"), &json!("decline")));
        assert!(buttons[0]["confirm"].is_object(), "{message}");
        assert!(message.to_string().contains("<@U0ANN>"), "the author is mentioned: {message}");
        buttons[0]["value"].as_str().unwrap().to_owned()
    }

    async fn message(&self, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.messages.lock().unwrap().iter().find(|message| is(message)) {
                return found.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{:?}\n{}", self.messages.lock().unwrap(), self.host.said());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Presses a button, signed with `secret` `age` seconds ago.
    async fn press(&self, secret: &str, age: u64, user: &str, action: &str, approval: &str) -> (u16, String) {
        let payload = json!({
            "type": "block_actions", "user": { "id": user, "username": "ann", "team_id": "T1" }, "api_app_id": "A1",
            "container": { "type": "message" }, "trigger_id": "1.2.3", "response_url": "https://hooks.slack.com/actions/x",
            "actions": [{ "action_id": action, "block_id": "pilothouse-approval", "type": "button", "value": approval, "action_ts": "1" }],
        });
        let url = reqwest::Url::parse_with_params("http://x/", [("payload", payload.to_string())]).unwrap();
        let body = url.query().unwrap().to_owned();
        let now = u64::try_from(SystemClock.now().as_millis()).unwrap() / 1_000 - age;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("v0:{now}:{body}").as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = client()
            .post(format!("{}/v1/inbound/slack", self.host.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", now.to_string())
            .header("x-slack-signature", format!("v0={signature}"))
            .body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn open(&self) -> usize {
        let list: Value = serde_json::from_str(&self.ok(&["approval", "list", "--output", "json"])).unwrap();
        list["items"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_decides_in_the_name_of_the_token_that_its_presser_stands_for() {
    let bench = Bench::start().await;
    let approval = bench.asked().await;
    // A forged one, an old one, and people who may not.
    assert_eq!(bench.press("another secret", 0, "U0ANN", "approve", &approval).await.0, 401);
    let (status, answer) = bench.press(SECRET, 600, "U0ANN", "approve", &approval).await;
    assert!(status == 401 && answer.contains("signature-too-old"), "{status} {answer}");
    for (user, expected) in [
        ("U0EVE", "`U0EVE` stands for nobody here"),
        ("U0BOB", "the token `bob` has not the right `approve`"),
        ("U0OLD", "the token `gone`, which is not there"),
    ] {
        let (status, answer) = bench.press(SECRET, 0, user, "approve", &approval).await;
        assert!(status == 403 && answer.contains(expected), "{user}: {status} {answer}");
    }
    assert_eq!(bench.press(SECRET, 0, "U0ANN", "approve", "no-such-approval").await.0, 403);
    assert_eq!(bench.open(), 1, "nobody has decided yet");
    assert_eq!(bench.press(SECRET, 0, "U0ANN", "approve", &approval).await, (200, String::new()));
    bench.message(|message| message["text"].as_str().unwrap().contains("Approval passed: cart in shop/prod")).await;
    let ended: Value =
        serde_json::from_str(&bench.ok(&["approval", "list", "--state", "ended", "--output", "json"])).unwrap();
    let decision = &ended["items"][0]["decisions"][0];
    assert_eq!((&decision["actor"], &decision["decision"]), (&json!("token:ann"), &json!("approve")), "{ended}");
    assert_eq!(decision["comment"], "in Slack, by ann (U0ANN)");
    assert!(bench.ok(&["inbound", "log"]).contains("1 decisions, 0 events"));
    let (status, answer) = bench.press(SECRET, 0, "U0ANN", "decline", &approval).await;
    assert!(status == 409 && answer.contains("has ended already"), "{status} {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_approval_skips_what_comes_after_and_slack_says_so() {
    let bench = Bench::start().await;
    let approval = bench.asked().await;
    assert_eq!(bench.press(SECRET, 0, "U0ANN", "decline", &approval).await.0, 200);
    bench.message(|message| message["text"].as_str().unwrap().contains("Approval failed: cart in shop/prod")).await;
    assert_eq!(bench.open(), 0);
}
