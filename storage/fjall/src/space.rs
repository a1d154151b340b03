//! Free space below the data folder.
//!
//! fjall takes no further write once one of its own writes met a full disk, and its journal is a file with
//! holes, so that can happen late. So a reserve is kept for its flushes and compactions: below it, batches are
//! refused before fjall sees them.

use std::io;
use std::path::Path;

/// Free bytes below which batches are refused: a journal's file, or all memtables on their way to disk.
pub(crate) const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes that may still be written under `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
