//! Power cuts at every sync, and between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pilothouse_store::Store;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};

use crate::disk::{Dice, Disk, Image, VFS};
use crate::load::{batch, check, config};

/// Batches per run.
const BATCHES: u64 = 60;
/// Batches committed at the same time, so that groups form.
const AT_ONCE: u64 = 4;
/// Every so many steps of the disk, besides each sync, the power may go.
const EVERY_WRITES: u64 = 23;

/// What a cut left, and what had been acknowledged by then.
type Cut = (Image, BTreeSet<u64>);

/// Runs a load and cuts the power at every sync and at some of the writes, twice each.
async fn cuts(seed: u64, without_sync: bool) -> Vec<Cut> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::watch(folder.path());
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let cuts = Arc::new(Mutex::new(Vec::new()));
    let (sink, known) = (cuts.clone(), acknowledged.clone());
    let (mut dice, mut syncs) = (Dice(seed), 0);
    disk.at_each_step(Box::new(move |state| {
        if state.syncs != syncs || state.writes % EVERY_WRITES == 0 {
            syncs = state.syncs;
            for _ in 0..2 {
                // What was acknowledged is read before the image is made: nothing newer is asked for.
                let known = known.lock().unwrap().clone();
                sink.lock().unwrap().push((state.cut(&mut dice), known));
            }
        }
    }));
    let path = folder.path().join("store.db");
    let config = SqliteConfig { vfs: Some(VFS.to_owned()), checkpoint_pages: 40, without_sync, ..config(path) };
    let store = Arc::new(SqliteStore::open(config).unwrap());
    for first in (0..BATCHES).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let commits: Vec<_> = (first..first + AT_ONCE)
            .map(|number| {
                let (store, acknowledged) = (store.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    store.commit(batch(number)).await.unwrap();
                    acknowledged.lock().unwrap().insert(number);
                })
            })
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
    }
    store.close().await;
    std::mem::take(&mut *cuts.lock().unwrap())
}

/// Starts a store on what the cut left, and checks it.
async fn recover((image, acknowledged): &Cut) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in image {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let store = SqliteStore::open(config(folder.path().join("store.db"))).map_err(|error| error.to_string())?;
    check(&store, acknowledged, BATCHES).await
}

#[tokio::test]
async fn no_power_cut_loses_what_was_acknowledged_or_leaves_half_a_batch() {
    let cuts = cuts(0x9e37_79b9_7f4a_7c15, false).await;
    assert!(cuts.len() > 60, "{} cuts are too few to mean something", cuts.len());
    assert!(cuts.iter().any(|(_, acknowledged)| acknowledged.len() > 50), "no cut came late");
    for (index, cut) in cuts.iter().enumerate() {
        let told = recover(cut).await;
        assert_eq!(told, Ok(()), "cut {index} of {}, after {} batches", cuts.len(), cut.1.len());
    }
}

#[tokio::test]
async fn without_syncs_the_same_check_finds_losses() {
    let mut losses = 0;
    for cut in cuts(0x2545_f491_4f6c_dd1d, true).await {
        losses += u32::from(recover(&cut).await.is_err());
    }
    assert!(losses > 0, "the check would not notice a store that syncs nothing");
}
