//! An open fjall database with our settings and keyspaces, and what is done with it.

use crate::failure::{failed, is_full, not_opened};
use crate::format::{entry, log_key, parse_entry, parse_log_key, parse_revision};
use crate::journal;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use holdfast_core::Revision;
use holdfast_store::values::Decoder;
use holdfast_store::{LogEntry, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// fjall's block cache. All reads come from the watch cache above, so a small one does.
const CACHE_BYTES: u64 = 8 << 20;
/// Each keyspace's memtable. fjall's default of 64 MiB is the hub's whole memory goal.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// All journals together, which bounds the time of a start after a crash.
const JOURNALS_BYTES: u64 = 128 << 20;
/// Removals in one batch of a compaction, so that commits wait for it only briefly.
const COMPACT_BATCH: usize = 512;

const FORMAT: &str = "store/format";
const FORMAT_VERSION: &[u8] = b"1";
const COMPACTED: &str = "store/compacted";

pub(crate) struct Engine {
    log: Keyspace,
    idx: Keyspace,
    meta: Keyspace,
    // Last: the keyspaces go before their database.
    db: Database,
}

impl Engine {
    pub(crate) fn open(path: &Path) -> Result<Engine, StoreError> {
        journal::settle(path)?;
        // fjall asserts here and there on what it finds on disk.
        let opened = catch_unwind(AssertUnwindSafe(|| Engine::open_unchecked(path)));
        let engine = opened.map_err(|_| {
            StoreError::Failed(format!("the store under {} is damaged; restore a backup", path.display()))
        })?;
        let engine = engine.map_err(|error| not_opened(path, &error))?;
        engine.check_format(path)?;
        Ok(engine)
    }

    fn open_unchecked(path: &Path) -> fjall::Result<Engine> {
        let db = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNALS_BYTES)
            .open()?;
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).manual_journal_persist(true);
        let (log, idx, meta) =
            (db.keyspace("log", options)?, db.keyspace("idx", options)?, db.keyspace("meta", options)?);
        Ok(Engine { log, idx, meta, db })
    }

    fn check_format(&self, path: &Path) -> Result<(), StoreError> {
        match self.get_meta(FORMAT)? {
            None => self.set_meta(FORMAT, FORMAT_VERSION).map_err(|error| not_opened(path, &error)),
            Some(version) if version == FORMAT_VERSION => Ok(()),
            Some(version) => Err(StoreError::Failed(format!(
                "{} was written in format {}; this version reads format 1",
                path.display(),
                String::from_utf8_lossy(&version)
            ))),
        }
    }

    /// Writes a batch as one and syncs it.
    pub(crate) fn commit(&self, batch: &[LogEntry]) -> fjall::Result<()> {
        let mut write =
            OwnedWriteBatch::with_capacity(self.db.clone(), batch.len() * 2).durability(Some(PersistMode::SyncData));
        for one in batch {
            write.insert(&self.log, log_key(one.revision, &one.key), entry(one));
            match one.value {
                Some(_) => write.insert(&self.idx, one.key.as_bytes(), one.revision.0.to_be_bytes()),
                None => write.remove(&self.idx, one.key.as_bytes()),
            }
        }
        write.commit()
    }

    /// Whether the log has an entry.
    pub(crate) fn has(&self, entry: &LogEntry) -> Result<bool, StoreError> {
        let found = self.log.contains_key(log_key(entry.revision, &entry.key));
        found.map_err(|error| failed("cannot read the store's log", &error))
    }

    /// The newest version of every key.
    pub(crate) fn load(&self, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError> {
        let mut decoder = Decoder::new().map_err(|error| StoreError::Failed(format!("cannot start zstd: {error}")))?;
        for item in self.idx.iter() {
            let (key, revision) = item.into_inner().map_err(|error| failed("cannot read the store's index", &error))?;
            let name = || String::from_utf8_lossy(&key).into_owned();
            let revision = parse_revision(&revision).map_err(|reason| {
                StoreError::Failed(format!("the store's index at {} is damaged: {reason}", name()))
            })?;
            let damaged = |reason: String| {
                StoreError::Failed(format!("the store's log is damaged at revision {revision}, {}: {reason}", name()))
            };
            let key = std::str::from_utf8(&key).map_err(|_| damaged("its key is no UTF-8".to_owned()))?;
            let found = self.log.get(log_key(revision, key)).map_err(|error| damaged(format!("{error:?}")))?;
            let found = found.ok_or_else(|| damaged("it is missing".to_owned()))?;
            let (header, value) = parse_entry(&found).map_err(damaged)?;
            if header.deletes {
                return Err(damaged("it is a deletion, and the index has it live".to_owned()));
            }
            let value = decoder.decode(value).map_err(damaged)?;
            let (created, previous) = (header.created, header.previous);
            each(LogEntry { revision, key: key.into(), value: Some(value), created, previous });
        }
        Ok(())
    }

    /// The newest revision, also when compaction removed its entries.
    pub(crate) fn revision(&self) -> Result<Revision, StoreError> {
        let newest = match self.log.last_key_value() {
            None => Revision(0),
            Some(last) => {
                let key = last.key().map_err(|error| failed("cannot read the end of the store's log", &error))?;
                let damaged = |reason| StoreError::Failed(format!("the store's log ends damaged: {reason}"));
                parse_log_key(&key).map_err(damaged)?.0
            }
        };
        Ok(newest.max(self.compacted()?))
    }

    fn compacted(&self) -> Result<Revision, StoreError> {
        let damaged = |reason| StoreError::Failed(format!("the store's {COMPACTED} is damaged: {reason}"));
        self.get_meta(COMPACTED)?.map_or(Ok(Revision(0)), |bytes| parse_revision(&bytes).map_err(damaged))
    }

    /// Reads every entry of the log, old versions too; how many there are.
    pub(crate) fn verify(&self) -> Result<u64, StoreError> {
        let mut decoder = Decoder::new().map_err(|error| StoreError::Failed(format!("cannot start zstd: {error}")))?;
        let mut entries = 0;
        for item in self.log.iter() {
            let (key, value) = item.into_inner().map_err(|error| failed("cannot read the store's log", &error))?;
            let (at, name) = parse_log_key(&key).map_err(|reason| {
                StoreError::Failed(format!("the store's log is damaged in its entry {}: {reason}", entries + 1))
            })?;
            let damaged = |reason: String| {
                StoreError::Failed(format!("the store's log is damaged at revision {at}, {name}: {reason}"))
            };
            let (header, value) = parse_entry(&value).map_err(damaged)?;
            if header.created > at || header.previous.is_some_and(|previous| previous >= at) {
                return Err(damaged("it follows a version that is not older".to_owned()));
            }
            if !header.deletes {
                decoder.decode(value).map_err(damaged)?;
            }
            entries += 1;
        }
        Ok(entries)
    }

    /// Removes what entries up to `revision` replaced. Each entry is looked at once: an earlier compaction has
    /// dealt with all up to its own revision. When it is cut short, the next one does the rest again.
    pub(crate) fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let read = |error| failed("cannot read the store's log to compact it", &error);
        let done = self.compacted()?;
        if revision <= done {
            return Ok(());
        }
        let mut removals: Vec<Vec<u8>> = Vec::new();
        let bounds = done.next().0.to_be_bytes()..revision.next().0.to_be_bytes();
        for item in self.log.range(bounds) {
            // Before the next entry, so that what the last one removes goes with the mark below.
            if removals.len() >= COMPACT_BATCH {
                self.remove(&mut removals).map_err(|error| not_written("cannot compact the store's log", &error))?;
            }
            let (key, value) = item.into_inner().map_err(read)?;
            let (at, name) = parse_log_key(&key).map_err(StoreError::Failed)?;
            let (header, _) = parse_entry(&value).map_err(|reason| {
                StoreError::Failed(format!("the store's log is damaged at revision {at}, {name}: {reason}"))
            })?;
            removals.extend(header.previous.map(|previous| log_key(previous, name)));
            removals.extend(header.deletes.then(|| key.to_vec()));
        }
        // As one: the newest entry may be a deletion, and without it only the mark knows the revision.
        let mut last = self.db.batch().durability(Some(PersistMode::SyncData));
        for key in removals {
            last.remove(&self.log, key);
        }
        last.insert(&self.meta, COMPACTED, revision.0.to_be_bytes());
        last.commit().map_err(|error| not_written("cannot compact the store's log", &error))
    }

    /// Synced, though a removal that a crash undoes would be done again: at most one batch may be torn ([`journal`]).
    fn remove(&self, keys: &mut Vec<Vec<u8>>) -> fjall::Result<()> {
        let mut write =
            OwnedWriteBatch::with_capacity(self.db.clone(), keys.len()).durability(Some(PersistMode::SyncData));
        for key in keys.drain(..) {
            write.remove(&self.log, key);
        }
        write.commit()
    }

    pub(crate) fn set_meta(&self, name: &str, value: &[u8]) -> fjall::Result<()> {
        let mut write = self.db.batch().durability(Some(PersistMode::SyncData));
        write.insert(&self.meta, name, value);
        write.commit()
    }

    pub(crate) fn get_meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.meta.get(name).map_err(|error| failed(&format!("cannot read the store's {name}"), &error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Entries in the log, old versions too.
    #[cfg(test)]
    pub(crate) fn log_len(&self) -> usize {
        self.log.len().unwrap()
    }

    /// Overwrites an entry as a damaged disk would.
    #[cfg(test)]
    pub(crate) fn damage(&self, revision: Revision, key: &str, bytes: &[u8]) {
        self.log.insert(log_key(revision, key), bytes).unwrap();
        self.db.persist(PersistMode::SyncData).unwrap();
    }
}

/// A removal failed; what it left behind does no harm.
fn not_written(what: &str, error: &fjall::Error) -> StoreError {
    if is_full(error) { StoreError::Full } else { failed(what, error) }
}
