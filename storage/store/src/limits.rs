//! Bounds of the store.

use std::time::Duration;

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
/// Watchers of one prefix up to which each event wakes them at once; more are woken by sweeps.
pub const SWEEP_WATCHERS: usize = 50;
/// The least time between two sweeps. Without it two cores spend themselves on wake-ups.
pub const SWEEP_EVERY: Duration = Duration::from_millis(25);
/// Bytes of values after which a batch takes no further transaction.
pub const BATCH_BYTES: usize = 4 << 20;
/// A waiting transaction takes one place of [`WRITE_QUEUE`] for each of these, so that the queue is bounded in bytes too.
pub const QUEUE_PLACE_BYTES: usize = 16 << 10;
/// The longest key.
pub const KEY_BYTES: usize = 4096;
/// The largest value. Kubernetes refuses objects of more than 3 MiB long before.
pub const VALUE_BYTES: usize = 16 << 20;
/// Bytes of records after which a block of a backup is written.
pub const BACKUP_BLOCK_BYTES: usize = 1 << 20;
/// The largest block of a backup once it is unpacked: a block's bytes and one record beyond them, or a file.
pub const BACKUP_BLOCK_MAX_BYTES: usize = BACKUP_BLOCK_BYTES + VALUE_BYTES + KEY_BYTES + 64;
/// The largest file that a backup holds beside the store.
pub const BACKUP_FILE_BYTES: usize = 1 << 20;

const _: () = assert!(VALUE_BYTES / QUEUE_PLACE_BYTES < WRITE_QUEUE, "the largest value must fit the queue");
