//! What comes in wrong, row by row: the status, the code and the attribute that the sender is told. `docs/http-api.md`
//! states the choices; the rows that need a socket are in `crate::serve`.

use std::io::Write as _;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use serde_json::json;

use super::{Answer, Harness};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// One input and what is expected of the answer.
struct Case {
    name: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    attribute: &'static str,
    index: Option<u64>,
}

impl Case {
    fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    fn at(mut self, attribute: &'static str) -> Self {
        self.attribute = attribute;
        self
    }

    fn index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    async fn check(self, harness: &Harness) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri("/v1/events");
        request = request.header("authorization", format!("Bearer {}", harness.token));
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request = request.header(name, HeaderValue::from_bytes(value).unwrap());
        }
        let answer = harness.call(request.body(Body::from(self.body)).unwrap()).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status.as_u16(), self.status, "{}: {text}", self.name);
        if self.status >= 400 {
            let problem = answer.json();
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", self.name);
            assert_eq!(problem["status"], self.status, "{}", self.name);
            assert_eq!(problem["type"], format!("/problems/{}", problem["code"].as_str().unwrap()), "{}", self.name);
            assert!(!problem["detail"].as_str().unwrap().is_empty(), "{}", self.name);
            if !self.code.is_empty() {
                assert_eq!(problem["code"], self.code, "{}: {text}", self.name);
            }
            if !self.attribute.is_empty() {
                assert_eq!(problem["attribute"], self.attribute, "{}: {text}", self.name);
            }
            assert_eq!(problem.get("index").and_then(serde_json::Value::as_u64), self.index, "{}: {text}", self.name);
        }
        answer
    }
}

fn case(name: &str, media_type: &str, body: impl Into<Vec<u8>>, status: u16) -> Case {
    let (headers, body) = (Vec::new(), body.into());
    let case = Case { name: name.to_owned(), headers, body, status, code: "", attribute: "", index: None };
    if media_type.is_empty() { case } else { case.header("content-type", media_type) }
}

