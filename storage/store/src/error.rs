//! Why the store said no.

use holdfast_core::Revision;

/// An error of a [`crate::Store`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The revision was compacted away, or has left the event ring: list again.
    #[error("required revision {requested} has been compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that can be served.
        oldest: Revision,
    },
    /// The revision lies in the future.
    #[error("revision {requested} is ahead of the store's {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The disk is full; reads go on, writes are refused until space is freed.
    #[error("the store's disk is full; free space under its data folder")]
    Full,
    /// A write failed in a way that leaves its outcome unknown; the store accepts no more writes.
    #[error("the store failed and stopped: {0}")]
    Failed(String),
    /// The watcher was too slow and was cut.
    #[error("the watcher fell behind")]
    Slow,
    /// The transaction breaks a rule of [`crate::Txn`] (a key twice, an empty key, too large); nothing was written.
    #[error("the transaction is not valid: {0}")]
    Invalid(String),
    /// The write is larger than the store takes; nothing was written.
    #[error("the write is too large: {0}")]
    TooLarge(String),
    /// The store is out of reach; nothing was written, and waiting helps.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// A write was sent and no answer came: it may be there or not. The store goes on.
    #[error("nobody knows whether the write was done: {0}")]
    Unknown(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}
