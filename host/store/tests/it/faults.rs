//! Full disks, failing disks, damaged files, and files that are somebody else's.

use std::os::unix::fs::FileExt;
use std::path::Path;

use pilothouse_core::delivery::DeliveryState;
use pilothouse_store::contract::{at, batch_of, batch_to, claim, delivery_id, settle};
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{Batch, Seq, Settlement, Store, StoreError};

use crate::disk::{Disk, VFS};
use crate::load::{batch, check, config};

fn watched(folder: &Path) -> (Disk, SqliteStore) {
    let disk = Disk::watch(folder);
    let config = SqliteConfig { vfs: Some(VFS.to_owned()), ..config(folder.join("store.db")) };
    (disk, SqliteStore::open(config).unwrap())
}

fn refusal(result: Result<SqliteStore, StoreError>) -> String {
    match result {
        Err(StoreError::Open(text)) => text,
        other => panic!("expected a named refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_when_space_returns() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store) = watched(folder.path());
    store.commit(batch(0)).await.unwrap();
    disk.state().full = true;
    for _ in 0..3 {
        let refused = store.commit(batch(1)).await;
        assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    }
    assert!(store.status().await.refusing.is_some());
    assert_eq!(store.read_log(Seq(1), 10).await.unwrap().len(), 3);
    disk.state().full = false;
    store.commit(batch(1)).await.unwrap();
    assert_eq!(store.status().await.refusing, None);
    check(&store, &[0, 1].into(), 2).await.unwrap();
}

#[tokio::test]
async fn below_the_reserve_events_are_refused_and_deliveries_still_settle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(config(&path)).unwrap();
    let id = delivery_id("1", "slack");
    store.commit(batch_to("1", &["slack"])).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(SqliteConfig { reserve_bytes: u64::MAX, ..config(&path) }).unwrap();
    let refused = store.commit(batch_of(&["2"])).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert!(store.status().await.refusing.is_some());
    store.commit(claim(id, 0)).await.unwrap();
    let end = Batch { events: batch_of(&["returned"]).events, ..settle(id, 1, Settlement::Done) };
    store.commit(end).await.unwrap();
    assert_eq!(store.delivery(id).await.unwrap().unwrap().state, DeliveryState::Done);
}

#[tokio::test]
async fn a_store_over_its_size_refuses_events_and_names_the_consumer() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig { size_bytes_max: 1, ..config(folder.path().join("store.db")) };
    let store = SqliteStore::open(config).unwrap();
    let refused = store.commit(batch_to("1", &["slack"])).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    store.close().await;
    drop(store);
    let wide = SqliteConfig { reserve_bytes: 0, ..SqliteConfig::new(folder.path().join("store.db")) };
    let store = SqliteStore::open(wide.clone()).unwrap();
    store.commit(batch_to("1", &["slack"])).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(SqliteConfig { size_bytes_max: 1, ..wide }).unwrap();
    match store.commit(batch_of(&["2"])).await {
        Err(StoreError::Full(text)) => assert!(text.contains("slack (1)"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_sync_ends_writing_and_is_never_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store) = watched(folder.path());
    store.commit(batch(0)).await.unwrap();
    disk.state().sync_fails = true;
    let unknown = store.commit(batch(1)).await;
    assert!(matches!(unknown, Err(StoreError::Unknown(_))), "{unknown:?}");
    let syncs = disk.state().syncs;
    for _ in 0..3 {
        let refused = store.commit(batch(2)).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    }
    assert!(store.recover_running(at(0)).await.is_err());
    assert_eq!(store.read_log(Seq(1), 10).await.unwrap().len(), 3, "reads go on");
    assert!(store.status().await.refusing.is_some());
    store.close().await;
    drop(store);
    assert_eq!(disk.state().syncs, syncs, "nothing was synced after the failure");
    let store = SqliteStore::open(config(folder.path().join("store.db"))).unwrap();
    assert!(!store.status().await.was_clean);
    check(&store, &[0].into(), 3).await.unwrap();
}

#[tokio::test]
async fn a_file_that_vanishes_or_is_replaced_ends_writing() {
    for replace in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(config(&path)).unwrap();
        store.commit(batch(0)).await.unwrap();
        std::fs::rename(&path, folder.path().join("moved.db")).unwrap();
        if replace {
            std::fs::copy(folder.path().join("moved.db"), &path).unwrap();
        }
        let refused = store.commit(batch(1)).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_an_event_is_found_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(config(&path)).unwrap();
    store.commit(batch_of(&["first", "needle-in-the-log", "last"])).await.unwrap();
    store.close().await;
    drop(store);
    let content = std::fs::read(&path).unwrap();
    // The id stands in its column, in the index's rows and in the event; the data says it once more.
    let needle = b"\"build\": \"needle-in-the-log\"";
    let found = content.windows(needle.len()).position(|window| window == needle).unwrap() + 11;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[content[found] ^ 1], found as u64).unwrap();
    let store = SqliteStore::open(config(&path)).unwrap();
    let damaged = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Corrupt { seq: Seq(2), .. }));
    assert!(damaged(store.event(Seq(2)).await.map(drop)));
    assert!(damaged(store.read_log(Seq(1), 10).await.map(drop)), "a damaged event is never skipped");
    assert!(damaged(store.events(&Default::default(), None, 10).await.map(drop)));
    assert!(store.event(Seq(1)).await.unwrap().is_some());
    assert!(store.event(Seq(3)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_is_locked_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(config(&path)).unwrap();
    let text = refusal(SqliteStore::open(config(&path)));
    assert!(text.contains("locked by another process") && text.contains("store.db"), "{text}");
    store.close().await;
    assert!(SqliteStore::open(config(&path)).unwrap().status().await.was_clean);
    // That one was dropped without `close`.
    assert!(!SqliteStore::open(config(&path)).unwrap().status().await.was_clean);
}

#[tokio::test]
async fn a_truncated_or_lost_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(config(&path)).unwrap();
    store.commit(batch(0)).await.unwrap();
    store.close().await;
    drop(store);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 4_096).unwrap();
    let text = refusal(SqliteStore::open(config(&path)));
    assert!(text.contains("truncated"), "{text}");
    file.set_len(0).unwrap();
    let text = refusal(SqliteStore::open(config(&path)));
    assert!(text.contains("missing or empty"), "{text}");
    std::fs::remove_file(&path).unwrap();
    let text = refusal(SqliteStore::open(config(&path)));
    assert!(text.contains("missing or empty"), "{text}");
}

