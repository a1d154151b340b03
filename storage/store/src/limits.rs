//! Bounds of the store.

/// Transactions that wait for the writer; a further one waits in its task.
pub const WRITE_QUEUE: usize = 4096;
/// Transactions in one batch, so that a batch's sync stays short.
pub const BATCH_TXNS: usize = 1024;
/// Events kept in memory for watches and lists at older revisions.
pub const RING_EVENTS: usize = 100_000;
/// Bytes of values that the ring may hold beyond the current state.
pub const RING_BYTES: usize = 32 << 20;
/// Events that one sweep hands a watcher at most.
pub const WATCH_SWEEP: usize = 512;
