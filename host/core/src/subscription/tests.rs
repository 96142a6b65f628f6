//! Who gets what, and that the index never changes the answer.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::EventBuilder;
use crate::grant::Grants;

fn installation(name: &str) -> InstallationName {
    InstallationName::new(name).unwrap()
}

fn observer(name: &str, filter: serde_json::Value) -> Subscriber {
    let filter = serde_json::from_value(filter).unwrap();
    Subscriber {
        installation: installation(name),
        kind: SubscriberKind::Observer { filter, data_match: DataMatch::default(), own_events: false },
        scope: Scope::default(),
        order: Order::None,
    }
}

fn executor(name: &str, task: &str, data_match: serde_json::Value) -> Subscriber {
    Subscriber {
        installation: installation(name),
        kind: SubscriberKind::Executor {
            task: TaskName::new(task).unwrap(),
            data_match: serde_json::from_value(data_match).unwrap(),
            finish_timeout: Duration::from_secs(1),
        },
        scope: Scope::default(),
        order: Order::None,
    }
}

fn event(source: &str, ty: &str) -> Event {
    EventBuilder::new("1", source, ty).build().unwrap()
}

fn names(list: &[&Subscriber]) -> Vec<String> {
    list.iter().map(|it| it.installation.to_string()).collect()
}

fn route(subscribers: Vec<Subscriber>, event: &Event) -> (Vec<String>, Vec<String>) {
    let subscriptions = Subscriptions::new(1, subscribers);
    let data = event.data_json();
    let routing = subscriptions.route(event, data.as_ref(), &crate::keptn::place(event, data.as_ref()));
    (names(&routing.observers), names(&routing.executors))
}

#[test]
fn an_installation_observes_an_event_at_most_once() {
    let subscribers = vec![
        observer("a", json!({"prefix": {"type": "t"}})),
        observer("a", json!({"exact": {"type": "t"}})),
        observer("b", json!({"exact": {"type": "t"}})),
        observer("c", json!({"exact": {"type": "other"}})),
    ];
    assert_eq!(route(subscribers, &event("/x", "t")), (vec!["a".into(), "b".into()], vec![]));
}

#[test]
fn executors_get_the_trigger_of_their_task_and_nothing_else() {
    let subscribers = || {
        vec![
            executor("p", "get-sli", json!({"/get-sli/sliProvider": ["prometheus"]})),
            executor("d", "get-sli", json!({"/get-sli/sliProvider": ["dynatrace"]})),
            executor("p", "get-sli", json!({})),
            executor("t", "test", json!({})),
            observer("p", json!({"prefix": {"type": "sh.keptn."}})),
        ]
    };
    let trigger = EventBuilder::new("1", "/x", "sh.keptn.event.get-sli.triggered")
        .json(&json!({"get-sli": {"sliProvider": "prometheus"}}))
        .build()
        .unwrap();
    assert_eq!(route(subscribers(), &trigger), (vec!["p".into()], vec!["p".into()]));
    let finished = trigger.to_builder().ty("sh.keptn.event.get-sli.finished").build().unwrap();
    assert_eq!(route(subscribers(), &finished), (vec!["p".into()], vec![]));
    let sequence = trigger.to_builder().ty("sh.keptn.event.dev.get-sli.triggered").build().unwrap();
    assert_eq!(route(subscribers(), &sequence).1, Vec::<String>::new());
}

#[test]
fn a_plugin_does_not_observe_what_it_sent_unless_it_asks() {
    let filter = json!({"exact": {"type": "t"}});
    let mut asking = observer("a", filter.clone());
    let SubscriberKind::Observer { own_events, .. } = &mut asking.kind else { unreachable!() };
    *own_events = true;
    let own = event("/plugins/a", "t");
    assert_eq!(route(vec![observer("a", filter.clone()), observer("b", filter)], &own).0, ["b"]);
    assert_eq!(route(vec![asking], &own).0, ["a"]);
}

