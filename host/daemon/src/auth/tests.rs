//! A token opens what it may and nothing else; its secret is stored nowhere.

use std::sync::atomic::{AtomicI64, Ordering};

use pilothouse_store::memory::MemoryStore;

use super::*;

struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

async fn tokens(store: &Arc<dyn Store>) -> (Tokens, Arc<StillClock>) {
    let clock = Arc::new(StillClock(AtomicI64::new(1_000)));
    (Tokens::open(Arc::clone(store), Arc::clone(&clock) as _).await.unwrap(), clock)
}

fn reader(name: &str) -> NewToken {
    NewToken { rights: BTreeSet::from([Right::Read]), ..NewToken::admin(name) }
}

#[tokio::test]
async fn the_first_start_makes_one_admin_token_and_the_next_none() {
    let store = store();
    let (first, _) = tokens(&store).await;
    let text = first.ensure_admin().await.unwrap().unwrap().reveal();
    assert!(first.identify(&text).unwrap().may(Right::Task));
    let (second, _) = tokens(&store).await;
    assert!(second.ensure_admin().await.unwrap().is_none());
    assert_eq!(second.identify(&text).unwrap().actor.as_str(), "token:admin");
}

#[tokio::test]
async fn a_changed_secret_an_unknown_id_and_garbage_open_nothing() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    let text = tokens.create(reader("r")).await.unwrap().reveal();
    // The secret may have a `_` of its own.
    let (prefix, rest) = text.split_at("ph_".len());
    let (id, secret) = rest.split_once('_').unwrap_or_default();
    let head = &format!("{prefix}{id}");
    let swapped: String = secret.chars().rev().collect();
    for wrong in
        ["", "ph_", "ph_x_y", head, &format!("{head}_{swapped}"), &format!("ph_000000000000_{secret}"), &text[1..]]
    {
        assert!(tokens.identify(wrong).is_none(), "{wrong}");
    }
    assert!(tokens.identify(&text).is_some());
}

#[tokio::test]
async fn a_token_does_what_its_rights_say_in_the_projects_it_is_narrowed_to() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    let new = NewToken { projects: Some(vec!["shop".into()]), ..reader("r") };
    let text = tokens.create(new).await.unwrap().reveal();
    let identity = tokens.identify(&text).unwrap();
    assert!(identity.may(Right::Read) && !identity.may(Right::Ingest) && !identity.may(Right::Admin));
    assert!(identity.sees(Some("shop")) && !identity.sees(Some("other")) && !identity.sees(None));
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let store = store();
    let (tokens, clock) = tokens(&store).await;
    let new = NewToken { expires: Some(Timestamp::from_millis(2_000)), ..reader("r") };
    let text = tokens.create(new).await.unwrap();
    assert!(tokens.identify(&text.reveal()).is_some() && tokens.is_valid(text.id()));
    clock.0.store(2_000, Ordering::Relaxed);
    assert!(tokens.identify(&text.reveal()).is_none() && !tokens.is_valid(text.id()));
}

#[tokio::test]
async fn a_revoked_token_stops_working_at_once_and_after_a_restart() {
    let store = store();
    let (first, _) = tokens(&store).await;
    let text = first.create(reader("r")).await.unwrap().reveal();
    first.revoke("r").await.unwrap();
    assert!(first.identify(&text).is_none());
    let (second, _) = tokens(&store).await;
    assert!(second.identify(&text).is_none());
    assert_eq!(first.revoke("r").await, Err(TokenError::NotFound("r".into())));
}

#[tokio::test]
async fn the_last_admin_token_cannot_be_revoked() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    tokens.ensure_admin().await.unwrap();
    assert_eq!(tokens.revoke("admin").await, Err(TokenError::LastAdmin("admin".into())));
    tokens.create(NewToken::admin("other")).await.unwrap();
    tokens.revoke("admin").await.unwrap();
}

#[tokio::test]
async fn reset_takes_all_admin_tokens_back_and_leaves_the_others() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    let old = tokens.ensure_admin().await.unwrap().unwrap().reveal();
    let other = tokens.create(reader("r")).await.unwrap().reveal();
    let new = tokens.reset().await.unwrap().reveal();
    assert!(tokens.identify(&old).is_none());
    assert!(tokens.identify(&other).is_some());
    assert!(tokens.identify(&new).unwrap().may(Right::Admin));
}

#[tokio::test]
async fn a_token_that_makes_no_sense_is_refused() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    tokens.create(reader("taken")).await.unwrap();
    let refused = [
        reader(""),
        reader("a b"),
        reader(&"a".repeat(64)),
        NewToken { rights: BTreeSet::new(), ..reader("r") },
        NewToken { roles: vec!["admin@shop".parse().unwrap()], ..reader("r") },
        NewToken { roles: vec!["admin".parse().unwrap()], projects: Some(vec!["shop".into()]), ..reader("r") },
        NewToken { projects: Some(vec![]), ..reader("r") },
        NewToken { projects: Some(vec!["shop".into()]), ..NewToken::admin("r") },
        NewToken { expires: Some(Timestamp::from_millis(1)), ..reader("r") },
    ];
    for new in refused {
        assert!(matches!(tokens.create(new.clone()).await, Err(TokenError::Invalid(_))), "{new:?}");
    }
    assert_eq!(tokens.create(reader("taken")).await.unwrap_err(), TokenError::Exists("taken".into()));
}

#[tokio::test]
async fn the_secret_is_neither_stored_nor_shown() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    let text = tokens.create(reader("r")).await.unwrap();
    let revealed = text.reveal();
    let secret = revealed.rsplit_once('_').map(|(_, secret)| secret).unwrap();
    let rows = store.states(STATE_KIND, None, 10).await.unwrap();
    let stored = String::from_utf8(rows[0].value.clone()).unwrap();
    for shown in [stored, format!("{text:?}"), format!("{tokens:?}"), format!("{:?}", tokens.list())] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_role_counts_in_its_project_and_adds_to_the_others() {
    let store = store();
    let (tokens, _) = tokens(&store).await;
    let roles = ["viewer", "approver@shop", "operator@lab"].map(|text| text.parse().unwrap());
    let new = NewToken { rights: BTreeSet::new(), roles: roles.to_vec(), ..reader("ann") };
    let text = tokens.create(new).await.unwrap().reveal();
    let ann = tokens.identify(&text).unwrap();
    assert!(ann.may_in(Right::Read, Some("anything")) && ann.may_in(Right::Read, None));
    assert!(ann.may_in(Right::Approve, Some("shop")) && !ann.may_in(Right::Approve, Some("lab")));
    assert!(ann.may_in(Right::Operate, Some("lab")) && !ann.may_in(Right::Operate, None));
    assert!(ann.may(Right::Operate) && !ann.may(Right::Admin));
    assert_eq!(ann.reach(Right::Task).to_string(), "the projects lab");
}
