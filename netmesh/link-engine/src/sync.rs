//! The sync stream: hub and node find out in at most three round trips which objects differ, whatever
//! happened before; then changes follow as they come.
//!
//! ```text
//! hub  SyncState{root} ──►            equal roots: nothing more to say
//!      ◄── SyncDigests{64 buckets}
//!      SyncAsk{buckets that differ} ──►
//!      ◄── SyncEntries{key, hash}
//!      SyncBatch{puts, drops} ──►      durable as one
//!      ◄── SyncApplied
//! ```

pub mod hub;
pub mod node;
