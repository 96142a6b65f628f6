//! Where this codec and `cloudevents-sdk` differ, and why; and that the SDK reads what this codec writes.

use proptest::prelude::*;

use super::super::{Data, EventBuilder, json};

fn sdk_accepts(body: &str) -> bool {
    serde_json::from_str::<cloudevents::Event>(body).is_ok()
}

fn we_accept(body: &str) -> bool {
    json::parse(body.as_bytes()).is_ok()
}

fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/ci","type":"t",{members}}}"#)
}

#[test]
fn the_sdk_accepts_these_and_we_refuse_them() {
    for (rule, body) in [
        ("id is not empty", with("\"a\":1").replace("\"1\"", "\"\"")),
        ("type is not empty", with("\"a\":1").replace("\"t\"", "\"\"")),
        ("source is not empty", with("\"a\":1").replace("\"/ci\"", "\"\"")),
        ("subject is not empty", with("\"subject\":\"\"")),
        ("datacontenttype is a media type", with("\"datacontenttype\":\"notamime\"")),
        ("names are lower case", with("\"CAPS\":\"x\"")),
        ("names have no punctuation", with("\"punct_uated\":\"x\"")),
        ("no control characters", with("\"subject\":\"\\u0001\"")),
        ("no noncharacters", with("\"subject\":\"\u{fdd0}\"")),
        ("integers have 32 bits", with("\"ext\":2147483648")),
        ("an attribute is given once", with("\"ext\":\"a\",\"ext\":\"b\"")),
    ] {
        assert!(sdk_accepts(&body), "the SDK has changed: {rule}");
        assert!(!we_accept(&body), "{rule}");
    }
}

#[test]
fn the_sdk_refuses_these_and_we_accept_them() {
    for (rule, body) in [
        ("the letter case of a media type is free", with("\"datacontenttype\":\"Application/JSON\",\"data\":{}")),
        ("a media type has parameters", with("\"datacontenttype\":\"application/x+json; charset=utf-8\",\"data\":{}")),
    ] {
        assert!(!sdk_accepts(&body), "the SDK has changed: {rule}");
        assert!(we_accept(&body), "{rule}");
    }
}

proptest! {
    #[test]
    fn the_sdk_reads_what_we_write(
        id in "[ -~]{1,20}", subject in proptest::option::of("[ -~é€]{1,20}"), ext in "[ -~]{0,20}", number in any::<i32>(),
        data in prop_oneof![
            Just((None, None)),
            Just((Some("application/json"), Some(Data::Json("{\"a\":[1,null]}".to_owned())))),
            "[ -~é]{0,20}".prop_map(|text| (Some("text/plain"), Some(Data::Text(text)))),
            any::<Vec<u8>>().prop_map(|bytes| (Some("application/octet-stream"), Some(Data::Binary(bytes)))),
        ],
    ) {
        use cloudevents::AttributesReader as _;
        let (content_type, data) = data;
        let event = EventBuilder::new(id.clone(), "https://ci.example/a", "t").subject(subject.clone())
            .time(Some("2018-04-05T17:31:00.123Z".into())).datacontenttype(content_type.map(Into::into)).data(data)
            .extension_str("ext", ext).extension("number", super::super::AttributeValue::Integer(number)).build().unwrap();
        let read: cloudevents::Event = serde_json::from_slice(&json::to_vec(&event)).unwrap();
        prop_assert_eq!(read.id(), &id);
        prop_assert_eq!(read.subject(), subject.as_deref());
        prop_assert_eq!(read.iter_extensions().count(), 2);
        // And back: what the SDK writes of it, we read; only spellings may change.
        let back = json::parse(&serde_json::to_vec(&read).unwrap()).unwrap();
        prop_assert_eq!((back.id(), back.source(), back.ty()), (event.id(), event.source(), event.ty()));
        prop_assert_eq!(back.data().map(Data::as_bytes), event.data().map(Data::as_bytes));
    }
}