#[test]
fn events_of_the_host_reach_only_those_who_name_them() {
    let ty = crate::host_event::DELIVERY_DEAD;
    let subscribers = vec![
        observer("a", json!({"prefix": {"type": "dev."}})),
        observer("b", json!({"not": {"exact": {"type": "x"}}})),
        observer("c", json!({"exact": {"type": ty}})),
        observer("d", json!({"all": [{"prefix": {"source": "/"}}, {"exact": {"type": ty}}]})),
        observer("e", json!({"any": [{"exact": {"type": "x"}}, {"exact": {"type": ty}}]})),
        observer("f", json!({"any": [{"exact": {"type": ty}}, {"prefix": {"source": "/"}}]})),
        observer("g", json!({"exact": {"source": "/pilothouse"}})),
    ];
    assert_eq!(route(subscribers, &event("/pilothouse", ty)).0, ["c", "d", "e"]);
}

#[test]
fn the_scope_narrows_observers_and_executors() {
    let narrowed = |mut subscriber: Subscriber| {
        subscriber.scope.projects = vec!["shop".into()];
        subscriber
    };
    let subscribers =
        || vec![narrowed(executor("a", "test", json!({}))), narrowed(observer("b", json!({"suffix": {"type": "d"}})))];
    let of = |project: &str| {
        let builder = EventBuilder::new("1", "/x", "sh.keptn.event.test.triggered");
        builder.json(&json!({"project": project})).build().unwrap()
    };
    assert_eq!(route(subscribers(), &of("shop")), (vec!["b".into()], vec!["a".into()]));
    assert_eq!(route(subscribers(), &of("other")), (vec![], vec![]));
    let subscriptions = Subscriptions::new(1, subscribers());
    let explained =
        subscriptions.explain(&of("other"), None, &Place { project: Some("other".into()), ..Place::default() });
    assert_eq!(explained[0].reason, "outside its scope: project `other`");
    assert_eq!(
        subscriptions.explain(&of(""), None, &Place::default())[1].reason,
        "outside its scope: the event names no project"
    );
}

#[test]
fn every_subscriber_is_explained_in_words() {
    let subscribers = vec![
        observer("a", json!({"exact": {"type": "t"}})),
        observer("a", json!({"prefix": {"type": "t"}})),
        observer("b", json!({"exact": {"type": "u"}})),
        executor("c", "test", json!({})),
        observer("d", json!({"exact": {"type": "t"}})),
    ];
    let subscriptions = Subscriptions::new(7, subscribers);
    let explained = subscriptions.explain(&event("/plugins/d", "t"), None, &Place::default());
    let told: Vec<_> = explained.iter().map(|it| (it.matched, it.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (true, "its filter matches"),
            (false, "it gets the event already through an earlier subscription"),
            (false, "type `t` is not `u`"),
            (false, "type `t` is not `sh.keptn.event.test.triggered`"),
            (false, "it sent the event itself, and does not ask for `own-events`"),
        ]
    );
    assert_eq!(subscriptions.generation(), 7);
    assert!(subscriptions.route(&event("/x", "nobody"), None, &Place::default()).is_empty());
}

#[test]
fn a_mistyped_type_gets_a_suggestion_and_a_known_one_none() {
    let subscriptions = Subscriptions::new(
        1,
        vec![executor("a", "test", json!({})), observer("b", json!({"exact": {"type": "dev.built"}}))],
    );
    assert_eq!(
        subscriptions.near_types("sh.keptn.event.tets.triggered").as_deref(),
        Some("sh.keptn.event.test.triggered")
    );
    assert_eq!(subscriptions.near_types("dev.built"), None);
    assert_eq!(subscriptions.near_types("something.else.entirely"), None);
}

#[test]
fn the_subscribers_of_a_plugin_come_from_its_manifest() {
    let manifest: Manifest = toml::from_str(
        r#"
        name = "demo"
        version = "1.0.0"
        description = "Shows."
        order = "key"
        task = [{ name = "test", finish-timeout = "5m" }, { name = "deploy" }]
        subscribe = [{ filter = { exact = { type = "t" } }, own-events = true }]
        "#,
    )
    .unwrap();
    let subscribers = Subscriber::of_plugin(&manifest, &Grants::default(), &installation("x"), &Scope::default());
    let timeouts = subscribers.iter().map(|it| match &it.kind {
        SubscriberKind::Executor { finish_timeout, .. } => Some(finish_timeout.as_secs()),
        SubscriberKind::Observer { own_events, .. } => own_events.then_some(0),
    });
    assert_eq!(timeouts.collect::<Vec<_>>(), [Some(300), Some(3_600), Some(0)]);
    assert!(subscribers.iter().all(|it| it.order == Order::Key));
}

