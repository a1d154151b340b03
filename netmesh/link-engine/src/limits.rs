//! Bounds of the link.

use std::time::Duration;

/// Largest frame. A ConfigMap may hold 1 MiB; a batch is cut below this.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// Largest frame of a peer that has not shown who it is, or whose certificate has expired: its request for a certificate
/// has about 1 KiB.
pub const STRANGER_FRAME_BYTES: usize = 32 << 10;
/// How long a frame may be under way once its first byte is here: the largest at 28 kbit/s.
pub const FRAME: Duration = Duration::from_secs(1200);
/// A sync batch is closed when its bodies have grown to this.
pub const BATCH_BYTES: usize = 1 << 20;
/// A sync batch is closed when it has grown to this on the wire, where what is urgent waits behind it: eight seconds at
/// 64 kbit/s.
pub const BATCH_WIRE_BYTES: usize = 64 << 10;
/// Objects larger than this are bulk, and go after all others.
pub const BULK_BYTES: usize = 32 << 10;
/// Bodies of one batch, all together, that a node restores.
pub const MAX_BATCH_BODIES: usize = BATCH_BYTES + MAX_FRAME_BYTES;
/// Bodies that the hub remembers for one node because the node still has them and the hub's view does not: bases of
/// deltas. What is beyond it is sent whole.
pub const SUPERSEDED_BYTES: usize = 256 << 10;
/// A body that is larger is not compared with that of a neighbour.
pub const NEIGHBOUR_BYTES: usize = 64 << 10;
/// Facts in one batch.
pub const FACTS_PER_BATCH: usize = 64;
/// Facts that a hub takes in one batch.
pub const MAX_FACTS: usize = 1024;
/// Entries that a node lists in answer to one question.
pub const MAX_ENTRIES: usize = 20_000;
/// How long an end waits for the other's part of the handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(20);
/// Largest name or text in a handshake frame.
pub const MAX_TEXT_BYTES: usize = 512;
/// Bytes of a page that a node serves of itself.
pub const MAX_PAGE_BYTES: usize = 16 << 20;
/// A heartbeat without an answer is sent again after this, or after three round trips if that is longer; then ever later.
pub const ANSWER: Duration = Duration::from_secs(2);
/// The longest wait before it is sent again.
pub const ANSWER_MOST: Duration = Duration::from_secs(8);
/// Heartbeats of which it is remembered when they were sent, while they wait for an answer.
pub const HEARTBEATS_PENDING: usize = 8;
/// The node gives a connection up when the hub was silent for an interval and this: several heartbeats had no answer.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The longest interval of heartbeats that a hub may allow.
pub const LONGEST_HEARTBEAT: Duration = Duration::from_secs(3600);
/// A run lease must be renewed by so many heartbeats: one may be lost, and its successor too.
pub const LEASE_SHARE: u32 = 3;
/// The search for an interval goes no lower, whatever the path does.
pub const KEEPALIVE_FLOOR: Duration = Duration::from_secs(5);
/// Silences in a row that must be survived before the interval changes.
pub const KEEPALIVE_WINS: u32 = 2;
/// A settled search tries the silence again that was lost, after this time.
pub const KEEPALIVE_REPROBE: Duration = Duration::from_secs(24 * 3600);

const _: () = assert!(STRANGER_FRAME_BYTES < MAX_FRAME_BYTES && HANDSHAKE.as_secs() < FRAME.as_secs());
const _: () = assert!(BATCH_BYTES * 2 < MAX_FRAME_BYTES && FACTS_PER_BATCH <= MAX_FACTS);
const _: () = assert!(BULK_BYTES <= BATCH_WIRE_BYTES && BATCH_WIRE_BYTES < BATCH_BYTES);
