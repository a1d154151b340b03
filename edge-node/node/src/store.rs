//! The journal, shared by the node's tasks.
//!
//! A commit that syncs runs where blocking is allowed; reads and lazy commits are short and in place. A failed
//! sync is fatal: the process must end and recover, so the first error is kept and told to `node_main`.

use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_edge_store::{Durability, EdgeStore, Record, State, StoreError};
use holdfast_env::{DiskError, World};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// The store.
pub struct SharedStore {
    env: World,
    inner: Arc<Mutex<EdgeStore>>,
    facts: Notify,
    items: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    fatal: watch::Sender<Option<String>>,
}

fn lock(store: &Mutex<EdgeStore>) -> MutexGuard<'_, EdgeStore> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedStore {
    /// Shares an open store.
    pub fn new(env: World, store: EdgeStore) -> Arc<SharedStore> {
        Arc::new(SharedStore {
            env,
            inner: Arc::new(Mutex::new(store)),
            facts: Notify::new(),
            items: watch::channel(0).0,
            changes: watch::channel(0).0,
            fatal: watch::channel(None).0,
        })
    }

    /// Looks at the state. Keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(lock(&self.inner).state())
    }

    /// Bytes written and syncs done since the start.
    pub fn written(&self) -> (u64, u64) {
        lock(&self.inner).written()
    }

    /// Commits durably.
    ///
    /// # Errors
    /// Text of the disk's error. Anything but a full disk ends the node.
    pub async fn commit(&self, batch: Vec<Record>) -> Result<(), String> {
        let touches_items =
            batch.iter().any(|record| matches!(record, Record::PutItem { .. } | Record::DropItem { .. }));
        self.synced(move |store| store.commit(batch, Durability::Synced)).await?;
        if touches_items {
            self.items.send_modify(|version| *version += 1);
            self.note_change();
        }
        Ok(())
    }

    /// Sets a state fact; with `durable` it survives a power cut.
    pub async fn state_fact(&self, key: String, body: Bytes, durable: bool) -> Result<(), String> {
        let durability = if durable { Durability::Synced } else { Durability::Lazy };
        self.synced(move |store| store.put_state_fact(&key, body, durability).map(|_| ())).await?;
        self.facts.notify_one();
        self.note_change();
        Ok(())
    }

    /// Appends a log fact; on disk with the next synced commit. Its number.
    pub async fn log_fact(&self, body: Bytes) -> Result<Seq, String> {
        let seq = self.synced(move |store| store.push_log_fact(body, Durability::Lazy)).await?;
        self.facts.notify_one();
        Ok(seq)
    }

    /// Notes what cannot be lost by being found out again.
    pub fn lazily(&self, batch: Vec<Record>) {
        if let Err(err) = lock(&self.inner).commit(batch, Durability::Lazy) {
            self.failed(&err);
        }
    }

    async fn synced<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut EdgeStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let inner = self.inner.clone();
        match self.env.blocking(move || work(&mut lock(&inner))).await {
            Some(Ok(done)) => Ok(done),
            Some(Err(err)) => {
                self.failed(&err);
                Err(err.to_string())
            }
            None => Err("the node is stopping".into()),
        }
    }

    fn failed(&self, err: &StoreError) {
        if !matches!(err, StoreError::Disk(DiskError::Full(_)) | StoreError::TooLarge(_)) {
            self.fatal.send_if_modified(|fatal| {
                let first = fatal.is_none();
                fatal.get_or_insert_with(|| err.to_string());
                first
            });
        }
    }

    /// Completes when facts were added since the last call. Cancel safe.
    pub async fn facts_changed(&self) {
        self.facts.notified().await;
    }

    /// Rings the link: there is something to send.
    pub fn ring_facts(&self) {
        self.facts.notify_one();
    }

    /// Follows changes of items; the value is a counter.
    pub fn items(&self) -> watch::Receiver<u64> {
        self.items.subscribe()
    }

    /// Follows changes of anything that the local API shows; the value is a counter.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Something that the local API shows has changed.
    pub fn note_change(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Follows the first fatal error.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }
}
