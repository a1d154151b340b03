//! What an error of fjall means for the store.

use holdfast_store::StoreError;
use std::io;
use std::path::Path;

/// The system's error below, if that is what it was.
fn io_error(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Some(error),
        _ => None,
    }
}

/// The disk, or the quota on it, is used up.
pub(crate) fn is_full(error: &fjall::Error) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    io_error(error).is_some_and(full)
}

fn reason(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Poisoned => {
            "an earlier write in the background failed; look for disk errors, then restart".to_owned()
        }
        fjall::Error::Unrecoverable | fjall::Error::Storage(fjall::LsmError::Unrecoverable) => {
            "files are missing or damaged; restore a backup".to_owned()
        }
        error => io_error(error).map_or_else(|| format!("{error:?}"), ToString::to_string),
    }
}

/// `what` failed, with the reason.
pub(crate) fn failed(what: &str, error: &fjall::Error) -> StoreError {
    StoreError::Failed(format!("{what}: {}", reason(error)))
}

/// The database under `path` could not be opened.
pub(crate) fn not_opened(path: &Path, error: &fjall::Error) -> StoreError {
    let path = path.display();
    match error {
        fjall::Error::Locked => {
            StoreError::Failed(format!("{path} is in use by another process; stop it, or choose another data folder"))
        }
        error => failed(&format!("cannot open the store under {path}"), error),
    }
}
