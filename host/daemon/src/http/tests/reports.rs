//! Reports: what they are made of, who may see them, and links that open one of them.

use http::{Method, StatusCode};
use pilothouse_core::event::json as event_json;
use pilothouse_core::keptn;
use pilothouse_core::right::{Actor, Right};
use pilothouse_store::{Batch, NewEvent};
use serde_json::{Value, json};

use super::{Harness, request_as};

const SLO: &str = "spec_version: '1.0'\ncomparison: {compare_with: single_result, include_result_with_score: all}\nobjectives:\n- sli: p95\n  displayName: Response time\n  unit: ms\n  pass: [{criteria: ['<600']}]\n- sli: rate\ntotal_score: {pass: 90%}\n";

/// Puts events into the log as the host itself makes them.
async fn record(harness: &Harness, events: &[Value]) {
    for event in events {
        let mut event = event.clone();
        event["specversion"] = "1.0".into();
        event["source"] = "/plugins/test".into();
        let event = event_json::parse(event.to_string().as_bytes()).unwrap();
        let mut place = keptn::place(&event, event.data_json().as_ref());
        if place.project.is_none() {
            place = pilothouse_core::scope::Place {
                project: Some("shop".to_owned()),
                stage: Some("dev".to_owned()),
                service: Some("cart".to_owned()),
            };
        }
        let new = NewEvent {
            run: keptn::run(&event),
            triggered_id: event.extension_str("triggeredid").map(str::to_owned),
            actor: Actor::host(),
            caused_by: None,
            depth: 0,
            deliveries: Vec::new(),
            states: Vec::new(),
            timers: Vec::new(),
            place,
            event,
        };
        let mut batch = Batch::new(harness.app.clock().now());
        batch.events.push(new);
        harness.app.store().commit(batch).await.unwrap();
    }
}

/// A test of a run, and what a provider measured in its window.
fn test_of(run: &str, minute: u32, p95: f64) -> [Value; 2] {
    let (start, end) = (format!("2026-01-31T12:{minute:02}:00Z"), format!("2026-01-31T12:{minute:02}:30.000Z"));
    let base = json!({ "project": "shop", "stage": "dev", "service": "cart", "status": "succeeded", "result": "pass",
        "message": "fine", "labels": { "version": "1.4", "author": "<b>mallory</b>" } });
    let mut test = base.clone();
    test["test"] = json!({ "start": start, "end": end, "count": 600, "errorRate": 0.01, "mean": p95 / 2.0,
        "labels": { "GET <cart>": { "count": 600, "p95": p95 } } });
    let mut reported = base;
    (reported["start"], reported["end"]) = (start.clone().into(), end.into());
    reported["indicatorValues"] = json!([
        { "metric": "p95", "value": p95, "success": true, "message": "",
          "series": { "start": start, "stepSeconds": 10, "overSeconds": 30, "values": [p95, null, p95 + 20.0, p95] } },
        { "metric": "rate", "value": 0, "success": false, "message": "query did not return any values" },
        { "metric": "extra", "value": 1, "success": true, "message": "" },
    ]);
    let id = format!("{run}-test");
    [
        json!({ "id": format!("{run}-1"), "type": "sh.keptn.event.test.finished", "shkeptncontext": run, "triggeredid": id, "data": test }),
        json!({ "id": format!("{run}-2"), "type": "io.prometheus.test.reported.v1", "shkeptncontext": run, "triggeredid": id, "data": reported }),
    ]
}

async fn with_project() -> Harness {
    let harness = Harness::new().await;
    let shipyard = "apiVersion: spec.keptn.sh/0.2.2\nkind: Shipyard\nmetadata: {name: shop}\nspec:\n  stages:\n  - name: dev\n    sequences: []\n";
    let body = json!({ "name": "shop", "shipyard": shipyard });
    assert_eq!(harness.json(Method::POST, "/v1/projects", &body).await.status, StatusCode::CREATED);
    let body = json!({ "name": "cart" });
    assert_eq!(harness.json(Method::POST, "/v1/projects/shop/services", &body).await.status, StatusCode::CREATED);
    harness
}

