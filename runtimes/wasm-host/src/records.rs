//! What the host writes down of sandboxes and containers, so that it can report them after its own restart.
//!
//! A JSON file each, replaced by rename. Nothing is synced: after a power cut the agent makes everything anew
//! from its own journal, and a torn or missing file only means that there is less to report.

use crate::limits::MAX_ID;
use holdfast_runtime::{ContainerSpec, ContainerState, RuntimeError, SandboxInfo, SandboxSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Version of the records.
const VERSION: u32 = 1;

/// A sandbox on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// As the agent gave it.
    pub spec: SandboxSpec,
    /// Last known.
    pub info: SandboxInfo,
    /// Which boot of the machine it belongs to.
    pub boot: String,
}

/// A container on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// As the agent gave it.
    pub spec: ContainerSpec,
    /// Its pod's sandbox.
    pub sandbox: SandboxSpec,
    /// Digest reference of its image.
    pub image_id: String,
    /// Digest of its module.
    pub module: String,
    /// Last known. `Running` in a file that is read at start means that the host ended meanwhile.
    pub state: ContainerState,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    record: T,
}

/// A folder of records of one kind. Calls block.
#[derive(Clone, Debug)]
pub struct Records {
    dir: PathBuf,
}

/// Whether an id can be the name of a file.
///
/// # Errors
/// [`RuntimeError::Config`] when not.
pub fn check_id(id: &str) -> Result<(), RuntimeError> {
    let fits = !id.is_empty()
        && id.len() <= MAX_ID
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Ok(()) } else { Err(RuntimeError::Config(format!("{id:?} is no valid id"))) }
}

impl Records {
    /// Opens the folder, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Records> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Records { dir })
    }

    /// Reads all records; damaged ones are removed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn load<T: DeserializeOwned>(&self) -> io::Result<Vec<T>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let parsed = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Versioned<T>>(&bytes).ok())
                .filter(|found| found.version == VERSION);
            match parsed {
                Some(found) => records.push(found.record),
                None => {
                    tracing::warn!(path = %path.display(), "Removed a damaged record");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(records)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write<T: Serialize>(&self, id: &str, record: &T) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Versioned { version: VERSION, record })?;
        replace(&self.path(id), &bytes, false)
    }

    /// Removes a record; fine when it is gone.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// Replaces a file as a whole; `durable` makes it outlast a power cut once this returns.
///
/// # Errors
/// When the disk refuses; the old file then stands.
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
    io::Write::write_all(&mut file, bytes)?;
    if durable {
        file.sync_data()?;
    }
    fs::rename(&tmp, path)?;
    match path.parent() {
        Some(parent) if durable => fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
