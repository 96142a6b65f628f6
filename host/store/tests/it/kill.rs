//! `kill -9` under load: this test binary runs itself as the child.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pilothouse_store::Store;
use pilothouse_store::sqlite::SqliteStore;

use crate::load::{batch, check, config};

/// Says where the child works, and with which batch it begins.
const CHILD: &str = "PILOTHOUSE_STORE_TEST_CHILD";
/// Kills.
const ROUNDS: u64 = 5;
/// Acknowledgments after which the child is killed, besides some that differ from round to round.
const ACKNOWLEDGED: u64 = 40;
/// Batches of one child: more than it gets to.
const BATCHES: u64 = 100_000;

/// Does nothing unless it runs as the child: then commits until it is killed, and says what was acknowledged.
#[tokio::test]
async fn the_child_commits_until_it_is_killed() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (first, path) = task.split_once(' ').unwrap();
    let first: u64 = first.parse().unwrap();
    let store = Arc::new(SqliteStore::open(config(path)).unwrap());
    let mut workers = Vec::new();
    for worker in 0..8 {
        let store = store.clone();
        workers.push(tokio::spawn(async move {
            for number in (first + worker..first + BATCHES).step_by(8) {
                store.commit(batch(number)).await.unwrap();
                writeln!(std::io::stdout(), "\nacknowledged {number}").unwrap();
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (mut acknowledged, mut first) = (BTreeSet::new(), 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::the_child_commits_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, format!("{first} {}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = acknowledged.len() as u64 + ACKNOWLEDGED + round * 7;
        while let Some(Ok(line)) = lines.next() {
            acknowledged.extend(line.strip_prefix("acknowledged ").and_then(|it| it.parse::<u64>().ok()));
            if acknowledged.len() as u64 == enough {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "the child ended by itself");
        // The store takes up to eight batches more than were acknowledged.
        let sent = acknowledged.last().unwrap() + 9;
        let store = SqliteStore::open(config(&path)).unwrap();
        assert!(!store.status().await.was_clean);
        assert_eq!(check(&store, &acknowledged, sent).await, Ok(()), "round {round}");
        acknowledged.insert(sent);
        first = sent + 1;
        drop(store);
    }
}
