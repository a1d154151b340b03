//! The contract of [`Store`] as tests that every implementation runs: see [`crate::store_suite`].
//!
//! Each function takes an empty store that nobody else writes to, at whatever revision, and panics when the contract is
//! broken.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests, shared by several crates")]

use crate::{Check, Condition, Event, Op, Range, RangeRequest, Record, Store, StoreError, Txn, TxnOutcome, Watcher};
use bytes::Bytes;
use holdfast_core::Revision;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;

/// Makes one `#[tokio::test]` per case of [`crate::suite`]. The argument is a function without arguments that
/// returns `Option<(Arc<dyn Store>, guard)>`: an empty store, and what must outlive it; `None` skips the test.
#[macro_export]
macro_rules! store_suite {
    ($factory:path) => {
        $crate::store_suite!(@cases $factory:
            put_and_get_tell_created_and_modified,
            deleted_and_recreated_key_is_created_anew,
            delete_of_a_missing_key_writes_nothing,
            checks_decide_whether_a_txn_commits,
            failed_check_tells_its_index_and_what_is_there,
            txn_without_writes_tells_the_current_revision,
            writes_of_a_txn_share_a_revision,
            invalid_txn_is_refused_and_the_store_goes_on,
            range_pages_by_limit_and_after,
            range_prefix_is_exact,
            range_reads_older_states,
            pages_are_of_one_state_while_others_write,
            range_and_watch_in_the_future_are_refused,
            compacted_history_is_refused,
            compaction_keeps_the_newest_versions,
            watch_replays_from_an_older_revision,
            watch_sees_only_its_prefix_and_tells_progress,
            watch_events_carry_both_versions,
            watch_keeps_a_txn_whole,
            watch_is_complete_and_ordered_under_concurrent_writers,
            concurrent_compare_and_swap_loses_no_update,
            answers_are_visible_to_their_reader,
        );
    };
    (@cases $factory:path: $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some((store, _guard)) = $factory() else { return };
                $crate::suite::$case(store).await;
            }
        )*
    };
}

/// How long a watcher may take for what was already committed.
const SOON: Duration = Duration::from_secs(20);

/// A put.
pub fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// A deletion.
pub fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
}

/// Commits writes without checks; returns their revision.
pub async fn write(store: &dyn Store, ops: impl IntoIterator<Item = Op>) -> Revision {
    match store.txn(Txn { checks: Vec::new(), ops: ops.into_iter().collect() }).await.unwrap() {
        TxnOutcome::Committed { revision, .. } => revision,
        other => panic!("no check was given, yet: {other:?}"),
    }
}

/// Collects events until there are `count`; each batch must be whole and none empty.
pub async fn events(watcher: &mut dyn Watcher, count: usize) -> Vec<Event> {
    let mut found: Vec<Event> = Vec::new();
    while found.len() < count {
        let next = tokio::time::timeout(SOON, watcher.next()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} events came in time", found.len())).unwrap();
        assert!(!next.is_empty(), "an empty batch was handed out");
        if let (Some(last), Some(first)) = (found.last(), next.first()) {
            assert!(last.revision < first.revision, "revision {} was split", first.revision);
        }
        found.extend(next);
        let last = found.last().unwrap().revision;
        assert!(watcher.progress() >= last, "progress {} is behind event {last}", watcher.progress());
    }
    assert_eq!(found.len(), count, "more events than expected");
    found
}

async fn is_pending(watcher: &mut dyn Watcher) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(watcher.poll_next(cx).is_pending())).await
}

async fn range(store: &dyn Store, prefix: &str, at: Option<Revision>) -> Range {
    store.range(RangeRequest { prefix: prefix.to_owned(), at, ..Default::default() }).await.unwrap()
}

fn text(record: &Record) -> String {
    format!("{}={}", record.key, String::from_utf8_lossy(&record.value))
}

fn texts(range: &Range) -> Vec<String> {
    range.records.iter().map(|record| text(record)).collect()
}

fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match &event.record {
        Some(record) => text(record),
        None => format!("-{}", event.key),
    };
    events.iter().map(word).collect()
}

/// `by` revisions later.
fn later(revision: Revision, by: u64) -> Revision {
    Revision(revision.0 + by)
}

async fn put_if(store: &dyn Store, key: &str, condition: Condition) -> TxnOutcome {
    let checks = vec![Check { key: key.to_owned(), condition }];
    store.txn(Txn { checks, ops: vec![put("out", "x")] }).await.unwrap()
}

