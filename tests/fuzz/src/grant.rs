//! What authors and operators write: filters, manifests, grants, and the rules in them.

use pilothouse_core::event::EventBuilder;
use pilothouse_core::filter::{FILTER_COUNT_MAX, Filter};
use pilothouse_core::grant::{EffectiveGrants, Grants, HostRule, Network};
use pilothouse_core::manifest::Manifest;
use pilothouse_core::quantity::{ByteSize, Span};

/// A filter that passes its check is evaluated without surprise: it is written and read as the same one, and its `not`
/// says the opposite.
pub fn filter(bytes: &[u8]) {
    let Ok(filter) = serde_json::from_slice::<Filter>(bytes) else { return };
    if filter.check().is_err() {
        return;
    }
    let text = serde_json::to_string(&filter).unwrap();
    assert!(text.len() <= bytes.len() * 8 + FILTER_COUNT_MAX);
    assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
    let event = EventBuilder::new("1", "/s", "com.example.kind.v1").subject(Some("s".to_owned())).build().unwrap();
    let matches = filter.matches(&event);
    assert_eq!(filter.mismatch(&event).is_none(), matches);
    if let Some(types) = filter.exact_types() {
        assert!(!matches || types.contains(event.ty()), "{types:?}");
    }
    let not = Filter::Not(Box::new(filter));
    if not.check().is_ok() {
        assert_eq!(not.matches(&event), !matches);
    }
}

/// What is wrong with a manifest is said of a place in it; a right one asks for no event that it may not send.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(manifest.emits.iter().all(|ty| manifest.may_emit(ty)));
            let none = EffectiveGrants::new(&manifest, &Grants::default(), &Default::default());
            assert!(none.is_ok(), "nothing granted is always possible: {none:?}");
        }
        Err(error) => assert!(!error.problems.is_empty()),
    }
}

/// Grants are read as they were written.
pub fn grants(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(grants) = toml::from_str::<Grants>(text) else { return };
    let json = serde_json::to_string(&grants).unwrap();
    assert_eq!(serde_json::from_str::<Grants>(&json).unwrap(), grants);
}

/// Host rules, networks, sizes and spans are read as they were written; a rule covers itself.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(rule) = HostRule::parse(text) {
        assert_eq!(HostRule::parse(&rule.to_string()).as_ref(), Ok(&rule));
        assert!(rule.covers(&rule));
    }
    if let Ok(network) = Network::parse(text) {
        assert_eq!(Network::parse(&network.to_string()), Ok(network));
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
    }
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
    }
}
