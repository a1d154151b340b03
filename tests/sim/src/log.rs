//! The hub's log: durable at once, remembered whole, so that checkers and backups can look back.

use crate::ledger::{Commit, Ledger, Seen};
use holdfast_core::{Lineage, Revision, Timestamp};
use holdfast_links::lineage::{begin_another, first_revision};
use holdfast_store::{LogBackend, LogEntry, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A state of the log that a hub can be restored from.
#[derive(Clone, Default)]
pub struct Backup {
    live: BTreeMap<Arc<str>, LogEntry>,
    revision: Revision,
}

/// The log. It outlives the hub's process.
pub struct SimLog {
    inner: Mutex<Backup>,
    ledger: Option<Ledger>,
}

impl SimLog {
    /// A log that begins with a backup's state.
    pub fn new(from: Backup, ledger: Option<Ledger>) -> Arc<SimLog> {
        Arc::new(SimLog { inner: Mutex::new(from), ledger })
    }

    fn lock(&self) -> MutexGuard<'_, Backup> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state now.
    pub fn backup(&self) -> Backup {
        self.lock().clone()
    }

    /// Sets the log back to a backup, as a restore does.
    ///
    /// # Errors
    /// What of the backup does not decode.
    pub fn restore(&self, backup: &Backup, lineage: Lineage, now: Timestamp) -> Result<(), String> {
        let values = backup.live.iter().filter_map(|(key, entry)| Some((&**key, entry.value.as_ref()?)));
        let writes = begin_another(values, backup.revision, lineage, now)?;
        let mut inner = self.lock();
        let revision = first_revision(backup.revision, 0, Some(inner.revision));
        *inner = backup.clone();
        inner.revision = revision;
        for (key, value) in writes {
            let key: Arc<str> = key.into();
            let before = inner.live.get(&key);
            let (created, previous) =
                (before.map_or(revision, |entry| entry.created), before.map(|entry| entry.revision));
            let entry = LogEntry { revision, key: key.clone(), value: Some(value), created, previous };
            inner.live.insert(key, entry);
        }
        Ok(())
    }

    /// The newest value of every key under `prefix`.
    pub fn under(&self, prefix: &str) -> Vec<(Arc<str>, bytes::Bytes)> {
        let inner = self.lock();
        let from = inner.live.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
            .collect()
    }
}

impl LogBackend for SimLog {
    fn load(&self, each: &mut dyn FnMut(LogEntry)) -> Result<Revision, StoreError> {
        let inner = self.lock();
        inner.live.values().cloned().for_each(each);
        Ok(inner.revision)
    }

    fn append(&self, batch: &[LogEntry]) -> Result<(), StoreError> {
        {
            let mut inner = self.lock();
            for entry in batch {
                inner.revision = entry.revision;
                match entry.value {
                    Some(_) => inner.live.insert(entry.key.clone(), entry.clone()),
                    None => inner.live.remove(&entry.key),
                };
            }
        }
        if let Some(ledger) = &self.ledger {
            batch.chunk_by(|a, b| a.revision == b.revision).for_each(|txn| ledger.see(&Seen::Commit(&Commit::of(txn))));
        }
        Ok(())
    }

    fn compact(&self, _revision: Revision) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_meta(&self, _name: &str, _value: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn meta(&self, _name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}
