//! Properties of the codec that hold for any event and any bytes.

use proptest::prelude::*;

use super::super::http::{detect, parse_binary, to_binary};
use super::super::{AttributeValue, Data, Event, EventBuilder, json};

fn text() -> impl Strategy<Value = String> {
    // Every character that an attribute may have, with those that encodings care about made likely.
    let character = prop_oneof![
        Just('"'),
        Just('%'),
        Just('\\'),
        Just(' '),
        Just('€'),
        Just('😀'),
        proptest::char::range('!', '~'),
        any::<char>().prop_filter("allowed in attributes", |it| {
            !it.is_control() && u32::from(*it) & 0xfffe != 0xfffe && !(0xfdd0..=0xfdef).contains(&u32::from(*it))
        }),
    ];
    proptest::collection::vec(character, 1..20).prop_map(|characters| characters.into_iter().collect())
}

fn value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Boolean),
        any::<i32>().prop_map(AttributeValue::Integer),
        text().prop_map(AttributeValue::String),
    ]
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1E400".to_owned()),
        Just("-0".to_owned()),
        Just(" [ ] ".to_owned()),
        any::<u64>().prop_map(|it| it.to_string()),
        any::<String>().prop_map(|it| serde_json::Value::from(it).to_string()),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        proptest::collection::vec(inner, 0..3).prop_map(|items| format!("[{} ]", items.join(" ,\n")))
    })
}

/// Content type and data that fit each other.
fn data() -> impl Strategy<Value = (Option<String>, Option<Data>)> {
    let json_type =
        prop_oneof![Just(None), Just(Some("application/json".to_owned())), Just(Some("a/b+JSON; c=d".to_owned()))];
    let text_type = Just(Some("text/plain; charset=utf-8".to_owned()));
    let any_type = prop_oneof![json_type.clone(), text_type.clone()];
    prop_oneof![
        (json_type, json_text()).prop_map(|(ty, text)| (ty, Some(Data::Json(text)))),
        (text_type, any::<String>()).prop_map(|(ty, text)| (ty, Some(Data::Text(text)))),
        (any_type.clone(), any::<Vec<u8>>()).prop_map(|(ty, bytes)| (ty, Some(Data::Binary(bytes)))),
        any_type.prop_map(|ty| (ty, None)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let extensions = proptest::collection::btree_map("x[a-z0-9]{1,24}", value(), 0..5);
    let time = proptest::option::of(Just("2018-04-05t17:31:00.5+05:30".to_owned()));
    (text(), "/[a-z]{0,5}", text(), proptest::option::of(text()), time, data(), extensions).prop_map(
        |(id, source, ty, subject, time, (content_type, data), extensions)| {
            let mut builder =
                EventBuilder::new(id, source, ty).subject(subject).time(time).datacontenttype(content_type).data(data);
            for (name, value) in extensions {
                builder = builder.extension(name, value);
            }
            builder.build().unwrap()
        },
    )
}

fn through_binary(event: &Event) -> Event {
    let (headers, body) = to_binary(event);
    for (name, value) in &headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'), "{name}");
        assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{value}");
    }
    parse_binary(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &body).unwrap()
}

proptest! {
    #[test]
    fn an_event_comes_back_from_json_as_it_was(event in event()) {
        prop_assert_eq!(json::parse(&json::to_vec(&event)).unwrap(), event.clone());
        let batch = [event.clone(), event];
        prop_assert_eq!(json::parse_batch(&json::batch_to_vec(&batch), 2).unwrap(), batch);
    }

    #[test]
    fn an_event_comes_back_from_binary_mode_with_the_same_content(event in event()) {
        let back = through_binary(&event);
        prop_assert!(back.content_eq(&event), "{:?} {:?}", back, event);
        prop_assert_eq!(back.content_digest(), event.content_digest());
        // What binary mode cannot tell apart is lost once, and never more.
        prop_assert_eq!(through_binary(&back), back);
    }

    #[test]
    fn equal_content_has_equal_digests_and_other_content_other_digests(a in event(), b in event()) {
        prop_assert_eq!(a.content_eq(&b), a.content_digest() == b.content_digest());
    }

    #[test]
    fn no_bytes_make_the_codec_panic(body in any::<Vec<u8>>(), header in any::<Vec<u8>>(), name in any::<String>()) {
        let _ = json::parse(&body);
        let _ = json::parse_batch(&body, 3);
        let _ = detect(std::str::from_utf8(&header).ok(), false);
        let _ = parse_binary([("ce-specversion", &b"1.0"[..]), ("ce-id", &header), (&name, &header)].into_iter(), &body);
    }

    #[test]
    fn no_json_makes_the_codec_panic_and_what_it_accepts_it_writes_and_reads_alike(
        members in proptest::collection::vec(("(specversion|id|source|type|time|data|data_base64|[a-z]|\\\\u0061)", json_text()), 0..8)
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let body = format!("{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",{}}}", members.join(","));
        if let Ok(event) = json::parse(body.as_bytes()) {
            prop_assert_eq!(json::parse(&json::to_vec(&event)).unwrap(), event);
        }
    }
}