#[test]
fn a_plugin_that_takes_any_task_executes_those_that_the_operator_names_and_no_other_plugin_does() {
    let text = |any: &str| format!("name = \"demo\"\nversion = \"1.0.0\"\ndescription = \"Shows.\"\n{any}");
    let grants: Grants =
        toml::from_str("[tasks.action]\nmatch = { \"/action/action\" = [\"scale\"] }\n[tasks.release]").unwrap();
    let tasks = |any: &str| {
        let manifest: Manifest = toml::from_str(&text(any)).unwrap();
        let subscribers = Subscriber::of_plugin(&manifest, &grants, &installation("x"), &Scope::default());
        let named = subscribers.iter().map(|it| match &it.kind {
            SubscriberKind::Executor { task, data_match, .. } => (task.to_string(), data_match.is_empty()),
            SubscriberKind::Observer { .. } => panic!("it observes nothing"),
        });
        named.collect::<Vec<_>>()
    };
    assert_eq!(tasks("any-task = { reason = \"r\" }"), [("action".to_owned(), false), ("release".to_owned(), true)]);
    assert_eq!(tasks(""), []);
}

/// Few words, so that filters and events meet often.
fn word() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        Just("a".to_owned()),
        Just("ab".to_owned()),
        Just("dev.pilothouse.a".to_owned()),
        Just("/plugins/a".to_owned()),
        Just("sh.keptn.event.a.triggered".to_owned()),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let attribute = prop_oneof![Just("type".to_owned()), Just("source".to_owned()), Just("subject".to_owned())];
    let wanted = proptest::collection::btree_map(attribute, word(), 1..3);
    let leaf = prop_oneof![
        wanted.clone().prop_map(Filter::Exact),
        wanted.clone().prop_map(Filter::Prefix),
        wanted.prop_map(Filter::Suffix),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            list.clone().prop_map(Filter::All),
            list.prop_map(Filter::Any),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn subscriber() -> impl Strategy<Value = Subscriber> {
    let kind = prop_oneof![
        4 => (filter(), any::<bool>()).prop_map(|(filter, own_events)| SubscriberKind::Observer {
            filter, data_match: DataMatch::default(), own_events,
        }),
        1 => "[ab]".prop_map(|task| SubscriberKind::Executor {
            task: TaskName::new(&task).unwrap(), data_match: DataMatch::default(), finish_timeout: Duration::ZERO,
        }),
    ];
    ("[abc]", kind).prop_map(|(name, kind)| Subscriber {
        installation: installation(&name),
        kind,
        scope: Scope::default(),
        order: Order::None,
    })
}

proptest! {
    #[test]
    fn the_index_routes_as_a_full_scan_does(
        subscribers in proptest::collection::vec(subscriber(), 0..12), source in word(), ty in word(), subject in word(),
    ) {
        let event = EventBuilder::new("1", source, ty).subject(Some(subject)).build().unwrap();
        let subscriptions = Subscriptions::new(1, subscribers.clone());
        let place = Place::default();
        let scan = collect(subscribers.iter().filter(|it| it.mismatch(&event, None, &place).is_none()));
        prop_assert_eq!(subscriptions.route(&event, None, &place), scan);
        // And the explanation says the same as the routing does.
        let matched = subscriptions.explain(&event, None, &place).iter().filter(|it| it.matched).count();
        let routing = subscriptions.route(&event, None, &place);
        prop_assert_eq!(matched, routing.observers.len() + routing.executors.len());
        for subscriber in &subscribers {
            if let SubscriberKind::Observer { filter, .. } = &subscriber.kind {
                prop_assert_eq!(filter.matches(&event), filter.mismatch(&event).is_none());
            }
        }
    }
}