/// A structured event whose members are those of a valid one with `changes` laid over; `null` removes one.
fn structured(name: &str, changes: &str, status: u16) -> Case {
    // As text, so that a case can have what a JSON value cannot: members twice, numbers out of range.
    let mut members = vec![
        ("specversion", r#""1.0""#.to_owned()),
        ("id", format!("{name:?}")),
        ("source", r#""/s""#.to_owned()),
        ("type", r#""t""#.to_owned()),
    ];
    let changed: Vec<&str> = changes.split(";;").filter(|change| !change.is_empty()).collect();
    members.retain(|(member, _)| {
        !changed
            .iter()
            .any(|change| change.trim().starts_with(&format!("\"{member}\":")) || change.trim() == format!("-{member}"))
    });
    let mut text: Vec<String> = members.into_iter().map(|(member, value)| format!("\"{member}\":{value}")).collect();
    text.extend(changed.into_iter().filter(|change| !change.trim().starts_with('-')).map(str::to_owned));
    case(name, STRUCTURED, format!("{{{}}}", text.join(",")), status)
}

/// A binary event without the header `without`.
fn binary(name: &str, without: &str, status: u16) -> Case {
    let headers = [("ce-specversion", "1.0"), ("ce-id", name), ("ce-source", "/s"), ("ce-type", "t")];
    headers
        .into_iter()
        .filter(|(header, _)| *header != without)
        .fold(case(name, "", "", status), |case, (header, value)| case.header(header, value))
}

async fn check_all(cases: Vec<Case>) {
    let harness = Harness::new().await;
    for case in cases {
        case.check(&harness).await;
    }
}

#[tokio::test]
async fn rows_1_to_9_required_attributes() {
    let mut cases = Vec::new();
    for attribute in ["specversion", "id", "source", "type"] {
        cases.push(structured(&format!("{attribute} missing"), &format!("-{attribute}"), 400).at(attribute));
        cases.push(structured(&format!("{attribute} empty"), &format!("\"{attribute}\":\"\""), 400).at(attribute));
        cases.push(structured(&format!("{attribute} null"), &format!("\"{attribute}\":null"), 400).at(attribute));
        let header = format!("ce-{attribute}");
        cases.push(binary(&format!("binary {attribute} missing"), &header, 400).at(attribute));
        cases.push(binary(&format!("binary {attribute} empty"), &header, 400).header(&header, "").at(attribute));
    }
    for version in ["1.0.2", "9000.1", "0.1"] {
        cases.push(
            structured(&format!("version {version}"), &format!("\"specversion\":\"{version}\""), 400)
                .code("specversion-unknown"),
        );
    }
    check_all(cases).await;
}

#[tokio::test]
async fn rows_10_to_14_bodies_that_are_no_event() {
    check_all(vec![
        case("10 plain json", "application/json", "{}", 415).code("not-an-event"),
        case("10 nothing at all", "", "", 415).code("not-an-event"),
        case("11 empty body", STRUCTURED, "", 400),
        case("12 truncated", STRUCTURED, r#"{"specversion":"1.0","#, 400).code("json-invalid"),
        case("12 trailing garbage", STRUCTURED, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"} x"#, 400)
            .code("json-invalid"),
        structured("12 NaN", r#""data":NaN"#, 400).code("json-invalid"),
        case("12 byte order mark", STRUCTURED, "\u{feff}{}".as_bytes(), 400).code("json-invalid"),
        case("13 not UTF-8", STRUCTURED, b"{\"id\":\"\xff\"}".as_slice(), 400).code("body-not-utf8"),
        case("13 utf-16", "application/cloudevents+json; charset=utf-16", "{}", 415).code("charset-unsupported"),
        case("14 array with structured type", STRUCTURED, "[]", 400).code("event-not-object"),
        case("14 object with batch type", BATCH, "{}", 400).code("batch-not-array"),
    ])
    .await;
}

#[tokio::test]
async fn rows_15_to_18_batches() {
    let harness = Harness::new().await;
    let event = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/batch", "type": "t"});
    let mut hundred: Vec<_> = (0..100).map(|number| event(&format!("b{number}"))).collect();
    hundred[57] = json!({"specversion": "1.0", "id": "b57", "source": "", "type": "t"});
    let body = |events: &[serde_json::Value]| json!(events).to_string();
    case("15 one invalid of 100", BATCH, body(&hundred), 400).at("source").index(57).check(&harness).await;
    case("15 not an object", BATCH, r#"[1]"#, 400).index(0).check(&harness).await;
    let mixed = [event("m1"), json!({"specversion": "0.3", "id": "m2", "source": "/batch", "type": "t"})];
    case("15 mixed versions", BATCH, body(&mixed), 400).code("specversion-unknown").index(1).check(&harness).await;
    assert_eq!(
        harness.get("/v1/events?source=/batch").await.json()["items"],
        json!([]),
        "nothing of a bad batch is stored"
    );

    let answer = case("16 empty", BATCH, "[]", 202).check(&harness).await.json();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(0)));

    let many: Vec<_> = (0..1001).map(|number| event(&format!("x{number}"))).collect();
    let answer = case("17 one event too many", BATCH, body(&many), 413).code("batch-too-large").check(&harness).await;
    assert_eq!(answer.json()["limit"], 1000);

    let answer =
        case("18 twice in one batch", BATCH, body(&[event("twice"), event("twice")]), 202).check(&harness).await.json();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(1)));
    assert_eq!(answer["seq"][0], answer["seq"][1]);
}

#[tokio::test]
async fn rows_19_to_25_attributes_that_are_wrong_or_double() {
    let mut cases = vec![
        structured("19 twice", r#""id":"1";;"id":"2""#, 400).code("attribute-twice").at("id"),
        structured("19 twice by escape", r#""id":"1";;"\u0069d":"2""#, 400).code("attribute-twice").at("id"),
        binary("20 header twice", "", 400).header("ce-id", "again").code("attribute-twice").at("id"),
        binary("20 header twice in capitals", "", 400).header("CE-ID", "again").code("attribute-twice").at("id"),
        binary("21 data as header", "", 400).header("ce-data", "x").code("attribute-name"),
        structured("23 extension null", r#""ext":null"#, 202),
        structured("23 subject null", r#""subject":null;;"time":null"#, 202),
        structured("25 id number", r#""id":1"#, 400).code("attribute-type").at("id"),
        structured("25 id object", r#""id":{}"#, 400).code("attribute-type").at("id"),
        structured("25 id true", r#""id":true"#, 400).code("attribute-type").at("id"),
    ];
    for name in ["Foo", "foo_bar", "foo-bar", "é", ""] {
        cases.push(structured(&format!("21 `{name}`"), &format!("\"{name}\":\"x\""), 400).code("attribute-name"));
    }
    for value in ["{}", "[]", "1.5", "2147483648", "-2147483649"] {
        cases.push(structured(&format!("22 {value}"), &format!("\"ext\":{value}"), 400).at("ext"));
    }
    check_all(cases).await;
}

#[tokio::test]
async fn rows_26_to_32_values_of_core_attributes() {
    let mut cases = Vec::new();
    for source in ["http://[bad", "a b", "%zz"] {
        cases.push(structured(&format!("26 {source}"), &format!("\"source\":\"{source}\""), 400).at("source"));
    }
    for source in ["#frag", "//h/p", "1-555-123-4567", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"] {
        cases.push(structured(&format!("26 {source}"), &format!("\"source\":\"{source}\""), 202));
    }
    for schema in ["relative", ""] {
        cases
            .push(structured(&format!("27 `{schema}`"), &format!("\"dataschema\":\"{schema}\""), 400).at("dataschema"));
    }
    for time in
        ["garbage", "2018-04-05T17:31Z", "2018-04-05T17:31:00+25:00", "2018-04-05T17:31:00+01", "2018-02-30T00:00:00Z"]
    {
        cases.push(structured(&format!("28 {time}"), &format!("\"time\":\"{time}\""), 400).at("time"));
    }
    for time in
        ["2016-12-31T23:59:60Z", "2018-04-05T17:31:00.123456789Z", "2018-04-05t17:31:00z", "2018-04-05T17:31:00-00:00"]
    {
        cases.push(structured(&format!("28 29 {time}"), &format!("\"time\":\"{time}\""), 202));
    }
    for media_type in ["notamime", "", "text/plain; charset"] {
        let change = format!("\"datacontenttype\":\"{media_type}\"");
        cases.push(structured(&format!("30 `{media_type}`"), &change, 400).at("datacontenttype"));
    }
    for media_type in ["Application/JSON; Charset=UTF-8", "application/vnd.x+json; charset=utf-8"] {
        let change = format!("\"datacontenttype\":\"{media_type}\";;\"data\":{{}}");
        cases.push(structured(&format!("31 32 {media_type}"), &change, 202));
    }
    check_all(cases).await;
}

#[tokio::test]
async fn rows_33_to_39_data() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let mut cases = vec![
        structured("33 object as text", r#""datacontenttype":"text/plain";;"data":{}"#, 400).code("data-not-string"),
        structured("34 both", r#""data":1;;"data_base64":"AQ==""#, 400).code("data-both"),
        structured("35 as escapes", r#""data_base64":"\u002B\u002B\u002B\u002B""#, 202),
        structured("35 a number", r#""data_base64":1"#, 400),
        structured("36 bytes without a type", r#""data_base64":"AQID""#, 202),
        structured("37 null data", r#""data":null"#, 202),
        structured("38 numbers", r#""data":[12345678901234567890123,1.10,1E400,-0]"#, 202),
        structured("39 deep", &format!("\"data\":{deep}"), 400).code("data-too-deep"),
    ];
    for base64 in ["!!!!", "AQI", "-_-_"] {
        cases.push(
            structured(&format!("35 {base64}"), &format!("\"data_base64\":\"{base64}\""), 400).code("data-base64"),
        );
    }
    check_all(cases).await;
}

#[tokio::test]
async fn rows_40_to_49_text_headers_and_modes() {
    let mut cases = vec![
        structured("41 emoji", "\"subject\":\"🚀 مرحبا e\u{301}\"", 202),
        binary("47", "", 400).header("ce-datacontenttype", "text/plain").code("header-forbidden"),
        structured("48 the body wins", "", 202).header("ce-id", "other").header("ce-type", "other"),
    ];
    for character in ["\\u0001", "\\u0085", "\\ufffe", "\\ufdd0", "\\udead"] {
        cases.push(structured(&format!("40 {}", &character[1..]), &format!("\"subject\":\"a{character}\""), 400));
    }
    for value in ["%C0%A0", "%ED%A0%80", "%FF"] {
        cases.push(
            binary(&format!("42 {}", value.replace('%', "")), "", 400)
                .header("ce-subject", value)
                .code("header-encoding")
                .at("subject"),
        );
    }
    for value in ["\u{e9}".as_bytes(), b"\xe9"] {
        cases.push(binary("45", "", 400).header("ce-subject", value).code("header-encoding").at("subject"));
    }
    for (media_type, status) in [
        ("application/cloudevents", 202),
        ("application/cloudevents+JSON", 202),
        ("application/cloudevents+jsonx", 415),
        ("application/cloudevents+avro", 415),
        ("application/cloudeventsfoo", 415),
    ] {
        let mut case = structured(&format!("49 {media_type}"), "", status);
        case.headers = vec![("content-type".to_owned(), media_type.as_bytes().to_vec())];
        cases.push(if status == 415 { case.code("format-unsupported") } else { case });
    }
    check_all(cases).await;
}

#[tokio::test]
async fn rows_43_44_a_header_is_decoded_exactly_once() {
    let harness = Harness::new().await;
    let values = [
        ("Euro%20%e2%82%ac", "Euro €"),
        ("%41", "A"),
        (r#""quoted \"x\"""#, r#"quoted "x""#),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%2520", "%20"),
    ];
    for (number, (sent, expected)) in values.into_iter().enumerate() {
        let answer = binary(&format!("h{number}"), "", 202).header("ce-subject", sent).check(&harness).await.json();
        let stored = harness.get(&format!("/v1/events/{}", answer["seq"][0])).await.json();
        assert_eq!(stored["event"]["subject"], expected, "{sent}");
    }
}

#[tokio::test]
async fn rows_17_and_50_sizes() {
    let harness = Harness::with(|config| config.limits.batch_size_max = config.limits.event_size_max).await;
    let limit = 1024 * 1024;
    // What an event has besides its data counts too.
    let rest = "specversion".len() + "1.0".len();
    for (size, status) in [(64 * 1024, 202), (limit - 200, 202), (limit + rest, 413), (3 * limit, 413)] {
        let answer = binary(&format!("{size} bytes"), "", status).header("content-type", "text/plain");
        let answer = Case { body: vec![b'x'; size], ..answer }.check(&harness).await;
        if status == 413 {
            assert!(answer.json()["limit"].as_u64().unwrap() >= 1024 * 1024);
        }
    }
    let fitting = format!("[{}]", " ".repeat(limit - 2));
    case("a batch of exactly the limit", BATCH, fitting.clone(), 202).check(&harness).await;
    case("a batch of one byte more", BATCH, fitting + " ", 413).code("body-too-large").check(&harness).await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn row_51_content_encodings() {
    let plain = br#"{"specversion":"1.0","id":"gz","source":"/s","type":"t"}"#;
    let packed = gzip(plain);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let encoded = |name, body: Vec<u8>, status| case(name, STRUCTURED, body, status);
    check_all(vec![
        encoded("gzip", packed.clone(), 202).header("content-encoding", "gzip"),
        encoded("bomb", bomb, 413).header("content-encoding", "gzip").code("body-too-large"),
        encoded("truncated", packed[..packed.len() - 9].to_vec(), 400)
            .header("content-encoding", "gzip")
            .code("gzip-invalid"),
        encoded("br", packed.clone(), 415).header("content-encoding", "br").code("encoding-unsupported"),
        encoded("double", gzip(&packed), 415).header("content-encoding", "gzip, gzip").code("encoding-unsupported"),
        encoded("double header", gzip(&packed), 415)
            .header("content-encoding", "gzip")
            .header("content-encoding", "gzip"),
    ])
    .await;
}

#[tokio::test]
async fn row_52_too_many_headers_and_extensions() {
    let harness = Harness::new().await;
    let many = (0..101).fold(binary("101 headers", "", 431), |case, number| case.header(&format!("x-{number}"), "v"));
    many.code("headers-too-large").check(&harness).await;
    binary("64 KiB header", "", 431)
        .header("ce-x", "v".repeat(64 * 1024))
        .code("headers-too-large")
        .check(&harness)
        .await;
    binary("20 KiB header", "", 202).header("ce-x", "v".repeat(20 * 1024)).check(&harness).await;
    let extensions: Vec<String> = (0..500).map(|number| format!("\"e{number}\":1")).collect();
    structured("500 extensions", &extensions.join(";;"), 413).code("extension-count").check(&harness).await;
    let request =
        super::request_as(&harness.token, Method::GET, &format!("/v1/events?subject={}", "x".repeat(9_000)), &[], "");
    assert_eq!(harness.call(request).await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn row_55_other_methods() {
    let harness = Harness::new().await;
    for method in [Method::PUT, Method::DELETE, Method::TRACE, Method::PATCH] {
        let answer = harness.request(method.clone(), "/v1/events", &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        let allow = answer.headers["allow"].to_str().unwrap();
        assert!(allow.contains("POST") && allow.contains("OPTIONS"), "{allow}");
        assert_eq!(answer.json()["code"], "method-not-allowed");
    }
    let options = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(Method::OPTIONS).uri("/v1/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        harness.call(request.body(Body::empty()).unwrap())
    };
    let plain = options(&[]).await;
    assert_eq!(plain.status, StatusCode::OK);
    assert!(plain.headers["allow"].to_str().unwrap().contains("POST"));
    assert!(!plain.headers.contains_key("webhook-allowed-origin"));
    let asked = options(&[("webhook-request-origin", "example.com"), ("webhook-request-rate", "120")]).await;
    assert_eq!(asked.headers["webhook-allowed-origin"], "example.com");
    assert_eq!(asked.headers["webhook-allowed-rate"], "*");
}

#[tokio::test]
async fn rows_57_58_61_what_is_unusual_and_allowed() {
    let harness = Harness::new().await;
    structured("57", r#""data":1"#, 202).check(&harness).await;
    let again = structured("57", r#""data":2"#, 202).check(&harness).await.json();
    assert_eq!((&again["events"][0]["duplicate"], &again["events"][0]["mismatch"]), (&json!(true), &json!(true)));
    let same = structured("57", r#""data":1"#, 202).check(&harness).await.json();
    assert_eq!((&same["events"][0]["duplicate"], &same["events"][0]["mismatch"]), (&json!(true), &json!(false)));
    structured("58 long id", &format!("\"id\":\"{}\"", "i".repeat(64 * 1024)), 202).check(&harness).await;
    for ty in
        [".".repeat(300), "a..b".into(), "*".into(), ">".into(), "$SYS.x".into(), "with spaces".into(), "x".repeat(255)]
    {
        structured(&format!("58 {}", &ty[..1]), &format!("\"type\":\"{ty}\""), 202).check(&harness).await;
    }
    structured("61", r#""expirytime":"2001-01-01T00:00:00Z";;"sequence":"7";;"traceparent":"malformed""#, 422)
        .check(&harness)
        .await;
    structured("61 pass", r#""sequence":"7";;"traceparent":"malformed""#, 202).check(&harness).await;
}
