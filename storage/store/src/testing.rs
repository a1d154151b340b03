//! A log for tests: it lives in memory, promises no durability, and fails or stalls on demand.
//!
//! For tests of this crate and of others that need a [`crate::Store`] without a disk. Never for production: all
//! is lost with the process.

use crate::memory::CachedStore;
use crate::{LogBackend, LogEntry, StoreError};
use holdfast_core::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest that [`MemoryLog::pause`] lasts.
pub const PAUSE: Duration = Duration::from_secs(30);

/// A [`LogBackend`] in memory. Clones of its `Arc` can be opened again, as a disk could.
#[derive(Default)]
pub struct MemoryLog {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    live: BTreeMap<Arc<str>, LogEntry>,
    revision: Revision,
    meta: BTreeMap<String, Vec<u8>>,
    faults: VecDeque<StoreError>,
    paused: bool,
    waiting: usize,
    appends: Vec<usize>,
    compacted: Revision,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Arc<MemoryLog> {
        Arc::default()
    }

    /// The next appends fail with these, in order, and write nothing.
    pub fn fail_next(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.lock().faults.extend(errors);
    }

    /// Appends block until [`MemoryLog::resume`], or for [`PAUSE`], so that a failed test ends.
    pub fn pause(&self) {
        self.lock().paused = true;
    }

    /// Lets blocked appends go on.
    pub fn resume(&self) {
        self.lock().paused = false;
        self.changed.notify_all();
    }

    /// Waits until an append is blocked by [`MemoryLog::pause`].
    pub fn wait_for_append(&self) {
        let mut inner = self.lock();
        while inner.waiting == 0 {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many entries each append had so far.
    pub fn appends(&self) -> Vec<usize> {
        self.lock().appends.clone()
    }

    /// The newest revision that was compacted.
    pub fn compacted(&self) -> Revision {
        self.lock().compacted
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogBackend for MemoryLog {
    fn load(&self, each: &mut dyn FnMut(LogEntry)) -> Result<Revision, StoreError> {
        let inner = self.lock();
        inner.live.values().cloned().for_each(each);
        Ok(inner.revision)
    }

    fn append(&self, batch: &[LogEntry]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.waiting += 1;
        self.changed.notify_all();
        let paused = self.changed.wait_timeout_while(inner, PAUSE, |inner| inner.paused);
        inner = paused.unwrap_or_else(PoisonError::into_inner).0;
        inner.waiting -= 1;
        if let Some(error) = inner.faults.pop_front() {
            return Err(error);
        }
        inner.appends.push(batch.len());
        for entry in batch {
            inner.revision = entry.revision;
            match entry.value {
                Some(_) => inner.live.insert(entry.key.clone(), entry.clone()),
                None => inner.live.remove(&entry.key),
            };
        }
        Ok(())
    }

    fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.compacted = inner.compacted.max(revision);
        Ok(())
    }

    fn put_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.lock().meta.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().meta.get(name).cloned())
    }
}

/// A store over a fresh [`MemoryLog`], for tests that only need some store.
///
/// # Errors
/// When its threads cannot be started.
pub fn memory_store() -> Result<Arc<CachedStore>, StoreError> {
    CachedStore::open(MemoryLog::new())
}
