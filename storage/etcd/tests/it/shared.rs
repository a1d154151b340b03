//! Two stores on one etcd, as two hubs have them.

use crate::{SOON, config, open, until, world};
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::suite::{delete, events, put, write};
use holdfast_store::{Check, Condition, RangeRequest, Record, Store, StoreError, Txn, TxnOutcome};
use holdfast_store_etcd::testing::EtcdServer;
use holdfast_store_etcd::{EtcdConfig, EtcdStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

async fn pair() -> Option<(EtcdServer, Arc<EtcdStore>, Arc<EtcdStore>)> {
    let server = EtcdServer::start_quick()?;
    let (one, two) = (open(&server).await, open(&server).await);
    Some((server, one, two))
}

fn text(record: &Record) -> String {
    format!("{}={}@{}", record.key, String::from_utf8_lossy(&record.value), record.modified)
}

async fn all(store: &dyn Store) -> Vec<String> {
    store.range(RangeRequest::default()).await.unwrap().records.iter().map(|record| text(record)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synced_read_misses_nothing_that_another_hub_wrote() {
    let Some((_server, one, two)) = pair().await else { return };
    for n in 0..200 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let revision = write(&**writer, [put("k", &n.to_string())]).await;
        assert!(reader.sync().await.unwrap() >= revision);
        let record = reader.get("k").await.unwrap().unwrap();
        assert_eq!(text(&record), format!("k={n}@{revision}"));
        assert_eq!(reader.range(RangeRequest::default()).await.unwrap().revision, revision);
    }
    write(&*one, [delete("k")]).await;
    two.sync().await.unwrap();
    assert!(two.get("k").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_passes_what_others_wrote_elsewhere_in_that_etcd() {
    let Some((server, one, _two)) = pair().await else { return };
    let elsewhere = EtcdConfig { prefix: "/other/".to_owned(), ..config(&server) };
    let elsewhere = EtcdStore::open(&elsewhere, &world()).await.unwrap();
    let own = write(&*one, [put("k", "1")]).await;
    let mut watcher = one.watch("", own).unwrap();
    for n in 1..=20 {
        let foreign = write(&*elsewhere, [put("k", &n.to_string())]).await;
        let reached = tokio::time::timeout(SOON, one.sync()).await.unwrap().unwrap();
        assert_eq!((reached, watcher.progress()), (foreign, foreign), "nothing of ours changed, and that is known");
    }
    assert_eq!(all(&*one).await, [format!("k=1@{own}")]);
    let again = write(&*one, [put("k", "2")]).await;
    assert_eq!(events(&mut *watcher, 1).await[0].revision, again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_check_shows_the_other_hubs_write() {
    let Some((_server, one, two)) = pair().await else { return };
    let first = write(&*one, [put("a", "1")]).await;
    two.sync().await.unwrap();
    let second = write(&*one, [put("a", "2"), delete("b")]).await;
    let checks = vec![Check { key: "a".to_owned(), condition: Condition::ModifiedAt(first) }];
    let outcome = two.txn(Txn { checks, ops: vec![put("a", "3")] }).await.unwrap();
    let TxnOutcome::CheckFailed { index: 0, current: Some(current) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(text(&current), format!("a=2@{second}"));
    // Without a sync: what kept the transaction from being done is visible, or a caller that tries again would spin.
    assert_eq!(text(&two.get("a").await.unwrap().unwrap()), format!("a=2@{second}"));
    write(&*one, [delete("a")]).await;
    let checks = vec![Check { key: "a".to_owned(), condition: Condition::Exists }];
    let outcome = two.txn(Txn { checks, ops: vec![put("a", "3")] }).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::CheckFailed { index: 0, current: None }), "{outcome:?}");
    assert!(two.get("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_two_hubs_lose_no_update() {
    const INCREMENTS: u64 = 30;
    let Some((_server, one, two)) = pair().await else { return };
    write(&*one, [put("counter", "0")]).await;
    let mut tasks = JoinSet::new();
    for writer in 0..6 {
        let store = if writer % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move {
            store.sync().await.unwrap();
            for _ in 0..INCREMENTS {
                loop {
                    let seen = store.get("counter").await.unwrap().unwrap();
                    let value: u64 = String::from_utf8_lossy(&seen.value).parse().unwrap();
                    let condition = Condition::ModifiedAt(seen.modified);
                    let checks = vec![Check { key: "counter".to_owned(), condition }];
                    let ops = vec![put("counter", &(value + 1).to_string())];
                    if matches!(store.txn(Txn { checks, ops }).await.unwrap(), TxnOutcome::Committed { .. }) {
                        break;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for store in [&one, &two] {
        store.sync().await.unwrap();
        assert_eq!(&*store.get("counter").await.unwrap().unwrap().value, (6 * INCREMENTS).to_string().as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_both_hubs_see_one_history() {
    const WRITES: usize = 60;
    let Some((_server, one, two)) = pair().await else { return };
    let start = one.sync().await.unwrap().max(two.sync().await.unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let store = if writer % 2 == 0 { one.clone() } else { two.clone() };
        writers.spawn(async move {
            for n in 0..WRITES {
                let key = format!("k/{}", (writer + n) % 5);
                write(&*store, [put(&key, &format!("{writer}.{n}")), put(&format!("own/{writer}"), "x")]).await;
            }
        });
    }
    let mut views = JoinSet::new();
    for store in [one.clone(), two.clone()] {
        views.spawn(async move {
            let mut watcher = store.watch("k/", start).unwrap();
            let seen = events(&mut *watcher, 6 * WRITES).await;
            let mut held: BTreeMap<Arc<str>, Revision> = BTreeMap::new();
            for event in &seen {
                let previous = event.previous.as_ref().map(|record| record.modified);
                assert_eq!(held.insert(event.key.clone(), event.revision), previous, "an event is missing");
            }
            seen.iter().map(|event| text(event.record.as_ref().unwrap())).collect::<Vec<_>>()
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let first = views.join_next().await.unwrap().unwrap();
    assert_eq!(views.join_next().await.unwrap().unwrap(), first);
    one.sync().await.unwrap();
    two.sync().await.unwrap();
    assert_eq!(all(&*one).await, all(&*two).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_has_all_with_its_revisions_over_several_pages() {
    let Some((server, one, _two)) = pair().await else { return };
    let long = "v".repeat(3000);
    for page in 0..5 {
        write(&*one, (0..500).map(|n| put(&format!("k/{page}/{n:03}"), &long))).await;
    }
    write(&*one, [delete("k/0/000"), put("k/1/000", "new")]).await;
    let new = open(&server).await;
    assert_eq!((new.revision(), all(&*new).await), (one.revision(), all(&*one).await));
    let created = |store: Arc<EtcdStore>| async move { store.get("k/1/000").await.unwrap().unwrap().created };
    assert_eq!(created(new.clone()).await, created(one.clone()).await);
    // It has no history of its own before that.
    let earlier = Revision(new.revision().0 - 1);
    assert!(matches!(new.watch("", earlier), Err(StoreError::Compacted { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hub_compacts_and_the_other_follows_on() {
    let Some((_server, one, two)) = pair().await else { return };
    for round in 0..4 {
        let first = write(&*one, [put("a", &format!("{round}"))]).await;
        let last = write(&*two, [put("a", &format!("{round}!"))]).await;
        one.sync().await.unwrap();
        for store in [&one, &two] {
            store.compact(first).await.unwrap();
            let request = RangeRequest { at: Some(Revision(first.0 - 1)), ..Default::default() };
            assert!(matches!(store.range(request).await, Err(StoreError::Compacted { .. })), "round {round}");
            assert_eq!(store.get("a").await.unwrap().unwrap().modified, last);
        }
        // The key by which they agree is none of the store's.
        assert_eq!(all(&*one).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_that_begin_at_once_agree_on_what_is_made_once() {
    let Some((_server, one, two)) = pair().await else { return };
    let make = |store: Arc<EtcdStore>, value: &'static str| async move {
        loop {
            if let Some(record) = store.get("lineage").await.unwrap() {
                return record.value.clone();
            }
            let checks = vec![Check { key: "lineage".to_owned(), condition: Condition::Absent }];
            let _ = store.txn(Txn { checks, ops: vec![put("lineage", value)] }).await.unwrap();
        }
    };
    let (a, b): (Bytes, Bytes) = tokio::join!(make(one.clone(), "one"), make(two.clone(), "two"));
    assert_eq!(a, b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_wrote_among_the_keys_is_left_alone() {
    let Some((server, one, _two)) = pair().await else { return };
    write(&*one, [put("a", "1")]).await;
    // A store whose folder is the first one's keys: its own bytes are no record there.
    let strange = EtcdConfig { prefix: "/holdfast/keys/x/".to_owned(), ..config(&server) };
    let strange = EtcdStore::open(&strange, &world()).await.unwrap();
    strange.compact(strange.revision()).await.unwrap();
    one.sync().await.unwrap();
    assert!(one.get("x/compacted").await.unwrap().is_none(), "a number is no encoded value");
    assert_eq!(all(&*one).await.len(), 1);
    let again = until("a new hub starts all the same", async || Some(open(&server).await)).await;
    assert_eq!(all(&*again).await, all(&*one).await);
}
