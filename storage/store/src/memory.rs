//! [`CachedStore`]: the store over a [`LogBackend`].
//!
//! Owns the current state and the ring of events in memory, the writer's two threads (`store-number`,
//! `store-sync`, see `writer`) and the watchers' (`store-sweep`, see `watch`). It never reads the log after
//! [`CachedStore::open`], never waits for the disk in a caller's thread, and never holds a lock across an await
//! or a sync. **Invariant:** a revision is visible only after [`LogBackend::append`] returned for it.

mod evaluate;
mod ring;
mod state;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use crate::{LogBackend, Range, RangeRequest, Record, Store, StoreError, Txn, TxnOutcome, Watcher};
use async_trait::async_trait;
use evaluate::Prepared;
use holdfast_core::Revision;
use holdfast_env::{Task, World};
use state::{Shared, lock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use watch::RingWatcher;
use writer::Writer;

/// A [`Store`] that serves reads and watches from memory and commits through a [`LogBackend`].
///
/// A `txn` whose batch met a full disk gets [`StoreError::Full`] and left nothing behind; later ones may
/// succeed. After [`StoreError::Failed`] no write is accepted any more, reads and watches go on.
pub struct CachedStore {
    shared: Arc<Shared>,
    writer: Writer,
    sweeper: Mutex<Option<JoinHandle<()>>>,
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
        let mut shared = load(&*backend)?;
        shared.hub.wake_all_at_once();
        let shared = Arc::new(shared);
        let (writer, turns) = Writer::in_turns(&shared, backend.clone());
        let compacting = Arc::new(Mutex::new(()));
        let store = Arc::new(CachedStore { shared, writer, sweeper: Mutex::new(None), backend, compacting });
        Ok((store, env.spawn("store-writer", Box::pin(turns.run(env.clone())))))
    }

    fn start(backend: Arc<dyn LogBackend>, shared: Shared) -> Result<Arc<CachedStore>, StoreError> {
        let shared = Arc::new(shared);
        let writer = Writer::start(&shared, backend.clone())?;
        let compacting = Arc::new(Mutex::new(()));
        let store = CachedStore { shared, writer, sweeper: Mutex::new(None), backend, compacting };
        let shared = store.shared.clone();
        // On an error the drop of `store` ends the writer.
        *lock(&store.sweeper) = Some(thread("store-sweep", move || shared.hub.sweep_until_closed())?);
        Ok(Arc::new(store))
    }

    /// The log below, for the small values beside it ([`LogBackend::meta`]).
    pub fn backend(&self) -> &Arc<dyn LogBackend> {
        &self.backend
    }

    /// Commits what is queued, refuses further transactions and ends all watches with [`StoreError::Closed`].
    /// Reads go on. Blocks until the threads have ended; dropping the store does the same.
    pub fn close(&self) {
        self.writer.close();
        self.shared.hub.close();
        let sweeper = lock(&self.sweeper).take();
        if sweeper.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The store's sweeping thread panicked");
        }
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
        self.shared.revision()
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.shared.get(key))
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, StoreError> {
        self.shared.range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let txn = Prepared::new(txn, &*self.backend)?;
        self.writer.commit(txn).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        Ok(Box::new(RingWatcher::open(&self.shared, prefix, after)?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.forget(revision)?;
        let (backend, compacting) = (self.backend.clone(), self.compacting.clone());
        let compact = tokio::task::spawn_blocking(move || {
            let _one = lock(&compacting);
            backend.compact(revision)
        });
        compact.await.unwrap_or_else(|error| Err(StoreError::Failed(format!("compaction ended early: {error}"))))
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
