//! An acknowledged write has been synced, and one whose sync failed is not acknowledged.

use super::{open, syncs};
use holdfast_store::suite::put;
use holdfast_store::{LogBackend, Store, StoreError, Txn, TxnOutcome};
use holdfast_store_fjall::FjallBackend;

fn one(n: u32) -> Txn {
    Txn { checks: vec![], ops: vec![put("key", &n.to_string())] }
}

#[tokio::test]
async fn every_acknowledged_write_was_synced_before() {
    let dir = tempfile::tempdir().unwrap();
    syncs::watch(dir.path());
    let store = open(dir.path());
    for n in 0..50 {
        let before = syncs::count(dir.path());
        let outcome = store.txn(one(n)).await.unwrap();
        assert!(matches!(outcome, TxnOutcome::Committed { .. }), "{outcome:?}");
        assert!(syncs::count(dir.path()) > before, "write {n} was acknowledged and not synced");
    }
}

#[test]
fn small_values_are_synced_too() {
    let dir = tempfile::tempdir().unwrap();
    syncs::watch(dir.path());
    let backend = FjallBackend::open(dir.path()).unwrap();
    let before = syncs::count(dir.path());
    backend.put_meta("lineage", b"abc").unwrap();
    assert!(syncs::count(dir.path()) > before);
}

#[tokio::test]
async fn a_write_whose_sync_fails_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    syncs::watch(dir.path());
    let store = open(dir.path());
    store.txn(one(1)).await.unwrap();
    let told = store.revision();
    syncs::fail_next(dir.path());
    match store.txn(one(2)).await {
        Err(StoreError::Failed(text)) => {
            assert!(text.starts_with("cannot write the store's log: ") && text.contains("os error 5"), "{text}");
        }
        other => panic!("a failed sync was answered with {other:?}"),
    }
    // Nobody knows what is on disk now, so nothing more is written, and nobody sees what was not acknowledged.
    assert!(matches!(store.txn(one(3)).await, Err(StoreError::Failed(_))));
    assert_eq!(store.revision(), told);
    assert_eq!(store.get("key").await.unwrap().unwrap().value.as_ref(), b"1");
}
