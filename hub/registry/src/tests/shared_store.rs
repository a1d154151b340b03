//! A store that other hubs write to as well: which requests wait for it, and what its errors are to clients.

use super::*;
use async_trait::async_trait;
use holdfast_core::verbs::VersionMatch;
use holdfast_core::{DeleteOptions, Revision};
use holdfast_store::{Range, RangeRequest, Record, StoreError, Txn, TxnOutcome, Watcher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts syncs, and fails on demand.
struct SharedStore {
    inner: Arc<CachedStore>,
    syncs: AtomicUsize,
    fault: Mutex<Option<StoreError>>,
}

impl SharedStore {
    fn fault(&self) -> Result<(), StoreError> {
        self.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Store for SharedStore {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    async fn sync(&self) -> Result<Revision, StoreError> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match self.fault() {
            Err(err @ StoreError::Unavailable(_)) => Err(err),
            _ => Ok(self.revision()),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        self.inner.get(key).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, StoreError> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.fault()?;
        self.inner.txn(txn).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.inner.watch(prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }

    fn close(&self) {
        self.inner.close();
    }
}

async fn shared() -> (Cluster, Arc<SharedStore>) {
    let inner = CachedStore::open(MemoryLog::new()).unwrap();
    let store = Arc::new(SharedStore { inner, syncs: AtomicUsize::new(0), fault: Mutex::default() });
    (cluster_on(store.clone()).await, store)
}

fn at(revision: u64) -> ListOptions {
    ListOptions { resource_version: Some(Revision(revision)), ..ListOptions::default() }
}

#[tokio::test]
async fn the_most_recent_is_waited_for_and_what_is_at_hand_is_not() {
    let (cluster, store) = shared().await;
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    let maps = target("configmaps", "default", "");
    let (registry, cx) = (&cluster.registry, &cluster.cx);
    let syncs = || store.syncs.swap(0, Ordering::SeqCst);
    syncs();
    let current = store.revision().0;

    cluster.get("configmaps", "default", "a").await.unwrap();
    assert_eq!(syncs(), 1, "a get");
    let list = registry.list(cx, &maps, &ListOptions::default()).await.unwrap();
    assert_eq!(syncs(), 1, "a list");
    registry.watch(cx, &maps, &ListOptions::default()).await.unwrap();
    assert_eq!(syncs(), 1, "a watch");
    let exact = ListOptions { version_match: Some(VersionMatch::Exact), ..at(current) };
    for options in [at(0), at(current), exact, ListOptions { limit: 1, ..at(0) }] {
        registry.list(cx, &maps, &options).await.unwrap();
        registry.watch(cx, &maps, &at(options.resource_version.unwrap().0)).await.unwrap();
        assert_eq!(syncs(), 0, "{options:?}");
    }
    // Another hub may have told it.
    for status in [
        registry.list(cx, &maps, &at(current + 5)).await.map(drop).unwrap_err(),
        registry.watch(cx, &maps, &at(current + 5)).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(status.code(), 504, "{}", status.message());
    }
    assert_eq!(syncs(), 2, "before they are refused");
    assert_eq!(list.revision, Revision(current));

    cluster.create("configmaps", "default", config_map("b", json!({}))).await.unwrap();
    assert!(syncs() >= 1, "a create");
    cluster.merge("configmaps", "b", json!({ "data": { "more": "x" } })).await.unwrap();
    assert!(syncs() >= 1, "a patch");
    let doc = cluster.get("configmaps", "default", "b").await.unwrap();
    syncs();
    cluster.update("configmaps", doc).await.unwrap();
    assert!(syncs() >= 1, "an update");
    cluster.delete("configmaps", "default", "b").await.unwrap();
    assert!(syncs() >= 1, "a delete");
    registry.delete_collection(cx, &maps, &DeleteOptions::default(), &ListOptions::default()).await.unwrap();
    assert!(syncs() >= 1, "a delete of a collection");
}

#[tokio::test]
async fn errors_of_the_store_say_whether_to_try_again() {
    let (cluster, store) = shared().await;
    let mut told = Vec::new();
    for fault in [
        StoreError::Unavailable("etcd: reach a:1: refused".into()),
        StoreError::Unknown("etcd did not answer: timed out".into()),
        StoreError::TooLarge("etcd takes 1.5 MiB in one request".into()),
    ] {
        *store.fault.lock().unwrap() = Some(fault);
        let status = cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap_err();
        let retry = status.details().and_then(|details| details.retry_after_seconds);
        told.push(format!("{} {:?} {:?} {}", status.code(), status.reason(), retry, status.message()));
    }
    assert_eq!(
        told,
        [
            "503 ServiceUnavailable Some(1) the store cannot be reached: etcd: reach a:1: refused",
            "500 InternalError None Internal error occurred: nobody knows whether the write was done: etcd did not \
             answer: timed out",
            "413 RequestEntityTooLarge None the write is too large: etcd takes 1.5 MiB in one request",
        ]
    );
    *store.fault.lock().unwrap() = Some(StoreError::Unavailable("away".into()));
    assert_eq!(cluster.get("configmaps", "default", "a").await.unwrap_err().code(), 503);
    let maps = target("configmaps", "default", "");
    cluster.registry.list(&cluster.cx, &maps, &at(0)).await.expect("what is at hand");
}
