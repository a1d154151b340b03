//! The hub's store: etcd's semantics behind one trait.
//!
//! One revision counts all writes. [`Store`] is what the hub speaks; [`LogBackend`] is the little that an
//! embedded engine must do for [`CachedStore`], which keeps the current state and a bounded ring of events
//! in memory, numbers and groups commits, and serves watches. [`WatchCache`] is that memory alone, for a store whose
//! writes are numbered elsewhere. **Invariant:** no answer and no watch event shows a revision before it is on disk.

pub mod backend;
pub mod backup;
pub mod error;
pub mod limits;
pub mod memory;
pub mod record;
pub mod suite;
pub mod testing;
pub mod traits;
pub mod values;

pub use backend::{LogBackend, LogEntry};
pub use error::StoreError;
pub use memory::{CachedStore, WatchCache};
pub use record::{Event, Record};
pub use traits::{Check, Condition, Op, Range, RangeRequest, Store, Txn, TxnOutcome, Watcher};
