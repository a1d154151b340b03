//! The [`Store`] trait and its words.

use crate::limits::{KEY_BYTES, VALUE_BYTES};
use crate::{Event, Record, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Revision;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What must be true of a key for a transaction to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key exists, at any revision.
    Exists,
    /// The key's newest version is this one.
    ModifiedAt(Revision),
}

/// A condition on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The key.
    pub key: String,
    /// What must be true.
    pub condition: Condition,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// Removes a key; nothing happens when it does not exist.
    Delete {
        /// The key.
        key: String,
    },
}

/// All checks, then all writes, as one. Every write of a transaction shares one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Conditions, all of which must hold.
    pub checks: Vec<Check>,
    /// Writes, with distinct keys.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Checks the rules that every store has.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], naming the key.
    pub fn validate(&self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        for op in &self.ops {
            let (Op::Put { key, .. } | Op::Delete { key }) = op;
            if key.is_empty() || key.len() > KEY_BYTES {
                let length = key.len();
                return Err(StoreError::Invalid(format!("a key of {length} bytes; 1 to {KEY_BYTES} are allowed")));
            }
            if !seen.insert(key.as_str()) {
                return Err(StoreError::Invalid(format!("it writes the key {key} twice")));
            }
            if let Op::Put { value, .. } = op
                && value.len() > VALUE_BYTES
            {
                let length = value.len();
                return Err(StoreError::Invalid(format!("{key} is {length} bytes; {VALUE_BYTES} are allowed")));
            }
        }
        Ok(())
    }
}

/// How a transaction ended.
#[derive(Clone, Debug)]
pub enum TxnOutcome {
    /// Durable at this revision. Without writes: the current revision.
    Committed {
        /// The revision.
        revision: Revision,
        /// The new versions, in the order of the puts.
        records: Vec<Arc<Record>>,
    },
    /// The check at this index did not hold; nothing was written.
    CheckFailed {
        /// Index into [`Txn::checks`].
        index: usize,
        /// What the key holds instead.
        current: Option<Arc<Record>>,
    },
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest {
    /// Keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// The state at this revision; `None` for the newest.
    pub at: Option<Revision>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Range {
    /// The records, by key.
    pub records: Vec<Arc<Record>>,
    /// The revision of the state that was read.
    pub revision: Revision,
    /// How many records follow after the limit.
    pub remaining: u64,
}

/// A running watch: batches of events in order, each revision whole. Ends after an error.
pub trait Watcher: Send {
    /// The next events. Progress without events is told by [`Watcher::progress`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Event>, StoreError>>;
    /// All events up to this revision were handed out.
    fn progress(&self) -> Revision;
}

impl dyn Watcher + '_ {
    /// The next events. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// A store with etcd's semantics. Where others write to it as well, reads may lag behind them: [`Store::sync`] is for
/// those who must not miss what anybody wrote before.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest durable revision that reads show.
    fn revision(&self) -> Revision;

    /// Waits until reads show all that was committed, by whomever, before this call; their revision then. Cancel safe.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be found out what was committed.
    async fn sync(&self) -> Result<Revision, StoreError> {
        Ok(self.revision())
    }

    /// One key, at its newest version.
    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError>;

    /// Many keys.
    async fn range(&self, request: RangeRequest) -> Result<Range, StoreError>;

    /// Commits, durably, or not at all. Reads show what it did, or what kept it from being done, once it returns. Not
    /// cancel safe: a dropped call may commit.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Events of keys with `prefix` after revision `after`.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError>;

    /// Forgets history up to and including `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// Refuses further transactions and ends all watches with [`StoreError::Closed`]; what was accepted is finished.
    /// Reads go on. Blocks; dropping the store does the same.
    fn close(&self);
}
