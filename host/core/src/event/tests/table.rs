//! What is accepted and what is refused, case by case.

use super::super::http::{Mode, detect, parse_binary, to_binary};
use super::super::{
    AttributeValue, Data, EVENT_SIZE_BYTES_MAX, Event, EventBuilder, EventErrorKind, JSON_DEPTH_MAX, json,
};

/// Runs one JSON body: `Ok`, or the code and the attribute of the refusal.
fn structured(body: &str) -> Result<Event, (&'static str, String)> {
    json::parse(body.as_bytes()).map_err(|error| (error.code, error.attribute.unwrap_or_default()))
}

/// The body of a valid event with `members` besides the required attributes.
fn with(members: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"1","source":"/ci","type":"t"{}{members}}}"#,
        if members.is_empty() { "" } else { "," }
    )
}

fn accepted(members: &str) -> Event {
    structured(&with(members)).unwrap_or_else(|error| panic!("{members}: {error:?}"))
}

#[track_caller]
fn refused(members: &str, code: &str, attribute: &str) {
    assert_eq!(structured(&with(members)), Err((leak(code), attribute.to_owned())), "{members}");
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// Runs binary mode with valid required headers, replaced or completed by `headers`; an empty name removes nothing.
fn binary(headers: &[(&str, &[u8])], body: &[u8]) -> Result<Event, (&'static str, String)> {
    let base: [(&str, &[u8]); 4] =
        [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/ci"), ("ce-type", b"t")];
    let given = |name: &str| headers.iter().any(|(header, _)| *header == name);
    let all = base.into_iter().filter(|(name, _)| !given(name)).chain(headers.iter().copied());
    parse_binary(all, body).map_err(|error| (error.code, error.attribute.unwrap_or_default()))
}

#[test]
fn rows_1_to_9_required_attributes_are_there_and_not_empty() {
    for name in ["specversion", "id", "source", "type"] {
        let all = [("specversion", "1.0"), ("id", "1"), ("source", "/ci"), ("type", "t")];
        let body = |value: Option<&str>| {
            let members = all.iter().filter_map(|(member, good)| match value {
                _ if *member != name => Some(format!("\"{member}\":\"{good}\"")),
                Some(value) => Some(format!("\"{member}\":{value}")),
                None => None,
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        assert_eq!(structured(&body(None)), Err(("attribute-missing", name.to_owned())));
        assert_eq!(structured(&body(Some("null"))), Err(("attribute-missing", name.to_owned())));
        assert_eq!(structured(&body(Some("\"\""))), Err(("attribute-empty", name.to_owned())));
        for value in ["1", "{}", "true", "[]"] {
            assert_eq!(structured(&body(Some(value))), Err(("attribute-type", name.to_owned())), "{value}");
        }
        let without = all.iter().filter(|(member, _)| *member != name);
        let headers: Vec<_> = without.map(|(member, good)| (format!("Ce-{member}"), good.as_bytes())).collect();
        let error = parse_binary(headers.iter().map(|(header, value)| (header.as_str(), *value)), b"").unwrap_err();
        assert_eq!((error.code, error.attribute.as_deref()), ("attribute-missing", Some(name)));
        assert_eq!(binary(&[(&format!("ce-{name}"), b"")], b""), Err(("attribute-empty", name.to_owned())));
    }
    for version in ["1.0.2", "9000.1", "0.1", "0.3", "1"] {
        let body = with("").replace("1.0", version);
        assert_eq!(structured(&body), Err(("specversion-unknown", "specversion".into())));
        assert_eq!(binary(&[("ce-specversion", version.as_bytes())], b"").unwrap_err().0, "specversion-unknown");
    }
}

#[test]
fn rows_10_and_49_the_mode_is_told_by_content_type_and_headers() {
    let detected = |content_type: &str, ce| detect(Some(content_type), ce).map_err(|error| (error.kind, error.code));
    use EventErrorKind::Unsupported;
    for (content_type, ce, expected) in [
        ("application/json", false, Err((Unsupported, "not-an-event"))),
        ("application/json", true, Ok(Mode::Binary)),
        ("", true, Ok(Mode::Binary)),
        ("application/cloudevents", false, Ok(Mode::Structured)),
        ("application/cloudevents+JSON", true, Ok(Mode::Structured)),
        ("Application/CloudEvents+json; Charset=\"UTF-8\"", false, Ok(Mode::Structured)),
        ("application/cloudevents+json;charset=utf-16", false, Err((Unsupported, "charset-unsupported"))),
        ("application/cloudevents+jsonx", false, Err((Unsupported, "format-unsupported"))),
        ("application/cloudevents+avro", true, Err((Unsupported, "format-unsupported"))),
        ("application/cloudeventsfoo", true, Err((Unsupported, "format-unsupported"))),
        ("application/cloudevents-batch+json", false, Ok(Mode::Batch)),
        ("application/cloudevents-batch", false, Ok(Mode::Batch)),
        ("application/cloudevents-batch+xml", false, Err((Unsupported, "format-unsupported"))),
    ] {
        assert_eq!(detected(content_type, ce), expected, "{content_type}");
    }
    assert_eq!(detect(None, false).unwrap_err().code, "not-an-event");
    assert_eq!(detect(None, true), Ok(Mode::Binary));
}

#[test]
fn rows_11_to_14_a_body_is_one_json_object_in_utf8() {
    for (body, code) in [
        ("", "json-invalid"),
        ("{\"specversion\":\"1.0\"", "json-invalid"),
        (&format!("{} x", with("")), "json-invalid"),
        (&with("\"data\":NaN"), "json-invalid"),
        (&format!("\u{feff}{}", with("")), "json-invalid"),
        (&with("\"a\":\"\u{1}\""), "json-invalid"),
        ("[]", "event-not-object"),
        ("\"secret\"", "event-not-object"),
    ] {
        assert_eq!(structured(body).unwrap_err().0, code, "{body}");
    }
    assert_eq!(json::parse(b"{\"id\":\"\xff\"}").unwrap_err().code, "body-not-utf8");
    assert_eq!(json::parse_batch(with("").as_bytes(), 9).unwrap_err().code, "batch-not-array");
    assert_eq!(json::parse_batch(b"[", 9).unwrap_err().code, "json-invalid");
}

#[test]
fn rows_15_to_18_a_batch_is_all_or_nothing() {
    let good = with("");
    let batch = |elements: &[&str], max| {
        let body = format!(" [{}] ", elements.join(" , "));
        json::parse_batch(body.as_bytes(), max).map(|events| events.len()).map_err(|error| (error.code, error.index))
    };
    assert_eq!(batch(&[], 2), Ok(0));
    assert_eq!(batch(&[&good, &good], 2), Ok(2));
    assert_eq!(batch(&[&good, &good, &good], 2), Err(("batch-too-large", None)));
    assert_eq!(batch(&[&good, "{}"], 2), Err(("attribute-missing", Some(1))));
    assert_eq!(batch(&[&good, "7"], 2), Err(("event-not-object", Some(1))));
    assert_eq!(batch(&[&good, &good.replace("1.0", "0.3")], 2), Err(("specversion-unknown", Some(1))));
    assert_eq!(json::parse_batch(b"[1]", 0).unwrap_err().kind, EventErrorKind::TooLarge);
}

#[test]
fn rows_19_and_20_nothing_is_given_twice() {
    refused(r#""id":"2""#, "attribute-twice", "id");
    refused(r#""\u0069d":"2""#, "attribute-twice", "id");
    refused(r#""a":null,"a":"x""#, "attribute-twice", "a");
    refused(r#""data":1,"d\u0061ta":1"#, "attribute-twice", "data");
    assert_eq!(binary(&[("ce-id", b"1"), ("CE-ID", b"1")], b""), Err(("attribute-twice", "id".into())));
    assert_eq!(binary(&[("Content-Type", b"a/b"), ("content-type", b"a/b")], b"").unwrap_err().0, "attribute-twice");
}

#[test]
fn row_21_names_are_lower_case_letters_and_digits() {
    for name in ["Foo", "foo_bar", "foo-bar", "é", "", "Data", "ID"] {
        assert_eq!(structured(&with(&format!("\"{name}\":\"x\""))).unwrap_err().0, "attribute-name", "{name}");
    }
    for header in ["ce-foo_bar", "ce-foo-bar", "ce-", "ce-data", "ce-data_base64"] {
        assert_eq!(binary(&[(header, b"x")], b"").unwrap_err().0, "attribute-name", "{header}");
    }
    let event = binary(&[("CE-MyExt", b"x"), ("x-other", b"\xff")], b"").unwrap();
    assert_eq!(event.extension_str("myext"), Some("x"));
    for name in ["id", "data", "specversion", "data_base64"] {
        let error = EventBuilder::new("1", "/ci", "t").extension_str(name, "x").build().unwrap_err();
        assert_eq!(error.code, "attribute-name", "{name}");
    }
    accepted(&format!("\"{}\":\"x\"", "a".repeat(200)));
}

#[test]
fn rows_22_to_25_extensions_are_strings_booleans_and_32_bit_integers() {
    for value in ["{}", "[]", "1.5", "1e3", "1.0", "2147483648", "-2147483649"] {
        refused(&format!("\"ext\":{value}"), "attribute-type", "ext");
    }
    let event = accepted(r#""a":2147483647,"b":-2147483648,"c":true,"d":"","e":null,"subject":null,"time":null"#);
    assert_eq!(event.extension("a"), Some(&AttributeValue::Integer(i32::MAX)));
    assert_eq!(event.extension("b"), Some(&AttributeValue::Integer(i32::MIN)));
    assert_eq!(event.extension("c"), Some(&AttributeValue::Boolean(true)));
    assert_eq!(event.extension_str("d"), Some(""));
    assert_eq!((event.extension("e"), event.subject(), event.time()), (None, None, None));
}

#[test]
fn rows_26_to_32_core_attributes_follow_their_grammar() {
    let cases: [(&str, &[&str], &[&str]); 4] = [
        (
            "source",
            &["http://[bad", "a b", "%zz", "a\\\\b", "é"],
            &["#frag", "//h/p", "1-555-123-4567", "urn:x:y", "/a/b?c", "%41"],
        ),
        ("dataschema", &["", "/relative", "#frag", "a b"], &["http://x/y", "urn:a:b", "https://x/y#/defs/z"]),
        (
            "time",
            &[
                "",
                "now",
                "2018-04-05T17:31Z",
                "2018-04-05T17:31:00+25:00",
                "2018-04-05T17:31:00+02",
                "2018-02-30T00:00:00Z",
                "2018-04-05T17:31:00",
                "2018-04-05 17:31:00Z",
                "2018-04-05T24:00:00Z",
                "2018-04-05T17:31:00.Z",
                "18-04-05T17:31:00Z",
                "2019-02-29T00:00:00Z",
                "2018-04-05T17:31:61Z",
                "2018-04-05T17:31:00ZZ",
            ],
            &[
                "2016-12-31T23:59:60Z",
                "2018-04-05t17:31:00z",
                "2018-04-05T17:31:00.123456789-00:00",
                "2020-02-29T00:00:00Z",
                "2018-04-05T17:31:00+05:30",
            ],
        ),
        (
            "datacontenttype",
            &["", "notamime", "text/plain; charset", "a/b ", "text/plain; x=\\\"é\\\""],
            &[
                "text/plain",
                "text/plain; charset=utf-8",
                "application/vnd.x+json;a=\\\"b c\\\"",
                "Application/JSON; Charset=UTF-8",
            ],
        ),
    ];
    for (name, bad, good) in cases {
        let body = |value: &str| match name {
            "source" => with("").replace("\"/ci\"", &format!("\"{value}\"")),
            _ => with(&format!("\"{name}\":\"{value}\"")),
        };
        for value in bad {
            let expected = if value.is_empty() { "attribute-empty" } else { "attribute-value" };
            assert_eq!(structured(&body(value)), Err((expected, name.to_owned())), "{name} {value}");
        }
        for value in good {
            let event = structured(&body(value)).unwrap_or_else(|error| panic!("{name} {value}: {error:?}"));
            assert_eq!(event.attribute(name).unwrap(), value.replace('\\', ""), "kept as it came");
            assert_eq!(json::to_vec(&event), body(value).as_bytes());
        }
    }
    for media_type in ["Application/JSON; Charset=UTF-8", "application/vnd.x+json; charset=utf-8", "text/json"] {
        let event = accepted(&format!(r#""datacontenttype":"{media_type}","data":{{"a":1}}"#));
        assert_eq!(event.data(), Some(&Data::Json(r#"{"a":1}"#.into())));
    }
}

#[test]
fn rows_33_to_37_data_fits_its_content_type() {
    refused(r#""datacontenttype":"text/plain","data":{}"#, "data-not-string", "data");
    refused(r#""datacontenttype":"text/plain","data":null"#, "data-not-string", "data");
    refused(r#""datacontenttype":"text/plain","data":"\udead""#, "data-not-string", "data");
    refused(r#""data":1,"data_base64":"AA==""#, "data-both", "data_base64");
    refused(r#""data":null,"data_base64":"AA==""#, "data-both", "data_base64");
    assert_eq!(accepted(r#""data":null,"data_base64":null"#).data(), Some(&Data::Json("null".into())));
    for bad in ["\"!\"", "\"AA\"", "\"-_-_\"", "7", "\"AA==\\n\""] {
        refused(&format!("\"data_base64\":{bad}"), "data-base64", "data_base64");
    }
    let event = accepted(r#""data_base64":"\u002B/+/""#);
    assert_eq!(event.data(), Some(&Data::Binary(vec![0xfb, 0xff, 0xbf])));
    let (headers, body) = to_binary(&event);
    assert_eq!(body, [0xfb, 0xff, 0xbf]);
    assert!(!headers.iter().any(|(name, _)| name == "content-type"));
    assert_eq!(accepted("").data(), None);
    assert_ne!(json::to_vec(&accepted("\"data\":null")), json::to_vec(&accepted("")));
    let json = |text: &str| EventBuilder::new("1", "/ci", "t").data(Some(Data::Json(text.into())));
    assert_eq!(json("{").build().unwrap_err().code, "data-not-json");
    assert_eq!(json("1").datacontenttype(Some("a/b".into())).build().unwrap_err().code, "data-mismatch");
    assert_eq!(json(" 1\n").build().unwrap().data(), Some(&Data::Json("1".into())));
    let text = EventBuilder::new("1", "/ci", "t").data(Some(Data::Text("x".into())));
    assert_eq!(text.clone().build().unwrap_err().code, "data-mismatch");
    assert!(text.datacontenttype(Some("text/plain".into())).build().is_ok());
}

#[test]
fn row_38_json_data_keeps_its_bytes() {
    let data = r#"{"z":12345678901234567890123, "a":[1.10,1E400,-0], "a":"\u0041\/\udead"}"#;
    let event = accepted(&format!("\"data\" : {data} "));
    assert_eq!(event.data(), Some(&Data::Json(data.into())));
    assert_eq!(json::to_vec(&event), with(&format!("\"data\":{data}")).as_bytes());
    assert_eq!(to_binary(&event).1, data.as_bytes());
    assert_eq!(binary(&[("content-type", b"application/json")], data.as_bytes()).unwrap().data(), event.data());
}

#[test]
fn row_39_deep_data_is_refused_without_recursion_and_the_deepest_allowed_can_be_read() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [JSON_DEPTH_MAX + 1, 10_000, 400_000] {
        refused(&format!("\"data\":{}", nested(depth)), "data-too-deep", "data");
        refused(&format!("\"data\":{}", nested(depth).replace("[]", "[\"\\\"[\"]")), "data-too-deep", "data");
        let headers: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
        assert_eq!(binary(&headers, nested(depth).as_bytes()).unwrap_err().0, "data-too-deep");
        assert_eq!(structured(&with(&format!("\"a\":{}", nested(depth)))).unwrap_err().0, "attribute-type");
    }
    assert!(accepted(&format!("\"data\":{}", nested(JSON_DEPTH_MAX))).data_json().is_some());
    accepted(&format!("\"data\":\"{}\"", "[".repeat(500)));
    let members: Vec<_> = (0..100_000).map(|index| format!("\"k{index}\":0")).collect();
    assert_eq!(structured(&with(&members.join(","))).unwrap_err().0, "extension-count");
    accepted(&format!("\"data\":{{{}}}", members[..50_000].join(",")));
}

#[test]
fn rows_40_and_41_text_has_no_control_characters_and_is_otherwise_untouched() {
    for bad in ["\\u0001", "\\u0085", "\u{fffe}", "\u{1fffe}", "\u{fdd0}", "\\udead", "\\n"] {
        refused(&format!("\"subject\":\"{bad}\""), "attribute-value", "subject");
        refused(&format!("\"ext\":\"{bad}\""), "attribute-value", "ext");
    }
    for good in ["😀", "שלום", "e\u{301}", "é", " ", "\u{fffd}"] {
        let event = accepted(&format!("\"subject\":\"{good}\""));
        assert_eq!(event.subject(), Some(good));
        let (headers, _) = to_binary(&event);
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        assert_eq!(parse_binary(headers, b"").unwrap(), event);
    }
}

#[test]
fn rows_42_to_45_header_values_are_decoded_once() {
    for bad in [&b"%C0%A0"[..], b"%ED%A0%80", b"%FF", "é".as_bytes(), b"\xe9", b"a\tb", b"\x7f"] {
        assert_eq!(binary(&[("ce-subject", bad)], b""), Err(("header-encoding", "subject".into())), "{bad:?}");
    }
    for (value, expected) in [
        ("Euro%20%e2%82%ac", "Euro €"),
        ("%41", "A"),
        (r#""quoted \"x\"""#, r#"quoted "x""#),
        (r#""a" b""#, r#""a" b""#),
        (r#"""#, r#"""#),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%2520", "%20"),
        ("a b", "a b"),
    ] {
        let event = binary(&[("ce-subject", value.as_bytes())], b"").unwrap();
        assert_eq!(event.subject(), Some(expected), "{value}");
    }
    let event = EventBuilder::new("1", "/ci", "t").subject(Some("\"50 %\" €~".into())).build().unwrap();
    let (headers, _) = to_binary(&event);
    assert!(headers.contains(&("ce-subject".into(), "%2250%20%25%22%20%E2%82%AC~".into())));
    assert_eq!(binary(&[("ce-subject", b"%0A")], b"").unwrap_err().0, "attribute-value");
}

#[test]
fn rows_30_and_47_in_binary_mode_the_content_type_is_the_header() {
    assert_eq!(binary(&[("ce-datacontenttype", b"a/b")], b"").unwrap_err().0, "header-forbidden");
    assert_eq!(binary(&[("content-type", b"")], b"").unwrap_err().0, "attribute-empty");
    assert_eq!(binary(&[("content-type", b"notamime")], b"").unwrap_err().0, "attribute-value");
    for (content_type, body, data) in [
        ("text/plain", &b"{}"[..], Data::Text("{}".into())),
        ("text/plain", b"\xff", Data::Binary(vec![0xff])),
        ("application/json", b" {\"a\": 1}\n", Data::Json("{\"a\": 1}".into())),
        ("application/json", b"{", Data::Binary(b"{".to_vec())),
    ] {
        let event = binary(&[("content-type", content_type.as_bytes())], body).unwrap();
        assert_eq!(event.data(), Some(&data));
    }
    assert_eq!(binary(&[], b"x").unwrap().data(), Some(&Data::Binary(b"x".to_vec())));
    assert_eq!(binary(&[("content-type", b"text/plain")], b"").unwrap().data(), None);
}

#[test]
fn rows_50_and_52_size_and_count_are_bounded() {
    let fixed = accepted("\"data\":\"\"").size_bytes();
    let room = EVENT_SIZE_BYTES_MAX - fixed;
    let full = accepted(&format!("\"data\":\"{}\"", "x".repeat(room)));
    assert_eq!(full.size_bytes(), EVENT_SIZE_BYTES_MAX);
    refused(&format!("\"data\":\"{}\"", "x".repeat(room + 1)), "event-too-large", "");
    let extensions = |count: usize| (0..count).map(|it| format!("\"e{it}\":1")).collect::<Vec<_>>().join(",");
    accepted(&extensions(64));
    refused(&extensions(65), "extension-count", "");
    refused(&extensions(500), "extension-count", "");
    accepted(&format!("\"ext\":\"{}\"", "x".repeat(20_000)));
}

#[test]
fn row_58_names_that_trouble_other_systems_are_ordinary_here() {
    let long_type = "a.".repeat(300);
    for ty in [long_type.as_str(), "a..b", "*", ">", "$SYS.x", "a b"] {
        assert_eq!(structured(&with("").replace("\"t\"", &format!("\"{ty}\""))).unwrap().ty(), ty);
    }
    let id = "i".repeat(64 * 1024);
    assert_eq!(structured(&with("").replace("\"1\"", &format!("\"{id}\""))).unwrap().id(), id);
}

#[test]
fn json_without_a_content_type_stays_json_in_binary_mode() {
    let event = accepted("\"data\":[1]");
    let (headers, body) = to_binary(&event);
    assert!(headers.contains(&("content-type".into(), "application/json".into())));
    let back = parse_binary(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &body).unwrap();
    assert_eq!(back.data(), event.data());
    assert!(back.content_eq(&event));
    assert_eq!(event.datacontenttype(), None, "and the event itself gains nothing");
}

#[test]
fn a_refusal_never_quotes_the_data() {
    for body in ["\"secret\"", &with("\"data\":\"secret"), &with("\"datacontenttype\":\"a/b\",\"data\":[\"secret\"]")] {
        let error = json::parse(body.as_bytes()).unwrap_err();
        assert!(!error.message.contains("secret"), "{error}");
    }
}

#[test]
fn content_is_the_same_in_each_mode_and_differs_when_anything_differs() {
    let event = accepted(r#""ext":5,"data":{"a":1}"#);
    let (headers, body) = to_binary(&event);
    let other = parse_binary(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &body).unwrap();
    assert_ne!(event, other);
    assert!(event.content_eq(&other));
    assert_eq!(event.content_digest(), other.content_digest());
    for changed in
        [r#""ext":6,"data":{"a":1}"#, r#""ext":5,"data":{"a": 1}"#, r#""ext":5"#, r#""e":"xt5","data":{"a":1}"#]
    {
        let changed = accepted(changed);
        assert!(!event.content_eq(&changed));
        assert_ne!(event.content_digest(), changed.content_digest());
    }
}