pub async fn put_and_get_tell_created_and_modified(store: Arc<dyn Store>) {
    let start = store.revision();
    assert!(store.get("a").await.unwrap().is_none());
    let first = write(&*store, [put("a", "1")]).await;
    let second = write(&*store, [put("a", "2")]).await;
    assert_eq!((first, second), (later(start, 1), later(start, 2)));
    let record = store.get("a").await.unwrap().unwrap();
    assert_eq!((text(&record).as_str(), record.created, record.modified), ("a=2", first, second));
    assert_eq!(store.revision(), second);
    let outcome = store.txn(Txn { checks: vec![], ops: vec![put("b", "1"), delete("a"), put("c", "2")] }).await;
    let TxnOutcome::Committed { records, .. } = outcome.unwrap() else { panic!("no check was given") };
    assert_eq!(records.iter().map(|record| text(record)).collect::<Vec<_>>(), ["b=1", "c=2"]);
}

pub async fn deleted_and_recreated_key_is_created_anew(store: Arc<dyn Store>) {
    write(&*store, [put("a", "1")]).await;
    write(&*store, [delete("a")]).await;
    assert!(store.get("a").await.unwrap().is_none());
    let again = write(&*store, [put("a", "2")]).await;
    let record = store.get("a").await.unwrap().unwrap();
    assert_eq!((record.created, record.modified), (again, again));
}

pub async fn delete_of_a_missing_key_writes_nothing(store: Arc<dyn Store>) {
    let before = write(&*store, [put("a", "1")]).await;
    assert_eq!(write(&*store, [delete("b")]).await, before);
    assert_eq!(store.revision(), before);
    let mut watcher = store.watch("", before).unwrap();
    let mixed = write(&*store, [delete("b"), put("c", "1")]).await;
    assert_eq!(mixed, before.next());
    assert_eq!(words(&events(&mut *watcher, 1).await), ["c=1"]);
}

pub async fn checks_decide_whether_a_txn_commits(store: Arc<dyn Store>) {
    let revision = write(&*store, [put("a", "1")]).await;
    let committed = |outcome: TxnOutcome| matches!(outcome, TxnOutcome::Committed { .. });
    for (key, condition, holds) in [
        ("a", Condition::Exists, true),
        ("a", Condition::Absent, false),
        ("a", Condition::ModifiedAt(revision), true),
        ("a", Condition::ModifiedAt(revision.next()), false),
        ("b", Condition::Exists, false),
        ("b", Condition::Absent, true),
        ("b", Condition::ModifiedAt(revision), false),
        ("b", Condition::ModifiedAt(Revision(0)), false),
    ] {
        let before = store.revision();
        assert_eq!(committed(put_if(&*store, key, condition).await), holds, "{key} {condition:?}");
        let expected = if holds { before.next() } else { before };
        assert_eq!(store.revision(), expected, "{key} {condition:?}");
    }
}

pub async fn failed_check_tells_its_index_and_what_is_there(store: Arc<dyn Store>) {
    let revision = write(&*store, [put("a", "1")]).await;
    let checks = vec![
        Check { key: "a".to_owned(), condition: Condition::ModifiedAt(revision) },
        Check { key: "a".to_owned(), condition: Condition::Absent },
        Check { key: "b".to_owned(), condition: Condition::Exists },
    ];
    let outcome = store.txn(Txn { checks: checks.clone(), ops: vec![put("c", "1")] }).await.unwrap();
    let TxnOutcome::CheckFailed { index: 1, current: Some(current) } = outcome else { panic!("{outcome:?}") };
    assert_eq!((text(&current).as_str(), current.modified), ("a=1", revision));
    let outcome = store.txn(Txn { checks: checks[2..].to_vec(), ops: vec![] }).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::CheckFailed { index: 0, current: None }), "{outcome:?}");
    assert!(store.get("c").await.unwrap().is_none(), "a failed check wrote something");
}

pub async fn txn_without_writes_tells_the_current_revision(store: Arc<dyn Store>) {
    let revision = write(&*store, [put("a", "1")]).await;
    let checks = vec![Check { key: "a".to_owned(), condition: Condition::Exists }];
    let outcome = store.txn(Txn { checks, ops: vec![] }).await.unwrap();
    let TxnOutcome::Committed { revision: told, records } = outcome else { panic!("{outcome:?}") };
    assert_eq!((told, records.len(), store.revision()), (revision, 0, revision));
}

