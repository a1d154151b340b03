//! etcd is killed under the load of two hubs at some point, again and again, and comes back over its folder. What was
//! acknowledged must be there, at its revision; what was told as not written must not; what a watch or a read showed must
//! have lasted.
//!
//! SIGKILL keeps the page cache, so this shows order and what our answers mean, not what etcd leaves after a power cut.

use crate::{open, until};
use holdfast_core::Revision;
use holdfast_store::suite::put;
use holdfast_store::{RangeRequest, Store, StoreError, Txn, TxnOutcome};
use holdfast_store_etcd::EtcdStore;
use holdfast_store_etcd::testing::EtcdServer;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const ROUNDS: u64 = 8;
const WRITERS: u64 = 8;

/// What the outside was told.
#[derive(Default)]
struct Told {
    /// Key → revision: acknowledged to its writer.
    acknowledged: BTreeMap<String, Revision>,
    /// Key → revision: handed out by a watch or a read.
    shown: BTreeMap<String, Revision>,
    unknown: usize,
    not_written: usize,
}

struct Run {
    told: Mutex<Told>,
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

async fn write_on(store: Arc<EtcdStore>, writer: u64, run: Arc<Run>) {
    let mut n = 0u64;
    while !run.over.load(Ordering::SeqCst) {
        let key = format!("one/{writer}/{n}");
        let last = put(&format!("last/{writer}"), &n.to_string());
        match store.txn(Txn { checks: vec![], ops: vec![last, put(&key, &"v".repeat(500))] }).await {
            Ok(TxnOutcome::Committed { revision, .. }) => {
                run.told.lock().unwrap().acknowledged.insert(key, revision);
                run.acknowledged.fetch_add(1, Ordering::SeqCst);
                n += 1;
            }
            // It may come to light or not; this key is never written again.
            Err(StoreError::Unknown(_)) => {
                run.told.lock().unwrap().unknown += 1;
                n += 1;
            }
            Err(StoreError::Unavailable(_)) => {
                run.told.lock().unwrap().not_written += 1;
                while store.sync().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert!(store.get(&key).await.unwrap().is_none(), "{key} was told as not written, and is there");
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn watch_on(store: Arc<EtcdStore>, from: Revision, run: Arc<Run>) {
    let mut watcher = store.watch("one/", from).unwrap();
    let mut last = from;
    loop {
        let Ok(events) = tokio::time::timeout(Duration::from_millis(50), watcher.next()).await else {
            if run.over.load(Ordering::SeqCst) {
                return;
            }
            continue;
        };
        for event in events.expect("a watch outlives etcd") {
            assert!(event.revision > last, "out of order");
            last = event.revision;
            run.told.lock().unwrap().shown.insert(event.key.to_string(), event.revision);
        }
    }
}

async fn read_on(store: Arc<EtcdStore>, run: Arc<Run>) {
    while !run.over.load(Ordering::SeqCst) {
        let range = store.range(RangeRequest { prefix: "one/".to_owned(), ..Default::default() }).await.unwrap();
        let shown = range.records.iter().map(|record| (record.key.to_string(), record.modified));
        run.told.lock().unwrap().shown.extend(shown);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_sigkill_of_etcd() {
    let Some(mut server) = EtcdServer::start() else { return };
    let stores = [open(&server).await, open(&server).await];
    let from = stores[0].revision();
    let run = Arc::new(Run { told: Mutex::default(), acknowledged: AtomicUsize::new(0), over: AtomicBool::new(false) });
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(write_on(stores[(writer % 2) as usize].clone(), writer, run.clone()));
    }
    for store in &stores {
        tasks.spawn(watch_on(store.clone(), from, run.clone()));
        tasks.spawn(read_on(store.clone(), run.clone()));
    }
    let seed = u64::from(std::process::id());
    for round in 0..ROUNDS {
        // A random number of answers, then a random moment after them.
        let goal = run.acknowledged.load(Ordering::SeqCst) + 1 + ((seed * 31 + round * 977) % 120) as usize;
        until("etcd acknowledges writes", async || (run.acknowledged.load(Ordering::SeqCst) >= goal).then_some(()))
            .await;
        tokio::time::sleep(Duration::from_micros((seed * 7 + round * 1733) % 9000)).await;
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
    }
    let goal = run.acknowledged.load(Ordering::SeqCst) + 10;
    until("writes go on", async || (run.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())).await;
    run.over.store(true, Ordering::SeqCst);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }

    let fresh = open(&server).await;
    let found = fresh.range(RangeRequest { prefix: "one/".to_owned(), ..Default::default() }).await.unwrap();
    let found: BTreeMap<&str, Revision> = found.records.iter().map(|record| (&*record.key, record.modified)).collect();
    for store in &stores {
        store.sync().await.unwrap();
        assert_eq!(store.range(RangeRequest::default()).await.unwrap().records.len(), found.len() + WRITERS as usize);
    }
    let told = run.told.lock().unwrap();
    for (key, revision) in told.acknowledged.iter().chain(&told.shown) {
        assert_eq!(found.get(key.as_str()), Some(revision), "{key} was told at {revision}");
    }
    assert!(found.len() <= told.acknowledged.len() + told.unknown, "something was written that nobody knows of");
    eprintln!("{} acknowledged, {} unknown, {} not written", found.len(), told.unknown, told.not_written);
}
