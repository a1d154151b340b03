//! [`FjallBackend`]: the engine behind [`LogBackend`], and what becomes of it when the disk is full.

use crate::engine::Engine;
use crate::failure::{failed, is_full};
use crate::space::{RESERVE_BYTES, free_bytes};
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::{LogBackend, LogEntry, StoreError, values};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Our own small values stand beside others' in `meta`.
const META_PREFIX: &str = "meta/";

/// The log in a folder of its own. One process at a time.
///
/// A batch is durable by one `fdatasync`. While less than a reserve (64 MiB) is free under the folder, batches
/// get [`StoreError::Full`]; compaction and reads go on, and writes too as soon as there is room again.
pub struct FjallBackend {
    path: PathBuf,
    /// `None` after it could not be opened again.
    engine: RwLock<Option<Engine>>,
    /// `None` in the test that lets fjall itself meet the end of the disk.
    reserve_bytes: Option<u64>,
}

impl FjallBackend {
    /// Opens the log under `path`, or begins one.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when another process has it open, when it is damaged, or when the folder cannot be
    /// read and written.
    pub fn open(path: &Path) -> Result<FjallBackend, StoreError> {
        FjallBackend::with_reserve(path, Some(RESERVE_BYTES))
    }

    /// Reads every entry of the log, also those that nobody asks for any more; how many there are. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with the first damage.
    pub fn verify(&self) -> Result<u64, StoreError> {
        self.with_engine(Engine::verify)?
    }

    pub(crate) fn with_reserve(path: &Path, reserve_bytes: Option<u64>) -> Result<FjallBackend, StoreError> {
        let engine = RwLock::new(Some(Engine::open(path)?));
        Ok(FjallBackend { path: path.to_owned(), engine, reserve_bytes })
    }

    pub(crate) fn with_engine<T>(&self, call: impl FnOnce(&Engine) -> T) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::Failed("the log could not be opened again after the disk was full".to_owned());
        engine.as_ref().map(call).ok_or_else(closed)
    }

    /// Writes something. When the disk was full, `is_written` tells what the log has of it.
    fn write(
        &self,
        what: &str,
        write: impl FnOnce(&Engine) -> fjall::Result<()>,
        is_written: impl FnOnce(&Engine) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        match self.with_engine(write)? {
            Ok(()) => Ok(()),
            // Poisoned: a compaction or a flush beside this met the end, and this was not begun.
            Err(error) if is_full(&error) || matches!(error, fjall::Error::Poisoned) && !self.has_room(0)? => {
                self.reopen()?;
                if self.with_engine(is_written)?? { Ok(()) } else { Err(StoreError::Full) }
            }
            Err(error) => Err(failed(what, &error)),
        }
    }

    /// fjall met the end of the disk in a write and takes no more. Opened again, the log has its last batch whole and durable, or
    /// not at all.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        // The old one must let go of the lock file first.
        *engine = None;
        *engine = Some(Engine::open(&self.path)?);
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> Result<bool, StoreError> {
        let Some(reserve_bytes) = self.reserve_bytes else { return Ok(true) };
        let failed = |error| StoreError::Failed(format!("cannot see the space under {}: {error}", self.path.display()));
        Ok(free_bytes(&self.path).map_err(failed)? >= reserve_bytes.saturating_add(bytes as u64))
    }
}

impl LogBackend for FjallBackend {
    fn encode(&self, value: &Bytes) -> Bytes {
        values::encode(value)
    }

    fn load(&self, each: &mut dyn FnMut(LogEntry)) -> Result<Revision, StoreError> {
        self.with_engine(|engine| {
            engine.load(each)?;
            engine.revision()
        })?
    }

    fn append(&self, batch: &[LogEntry]) -> Result<(), StoreError> {
        let bytes: usize = batch.iter().map(|entry| entry.value.as_ref().map_or(0, Bytes::len)).sum();
        if !self.has_room(bytes)? {
            return Err(StoreError::Full);
        }
        let is_written = |engine: &Engine| batch.first().map_or(Ok(true), |entry| engine.has(entry));
        self.write("cannot write the store's log", |engine| engine.commit(batch), is_written)
    }

    fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let compacted = self.with_engine(|engine| engine.compact(revision))?;
        if compacted == Err(StoreError::Full) {
            self.reopen()?;
        }
        compacted
    }

    fn put_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        if !self.has_room(value.len())? {
            return Err(StoreError::Full);
        }
        let key = format!("{META_PREFIX}{name}");
        let is_written = |engine: &Engine| Ok(engine.get_meta(&key)?.as_deref() == Some(value));
        self.write(&format!("cannot write the store's {name}"), |engine| engine.set_meta(&key, value), is_written)
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_engine(|engine| engine.get_meta(&format!("{META_PREFIX}{name}")))?
    }
}

#[cfg(test)]
mod tests;
