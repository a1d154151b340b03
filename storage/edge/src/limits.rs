//! Bounds of the edge store.

/// Bytes of a preallocated journal segment.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Segments written since the last snapshot that make a new snapshot due.
pub const SNAPSHOT_AFTER_SEGMENTS: usize = 4;
/// Largest payload of a frame; a closure of a pod must fit.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// Log facts kept; the oldest give way to a gap marker.
pub const MAX_LOG_FACTS: usize = 10_000;
/// Sequence numbers reserved by one durable write, so that a fact needs no sync of its own.
pub const SEQ_BLOCK: u64 = 10_000;
/// Lazy records kept in memory for the next synced commit; one more makes it happen.
pub const MAX_LAZY_RECORDS: usize = 4096;
