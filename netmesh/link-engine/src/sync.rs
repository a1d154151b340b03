//! The sync stream: hub and node find out in at most three round trips which objects differ, whatever
//! happened before; then changes follow as they come.
//!
//! ```text
//! hub  SyncState{root} ──►            equal roots: nothing more to say
//!      ◄── SyncDigests{64 buckets}
//!      SyncAsk{buckets that differ} ──►
//!      ◄── SyncEntries{key, hash}
//!      SyncBatch2{puts, drops} ──►    durable as one
//!      ◄── SyncApplied
//! ```
//!
//! Since version 2 a body that the node can make of one that it has travels as what differs (a *delta*); all others are
//! compressed over a dictionary. The base of a delta is an object that the node has acknowledged, so it is there. Should it
//! not be, the node answers `SyncUnfit` with its root: the hub begins again with `SyncState`, and
//! sends no more deltas over that connection. So it ends, whatever was wrong.

pub mod hub;
mod known;
pub mod node;
mod order;
