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

/// Why the disk takes no writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskTrouble {
    /// The system's reason, with the file.
    pub why: String,
    /// Nothing is written any more by this process; otherwise the disk is full, and the next write may do.
    pub is_last: bool,
}

/// The store.
pub struct SharedStore {
    env: World,
    inner: Arc<Mutex<EdgeStore>>,
    facts: Notify,
    items: watch::Sender<u64>,
    changes: watch::Sender<u64>,
    fatal: watch::Sender<Option<String>>,
    trouble: watch::Sender<Option<DiskTrouble>>,
    doubt: watch::Sender<Doubt>,
    /// Rung when log facts had to be dropped, or there may be room for the word about it.
    gap: Notify,
    opened: Mono,
}

/// A file that is written to see whether the disk takes it.
const PROBE: &str = "probe";

/// The error with the system's reason.
fn in_full(err: &DiskError) -> String {
    match std::error::Error::source(err) {
        Some(source) => format!("{err}: {source}"),
        None => err.to_string(),
    }
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
            trouble: watch::channel(None).0,
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
        if let StoreError::Disk(err) = err {
            let trouble = DiskTrouble { why: in_full(err), is_last: !matches!(err, DiskError::Full(_)) };
            self.trouble.send_if_modified(|known| {
                let news = known.as_ref().is_none_or(|known| trouble.is_last && !known.is_last);
                if news {
                    tracing::error!(why = trouble.why, "The node's disk takes no writes");
                    *known = Some(trouble);
                }
                news
            });
        }
        if !matches!(err, StoreError::Disk(DiskError::Full(_)) | StoreError::TooLarge(_) | StoreError::Ended) {
            self.fatal.send_if_modified(|fatal| {
                let first = fatal.is_none();
                fatal.get_or_insert_with(|| err.to_string());
                first
            });
        }
    }

    /// Follows whether the disk takes writes, and why not.
    pub fn trouble(&self) -> watch::Receiver<Option<DiskTrouble>> {
        self.trouble.subscribe()
    }

    /// Tries whether a disk that was full takes writes again, by what waits to be written.
    pub(crate) async fn try_again(&self) {
        if self.synced(EdgeStore::flush).await.is_ok() && self.trouble.send_replace(None).is_some() {
            tracing::info!("The node's disk takes writes again");
        }
    }

    /// Whether the disk takes writes, or would if it had room, whatever the store has met.
    pub(crate) async fn is_writable(&self) -> bool {
        let disk = self.env.disk();
        let tried = move || disk.write_durably(PROBE, b"1").and_then(|()| disk.remove(PROBE));
        !matches!(self.env.blocking(tried).await, None | Some(Err(DiskError::Failed { .. })))
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

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;
    use holdfast_env::{Disk, File};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A disk that takes nothing while that is set, as after the file system has met an error.
    struct Fragile(Arc<dyn Disk>, Arc<AtomicBool>);

    impl Fragile {
        fn check(&self, path: &str) -> Result<(), DiskError> {
            let source = std::io::ErrorKind::ReadOnlyFilesystem.into();
            match self.1.load(Ordering::Relaxed) {
                true => Err(DiskError::from_io(path, "write", source)),
                false => Ok(()),
            }
        }
    }

    struct FragileFile(Box<dyn File>, String, Arc<AtomicBool>);

    impl File for FragileFile {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
            self.0.read_at(offset, buf)
        }
        fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
            if self.2.load(Ordering::Relaxed) {
                return Err(DiskError::from_io(&self.1, "write", std::io::ErrorKind::ReadOnlyFilesystem.into()));
            }
            self.0.write_at(offset, data)
        }
        fn truncate(&self, len: u64) -> Result<(), DiskError> {
            self.0.truncate(len)
        }
        fn allocate(&self, len: u64) -> Result<(), DiskError> {
            self.0.allocate(len)
        }
        fn sync_data(&self) -> Result<(), DiskError> {
            self.0.sync_data()
        }
        fn len(&self) -> Result<u64, DiskError> {
            self.0.len()
        }
    }

    impl Disk for Fragile {
        fn open(&self, path: &str, create: bool) -> Result<Box<dyn File>, DiskError> {
            if create {
                self.check(path)?;
            }
            Ok(Box::new(FragileFile(self.0.open(path, create)?, path.to_string(), self.1.clone())))
        }
        fn create_dir_all(&self, path: &str) -> Result<(), DiskError> {
            self.0.create_dir_all(path)
        }
        fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
            self.check(to)?;
            self.0.rename(from, to)
        }
        fn remove(&self, path: &str) -> Result<(), DiskError> {
            self.check(path)?;
            self.0.remove(path)
        }
        fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
            self.0.list(dir)
        }
        fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
            self.0.sync_dir(dir)
        }
        fn free(&self) -> Result<u64, DiskError> {
            self.0.free()
        }
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_once_with_the_reason_and_facts_go_on_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        let refuses = Arc::new(AtomicBool::new(false));
        let disk: Arc<dyn Disk> = Arc::new(Fragile(env.disk(), refuses.clone()));
        let store = SharedStore::new(env, EdgeStore::open(disk).unwrap().0);
        let note = |key: &str| vec![Record::PutNote { key: key.into(), value: vec![1] }];
        store.commit(note("a")).await.unwrap();
        // Numbers for what is told later are reserved with the first.
        store.log_fact(Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(*store.trouble().borrow(), None);
        refuses.store(true, Ordering::Relaxed);
        assert!(store.commit(note("b")).await.is_err());
        let trouble = store.trouble().borrow().clone().unwrap();
        assert!(trouble.is_last && trouble.why.contains("write failed: read-only filesystem"), "{}", trouble.why);
        assert!(store.fatal().borrow().is_some());
        assert!(store.commit(note("c")).await.is_err());
        store.log_fact(Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(store.trouble().borrow().clone(), Some(trouble));
        store.try_again().await;
        assert!(store.trouble().borrow().is_some(), "this store writes no more");
    }
}
