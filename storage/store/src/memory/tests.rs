//! What only this implementation promises: durability before visibility, faults, bounds, sweeps.

use super::evaluate::Evaluator;
use super::ring::Ring;
use super::state::Shared;
use super::*;
use crate::limits::{BATCH_TXNS, SWEEP_WATCHERS, WRITE_QUEUE};
use crate::suite::{delete, events, put, write};
use crate::testing::{MemoryLog, memory_store};
use crate::{Check, Condition, LogEntry, Op};
use holdfast_env::host::HostEnv;
use holdfast_env::{Task, World};
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;
use tokio::task::JoinSet;

fn fresh() -> Option<(Arc<dyn Store>, ())> {
    Some((memory_store().unwrap(), ()))
}

mod contract {
    crate::store_suite!(super::fresh);
}

/// The writer as a task over `Env`, as the simulator runs it.
fn in_turns() -> Option<(Arc<dyn Store>, Task)> {
    let env: World = HostEnv::new("/nonexistent");
    let (store, writer) = CachedStore::open_over(&env, MemoryLog::new()).unwrap();
    Some((store, writer))
}

mod contract_in_turns {
    crate::store_suite!(super::in_turns);
}

fn open() -> (Arc<MemoryLog>, Arc<CachedStore>) {
    let log = MemoryLog::new();
    (log.clone(), CachedStore::open(log).unwrap())
}

fn txn(ops: impl IntoIterator<Item = Op>) -> Txn {
    Txn { checks: Vec::new(), ops: ops.into_iter().collect() }
}

fn checked(key: &str, condition: Condition, ops: impl IntoIterator<Item = Op>) -> Txn {
    Txn { checks: vec![Check { key: key.to_owned(), condition }], ops: ops.into_iter().collect() }
}

type Running = JoinSet<Result<TxnOutcome, StoreError>>;

