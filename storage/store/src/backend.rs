//! What an embedded engine does for [`crate::memory::CachedStore`].

use crate::StoreError;
use bytes::Bytes;
use holdfast_core::Revision;
use std::sync::Arc;

/// One write of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its revision; entries of one transaction share it and have distinct keys.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The value; `None` for a deletion. In [`LogBackend::append`] it is what [`LogBackend::encode`] made of it,
    /// in [`LogBackend::load`] it is the value itself.
    pub value: Option<Bytes>,
    /// When the key was created last (this revision for a creation).
    pub created: Revision,
    /// The version that this one replaces, so that the engine finds it when it compacts.
    pub previous: Option<Revision>,
}

/// A durable log of writes with an index of the newest version of each key. Calls block. One thread appends;
/// the other calls may come from any thread, also beside an append.
pub trait LogBackend: Send + Sync + 'static {
    /// The stored form of a value. Runs in the writer's caller, so that compression is not on the one path
    /// that all commits share.
    fn encode(&self, value: &Bytes) -> Bytes {
        value.clone()
    }

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

    /// Forgets versions that were replaced at or before `revision`. The newest of each live key stays, and so
    /// does the newest revision's number.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`]; what was forgotten so far stays forgotten.
    fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// A small named value beside the log (lineage and the like); durable when this returns.
    ///
    /// # Errors
    /// As [`LogBackend::append`].
    fn put_meta(&self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Reads what [`LogBackend::put_meta`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when it cannot be read.
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
}
