//! The store's contract on fjall, starts from what an earlier run left, crashes and syncs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test; clippy knows only `#[test]` functions as such")]

mod crash;
mod durable;
mod prefixes;
mod syncs;

use holdfast_core::Revision;
use holdfast_store::suite::{delete, put, write};
use holdfast_store::{CachedStore, RangeRequest, Store, StoreError};
use holdfast_store_fjall::FjallBackend;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn open(path: &Path) -> Arc<CachedStore> {
    CachedStore::open(Arc::new(FjallBackend::open(path).unwrap())).unwrap()
}

fn fresh() -> Option<(Arc<dyn Store>, TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    Some((open(dir.path()), dir))
}

mod contract {
    holdfast_store::store_suite!(super::fresh);
}

#[tokio::test]
async fn reopened_store_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..300 {
        // Long and short values, so that both encodings are read back.
        write(&*store, [put(&format!("k{n:03}"), &"v".repeat(n)), put("same", &n.to_string())]).await;
    }
    write(&*store, [delete("k000"), delete("k299")]).await;
    store.backend().put_meta("lineage", b"abc").unwrap();
    let revision = store.revision();
    let before = store.range(RangeRequest::default()).await.unwrap().records;
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.revision(), revision);
    assert_eq!(store.backend().meta("lineage").unwrap().as_deref(), Some(b"abc".as_slice()));
    assert_eq!(store.backend().meta("other").unwrap(), None);
    let after = store.range(RangeRequest::default()).await.unwrap().records;
    assert_eq!(after.len(), 299);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.key, &before.value), (&after.key, &after.value));
        assert_eq!((before.created, before.modified), (after.created, after.modified));
    }
    let again = write(&*store, [put("k000", "again")]).await;
    assert_eq!(again, revision.next());
    assert_eq!(store.get("k000").await.unwrap().unwrap().created, again);
    assert_eq!(store.get("same").await.unwrap().unwrap().created, Revision(1));
}

#[test]
fn folder_in_use_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = FjallBackend::open(dir.path()).unwrap();
    let text = match FjallBackend::open(dir.path()).map(drop) {
        Err(StoreError::Failed(text)) => text,
        other => panic!("two at once: {other:?}"),
    };
    let path = dir.path().display();
    assert_eq!(text, format!("{path} is in use by another process; stop it, or choose another data folder"));
    drop(first);
    FjallBackend::open(dir.path()).expect("it is free again");
}

#[test]
fn path_that_is_a_file_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    match FjallBackend::open(file.path()).map(drop) {
        Err(StoreError::Failed(text)) => {
            assert!(text.starts_with(&format!("cannot open the store under {}: ", file.path().display())), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