async fn write_slo(harness: &Harness) {
    let path = "/v1/projects/shop/resources/services/cart/slo.yaml";
    let answer = harness.request(Method::PUT, path, &[], SLO).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

#[tokio::test]
async fn a_test_that_nobody_judged_is_judged_by_its_report_and_compared_with_the_test_before() {
    let harness = with_project().await;
    record(&harness, &test_of("r1", 0, 400.0)).await;
    let report = harness.get("/v1/reports/r1-test").await.json();
    assert_eq!((&report["kind"], &report["verdict"]), (&json!("test"), &Value::Null), "there is no SLO file");
    assert_eq!(report["indicators"][0]["value"], 400.0);
    write_slo(&harness).await;
    record(&harness, &test_of("r2", 10, 655.0)).await;
    let report = harness.get("/v1/reports/r2-test").await.json();
    assert_eq!(report["window"]["start"], "2026-01-31T12:10:00Z");
    assert_eq!((&report["verdict"]["by"], &report["verdict"]["result"]), (&json!("report"), &json!("fail")));
    assert_eq!(report["before"]["id"], "r1-test");
    assert_eq!(report["before"]["test"]["mean"], 200.0);
    let names: Vec<&str> =
        report["indicators"].as_array().unwrap().iter().map(|it| it["metric"].as_str().unwrap()).collect();
    assert_eq!(names, ["p95", "rate", "extra"], "the order of the SLO file, then the rest");
    let p95 = &report["indicators"][0];
    assert_eq!(
        (&p95["name"], &p95["before"], &p95["status"]),
        (&json!("Response time"), &json!(400.0), &json!("fail"))
    );
    assert_eq!(p95["limits"], json!([{ "criteria": "<600", "value": 600.0, "violated": true }]));
    assert_eq!(p95["series"]["values"], json!([655.0, null, 675.0, 655.0]));
    assert_eq!(report["indicators"][1]["message"], "query did not return any values");
}

#[tokio::test]
async fn an_evaluation_of_the_run_is_the_verdict_of_its_test_and_has_the_tests_figures() {
    let harness = with_project().await;
    write_slo(&harness).await;
    record(&harness, &test_of("r1", 0, 400.0)).await;
    let evaluation = json!({ "project": "shop", "stage": "dev", "service": "cart", "status": "succeeded", "result": "warning",
        "message": "nearly", "evaluation": { "timeStart": "2026-01-31T12:00:00.000Z", "timeEnd": "2026-01-31T12:00:30Z",
        "result": "warning", "score": 75.5, "indicatorResults": [{ "score": 1, "status": "pass", "value": { "metric": "p95", "value": 400, "success": true } }] } });
    record(
        &harness,
        &[json!({ "id": "r1-3", "type": "sh.keptn.event.evaluation.finished", "shkeptncontext": "r1",
        "triggeredid": "r1-evaluation", "data": evaluation })],
    )
    .await;
    for id in ["r1-test", "r1-evaluation"] {
        let report = harness.get(&format!("/v1/reports/{id}")).await.json();
        assert_eq!(
            (&report["verdict"]["by"], &report["verdict"]["score"]),
            (&json!("evaluation"), &json!(75.5)),
            "{id}"
        );
        assert_eq!(report["test"]["figures"]["count"], 600, "{id}");
        assert_eq!(report["indicators"][0]["series"]["step-seconds"], 10, "{id}");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_else_and_what_is_in_events_is_text_in_it() {
    let harness = with_project().await;
    write_slo(&harness).await;
    record(&harness, &test_of("r1", 0, 400.0)).await;
    record(&harness, &test_of("r2", 10, 655.0)).await;
    let answer = harness.get("/v1/reports/r2-test/page").await;
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = answer.text();
    for part in [
        "Test of cart in shop/dev",
        "655 ms",
        "+63.7 %",
        "<svg",
        "GET &lt;cart&gt;",
        "&lt;b&gt;mallory&lt;/b&gt;",
        "limit: &lt;600",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for part in ["<script", "mallory</b>", "http://", "https://", "href=", "src="] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn a_link_opens_one_report_without_a_token_and_an_altered_or_expired_one_opens_none() {
    let harness = with_project().await;
    record(&harness, &test_of("r1", 0, 400.0)).await;
    record(&harness, &test_of("r2", 10, 500.0)).await;
    let link = harness.json(Method::POST, "/v1/reports/r1-test/link", &json!({})).await.json();
    let url = link["url"].as_str().unwrap();
    let path = &url[url.find("/reports/").unwrap()..];
    let open = |path: String| {
        let request = http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
        harness.call(request)
    };
    let answer = open(path.to_owned()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert!(answer.text().contains("Test of cart"));
    let altered = [
        path.replace("r1", "r2"),
        path.replace("expires=", "expires=1"),
        format!("{path}x"),
        path.replace("signature=", "s="),
    ];
    for path in altered {
        let answer = open(path.clone()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.text().contains("was not made by this host"), "{path}");
    }
    let links = harness.app.engine().report_links();
    let past = pilothouse_core::time::Timestamp::from_millis(0);
    let expired = links.make("r1-test", past).url;
    let answer = open(expired[expired.find("/reports/").unwrap()..].to_owned()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains("has expired"), "{}", answer.text());
    let gone = links.make("nothing", harness.app.clock().now()).url;
    assert_eq!(open(gone[gone.find("/reports/").unwrap()..].to_owned()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_of_another_project_sees_no_report_and_gets_no_link() {
    let harness = with_project().await;
    record(&harness, &test_of("r1", 0, 400.0)).await;
    let token = harness.token("other", &[Right::Read], Some(&["other"])).await;
    for (method, path) in [
        (Method::GET, "/v1/reports/r1-test"),
        (Method::GET, "/v1/reports/r1-test/page"),
        (Method::POST, "/v1/reports/r1-test/link"),
    ] {
        let answer =
            harness.call(request_as(&token, method, path, &[("content-type", "application/json")], "{}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["code"], "report-not-found");
    }
}

#[tokio::test]
async fn links_hold_after_a_restart() {
    let harness = with_project().await;
    let first = harness.app.engine().report_links().make("x", harness.app.clock().now());
    let store = harness.app.store();
    let again = crate::report::ReportLinks::open(
        store,
        harness.app.clock().now(),
        "http://h/",
        std::time::Duration::from_secs(60),
    )
    .await
    .unwrap();
    let (_, query) = first.url.split_once("?expires=").unwrap();
    let (expires, signature) = query.split_once("&signature=").unwrap();
    again.check("x", expires.parse().unwrap(), signature, harness.app.clock().now()).unwrap();
}
