//! Durable small files, readable by their owner only.

use super::PkiError;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

fn fail(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_path_buf();
    move |source| PkiError::File { what, path, source }
}

/// Makes the folder, 0700, if it is missing.
pub(crate) fn make_folder(dir: &Path) -> Result<(), PkiError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("make folder", dir))
}

/// The file's text; `None` when it is missing.
pub(crate) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(fail("read", path)(err)),
    }
}

/// Replaces the file, 0600. After a power cut it holds the old bytes or the new ones, never a part.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let temporary = path.with_extension("tmp");
    let put = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => std::fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    put().map_err(fail("write", path))
}
