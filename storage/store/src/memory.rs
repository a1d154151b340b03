//! [`CachedStore`]: the store over a [`LogBackend`].
//!
//! Owns a [`WatchCache`], from which it serves all reads, and the writer's two threads (`store-number`,
//! `store-sync`, see `writer`). It never reads the log after
//! [`CachedStore::open`], never waits for the disk in a caller's thread, and never holds a lock across an await
//! or a sync. **Invariant:** a revision is visible only after [`LogBackend::append`] returned for it.

mod cache;
mod evaluate;
mod ring;
mod state;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use cache::WatchCache;

use crate::{LogBackend, Range, RangeRequest, Record, Store, StoreError, Txn, TxnOutcome, Watcher};
use async_trait::async_trait;
use evaluate::Prepared;
use holdfast_core::Revision;
use holdfast_env::{Task, World};
use state::{Shared, lock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use writer::Writer;

/// A [`Store`] that serves reads and watches from memory and commits through a [`LogBackend`].
///
/// A `txn` whose batch met a full disk gets [`StoreError::Full`] and left nothing behind; later ones may
/// succeed. After [`StoreError::Failed`] no write is accepted any more, reads and watches go on.
pub struct CachedStore {
    cache: WatchCache,
    writer: Writer,
    backend: Arc<dyn LogBackend>,
    /// Held while the log is compacted: one at a time.
    compacting: Arc<Mutex<()>>,
}

impl CachedStore {
    /// Loads the log into memory and starts the writer. Blocks while it reads.
    ///
    /// # Errors
    /// What [`LogBackend::load`] says; [`StoreError::Failed`] when threads cannot be started.
    pub fn open(backend: Arc<dyn LogBackend>) -> Result<Arc<CachedStore>, StoreError> {
        let shared = load(&*backend)?;
        CachedStore::start(backend, shared)
    }

    /// The store of a world without threads: the writer is a task of `env`, and watchers are woken by it. For the
    /// simulator, which drives the same numbering, publishing and watching as [`CachedStore::open`]'s threads do.
    ///
    /// # Errors
    /// What [`LogBackend::load`] says.
    pub fn open_over(env: &World, backend: Arc<dyn LogBackend>) -> Result<(Arc<CachedStore>, Task), StoreError> {
        let cache = WatchCache::without_thread(load(&*backend)?);
        let (writer, turns) = Writer::in_turns(&cache.shared, backend.clone());
        let store = Arc::new(CachedStore { cache, writer, backend, compacting: Arc::default() });
        Ok((store, env.spawn("store-writer", Box::pin(turns.run(env.clone())))))
    }

    fn start(backend: Arc<dyn LogBackend>, shared: Shared) -> Result<Arc<CachedStore>, StoreError> {
        let cache = WatchCache::start(Arc::new(shared))?;
        let writer = Writer::start(&cache.shared, backend.clone())?;
        Ok(Arc::new(CachedStore { cache, writer, backend, compacting: Arc::default() }))
    }

    /// The log below, for the small values beside it ([`LogBackend::meta`]).
    pub fn backend(&self) -> &Arc<dyn LogBackend> {
        &self.backend
    }
}

impl Drop for CachedStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for CachedStore {
    fn revision(&self) -> Revision {
        self.cache.revision()
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.cache.get(key))
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, StoreError> {
        self.cache.range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let txn = Prepared::new(txn, &*self.backend)?;
        self.writer.commit(txn).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.cache.watch(prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.cache.forget(revision)?;
        let (backend, compacting) = (self.backend.clone(), self.compacting.clone());
        let compact = tokio::task::spawn_blocking(move || {
            let _one = lock(&compacting);
            backend.compact(revision)
        });
        compact.await.unwrap_or_else(|error| Err(StoreError::Failed(format!("compaction ended early: {error}"))))
    }

    /// Commits what is queued before it refuses the rest.
    fn close(&self) {
        self.writer.close();
        self.cache.close();
    }
}

fn load(backend: &dyn LogBackend) -> Result<Shared, StoreError> {
    let mut records = BTreeMap::new();
    let revision = backend.load(&mut |entry| {
        if let Some(value) = entry.value {
            let record = Record::new(entry.key.clone(), value, entry.created, entry.revision);
            records.insert(entry.key, Arc::new(record));
        }
    })?;
    Ok(Shared::new(records, revision))
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let failed = |error| StoreError::Failed(format!("cannot start the thread {name}: {error}"));
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)
}
