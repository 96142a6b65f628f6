//! Traces: what a collector is sent, and that a collector that is gone costs no event.
//!
//! No collector can be installed here, so a small server stands for one: it takes what OTLP over HTTP prescribes, checks the
//! sign-in, and decodes with OpenTelemetry's own definitions.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus};
use pilothouse_tests::guests;
use prost::Message as _;
use serde_json::{Value, json};

use crate::program::{Program, client, run};

const SECRET: &str = "collector-secret";
const GIVEN_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const RUN: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

/// What the collector got: service name and span.
type Got = Arc<Mutex<Vec<(String, Span)>>>;

async fn take(State(got): State<Got>, headers: HeaderMap, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {SECRET}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if headers.get("content-type").is_none_or(|value| value != "application/x-protobuf") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    for spans in request.resource_spans {
        let resource = spans.resource.unwrap_or_default().attributes;
        let service = text(&resource, "service.name").unwrap_or_default();
        let spans = spans.scope_spans.into_iter().flat_map(|it| it.spans);
        got.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

async fn collector() -> (Got, String) {
    let got = Got::default();
    let app = Router::new().route("/base/v1/traces", post(take)).with_state(Arc::clone(&got));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (got, url)
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
    match value {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn configure(data: &Path, url: &str) {
    let config = format!(
        "[telemetry]\ntraces-connection = \"otel\"\nservice-name = \"pilothouse-test\"\n\n[connections.otel]\nurl = \"{url}\"\n\
         auth = \"bearer\"\ncredential = {{ env = \"COLLECTOR_TOKEN\" }}\n"
    );
    std::fs::write(data.join("pilothouse.toml"), config).unwrap();
}

fn start(data: &Path) -> Program {
    let host = Program::start(data, &[("PILOTHOUSE_CONFIG", "pilothouse.toml"), ("COLLECTOR_TOKEN", SECRET)]);
    let token = host.token.clone().unwrap();
    for guest in ["echo", "rejects"] {
        let file = guests().join(format!("{guest}.wasm"));
        let environment = [("PILOTHOUSE_URL", host.url.as_str()), ("PILOTHOUSE_TOKEN", token.as_str())];
        let arguments = ["plugin", "install", file.to_str().unwrap(), "--name", guest, "--yes"];
        let (code, out, err) = run(data, &arguments, &environment);
        assert_eq!(code, 0, "{out}{err}");
    }
    host
}

async fn send(host: &Program, id: &str, extra: Value) {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/traced", "type": "com.example.said.v1", "data": { "secret": "data" },
    });
    event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let sent = client()
        .post(format!("{}/v1/events", host.url))
        .bearer_auth(host.token.as_deref().unwrap())
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 202, "{}", sent.text().await.unwrap());
}

async fn events(host: &Program, ty: &str) -> Vec<Value> {
    let url = format!("{}/v1/events?type={ty}", host.url);
    let answer = client().get(url).bearer_auth(host.token.as_deref().unwrap()).send().await.unwrap();
    let page: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect()
}

/// Waits until the echo has answered `count` events.
async fn wait_echoes(host: &Program, count: usize) -> Vec<Value> {
    let waited = tokio::time::timeout(pilothouse_tests::PATIENCE, async {
        loop {
            let echoes = events(host, "com.example.echoed.v1").await;
            if echoes.len() >= count {
                return echoes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_the_way_of_an_event_as_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    let (got, url) = collector().await;
    configure(folder.path(), &url);
    let mut host = start(folder.path());
    send(&host, "given", json!({ "traceparent": GIVEN })).await;
    send(&host, "of-a-run", json!({ "shkeptncontext": RUN })).await;
    send(&host, "not-recorded", json!({ "traceparent": GIVEN.replace("-01", "-00") })).await;
    let echoes = wait_echoes(&host, 3).await;
    // Ending sends what waits.
    assert!(host.stop().success(), "{}", host.said());

    let spans = got.lock().unwrap().clone();
    assert!(spans.iter().all(|(service, _)| service == "pilothouse-test"));
    let spans: Vec<Span> = spans.into_iter().map(|(_, span)| span).collect();
    let find = |name: &str, id: &str| {
        let is_it =
            |span: &&Span| span.name == name && text(&span.attributes, "cloudevents.event_id").as_deref() == Some(id);
        spans.iter().find(is_it).unwrap_or_else(|| panic!("no span `{name}` of `{id}`: {spans:#?}"))
    };
    let ingest = find("ingest com.example.said.v1", "given");
    assert_eq!(
        (hex(&ingest.trace_id).as_str(), hex(&ingest.parent_span_id).as_str()),
        (GIVEN_TRACE, "00f067aa0ba902b7")
    );
    assert_eq!(ingest.kind(), SpanKind::Server);
    assert_eq!(text(&ingest.attributes, "cloudevents.event_type").unwrap(), "com.example.said.v1");
    let call = find("deliver echo", "given");
    assert_eq!((&call.trace_id, &call.parent_span_id), (&ingest.trace_id, &ingest.span_id));
    assert_eq!(call.kind(), SpanKind::Consumer);
    assert!(call.end_time_unix_nano > call.start_time_unix_nano);
    assert_eq!(text(&call.attributes, "pilothouse.attempt").unwrap(), "1");

    // What the plugin sent names the span of its call, so that whoever gets it goes on from there.
    let of = |trace: &str| {
        echoes.iter().filter_map(|echo| echo["traceparent"].as_str()).find(|it| it.contains(trace)).unwrap()
    };
    let named = format!("00-{GIVEN_TRACE}-{}-01", hex(&call.span_id));
    assert!(echoes.iter().any(|echo| echo["traceparent"] == named), "{named} of {echoes:#?}");
    // Without a trace of its own, an event is in the trace that its run names.
    let run = RUN.replace('-', "");
    assert_eq!(hex(&find("ingest com.example.said.v1", "of-a-run").trace_id), run);
    assert!(of(&run).ends_with("-01"));

    // A plugin that fails is seen to fail; whoever records nothing is sent nothing.
    let rejected = find("deliver rejects", "given");
    assert_eq!(rejected.status.as_ref().unwrap().code(), SpanStatus::Error);
    let ids: Vec<_> = spans.iter().filter_map(|span| text(&span.attributes, "cloudevents.event_id")).collect();
    assert!(!ids.iter().any(|id| id == "not-recorded"), "{ids:?}");
    let all = format!("{spans:?}");
    assert!(!all.contains("secret"), "neither data nor credentials are in a span: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_refuses_costs_no_event_and_is_said_without_its_address_or_credential() {
    let folder = tempfile::tempdir().unwrap();
    let (got, url) = collector().await;
    // A path that the collector does not have, below an address that nobody may read.
    configure(folder.path(), &format!("{url}/hidden-part"));
    let mut host = start(folder.path());
    send(&host, "one", json!({})).await;
    wait_echoes(&host, 1).await;
    host.stop();
    let said = host.said();
    assert!(said.contains("404"), "{said}");
    assert!(!said.contains("hidden-part") && !said.contains(SECRET), "{said}");
    assert!(got.lock().unwrap().is_empty());
}

#[test]
fn a_connection_for_traces_that_does_not_exist_is_an_error_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("pilothouse.toml"),
        "[telemetry]\ntraces-connection = \"otel\"\nsample-percent = 101\n",
    )
    .unwrap();
    let (code, out, err) = run(folder.path(), &["config", "check", "--config", "pilothouse.toml"], &[]);
    assert_ne!(code, 0);
    let said = format!("{out}{err}");
    assert!(said.contains("pilothouse.toml:2") && said.contains("[connections.otel]"), "{said}");
    assert!(said.contains("pilothouse.toml:3") && said.contains("from 0 to 100"), "{said}");
}
