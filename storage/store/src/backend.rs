//! What an embedded engine does for [`crate::memory::CachedStore`].

use crate::StoreError;
use bytes::Bytes;
use holdfast_core::Revision;
use std::sync::Arc;

/// One write of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its revision; entries of one transaction share it.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The value; `None` for a deletion.
    pub value: Option<Bytes>,
    /// When the key was created last (this revision for a creation).
    pub created: Revision,
}

/// A durable log of writes with an index of the newest version of each key. Calls block; one thread writes.
pub trait LogBackend: Send + Sync + 'static {
    /// Calls `each` with the newest version of every live key, in any order; returns the newest revision.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the log is damaged, naming what is.
    fn load(&self, each: &mut dyn FnMut(LogEntry)) -> Result<Revision, StoreError>;

    /// Appends a batch and makes it durable before it returns.
    ///
    /// # Errors
    /// [`StoreError::Full`] when nothing was written; [`StoreError::Failed`] when the outcome is unknown.
    fn append(&self, batch: &[LogEntry]) -> Result<(), StoreError>;

    /// Forgets versions that were replaced at or before `revision`. The newest of each live key stays.
    fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// A small named value beside the log (lineage and the like); durable when this returns.
    fn put_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Reads what [`LogBackend::put_meta`] wrote.
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
}
