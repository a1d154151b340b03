//! etcd out of reach, silent, late, forgetful, replaced.
//!
//! A store that gives etcd up soon does so on a busy machine too: what must be written once is written by one that waits,
//! and what the impatient one writes may be there twice, or late.

use crate::{SOON, open, open_impatient, until, world};
use holdfast_core::Revision;
use holdfast_store::suite::{events, put, write};
use holdfast_store::{Event, RangeRequest, Store, StoreError, Txn, TxnOutcome, Watcher};
use holdfast_store_etcd::testing::EtcdServer;
use holdfast_store_etcd::{EtcdConfig, EtcdStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

fn one(value: &str) -> Txn {
    Txn { checks: vec![], ops: vec![put("k", value)] }
}

/// Writes, however often etcd is given up on the way; the revision of the time that was answered.
async fn insist(store: &EtcdStore, txn: Txn) -> Revision {
    until("a write is taken", async || match store.txn(txn.clone()).await {
        Ok(TxnOutcome::Committed { revision, .. }) => Some(revision),
        Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => None,
        other => panic!("{other:?}"),
    })
    .await
}

/// The next events of a watch.
async fn next(watcher: &mut dyn Watcher) -> Vec<Event> {
    tokio::time::timeout(SOON, watcher.next()).await.unwrap().unwrap()
}

fn value(event: &Event) -> &[u8] {
    &event.record.as_ref().unwrap().value
}

/// What stands between a hub and etcd, and can be cut.
struct Wire {
    endpoint: String,
    cut: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Wire {
    async fn to(server: &EtcdServer) -> Wire {
        let goal = server.endpoint().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (cut, is_cut) = watch::channel(false);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (goal, mut is_cut) = (goal.clone(), is_cut.clone());
                connections.spawn(async move {
                    if *is_cut.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(goal).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Wire { endpoint, cut, _serving: serving }
    }

    fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn open_by(wires: &[&Wire]) -> Arc<EtcdStore> {
    let endpoints = wires.iter().map(|wire| wire.endpoint.clone()).collect();
    let config = EtcdConfig { deadline: Duration::from_secs(2), ..EtcdConfig::new(endpoints) };
    EtcdStore::open(&config, &world()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_away_writes_are_refused_and_the_cache_answers() {
    let Some(mut server) = EtcdServer::start() else { return };
    let first = write(&*open(&server).await, [put("k", "1")]).await;
    let store = open_impatient(&server).await;
    let mut watcher = store.watch("", first).unwrap();
    server.kill();
    // Until the connection's end is noticed, a write may have been sent.
    let text = until("writes are refused", async || match store.txn(one("x")).await {
        Err(StoreError::Unavailable(text)) => Some(text),
        Err(StoreError::Unknown(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
    assert!(text.starts_with("etcd: reach 127.0.0.1:"), "{text}");
    assert!(matches!(store.sync().await, Err(StoreError::Unavailable(_))));
    assert_eq!(&*store.get("k").await.unwrap().unwrap().value, b"1");
    assert_eq!(store.range(RangeRequest::default()).await.unwrap().records.len(), 1);
    assert!(store.watch("", first).is_ok());
    assert!(tokio::time::timeout(Duration::from_millis(50), watcher.next()).await.is_err(), "the watch stays");
    server.restart();
    insist(&store, one("2")).await;
    let event = next(&mut *watcher).await.remove(0);
    assert_eq!((value(&event), event.previous.as_ref().unwrap().modified), (&b"2"[..], first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_an_answer_is_told_as_unknown() {
    let Some(server) = EtcdServer::start() else { return };
    let first = write(&*open(&server).await, [put("k", "1")]).await;
    let store = open_impatient(&server).await;
    let mut watcher = store.watch("", first).unwrap();
    server.hold(true);
    match store.txn(one("2")).await {
        Err(StoreError::Unknown(text)) => assert!(text.starts_with("etcd did not answer: "), "{text}"),
        other => panic!("{other:?}"),
    }
    match store.sync().await {
        Err(StoreError::Unavailable(_)) => {}
        other => panic!("{other:?}"),
    }
    server.hold(false);
    let end = insist(&store, Txn { checks: vec![], ops: vec![put("end", "x")] }).await;
    // It lay in etcd's socket, and was done after all, before or after this; or its deadline came first. Up to here the watch
    // and the state agree.
    let (mut told, mut reached) = (b"1".to_vec(), first);
    while reached < end {
        for event in next(&mut *watcher).await {
            reached = event.revision;
            if reached <= end && &*event.key == "k" {
                told = value(&event).to_vec();
            }
        }
    }
    let then = RangeRequest { prefix: "k".into(), at: Some(end), ..RangeRequest::default() };
    let records = store.range(then).await.unwrap().records;
    assert_eq!(records.iter().map(|record| record.value.to_vec()).collect::<Vec<_>>(), [told]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_late_is_waited_for() {
    let Some(mut server) = EtcdServer::start_quick() else { return };
    let revision = write(&*open(&server).await, [put("k", "1")]).await;
    server.kill();
    let endpoint = server.endpoint();
    let mut opening = JoinSet::new();
    opening.spawn(async move { EtcdStore::open(&EtcdConfig::new(vec![endpoint]), &world()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(opening.try_join_next().is_none(), "it opened without etcd");
    server.restart();
    let store = tokio::time::timeout(SOON, opening.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!((store.revision(), store.get("k").await.unwrap().unwrap().modified), (revision, revision));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_hub_misses_nothing_and_its_watches_see_nothing_of_it() {
    let Some(server) = EtcdServer::start_quick() else { return };
    let wire = Wire::to(&server).await;
    let free = open(&server).await;
    let start = write(&*free, [put("k", "0")]).await;
    let cut = open_by(&[&wire]).await;
    let mut watcher = cut.watch("", start).unwrap();
    wire.cut(true);
    for n in 1..=5 {
        write(&*free, [put("k", &n.to_string())]).await;
    }
    assert_eq!(cut.revision(), start);
    wire.cut(false);
    let seen = events(&mut *watcher, 5).await;
    assert_eq!(&*seen[4].record.as_ref().unwrap().value, b"5");
    assert_eq!(until("it is there again", async || cut.sync().await.ok()).await, free.revision());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_was_away_past_a_compaction_reads_anew_and_cuts_its_watches() {
    let Some(server) = EtcdServer::start_quick() else { return };
    let wire = Wire::to(&server).await;
    let free = open(&server).await;
    let start = write(&*free, [put("kept", "0"), put("gone", "0")]).await;
    let cut = open_by(&[&wire]).await;
    let mut watcher = cut.watch("", start).unwrap();
    wire.cut(true);
    write(&*free, [put("new", "1"), holdfast_store::suite::delete("gone")]).await;
    let newest = write(&*free, [put("kept", "1")]).await;
    free.compact(newest).await.unwrap();
    wire.cut(false);
    let end = tokio::time::timeout(SOON, watcher.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(end, StoreError::Compacted { requested, oldest } if requested == start && oldest >= newest),
        "{end}"
    );
    assert!(until("it is there again", async || cut.sync().await.ok()).await >= newest);
    let keys: Vec<String> = cut
        .range(RangeRequest::default())
        .await
        .unwrap()
        .records
        .iter()
        .map(|record| format!("{}={}", record.key, String::from_utf8_lossy(&record.value)))
        .collect();
    assert_eq!(keys, ["kept=1", "new=1"]);
    let mut watcher = cut.watch("", cut.revision()).unwrap();
    let next = write(&*free, [put("kept", "2")]).await;
    let event = events(&mut *watcher, 1).await.remove(0);
    assert_eq!((event.revision, event.previous.unwrap().modified), (next, newest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_member_takes_over() {
    let Some(server) = EtcdServer::start_quick() else { return };
    // Two ways to one server stand for two members.
    let (first, second) = (Wire::to(&server).await, Wire::to(&server).await);
    let start = write(&*open(&server).await, [put("k", "-")]).await;
    let store = open_by(&[&first, &second]).await;
    let mut watcher = store.watch("", start).unwrap();
    for (n, (lost, other)) in [(&first, &second), (&second, &first), (&first, &second)].into_iter().enumerate() {
        other.cut(false);
        lost.cut(true);
        insist(&store, one(&n.to_string())).await;
        until("reads are up to date", async || store.sync().await.ok()).await;
        let is_it = |event: &Event| value(event) == n.to_string().as_bytes();
        while !next(&mut *watcher).await.iter().any(is_it) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_etcd_in_its_place_stops_the_store() {
    let Some(mut server) = EtcdServer::start_quick() else { return };
    let patient = open(&server).await;
    for n in 0..5 {
        write(&*patient, [put("k", &n.to_string())]).await;
    }
    let store = open_impatient(&server).await;
    let mut watcher = store.watch("", store.revision()).unwrap();
    server.wipe();
    let end = tokio::time::timeout(SOON, watcher.next()).await.unwrap().unwrap_err();
    assert_eq!(end, StoreError::Closed);
    for refused in [store.sync().await.map(|_| ()), store.txn(one("x")).await.map(|_| ())] {
        match refused {
            Err(StoreError::Failed(text)) => {
                assert!(text.contains("set back") || text.contains("another etcd"), "{text}")
            }
            other => panic!("{other:?}"),
        }
    }
    // Nothing of the old history got into the new one.
    let new = open(&server).await;
    assert_eq!((new.revision(), new.get("k").await.unwrap().is_none()), (Revision(1), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_ends_its_watches_and_takes_no_writes() {
    let Some(server) = EtcdServer::start_quick() else { return };
    let store = open(&server).await;
    let revision = write(&*store, [put("k", "1")]).await;
    let mut watcher = store.watch("", revision).unwrap();
    let closing = store.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap_err(), StoreError::Closed);
    assert_eq!(store.txn(one("2")).await.unwrap_err(), StoreError::Closed);
    assert!(matches!(store.watch("", revision), Err(StoreError::Closed)));
    assert!(store.get("k").await.unwrap().is_some());
}
