//! `kill -9` at random points under load: every acknowledged event is there, every delivery ends, and each returned event
//! appears exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pilothouse_core::delivery::DeliveryState;
use pilothouse_store::sqlite::{SqliteConfig, SqliteStore};
use pilothouse_store::{DeliveryFilter, Seq, Store};
use pilothouse_tests::guests;
use serde_json::json;
use tokio::sync::Mutex;

use crate::program::{Program, client, run};

/// Kills per run; `cargo xtask crash` asks for more.
const ROUNDS_DEFAULT: usize = 5;
/// Clients that send at the same time.
const CLIENTS: usize = 8;

fn rounds() -> usize {
    std::env::var("PILOTHOUSE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS_DEFAULT)
}

/// Sends events until the host is gone; notes the ids that were acknowledged.
async fn load(
    url: String,
    token: String,
    prefix: String,
    acked: Arc<Mutex<BTreeSet<String>>>,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    let client = client();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("{prefix}-{number}");
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/load", "type": "com.example.said.v1",
            "datacontenttype": "application/json", "data": { "number": number },
        });
        let sent = client
            .post(format!("{url}/v1/events"))
            .bearer_auth(&token)
            .header("content-type", "application/cloudevents+json")
            .body(event.to_string())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status() == 202 => {
                acked.lock().await.insert(id);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            // The host was killed: the outcome of this one event is unknown.
            Err(_) => return,
        }
    }
}

/// Says how many acknowledgements to wait for before the next kill: spread by the round, the same in each run.
fn kill_after(round: usize) -> usize {
    20 + (round * 7_919) % 400
}

async fn check(data: &Path, acked: &BTreeSet<String>) {
    let store = SqliteStore::open(SqliteConfig::new(data.join("data/pilothouse.db"))).unwrap();
    let mut said = BTreeMap::new();
    let mut echoes: BTreeMap<String, usize> = BTreeMap::new();
    let mut from = Seq(1);
    loop {
        let rows = store.read_log(from, 1_000).await.unwrap();
        let Some(last) = rows.last() else { break };
        from = Seq(last.seq.0 + 1);
        for row in rows {
            match row.event.ty() {
                "com.example.said.v1" => {
                    assert!(
                        said.insert(row.event.id().to_owned(), row.seq).is_none(),
                        "stored twice: {}",
                        row.event.id()
                    );
                }
                "com.example.echoed.v1" => *echoes.entry(row.caused_by.unwrap().to_string()).or_default() += 1,
                _ => {}
            }
        }
    }
    let lost: Vec<_> = acked.iter().filter(|id| !said.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} acknowledged events are lost: {lost:?}", lost.len());
    let mut cursor = None;
    let mut deliveries = 0;
    loop {
        let page = store.deliveries(&DeliveryFilter::default(), cursor, 1_000).await.unwrap();
        for row in page.items {
            deliveries += 1;
            match row.state {
                DeliveryState::Done => {
                    assert_eq!(echoes.get(&row.id.to_string()), Some(&1), "returned once: {row:?}");
                }
                // An event whose every attempt met a kill is given up, said so, and can be redriven.
                DeliveryState::Dead => assert_eq!(echoes.get(&row.id.to_string()), None, "{row:?}"),
                other => panic!("a delivery did not end: {other:?} {row:?}"),
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(deliveries, said.len(), "each event has its delivery");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_done_twice_over_kills_at_random_points() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut host = Program::start(data, &[]);
    let token = host.token.clone().unwrap();
    let echo = guests().join("echo.wasm");
    let environment = [("PILOTHOUSE_URL", host.url.as_str()), ("PILOTHOUSE_TOKEN", token.as_str())];
    let (code, out, err) =
        run(data, &["plugin", "install", echo.to_str().unwrap(), "--name", "echo", "--yes"], &environment);
    assert_eq!(code, 0, "{out}{err}");
    let acked = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..rounds() {
        let (count, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let prefix = format!("{round}-{client}");
            let (url, token) = (host.url.clone(), token.clone());
            clients.spawn(load(url, token, prefix, Arc::clone(&acked), Arc::clone(&count), Arc::clone(&stop)));
        }
        while count.load(Ordering::Relaxed) < kill_after(round) {
            if let Some(ended) = clients.try_join_next() {
                panic!("a client ended before the kill: {ended:?}; the host said: {}", host.said());
            }
            tokio::task::yield_now().await;
        }
        host.kill();
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        host = Program::start(data, &[]);
    }
    // Everything that is still owed is handled before the end.
    let client = client();
    loop {
        let open = ["ready", "running"].map(|state| format!("{}/v1/deliveries?state={state}&limit=1", host.url));
        let mut owed = 0;
        for url in open {
            let page: serde_json::Value = client
                .get(url)
                .bearer_auth(&token)
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap()
                .json()
                .await
                .unwrap();
            owed += page["items"].as_array().map_or(0, Vec::len);
        }
        if owed == 0 {
            break;
        }
    }
    assert!(host.stop().success(), "{}", host.said());
    check(data, &*acked.lock().await).await;
}
