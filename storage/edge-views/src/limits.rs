//! Bounds of the views.

use std::time::Duration;

/// Events that are kept; the oldest go first.
pub const MAX_EVENTS: usize = 5_000;
/// Bytes of one Event; a larger one is not kept. Upstream bounds its message to 1,024 characters.
pub const MAX_EVENT_BYTES: usize = 8 << 10;
/// Bytes of the folder on disk, looked at when it is opened; a larger one is written anew.
pub const MAX_FOLDER_BYTES: u64 = 64 << 20;
/// sled's cache in bytes; its default is 1 GiB.
pub const CACHE_BYTES: u64 = 1 << 20;
/// A quiet after which sled is closed: its threads wake the machine hundreds of times a minute.
pub const QUIET: Duration = Duration::from_secs(60);
/// How long opening waits for the lock of a store that was closed a moment ago: sled lets go of it when its last thread
/// has ended.
pub const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
pub const LOCK_LOOK: Duration = Duration::from_millis(10);

// A folder of only the largest Events would otherwise be written anew at each start.
const _: () = assert!((MAX_EVENTS * MAX_EVENT_BYTES) as u64 * 3 / 2 <= MAX_FOLDER_BYTES);