pub async fn writes_of_a_txn_share_a_revision(store: Arc<dyn Store>) {
    let old = write(&*store, [put("old", "1")]).await;
    let revision = write(&*store, [put("a", "1"), put("b", "2"), delete("old")]).await;
    assert_eq!(revision, old.next());
    for record in range(&*store, "", None).await.records {
        assert_eq!((record.created, record.modified), (revision, revision));
    }
    assert_eq!(write(&*store, [put("c", "3")]).await, revision.next());
}

pub async fn invalid_txn_is_refused_and_the_store_goes_on(store: Arc<dyn Store>) {
    let start = store.revision();
    for ops in [vec![put("a", "1"), delete("a")], vec![put("", "1")], vec![put(&"k".repeat(70_000), "1")]] {
        let refused = store.txn(Txn { checks: vec![], ops }).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(store.revision(), start);
    assert_eq!(write(&*store, [put("a", "1")]).await, start.next());
}

pub async fn range_pages_by_limit_and_after(store: Arc<dyn Store>) {
    write(&*store, (0..7).map(|n| put(&format!("p/{n}"), "v"))).await;
    write(&*store, [put("o/1", "v"), put("q/1", "v")]).await;
    for at in [None, Some(store.revision())] {
        let mut after = None;
        let mut seen = Vec::new();
        for remaining in [4, 1, 0] {
            let request = RangeRequest { prefix: "p/".to_owned(), after: after.clone(), limit: 3, at };
            let page = store.range(request).await.unwrap();
            assert_eq!((page.remaining, page.revision), (remaining, store.revision()));
            seen.extend(texts(&page));
            after = page.records.last().map(|record| record.key.to_string());
        }
        assert_eq!(seen, (0..7).map(|n| format!("p/{n}=v")).collect::<Vec<_>>());
    }
}

pub async fn range_prefix_is_exact(store: Arc<dyn Store>) {
    write(&*store, ["pod/a", "pod/b", "pods/a", "po", "pod0"].map(|key| put(key, "v"))).await;
    assert_eq!(texts(&range(&*store, "pod/", None).await), ["pod/a=v", "pod/b=v"]);
    assert_eq!(range(&*store, "", None).await.records.len(), 5);
    let request =
        |after: &str| RangeRequest { prefix: "pod/".to_owned(), after: Some(after.to_owned()), ..Default::default() };
    assert_eq!(store.range(request("a")).await.unwrap().records.len(), 2, "`after` lies before the prefix");
    assert_eq!(store.range(request("pod/aa")).await.unwrap().records.len(), 1, "`after` need not exist");
    assert_eq!(store.range(request("z")).await.unwrap().records.len(), 0, "`after` lies behind the prefix");
}

pub async fn range_reads_older_states(store: Arc<dyn Store>) {
    let start = store.revision();
    let first = write(&*store, [put("p/a", "1"), put("p/c", "1"), put("x", "1")]).await;
    let second = write(&*store, [put("p/a", "2"), put("p/b", "2"), delete("p/c")]).await;
    let third = write(&*store, [delete("p/a"), put("p/c", "3"), put("p/d", "3")]).await;
    let fourth = write(&*store, [put("p/a", "4")]).await;
    for (at, expected) in [
        (start, vec![]),
        (first, vec!["p/a=1", "p/c=1"]),
        (second, vec!["p/a=2", "p/b=2"]),
        (third, vec!["p/b=2", "p/c=3", "p/d=3"]),
        (fourth, vec!["p/a=4", "p/b=2", "p/c=3", "p/d=3"]),
    ] {
        let state = range(&*store, "p/", Some(at)).await;
        assert_eq!((texts(&state), state.revision, state.remaining), (to_strings(expected), at, 0));
    }
    let request = RangeRequest { prefix: "p/".to_owned(), after: Some("p/b".to_owned()), limit: 1, at: Some(third) };
    let page = store.range(request).await.unwrap();
    assert_eq!((texts(&page), page.remaining), (to_strings(vec!["p/c=3"]), 1));
}

pub async fn pages_are_of_one_state_while_others_write(store: Arc<dyn Store>) {
    const WRITERS: usize = 4;
    const WRITES: usize = 60;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..WRITES {
                // Keys come, change and go, before and behind wherever the reader is.
                let key = format!("p/{}", (n * 7 + writer * 11) % 23);
                write(&*store, [if n % 3 == 2 { delete(&key) } else { put(&key, &format!("{writer}.{n}")) }]).await;
            }
        });
    }
    loop {
        let is_last = writers.is_empty();
        let (mut at, mut after, mut seen) = (None, None, Vec::new());
        loop {
            let request = RangeRequest { prefix: "p/".to_owned(), after: after.take(), limit: 3, at };
            let page = store.range(request).await.unwrap();
            assert_eq!(page.revision, *at.get_or_insert(page.revision), "a page of another state");
            assert!(page.records.len() == 3 || page.remaining == 0, "a page that is not full is not the last");
            seen.extend(texts(&page));
            let expected = range(&*store, "p/", at).await;
            assert_eq!(page.remaining as usize + seen.len(), expected.records.len(), "at {}", page.revision);
            assert_eq!(seen, texts(&expected)[..seen.len()], "at {}", page.revision);
            if page.remaining == 0 {
                break;
            }
            after = page.records.last().map(|record| record.key.to_string());
        }
        if is_last {
            return;
        }
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
        }
    }
}