fn start(running: &mut Running, store: &Arc<CachedStore>, txn: Txn) {
    let store = store.clone();
    running.spawn(async move { store.txn(txn).await });
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn paused(log: &Arc<MemoryLog>) {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.wait_for_append()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_visible_before_append_returned() {
    let (log, store) = open();
    write(&*store, [put("a", "1")]).await;
    let mut watcher = store.watch("", Revision(1)).unwrap();
    log.pause();
    let mut running = Running::new();
    start(&mut running, &store, txn([put("a", "2"), put("b", "1")]));
    paused(&log).await;
    // These rest on the write above: their answers would show it too.
    start(&mut running, &store, checked("b", Condition::Absent, [put("c", "1")]));
    start(&mut running, &store, checked("b", Condition::Exists, []));
    assert!(tokio::time::timeout(Duration::from_millis(100), running.join_next()).await.is_err(), "answered early");
    assert!(tokio::time::timeout(Duration::from_millis(10), watcher.next()).await.is_err(), "an event was early");
    assert_eq!((store.revision(), watcher.progress()), (Revision(1), Revision(1)));
    assert!(store.get("b").await.unwrap().is_none());
    assert_eq!(store.range(RangeRequest::default()).await.unwrap().revision, Revision(1));
    log.resume();
    let mut failed_checks = 0;
    while let Some(done) = running.join_next().await {
        match done.unwrap().unwrap() {
            TxnOutcome::Committed { revision, .. } => assert_eq!(revision, Revision(2)),
            TxnOutcome::CheckFailed { current, .. } => {
                assert_eq!(current.unwrap().modified, Revision(2));
                failed_checks += 1;
            }
        }
    }
    assert_eq!(failed_checks, 1);
    assert_eq!(events(&mut *watcher, 2).await[1].revision, Revision(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_writes_share_one_batch() {
    let (log, store) = open();
    log.pause();
    let mut running = Running::new();
    for n in 0..50 {
        start(&mut running, &store, txn([put(&format!("k{n}"), "v")]));
    }
    paused(&log).await;
    until("all are queued", || store.writer.places_left() == WRITE_QUEUE - 50).await;
    log.resume();
    while let Some(done) = running.join_next().await {
        done.unwrap().unwrap();
    }
    let appends = log.appends();
    assert_eq!(appends.iter().sum::<usize>(), 50);
    assert!(appends.len() <= 3, "one batch was in hand, one was built meanwhile: {appends:?}");
    assert_eq!(store.writer.places_left(), WRITE_QUEUE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_fails_its_batch_and_what_rested_on_it_is_judged_again() {
    let (log, store) = open();
    write(&*store, [put("a", "1")]).await;
    log.pause();
    log.fail_next([StoreError::Full]);
    let mut first = Running::new();
    start(&mut first, &store, txn([put("a", "2"), put("b", "2")]));
    paused(&log).await;
    let mut next = Running::new();
    start(&mut next, &store, checked("b", Condition::Exists, [put("wrong", "v")]));
    start(&mut next, &store, checked("a", Condition::ModifiedAt(Revision(1)), [put("right", "v")]));
    until("both are queued", || store.writer.places_left() == WRITE_QUEUE - 3).await;
    // Not a matter of correctness: gives the writer time to build the second batch on top of the first.
    tokio::time::sleep(Duration::from_millis(30)).await;
    log.resume();
    assert_eq!(first.join_next().await.unwrap().unwrap().err(), Some(StoreError::Full));
    let (mut committed, mut refused) = (0, 0);
    while let Some(done) = next.join_next().await {
        match done.unwrap().unwrap() {
            TxnOutcome::Committed { revision, .. } => {
                committed += 1;
                assert_eq!(revision, Revision(2), "the failed batch left no gap");
            }
            TxnOutcome::CheckFailed { current, .. } => {
                refused += 1;
                assert!(current.is_none());
            }
        }
    }
    assert_eq!((committed, refused), (1, 1));
    assert_eq!(store.get("a").await.unwrap().unwrap().modified, Revision(1));
    assert!(store.get("b").await.unwrap().is_none() && store.get("wrong").await.unwrap().is_none());
    assert_eq!(write(&*store, [put("b", "3")]).await, Revision(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_log_stops_writes_and_reads_go_on() {
    let (log, store) = open();
    write(&*store, [put("a", "1")]).await;
    let broken = StoreError::Failed("the disk is on fire".to_owned());
    log.pause();
    log.fail_next([broken.clone()]);
    let mut running = Running::new();
    for n in 0..5 {
        start(&mut running, &store, txn([put(&format!("k{n}"), "v")]));
    }
    paused(&log).await;
    until("all are queued", || store.writer.places_left() == WRITE_QUEUE - 5).await;
    log.resume();
    while let Some(done) = running.join_next().await {
        assert_eq!(done.unwrap().err(), Some(broken.clone()));
    }
    assert_eq!(store.txn(txn([put("b", "1")])).await.err(), Some(broken));
    assert_eq!(store.range(RangeRequest::default()).await.unwrap().records.len(), 1);
    assert!(store.watch("", Revision(1)).is_ok());
    assert_eq!(store.revision(), Revision(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_drains_the_queue_and_ends_watches() {
    let (log, store) = open();
    let mut watcher = store.watch("", Revision(0)).unwrap();
    log.pause();
    let mut running = Running::new();
    for n in 0..20 {
        start(&mut running, &store, txn([put(&format!("k{n}"), "v")]));
    }
    until("all are queued", || store.writer.places_left() == WRITE_QUEUE - 20).await;
    let closing = store.clone();
    let closing = tokio::task::spawn_blocking(move || closing.close());
    log.resume();
    closing.await.unwrap();
    let mut committed = 0;
    while let Some(done) = running.join_next().await {
        match done.unwrap() {
            Ok(_) => committed += 1,
            Err(error) => assert_eq!(error, StoreError::Closed),
        }
    }
    assert_eq!(store.revision(), Revision(committed), "an acknowledged write is missing, or one was not told");
    assert!(committed > 0, "nothing was drained");
    assert_eq!(store.txn(txn([put("late", "v")])).await.err(), Some(StoreError::Closed));
    let end = loop {
        if let Err(error) = watcher.next().await {
            break error;
        }
    };
    assert_eq!(end, StoreError::Closed);
    assert!(matches!(store.watch("", Revision(0)), Err(StoreError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reopened_store_has_the_state_and_no_history() {
    let (log, store) = open();
    write(&*store, [put("a", "1"), put("b", "1")]).await;
    write(&*store, [put("a", "2")]).await;
    write(&*store, [delete("b")]).await;
    drop(store);
    let store = CachedStore::open(log).unwrap();
    assert_eq!(store.revision(), Revision(3));
    let record = store.get("a").await.unwrap().unwrap();
    assert_eq!((record.created, record.modified), (Revision(1), Revision(2)));
    let expected = StoreError::Compacted { requested: Revision(2), oldest: Revision(3) };
    assert_eq!(store.watch("", Revision(2)).err(), Some(expected));
    let mut watcher = store.watch("", Revision(3)).unwrap();
    assert_eq!(write(&*store, [put("b", "2")]).await, Revision(4));
    assert_eq!(events(&mut *watcher, 1).await[0].revision, Revision(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_that_falls_out_of_the_ring_is_cut_and_a_quiet_one_is_not() {
    let shared = Shared::with_ring(BTreeMap::new(), Revision(0), Ring::bounded(Revision(0), 10, 1 << 20));
    let store = CachedStore::start(MemoryLog::new(), shared).unwrap();
    let mut slow = store.watch("busy/", Revision(0)).unwrap();
    let mut quiet = store.watch("quiet/", Revision(0)).unwrap();
    for n in 0..25 {
        write(&*store, [put("busy/1", &n.to_string())]).await;
    }
    write(&*store, [put("quiet/1", "v")]).await;
    assert_eq!(slow.next().await.err(), Some(StoreError::Slow));
    assert_eq!(slow.next().await.err(), Some(StoreError::Slow), "the end lasts");
    assert_eq!(events(&mut *quiet, 1).await[0].revision, Revision(26));
    let expected = StoreError::Compacted { requested: Revision(3), oldest: Revision(16) };
    assert_eq!(store.watch("", Revision(3)).err(), Some(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_of_one_prefix_get_everything_by_sweeps() {
    const WRITES: usize = 200;
    let store = memory_store().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..SWEEP_WATCHERS * 4 {
        let mut watcher = store.watch("p/", Revision(0)).unwrap();
        tasks.spawn(async move { events(&mut *watcher, WRITES).await.last().unwrap().revision });
    }
    for n in 0..WRITES {
        write(&*store, [put(&format!("p/{n}"), "v")]).await;
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), Revision(WRITES as u64));
    }
    assert!(store.cache.shared.hub.is_empty(), "dropped watchers leave their groups");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_reaches_the_log() {
    let (log, store) = open();
    write(&*store, [put("a", "1")]).await;
    write(&*store, [put("a", "2")]).await;
    store.compact(Revision(2)).await.unwrap();
    assert_eq!(log.compacted(), Revision(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_bounded() {
    let (log, store) = open();
    log.pause();
    let mut running = Running::new();
    start(&mut running, &store, txn([put("first", "v")]));
    paused(&log).await;
    for n in 0..BATCH_TXNS + 10 {
        start(&mut running, &store, txn([put(&format!("k{n}"), "v")]));
    }
    until("all are queued", || store.writer.places_left() == WRITE_QUEUE - BATCH_TXNS - 11).await;
    log.resume();
    while let Some(done) = running.join_next().await {
        done.unwrap().unwrap();
    }
    assert!(log.appends().iter().all(|entries| *entries <= BATCH_TXNS), "{:?}", log.appends());
    assert_eq!(store.revision(), Revision(BATCH_TXNS as u64 + 11));
}

/// A log whose engine has a bug.
struct PanickingLog;

impl LogBackend for PanickingLog {
    fn load(&self, _: &mut dyn FnMut(LogEntry)) -> Result<Revision, StoreError> {
        Ok(Revision(7))
    }

    fn append(&self, _: &[LogEntry]) -> Result<(), StoreError> {
        panic!("on purpose");
    }

    fn compact(&self, _: Revision) -> Result<(), StoreError> {
        panic!("on purpose");
    }

    fn put_meta(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn meta(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_of_the_engine_is_an_error_to_every_caller() {
    let store = CachedStore::open(Arc::new(PanickingLog)).unwrap();
    for _ in 0..2 {
        let error = store.txn(txn([put("a", "1")])).await.unwrap_err();
        assert_eq!(error, StoreError::Failed("the log's engine panicked while it wrote".to_owned()));
    }
    assert!(matches!(store.compact(Revision(7)).await, Err(StoreError::Failed(_))));
    assert_eq!((store.revision(), store.get("a").await.unwrap().is_none()), (Revision(7), true));
}

/// One step of the model: a batch of transactions, and whether the disk took it.
type Step = (Vec<Vec<(u8, Option<u8>)>>, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ops = vec((0..6u8, option::weighted(0.7, any::<u8>())), 0..4);
    vec((vec(ops, 1..4), weighted(0.85)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was committed in whatever batches: each past state reads as it was, page by page.
    #[test]
    fn past_states_read_as_they_were(steps in steps(), limit in 1..4usize) {
        let shared = Arc::new(Shared::new(BTreeMap::new(), Revision(0)));
        let mut evaluator: Evaluator<()> = Evaluator::new(shared.clone());
        let log = MemoryLog::new();
        let mut model: BTreeMap<String, (u8, u64)> = BTreeMap::new();
        let mut history = vec![model.clone()];
        for (batch, taken) in steps {
            for ops in batch {
                let ops: BTreeMap<String, Option<u8>> = ops.into_iter().map(|(k, v)| (format!("k{k}"), v)).collect();
                if taken {
                    let mut next = model.clone();
                    let mut wrote = false;
                    for (key, value) in &ops {
                        wrote |= value.is_some() || next.contains_key(key);
                        match value {
                            Some(value) => next.insert(key.clone(), (*value, history.len() as u64)),
                            None => next.remove(key),
                        };
                    }
                    if wrote {
                        model = next;
                        history.push(model.clone());
                    }
                }
                let op = |(key, value): (String, Option<u8>)| match value {
                    Some(value) => Op::Put { key, value: vec![value].into() },
                    None => Op::Delete { key },
                };
                evaluator.add(Prepared::new(txn(ops.into_iter().map(op)), &*log).unwrap(), ());
            }
            let batch = evaluator.take();
            if taken {
                shared.publish(batch.events, batch.revision);
                evaluator.synced();
            } else {
                evaluator.not_written();
            }
        }
        prop_assert_eq!(shared.revision(), Revision(history.len() as u64 - 1));
        for (at, state) in history.iter().enumerate() {
            let mut found = BTreeMap::new();
            let mut after = None;
            loop {
                let request = RangeRequest { prefix: "k".into(), after, limit, at: Some(Revision(at as u64)) };
                let page = shared.range(&request).unwrap();
                prop_assert!(page.records.len() <= limit);
                found.extend(page.records.iter().map(|r| (r.key.to_string(), (r.value[0], r.modified.0))));
                prop_assert_eq!(page.remaining as usize, state.len() - found.len());
                after = page.records.last().map(|record| record.key.to_string());
                if page.remaining == 0 {
                    break;
                }
            }
            prop_assert_eq!(&found, state, "at revision {}", at);
        }
    }
}
