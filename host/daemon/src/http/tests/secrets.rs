//! Secrets are written and never read back, and connections have them at once.

use http::{Method, StatusCode};
use pilothouse_core::name::ConnectionName;
use pilothouse_core::right::Right;
use serde_json::{Value, json};

use super::{Harness, request_as};
use crate::config::{AuthKind, ConnectionConfig, Credential};

#[tokio::test]
async fn a_connection_has_a_stored_secret_at_once_and_no_answer_shows_it() {
    let name = ConnectionName::new("forge").unwrap();
    let connection = ConnectionConfig {
        url: Some("https://forge.example.com".to_owned()),
        auth: AuthKind::Bearer,
        credential: Some(Credential::Secret("forge-token".parse().unwrap())),
        ..ConnectionConfig::default()
    };
    let harness = Harness::with(|config| drop(config.connections.insert(name.clone(), connection))).await;
    let before = harness.get("/v1/connections").await.json();
    assert_eq!(
        before["items"][0]["problem"],
        "the connection `forge` cannot be used: there is no secret `forge-token`; store it with `pilothouse secret set \
         forge-token`"
    );

    let stored = harness.json(Method::PUT, "/v1/secrets/forge-token", &json!({"text": "s3cret-text\n"})).await;
    assert_eq!(stored.status, StatusCode::NO_CONTENT, "{}", stored.text());
    let resolved = harness.app.connections().resolved(&name).unwrap();
    assert_eq!(resolved.headers[0].1.to_str().unwrap(), "Bearer s3cret-text");
    for path in ["/v1/secrets", "/v1/connections", "/v1/events"] {
        let text = harness.get(path).await.text();
        assert!(!text.contains("s3cret-text"), "{path}: {text}");
    }
    let listed = harness.get("/v1/secrets").await.json();
    assert_eq!(listed["items"][0]["name"], "forge-token");
    assert_eq!(listed["items"][0]["actor"], "token:admin");

    assert_eq!(
        harness.request(Method::DELETE, "/v1/secrets/forge-token", &[], "").await.status,
        StatusCode::NO_CONTENT
    );
    assert!(harness.app.connections().resolved(&name).is_err());
    assert_eq!(harness.request(Method::DELETE, "/v1/secrets/forge-token", &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_bad_secret_is_refused_and_an_operator_may_not_store_one() {
    let harness = Harness::new().await;
    for (name, text, code) in [("a", " ", "secret-invalid"), ("A B", "x", "name-invalid")] {
        let path = format!("/v1/secrets/{}", name.replace(' ', "%20"));
        let answer = harness.json(Method::PUT, &path, &json!({ "text": text })).await;
        assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (StatusCode::UNPROCESSABLE_ENTITY, code));
    }
    let operator = harness.token("operator", &[Right::Operate, Right::Read], None).await;
    let headers = [("content-type", "application/json")];
    let answer = harness.call(request_as(&operator, Method::PUT, "/v1/secrets/a", &headers, r#"{"text":"x"}"#)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_an_admin_can_have_a_secret_sent_to_an_upstream() {
    let harness = Harness::new().await;
    let shipyard =
        "apiVersion: spec.keptn.sh/0.2.2\nkind: Shipyard\nmetadata: {name: a}\nspec: {stages: [{name: dev}]}\n";
    let created = harness.json(Method::POST, "/v1/projects", &json!({"name": "a", "shipyard": shipyard})).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    harness.json(Method::PUT, "/v1/secrets/forge", &json!({"text": "s3cret"})).await;
    let operator = harness.token("operator", &[Right::Operate, Right::Read], None).await;
    let headers = [("content-type", "application/json")];
    let set = |token: &str, body: Value| {
        harness.call(request_as(token, Method::PUT, "/v1/projects/a/upstream", &headers, body.to_string()))
    };
    for member in ["secret", "webhook-secret"] {
        let mut body = json!({"url": "https://127.0.0.1:1/x.git"});
        body[member] = "forge".into();
        assert_eq!(set(&operator, body.clone()).await.status, StatusCode::FORBIDDEN, "{member}");
        assert_eq!(set(&harness.token, body).await.status, StatusCode::OK, "{member}");
    }
    assert_eq!(set(&operator, json!({"url": "https://127.0.0.1:1/x.git"})).await.status, StatusCode::OK);
}