fn to_strings(words: Vec<&str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

pub async fn range_and_watch_in_the_future_are_refused(store: Arc<dyn Store>) {
    let current = write(&*store, [put("a", "1")]).await;
    let requested = current.next();
    let expected = StoreError::Future { requested, current };
    let request = RangeRequest { at: Some(requested), ..Default::default() };
    assert_eq!(store.range(request).await.unwrap_err(), expected);
    assert_eq!(store.watch("", requested).err(), Some(expected.clone()));
    assert_eq!(store.compact(requested).await, Err(expected));
}

pub async fn compacted_history_is_refused(store: Arc<dyn Store>) {
    let first = write(&*store, [put("a", "1")]).await;
    let second = write(&*store, [put("a", "2")]).await;
    write(&*store, [put("a", "3")]).await;
    store.compact(second).await.unwrap();
    store.compact(first).await.expect("compacting again is no error");
    let expected = StoreError::Compacted { requested: first, oldest: second };
    let request = |at| RangeRequest { at: Some(at), ..Default::default() };
    assert_eq!(store.range(request(first)).await.unwrap_err(), expected);
    assert_eq!(store.watch("", first).err(), Some(expected));
    assert_eq!(texts(&store.range(request(second)).await.unwrap()), ["a=2"]);
    let mut watcher = store.watch("", second).unwrap();
    assert_eq!(words(&events(&mut *watcher, 1).await), ["a=3"]);
}

pub async fn compaction_keeps_the_newest_versions(store: Arc<dyn Store>) {
    write(&*store, [put("a", "1"), put("b", "1"), put("c", "1")]).await;
    write(&*store, [put("a", "2"), delete("b")]).await;
    let revision = store.revision();
    store.compact(revision).await.unwrap();
    assert_eq!(texts(&range(&*store, "", None).await), ["a=2", "c=1"]);
    // Compacting may itself be a write, where several have to agree on it.
    let again = write(&*store, [put("b", "3")]).await;
    assert!(again > revision);
    let record = store.get("b").await.unwrap().unwrap();
    assert_eq!(record.created, again);
}

pub async fn watch_replays_from_an_older_revision(store: Arc<dyn Store>) {
    let first = write(&*store, [put("a", "1")]).await;
    write(&*store, [put("b", "2")]).await;
    write(&*store, [delete("a")]).await;
    let mut watcher = store.watch("", first).unwrap();
    assert_eq!(words(&events(&mut *watcher, 2).await), ["b=2", "-a"]);
    assert!(is_pending(&mut *watcher).await);
    write(&*store, [put("c", "4")]).await;
    assert_eq!(words(&events(&mut *watcher, 1).await), ["c=4"]);
}

pub async fn watch_sees_only_its_prefix_and_tells_progress(store: Arc<dyn Store>) {
    let start = store.revision();
    let mut watcher = store.watch("p/", start).unwrap();
    assert_eq!(watcher.progress(), start);
    write(&*store, [put("q/1", "1")]).await;
    let last = write(&*store, [put("o/1", "1")]).await;
    assert!(is_pending(&mut *watcher).await);
    // Another watcher that has seen the last event shows that the news is out.
    let mut witness = store.watch("o/", start).unwrap();
    events(&mut *witness, 1).await;
    assert_eq!(watcher.progress(), last, "progress goes on without events");
    write(&*store, [put("p/1", "1")]).await;
    assert_eq!(words(&events(&mut *watcher, 1).await), ["p/1=1"]);
}

pub async fn watch_events_carry_both_versions(store: Arc<dyn Store>) {
    let start = store.revision();
    let mut watcher = store.watch("", start).unwrap();
    write(&*store, [put("a", "1")]).await;
    write(&*store, [put("a", "2")]).await;
    write(&*store, [delete("a")]).await;
    let seen = events(&mut *watcher, 3).await;
    let both = |event: &Event| {
        let value = |record: &Option<Arc<Record>>| record.as_ref().map(|record| text(record));
        (event.revision.0 - start.0, value(&event.previous), value(&event.record))
    };
    let (one, two) = (Some("a=1".to_owned()), Some("a=2".to_owned()));
    let expected = [(1, None, one.clone()), (2, one, two.clone()), (3, two, None)];
    assert_eq!(seen.iter().map(both).collect::<Vec<_>>(), expected);
    let record = seen[1].record.clone().unwrap();
    assert_eq!((record.created, record.modified), (later(start, 1), later(start, 2)));
}

pub async fn watch_keeps_a_txn_whole(store: Arc<dyn Store>) {
    // More events than a batch holds, in transactions that do not divide it.
    const TXNS: usize = 5;
    const OPS: usize = crate::limits::WATCH_SWEEP / 2 + 7;
    let start = store.revision();
    for txn in 0..TXNS {
        write(&*store, (0..OPS).map(|op| put(&format!("{txn}/{op}"), "v"))).await;
    }
    let mut watcher = store.watch("", start).unwrap();
    let seen = events(&mut *watcher, TXNS * OPS).await;
    assert!(seen.is_sorted_by_key(|event| event.revision));
    assert_eq!(watcher.progress(), later(start, TXNS as u64));
}

pub async fn watch_is_complete_and_ordered_under_concurrent_writers(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 40;
    let start = store.revision();
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..WRITES {
                let key = format!("{}/{writer}", if n % 4 == 3 { "other" } else { "mine" });
                write(&*store, [put(&key, &n.to_string())]).await;
            }
            None
        });
    }
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut watcher = store.watch("mine/", start).unwrap();
            Some(events(&mut *watcher, WRITERS * WRITES * 3 / 4).await)
        });
    }
    let mut views = Vec::new();
    while let Some(done) = tasks.join_next().await {
        views.extend(done.unwrap());
    }
    assert_eq!(store.revision(), later(start, (WRITERS * WRITES) as u64), "revisions have gaps");
    for view in &views {
        assert!(view.windows(2).all(|pair| pair[0].revision < pair[1].revision), "out of order");
        let mut last: BTreeMap<&str, &Event> = BTreeMap::new();
        for event in view {
            let before = last.insert(&event.key, event).and_then(|event| event.record.as_ref());
            let modified = |record: &Arc<Record>| record.modified;
            assert_eq!(before.map(modified), event.previous.as_ref().map(modified), "an event is missing");
        }
        assert_eq!(words(view), words(&views[0]));
    }
}

