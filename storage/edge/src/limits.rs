//! Bounds of the edge store.

/// Bytes of a preallocated journal segment.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Segments written since the last snapshot that make a new snapshot due.
pub const SNAPSHOT_AFTER_SEGMENTS: usize = 4;
/// Largest payload of a frame; a closure of a pod must fit.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// Log facts that the hub has not acknowledged; beyond it the oldest give way to a gap marker.
pub const MAX_LOG_FACTS: usize = 10_000;
/// Bytes of all log facts, those included that the hub has acknowledged.
pub const MAX_LOG_BYTES: usize = 4 << 20;
/// Bytes of log facts that are kept after the hub acknowledged them: a hub that is restored from a backup asks for them
/// again.
pub const KEPT_LOG_BYTES: usize = 1 << 20;
/// Most log facts that are kept after the hub acknowledged them.
pub const KEPT_LOG_FACTS: usize = 4_000;
/// Sequence numbers reserved by one durable write, so that a fact needs no sync of its own.
pub const SEQ_BLOCK: u64 = 10_000;
/// Lazy records kept in memory for the next synced commit; one more makes it happen.
pub const MAX_LAZY_RECORDS: usize = 4096;
/// Damaged files that are kept aside for whoever wants to look at them.
pub const QUARANTINED_FILES: usize = 8;
/// Bytes of them; the oldest go first.
pub const QUARANTINED_BYTES: u64 = 16 << 20;
/// Bytes of each of the two places of a value that is replaced in place: a sector.
pub const SLOT_BYTES: usize = 512;

const _: () = assert!(KEPT_LOG_BYTES <= MAX_LOG_BYTES / 2);
const _: () = assert!(MAX_LOG_BYTES * 4 < MAX_FRAME_BYTES, "a snapshot is one frame");
