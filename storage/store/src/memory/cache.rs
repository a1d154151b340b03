//! [`WatchCache`]: what readers of a store see, for a store whose writes are numbered elsewhere.
//!
//! Owns the current state, the ring of events, the watchers and the thread that sweeps them (`store-sweep`). It is told
//! of changes by one writer, which is the caller's to be, and only of durable ones.

use super::state::{Shared, lock};
use super::thread;
use super::watch::RingWatcher;
use crate::{Event, Range, RangeRequest, Record, StoreError, Watcher};
use holdfast_core::Revision;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread::JoinHandle;

/// State, history and watchers in memory.
pub struct WatchCache {
    pub(super) shared: Arc<Shared>,
    /// `None` where watchers are woken without it, and once it is closed.
    sweeper: Mutex<Option<JoinHandle<()>>>,
}

fn by_key(records: impl IntoIterator<Item = Arc<Record>>) -> BTreeMap<Arc<str>, Arc<Record>> {
    records.into_iter().map(|record| (record.key.clone(), record)).collect()
}

impl WatchCache {
    /// The state of a store at `revision`, without history before it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when its thread cannot be started.
    pub fn new(records: impl IntoIterator<Item = Arc<Record>>, revision: Revision) -> Result<WatchCache, StoreError> {
        WatchCache::start(Arc::new(Shared::new(by_key(records), revision)))
    }

    pub(super) fn start(shared: Arc<Shared>) -> Result<WatchCache, StoreError> {
        let swept = shared.clone();
        let sweeper = thread("store-sweep", move || swept.hub.sweep_until_closed())?;
        Ok(WatchCache { shared, sweeper: Mutex::new(Some(sweeper)) })
    }

    /// Without a thread: all watchers are woken by the writer.
    pub(super) fn without_thread(mut shared: Shared) -> WatchCache {
        shared.hub.wake_all_at_once();
        WatchCache { shared: Arc::new(shared), sweeper: Mutex::new(None) }
    }

    /// The revision of the state.
    pub fn revision(&self) -> Revision {
        self.shared.revision()
    }

    /// One key.
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared.get(key)
    }

    /// Many keys.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::Future`].
    pub fn range(&self, request: &RangeRequest) -> Result<Range, StoreError> {
        self.shared.range(request)
    }

    /// Events of keys with `prefix` after revision `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::Future`] and [`StoreError::Closed`].
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        Ok(Box::new(RingWatcher::open(&self.shared, prefix, after)?))
    }

    /// The events of one revision; `None` when they are no longer held.
    pub fn events_at(&self, revision: Revision) -> Option<Vec<Event>> {
        self.shared.events_at(revision)
    }

    /// Makes events of whole revisions visible, in order; the state is at `revision` then.
    pub fn publish(&self, events: Vec<Event>, revision: Revision) {
        self.shared.publish(events, revision).into_iter().for_each(Waker::wake);
    }

    /// Notes that nothing changed up to `revision`.
    pub fn advance(&self, revision: Revision) {
        self.shared.advance(revision);
    }

    /// Puts another state in place, when what happened in between is not known. All watches end with
    /// [`StoreError::Compacted`].
    pub fn replace(&self, records: impl IntoIterator<Item = Arc<Record>>, revision: Revision) {
        self.shared.replace(by_key(records), revision).into_iter().for_each(Waker::wake);
    }

    /// Forgets history up to and including `revision`.
    ///
    /// # Errors
    /// [`StoreError::Future`].
    pub fn forget(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.forget(revision)
    }

    /// Ends all watches with [`StoreError::Closed`]; reads go on. Blocks until the thread has ended; dropping it does
    /// the same.
    pub fn close(&self) {
        self.shared.hub.close();
        let sweeper = lock(&self.sweeper).take();
        if sweeper.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The store's sweeping thread panicked");
        }
    }
}

impl Drop for WatchCache {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