#[tokio::test]
async fn a_damaged_page_is_found_after_an_unclean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(config(&path)).unwrap();
    for number in 0..20 {
        store.commit(batch(number)).await.unwrap();
    }
    drop(store);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4_096;
    for page in 2..pages {
        file.write_all_at(&[0xa5; 64], page * 4_096).unwrap();
    }
    let text = refusal(SqliteStore::open(config(&path)));
    assert!(text.contains("damaged"), "{text}");
}

#[tokio::test]
async fn files_that_are_no_store_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text_file = folder.path().join("notes.txt");
    std::fs::write(
        &text_file,
        "not a database, but longer than the header of one, which has one hundred bytes; so is this.",
    )
    .unwrap();
    assert!(refusal(SqliteStore::open(config(&text_file))).contains("not a database"));
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs(x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(refusal(SqliteStore::open(config(&foreign))).contains("not a store of Pilothouse"));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
    assert!(refusal(SqliteStore::open(config(folder.path()))).contains("not a file"));
    let nowhere = folder.path().join("missing").join("store.db");
    assert!(refusal(SqliteStore::open(config(nowhere))).contains("its folder does not exist"));
}

#[tokio::test]
async fn a_full_queue_is_busy_and_not_endless() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path());
    let path = folder.path().join("store.db");
    let small = SqliteConfig { vfs: Some(VFS.to_owned()), queue_max: 2, ..config(path) };
    let store = std::sync::Arc::new(SqliteStore::open(small).unwrap());
    // The disk stands still until the test lets it go on.
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    disk.at_each_step(Box::new(move |_| assert!(gate.recv().is_err())));
    let waiting: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(batch(number)).await })
        })
        .collect();
    // Each commit gets as far as the queue, since one task after another runs on this thread.
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    drop(go_on);
    let mut busy = 0;
    for commit in waiting {
        match commit.await.unwrap() {
            Err(StoreError::Busy(2)) => busy += 1,
            other => drop(other.unwrap()),
        }
    }
    assert!(busy > 0);
}
