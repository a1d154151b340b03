//! The hub's folder: one hub at a time works in it.

use anyhow::Context;
use holdfast_apiserver::Pki;
use holdfast_core::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The folder, locked for as long as this lives.
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: OwnedFd,
}

impl DataFolder {
    /// Makes the folder (0700) where it is missing, and locks it. A restore that was decided is put in place.
    pub(crate) fn open(path: &Path) -> anyhow::Result<DataFolder> {
        DataFolder::try_open(path)?.with_context(|| {
            format!("another hub is running on {}; stop it first, or use another --data-dir", path.display())
        })
    }

    /// The same; `None` when a hub is running on it.
    pub(crate) fn try_open(path: &Path) -> anyhow::Result<Option<DataFolder>> {
        let shown = path.display();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).with_context(|| format!("make --data-dir {shown}"))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let lock = rustix::fs::open(path.join("lock"), flags, Mode::from_raw_mode(0o600))
            .with_context(|| format!("open {shown}/lock"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(err) => return Err(err).with_context(|| format!("lock {shown}/lock")),
        }
        crate::backup::finish(path)?;
        Ok(Some(DataFolder { path: path.to_path_buf(), _lock: lock }))
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the administrator's kubeconfig stands.
pub(crate) fn kubeconfig(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.kubeconfig")
}

/// The file that says that the hub of this folder keeps its objects in etcd.
pub(crate) const ON_ETCD: &str = "store.etcd";

/// Makes the next CA of a hub that is stopped.
pub(crate) fn rotate_ca(data_dir: &Path, overlap: Duration) -> anyhow::Result<()> {
    let pki = data_dir.join("pki");
    anyhow::ensure!(pki.join("ca.crt").exists(), "there is no hub in --data-dir {}", data_dir.display());
    let _folder = DataFolder::open(data_dir)?;
    let now = Timestamp::from_wall(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let hash = Pki::rotate(&pki, now, overlap)?;
    println!("{hash}");
    eprintln!("The new CA is used from the next start of the hub on, beside the old one until {}.", now.after(overlap));
    Ok(())
}

/// Replaces a file readable by its owner only; whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataFolder::open(&dir.path().join("hub")).unwrap();
        let second = format!("{:#}", DataFolder::open(first.path()).err().unwrap());
        assert!(second.contains("another hub is running on"), "{second}");
        assert!(!second.contains('\n'));
        let path = first.path().to_path_buf();
        drop(first);
        DataFolder::open(&path).unwrap();
    }
}