pub async fn concurrent_compare_and_swap_loses_no_update(store: Arc<dyn Store>) {
    const WRITERS: u64 = 6;
    const INCREMENTS: u64 = 15;
    write(&*store, [put("counter", "0")]).await;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                let mut seen = store.get("counter").await.unwrap().unwrap();
                loop {
                    let value: u64 = String::from_utf8_lossy(&seen.value).parse().unwrap();
                    let condition = Condition::ModifiedAt(seen.modified);
                    let checks = vec![Check { key: "counter".to_owned(), condition }];
                    let ops = vec![put("counter", &(value + 1).to_string())];
                    match store.txn(Txn { checks, ops }).await.unwrap() {
                        TxnOutcome::Committed { .. } => break,
                        TxnOutcome::CheckFailed { current, .. } => seen = current.unwrap(),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let counter = store.get("counter").await.unwrap().unwrap();
    assert_eq!(text(&counter), format!("counter={}", WRITERS * INCREMENTS));
}

pub async fn answers_are_visible_to_their_reader(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..25 {
                let revision = write(&*store, [put(&format!("w/{writer}"), &n.to_string())]).await;
                assert!(store.revision() >= revision);
                let record = store.get(&format!("w/{writer}")).await.unwrap().unwrap();
                assert_eq!((text(&record), record.modified), (format!("w/{writer}={n}"), revision));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
