//! Heartbeats of one connection, and the search for how seldom they may come.
//!
//! A heartbeat tells the hub that the node is alive, and keeps the node's place in the address translation (NAT) on the
//! way: one that comes too late costs a validation of the new path and, until then, whatever the hub had to say. The
//! hub's answer carries a hash of the address that it sees. Whether that changed after a silence is what [`Keepalive`]
//! learns from; what it knows outlives the connection, and belongs to one path. [`Pulse`] counts the heartbeats of a
//! connection, sends one again that got no answer, and measures silences: times in which nothing else was sent or came.

mod keepalive;
mod pulse;

pub use keepalive::Keepalive;
pub use pulse::{Pace, Pulse};

use std::time::Duration;

/// The longest interval that a hub may allow by itself, by how long it lets a node be silent: what is left is for
/// sending a lost heartbeat again.
pub fn longest_for(grace: Duration, heartbeat: Duration) -> Duration {
    heartbeat.max(grace / 4 * 3)
}

/// How long a node may be silent before the hub counts it as gone, when it sends a heartbeat in each `interval`.
pub fn tolerated(grace: Duration, interval: Duration) -> Duration {
    grace.max(interval.saturating_add(grace / 4))
}

/// A short hash of an address (FNV-1a, 32 bits), to tell whether it is still the same one.
pub fn address_hash(address: &str) -> u32 {
    address.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
