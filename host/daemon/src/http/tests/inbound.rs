//! Inbound routes: what the documented payloads of tools become with the example mappings, and who is let in.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Harness;

const SECRET: &str = "hush-hush";

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/inbound").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn sign(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

async fn with_route(tool: &str, verification: Value) -> Harness {
    let harness = Harness::new().await;
    harness.json(Method::PUT, "/v1/secrets/hook", &json!({ "text": SECRET })).await;
    let route = json!({ "verification": verification, "secret": "hook", "mapping": example(&format!("{tool}.yaml")) });
    let answer = harness.json(Method::PUT, &format!("/v1/inbound/{tool}"), &route).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    harness
}

impl Harness {
    /// Sends a request as a tool does: without a token.
    async fn tool(&self, path: &str, headers: &[(&str, &str)], body: &str) -> super::Answer {
        let mut request =
            http::Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(body.to_owned().into()).unwrap()).await
    }

    async fn events(&self) -> Vec<Value> {
        let page = self.get("/v1/events?data=true&limit=100").await.json();
        page["items"].as_array().unwrap().iter().rev().map(|item| item["event"].clone()).collect()
    }

    async fn log(&self) -> Value {
        self.get("/v1/inbound-log").await.json()["items"].clone()
    }
}

/// A tool: how it is verified, the headers that it sends (`SIGN` stands for the signature), the rest of the path, and for each
/// event that comes of its example its type, its id, and one value of it.
type Tool = (
    &'static str,
    Value,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static [(&'static str, &'static str, &'static str, &'static str)],
);

const DELIVERY: &str = "sh.keptn.event.hardening.delivery.triggered";
const REMEDIATION: &str = "sh.keptn.event.production.remediation.triggered";

fn tools() -> [Tool; 6] {
    [
        (
            "github",
            json!({"scheme": "github"}),
            &[("x-hub-signature-256", "SIGN"), ("x-github-event", "push"), ("x-github-delivery", "d-1")],
            "",
            &[(DELIVERY, "d-1", "/data/labels/author", "ann")],
        ),
        (
            "gitlab",
            json!({"scheme": "gitlab"}),
            &[("x-gitlab-token", SECRET), ("x-gitlab-event", "Pipeline Hook")],
            "",
            &[(DELIVERY, "pipeline-31", "/data/labels/pipeline", "31")],
        ),
        (
            "bitbucket",
            json!({"scheme": "bitbucket"}),
            &[("x-hub-signature", "SIGN"), ("x-event-key", "repo:push"), ("x-request-uuid", "r-1")],
            "",
            &[("org.bitbucket.pushed", "r-1 main", "/data/by", "Ann")],
        ),
        (
            "jira",
            json!({"scheme": "hmac", "header": "x-hub-signature", "prefix": "sha256="}),
            &[("x-hub-signature", "SIGN")],
            "",
            &[("com.atlassian.jira.issue.done", "SHOP-7 1767366245000", "/data/was", "In Progress")],
        ),
        (
            "jenkins",
            json!({"scheme": "secret-path"}),
            &[],
            "/hush-hush",
            &[(DELIVERY, "https://jenkins.example.com/job/helloservice/18/", "/data/labels/buildId", "18")],
        ),
        (
            "alertmanager",
            json!({"scheme": "bearer"}),
            &[("authorization", "Bearer hush-hush")],
            "",
            &[
                (
                    REMEDIATION,
                    "c6eb8dbd3a2b9f11 2026-01-02T15:04:05.000Z",
                    "/data/problem/rootCause",
                    "p95 is over 600 ms",
                ),
                (REMEDIATION, "0f2c44e1a7d05b92 2026-01-02T15:04:05.000Z", "/data/service", "carts"),
                (
                    "io.prometheus.alert.resolved",
                    "resolved 9b1d0c55f3e6a478 2026-01-02T14:04:05.000Z",
                    "/data/service",
                    "orders",
                ),
            ],
        ),
    ]
}

