//! The folder that sled lives in: opening it, telling ours from a foreign one, and making it anew.

use crate::limits::{CACHE_BYTES, LOCK_LOOK, LOCK_WAIT};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

/// The file that says whose folder it is, and how its records look.
const FORMAT_FILE: &str = "FORMAT";
const FORMAT: &str = "holdfast-edge-views 1\n";

/// Why a view cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("the folder was not made by this version of the agent")]
    Foreign,
    #[error("the record {0} does not decode")]
    Record(u64),
    #[error("sled gave up over the folder's content")]
    Panicked,
    #[error("another process has the folder open")]
    Locked,
    #[error("sled")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
}

/// Runs a piece of work of sled, which panics over some damage instead of returning an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ViewError::Panicked))
}

/// Opens the folder, which is made if it is missing or empty.
pub(crate) fn open(dir: &Path) -> Result<sled::Db, ViewError> {
    match fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) if text == FORMAT => {}
        Ok(_) => return Err(ViewError::Foreign),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(|err| ViewError::Io("making the folder", err))?;
            let mut entries = fs::read_dir(dir).map_err(|err| ViewError::Io("listing the folder", err))?;
            if entries.next().is_some() {
                return Err(ViewError::Foreign);
            }
            fs::write(dir.join(FORMAT_FILE), FORMAT).map_err(|err| ViewError::Io("writing FORMAT", err))?;
        }
        Err(err) => return Err(ViewError::Io("reading FORMAT", err)),
    }
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let opened = guarded(|| {
            let config = sled::Config::new().path(dir.join("sled")).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            Ok(config.open()?)
        });
        match opened {
            Err(ViewError::Sled(err)) if is_locked(&err) => {
                if Instant::now() >= deadline {
                    return Err(ViewError::Locked);
                }
                std::thread::sleep(LOCK_LOOK);
            }
            opened => return opened,
        }
    }
}

/// sled 0.34 says it in words alone.
fn is_locked(err: &sled::Error) -> bool {
    matches!(err, sled::Error::Io(err) if err.to_string().starts_with("could not acquire lock"))
}

/// Removes whatever stands at the folder's place; a link is removed, not followed.
pub(crate) fn remove(dir: &Path) -> Result<(), ViewError> {
    let removed = match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(dir),
        Ok(_) => fs::remove_file(dir),
        Err(err) => Err(err),
    };
    match removed {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(ViewError::Io("removing the folder", err)),
        _ => Ok(()),
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(err: &ViewError) -> String {
    let mut text = err.to_string();
    let mut cause = std::error::Error::source(err);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
