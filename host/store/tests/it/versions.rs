//! Files of every version, and copies.

use std::sync::Arc;

use pilothouse_store::contract::{at, consumer, event};
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{Seq, StateKey, Store, StoreError};

use crate::load::{batch, check, config};

/// Makes a file as version 1 wrote it, by its published script and rows as it wrote them.
fn version_1(path: &std::path::Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(include_str!("../../src/sqlite/migrations/1.sql")).unwrap();
    conn.execute_batch(include_str!("version_1.sql")).unwrap();
}

#[tokio::test]
async fn a_file_of_version_1_is_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    version_1(&path);
    let store = SqliteStore::open(config(&path)).unwrap();
    let row = store.event_by_identity("/ci", "1").await.unwrap().unwrap();
    assert_eq!((row.seq, row.event, row.accepted), (Seq(1), event("1"), at(0)));
    let ready = store.ready_deliveries(&consumer("slack"), 0, at(0), 10).await.unwrap();
    assert_eq!(ready.iter().map(|it| (it.number, it.event)).collect::<Vec<_>>(), [(1, Seq(1))]);
    assert_eq!(store.state(&StateKey::new("run", "r")).await.unwrap().unwrap().value, b"open");
    let committed = store.commit(batch(0)).await.unwrap();
    assert_eq!(committed.events.first().unwrap().seq, Seq(2));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(SqliteStore::open(config(&path)).unwrap());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 4_000).unwrap();
    drop(conn);
    match SqliteStore::open(config(&path)) {
        Err(StoreError::Open(text)) => assert!(text.contains("newer program") && text.contains("4000"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_copy_made_under_load_is_a_consistent_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, target) = (folder.path().join("copy.db"), folder.path().join("restored.db"));
    let store = Arc::new(SqliteStore::open(config(folder.path().join("store.db"))).unwrap());
    for number in 0..50 {
        store.commit(batch(number)).await.unwrap();
    }
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn({
        let store = store.clone();
        async move {
            let mut number = 50;
            while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                store.commit(batch(number)).await.unwrap();
                number += 1;
            }
            number
        }
    });
    store.backup(&copy).await.unwrap();
    // An earlier copy is replaced.
    store.backup(&copy).await.unwrap();
    stop.send(()).unwrap();
    let sent = load.await.unwrap();
    SqliteStore::restore(&copy, &target).unwrap();
    let restored = SqliteStore::open(config(&target)).unwrap();
    check(&restored, &(0..50).collect(), sent).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("partial")), "{left:?}");
}

#[tokio::test]
async fn a_copy_never_overwrites_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
    let store = SqliteStore::open(config(&path)).unwrap();
    store.commit(batch(0)).await.unwrap();
    assert!(store.backup(&path).await.is_err());
    store.backup(&copy).await.unwrap();
    store.close().await;
    let refused = SqliteStore::restore(&copy, &path);
    assert!(matches!(&refused, Err(StoreError::Open(text)) if text.contains("exists")), "{refused:?}");
    let mut content = std::fs::read(&copy).unwrap();
    for byte in content.iter_mut().skip(4_096).step_by(97) {
        *byte ^= 0x55;
    }
    std::fs::write(&copy, content).unwrap();
    let target = folder.path().join("restored.db");
    assert!(matches!(SqliteStore::restore(&copy, &target), Err(StoreError::Open(_))));
    assert!(!target.exists());
    std::fs::write(&copy, "no copy at all").unwrap();
    assert!(SqliteStore::restore(&copy, &target).is_err());
    let config = SqliteConfig { reserve_bytes: 0, ..SqliteConfig::new(&path) };
    check(&SqliteStore::open(config).unwrap(), &[0].into(), 1).await.unwrap();
}