#[tokio::test]
async fn each_tools_documented_payload_becomes_the_events_of_its_example_mapping() {
    for (tool, verification, headers, rest, expected) in tools() {
        let harness = with_route(tool, verification).await;
        let body = example(&format!("{tool}.payload.json"));
        let signature = sign(&body);
        let signed = |(name, value): &(&'static str, &'static str)| {
            (*name, if *value == "SIGN" { signature.clone() } else { (*value).to_owned() })
        };
        let headers: Vec<(&str, String)> = headers.iter().map(signed).collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = format!("/v1/inbound/{tool}{rest}");
        // The tool repeats what was not answered in time: nothing new.
        for _ in 0..2 {
            let answer = harness.tool(&path, &headers, &body).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{tool}: {}", answer.text());
            assert_eq!(answer.json()["events"], expected.len(), "{tool}");
        }
        let events = harness.events().await;
        for (ty, id, pointer, value) in expected {
            let found: Vec<&Value> = events.iter().filter(|event| event["id"] == *id).collect();
            assert_eq!(found.len(), 1, "{tool}: {id} in {events:#?}");
            assert_eq!((&found[0]["type"], found[0].pointer(pointer)), (&json!(ty), Some(&json!(value))), "{tool}");
        }
        let log = harness.log().await;
        assert!(log[0]["reason"].as_str().unwrap().contains("known already"), "{log}");
        assert_eq!(log[1]["outcome"], "accepted");
    }
}

#[tokio::test]
async fn who_is_not_believed_is_refused_before_the_body_is_read_and_the_log_says_why() {
    let harness = with_route("github", json!({"scheme": "github"})).await;
    let body = example("github.payload.json");
    let forged = sign("something else");
    for (headers, code, says) in [
        (vec![], "signature-missing", "the header `x-hub-signature-256` is missing"),
        (vec![("x-hub-signature-256", forged.as_str())], "signature-wrong", "the signature or secret is wrong"),
        (vec![("x-hub-signature-256", "sha256=zz")], "signature-malformed", "is not written as this scheme has it"),
    ] {
        let answer = harness.tool("/v1/inbound/github", &headers, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::UNAUTHORIZED, &json!(code)),
            "{}",
            answer.text()
        );
        let line = harness.log().await[0].clone();
        assert_eq!(line["outcome"], "refused");
        assert!(line["reason"].as_str().unwrap().contains(says), "{line}");
    }
    assert!(!harness.log().await.to_string().contains(SECRET));
    assert_eq!(harness.events().await.len(), 0);
    assert_eq!(harness.tool("/v1/inbound/nowhere", &[], &body).await.status, StatusCode::NOT_FOUND);
    let large = "x".repeat(1_100_000);
    assert_eq!(harness.tool("/v1/inbound/github", &[], &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_fits_nothing_is_ignored_and_what_cannot_be_mapped_is_refused() {
    let harness = with_route("github", json!({"scheme": "gitlab"})).await;
    let send = |body: &'static str, event: &'static str| {
        let headers = [("x-gitlab-token", SECRET), ("x-github-event", event), ("x-github-delivery", "d-1")];
        let harness = &harness;
        async move { harness.tool("/v1/inbound/github", &headers, body).await }
    };
    let ignored = send("{\"action\": \"closed\"}", "issues").await;
    assert_eq!((ignored.status, ignored.json()["events"].clone()), (StatusCode::ACCEPTED, json!(0)));
    assert_eq!(harness.log().await[0]["outcome"], "ignored");
    let not_json = send("payload=%7B%7D", "push").await;
    assert_eq!(
        (not_json.status, &not_json.json()["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("inbound-unmappable"))
    );
    let missing = send("{\"ref\": \"refs/heads/main\", \"deleted\": false}", "push").await;
    assert!(
        missing.text().contains("entry 1 of the mapping needs `/repository/full_name` for `source`"),
        "{}",
        missing.text()
    );
    assert!(harness.events().await.is_empty());
}

#[tokio::test]
async fn a_route_with_mistakes_is_refused_with_each_of_them() {
    let harness = with_route("github", json!({"scheme": "github"})).await;
    for (route, code) in [
        (
            json!({"verification": {"scheme": "github"}, "secret": "hook", "mapping": "events: [{type: t}]"}),
            "mapping-invalid",
        ),
        (
            json!({"verification": {"scheme": "github"}, "secret": "none", "mapping": example("github.yaml")}),
            "inbound-invalid",
        ),
        (json!({"verification": {"scheme": "githup"}, "secret": "hook", "mapping": ""}), "body-invalid"),
    ] {
        let answer = harness.json(Method::PUT, "/v1/inbound/other", &route).await;
        assert!(answer.status.is_client_error() && answer.json()["code"] == code, "{}", answer.text());
    }
    assert_eq!(harness.get("/v1/inbound").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(harness.request(Method::DELETE, "/v1/inbound/github", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(harness.tool("/v1/inbound/github", &[], "{}").await.status, StatusCode::NOT_FOUND);
}
