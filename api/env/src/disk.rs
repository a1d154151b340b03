//! The disk of an [`crate::Env`]: blocking calls on paths below one root folder.
//!
//! Calls block, as fsync does; callers run them where blocking is allowed (a thread of their own, or
//! `spawn_blocking` behind the host's driver). Nothing is durable before `sync_data` on the file, and a
//! new name is not durable before `sync_dir` on its folder.

use std::fmt;

/// What went wrong with the disk, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file does not exist.
    #[error("{0}: no such file")]
    NotFound(String),
    /// No space is left; nothing was written.
    #[error("{0}: no space left on device")]
    Full(String),
    /// The device refused; after a failed sync the process must not go on with this file.
    #[error("{path}: {operation} failed")]
    Failed {
        /// Path below the root.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl DiskError {
    /// Sorts a system error into the variants.
    pub fn from_io(path: impl fmt::Display, operation: &'static str, source: std::io::Error) -> DiskError {
        match source.kind() {
            std::io::ErrorKind::NotFound => DiskError::NotFound(path.to_string()),
            std::io::ErrorKind::StorageFull => DiskError::Full(path.to_string()),
            _ => DiskError::Failed { path: path.to_string(), operation, source },
        }
    }
}

/// An open file.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError>;
    /// Writes all of `data` at `offset`, growing the file if needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError>;
    /// Sets the length in bytes.
    fn truncate(&self, len: u64) -> Result<(), DiskError>;
    /// Reserves space for `len` bytes, so that later overwrites do not change metadata.
    fn allocate(&self, len: u64) -> Result<(), DiskError>;
    /// Makes the written data durable (`fdatasync`).
    fn sync_data(&self) -> Result<(), DiskError>;
    /// Length in bytes.
    fn len(&self) -> Result<u64, DiskError>;
    /// Whether the file holds no byte.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }
}

/// Files below one root. Paths are relative, with `/` between parts.
pub trait Disk: Send + Sync {
    /// Opens for reading and writing; with `create` makes the file when it is missing (folders are not made).
    fn open(&self, path: &str, create: bool) -> Result<Box<dyn File>, DiskError>;
    /// Makes a folder and its parents.
    fn create_dir_all(&self, path: &str) -> Result<(), DiskError>;
    /// Atomically replaces `to` by `from`; durable only after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError>;
    /// Makes the folder's entries durable.
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;
    /// Free bytes.
    fn free(&self) -> Result<u64, DiskError>;

    /// The whole file, or `None` when there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let file = match self.open(path, false) {
            Ok(file) => file,
            Err(DiskError::NotFound(_)) => return Ok(None),
            Err(err) => return Err(err),
        };
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut data = vec![0; len];
        let mut done = 0;
        while done < len {
            match file.read_at(done as u64, &mut data[done..])? {
                0 => break,
                n => done += n,
            }
        }
        data.truncate(done);
        Ok(Some(data))
    }

    /// Replaces a file whole and durably: temporary file, sync, rename, folder sync.
    fn write_durably(&self, path: &str, data: &[u8]) -> Result<(), DiskError> {
        let temporary = format!("{path}.tmp");
        let file = self.open(&temporary, true)?;
        file.truncate(0)?;
        file.write_at(0, data)?;
        file.sync_data()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))
    }
}
