//! The journal, shared by the node's tasks.
//!
//! A commit that syncs runs where blocking is allowed; reads and lazy commits are short and in place. A failed
//! sync is fatal: the process must end and recover, so the first error is kept and told to `node_main`.

use bytes::Bytes;
use holdfast_core::{Lineage, OutboxGen, Seq, Session};
use holdfast_edge_store::{Doubt, Durability, EdgeStore, Gap, Purpose, Record, State, StoreError, Vitals, Written};
use holdfast_env::{DiskError, Mono, World};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Bytes and syncs for one purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFor {
    /// Bytes since the start.
    pub bytes: u64,
    /// Data syncs since the start.
    pub syncs: u64,
    /// Bytes a day, if it goes on like this; 0 in the first minute, which says nothing.
    pub bytes_a_day: u64,
    /// Data syncs a day.
    pub syncs_a_day: u64,
}

/// The store.
pub struct SharedStore {
    env: World,
    inner: Arc<Mutex<EdgeStore>>,
    facts: Notify,
    items: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    fatal: watch::Sender<Option<String>>,
    doubt: watch::Sender<Doubt>,
    /// Rung when log facts had to be dropped, or there may be room for the word about it.
    gap: Notify,
    opened: Mono,
}

fn lock(store: &Mutex<EdgeStore>) -> MutexGuard<'_, EdgeStore> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedStore {
    /// Shares an open store.
    pub fn new(env: World, store: EdgeStore) -> Arc<SharedStore> {
        Arc::new(SharedStore {
            opened: env.monotonic(),
            env,
            doubt: watch::channel(store.vitals().doubt).0,
            gap: Notify::new(),
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
        let sum = |written: &BTreeMap<Purpose, Written>, of: fn(&Written) -> u64| written.values().map(of).sum();
        let store = lock(&self.inner);
        (sum(store.written(), |written| written.bytes), sum(store.written(), |written| written.syncs))
    }

    /// What is written for what, and what a day of it comes to.
    pub fn written_by_purpose(&self) -> BTreeMap<String, WrittenFor> {
        const DAY: u64 = 24 * 3600;
        let seconds = self.env.monotonic().since(self.opened).as_secs();
        let a_day = |count: u64| if seconds < 60 { 0 } else { count.saturating_mul(DAY) / seconds };
        let store = lock(&self.inner);
        let of = |(purpose, name): &(Purpose, &str)| {
            let Written { bytes, syncs } = store.written().get(purpose).copied().unwrap_or_default();
            let written = WrittenFor { bytes, syncs, bytes_a_day: a_day(bytes), syncs_a_day: a_day(syncs) };
            ((*name).to_string(), written)
        };
        Purpose::ALL.iter().map(of).collect()
    }

    /// What does not go back when the journal does.
    pub fn vitals(&self) -> Vitals {
        *lock(&self.inner).vitals()
    }

    /// Follows whether the journal may lack what was acknowledged.
    pub fn doubt(&self) -> watch::Receiver<Doubt> {
        self.doubt.subscribe()
    }

    /// Makes the session that the hub issued durable.
    pub async fn set_session(&self, lineage: Lineage, session: Session) -> Result<(), String> {
        self.synced(move |store| store.set_session(lineage, session)).await
    }

    /// Names the outbox, durably.
    pub async fn set_outbox(&self, outbox: OutboxGen) -> Result<(), String> {
        self.synced(move |store| store.set_outbox(outbox)).await
    }

    /// The word about a loss is in the outbox; what was lazy is made durable with it.
    pub async fn loss_told(&self) -> Result<(), String> {
        self.synced(|store| {
            store.flush()?;
            store.loss_told()
        })
        .await?;
        self.show_doubt();
        Ok(())
    }

    /// The node has the hub's whole view.
    pub async fn settle(&self) -> Result<(), String> {
        if *self.doubt.borrow() != Doubt::None {
            self.synced(EdgeStore::settle).await?;
            self.show_doubt();
        }
        Ok(())
    }

    fn show_doubt(&self) {
        self.doubt.send_replace(self.vitals().doubt);
    }

    /// Commits durably.
    ///
    /// # Errors
    /// Text of the disk's error. Anything but a full disk ends the node.
    pub async fn commit(&self, batch: Vec<Record>) -> Result<(), String> {
        let touches_items = batch.iter().any(|record| match record {
            Record::PutItem { .. } | Record::DropItem { .. } => true,
            // Static pods are read beside the items.
            Record::PutNote { key, .. } | Record::DropNote { key } => key.starts_with(crate::static_pods::NOTES),
            _ => false,
        });
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
        let at = self.wall_micros();
        let seq = self.synced(move |store| store.push_log_fact(body, at, Durability::Lazy)).await?;
        self.facts.notify_one();
        if self.read(|state| state.outbox().gap().is_some()) {
            self.gap.notify_one();
        }
        Ok(seq)
    }

    /// Appends the word about log facts that were dropped, if there is one to say and room for it.
    pub async fn tell_gap(
        &self,
        word: impl FnOnce(Gap) -> Bytes + Send + 'static,
    ) -> Result<Option<(Seq, Bytes)>, String> {
        let at = self.wall_micros();
        let told = self.synced(move |store| store.tell_gap(at, word)).await?;
        if told.is_some() {
            self.facts.notify_one();
        }
        Ok(told)
    }

    /// Completes when there may be a gap to tell. Cancel safe.
    pub async fn gap_changed(&self) {
        self.gap.notified().await;
    }

    /// The hub has everything up to here.
    pub fn acknowledged(&self, seq: Seq) {
        self.lazily(vec![Record::Acknowledged { seq }]);
        if self.read(|state| state.outbox().gap().is_some()) {
            self.gap.notify_one();
        }
    }

    fn wall_micros(&self) -> i64 {
        i64::try_from(self.env.wall().0.as_micros()).unwrap_or(i64::MAX)
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
