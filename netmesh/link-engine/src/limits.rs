//! Bounds of the link.

use std::time::Duration;

/// Largest frame. A ConfigMap may hold 1 MiB; a batch is cut below this.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// A sync batch is closed when it has grown to this.
pub const BATCH_BYTES: usize = 1 << 20;
/// Facts in one batch.
pub const FACTS_PER_BATCH: usize = 64;
/// Entries that a node lists in answer to one question.
pub const MAX_ENTRIES: usize = 20_000;
/// How long an end waits for the other's part of the handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(20);
/// Largest name or text in a handshake frame.
pub const MAX_TEXT_BYTES: usize = 512;

const _: () = assert!(BATCH_BYTES * 2 < MAX_FRAME_BYTES);
