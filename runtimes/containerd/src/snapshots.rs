//! A container's writable snapshot, and a look at files in it before anything runs.

use crate::client::{Client, QUICK, call};
use containerd_client::services::v1::snapshots as snap;
use containerd_client::types::Mount;
use holdfast_runtime::RuntimeError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io::Read;
use std::path::Path;

/// Largest `/etc/passwd` or `/etc/group` read.
const MAX_FILE: u64 = 1 << 20;

impl Client {
    /// Makes the writable snapshot of a container, or finds it made.
    pub(crate) async fn prepare_rootfs(
        &self,
        lease: &str,
        snapshotter: &str,
        key: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, RuntimeError> {
        let prepare = snap::PrepareSnapshotRequest {
            snapshotter: snapshotter.into(),
            key: key.into(),
            parent: parent.into(),
            ..Default::default()
        };
        match call("prepare snapshot", QUICK, self.snapshots().prepare(self.leased(lease, prepare))).await {
            Ok(response) => Ok(response.mounts),
            Err(err) if err.exists() => self.rootfs_mounts(snapshotter, key).await,
            Err(err) => Err(err.into()),
        }
    }

    /// How to mount a container's snapshot.
    pub(crate) async fn rootfs_mounts(&self, snapshotter: &str, key: &str) -> Result<Vec<Mount>, RuntimeError> {
        let request = snap::MountsRequest { snapshotter: snapshotter.into(), key: key.into() };
        Ok(call("get snapshot mounts", QUICK, self.snapshots().mounts(self.request(request))).await?.mounts)
    }

    /// Removes a snapshot. Fine when it is gone.
    pub(crate) async fn remove_rootfs(&self, snapshotter: &str, key: &str) -> Result<(), RuntimeError> {
        let request = snap::RemoveSnapshotRequest { snapshotter: snapshotter.into(), key: key.into() };
        match call("remove snapshot", QUICK, self.snapshots().remove(self.request(request))).await {
            Err(err) if !err.not_found() => Err(err.into()),
            _ => Ok(()),
        }
    }
}

/// Text of a file of the image, read from the layers' folders without mounting; empty when there is none.
/// Symbolic links are not followed: the image chooses them. Blocks.
pub(crate) fn read_file(mounts: &[Mount], path: &str) -> String {
    let path = path.trim_start_matches('/');
    for folder in mounts.iter().flat_map(folders) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::open(Path::new(&folder), flags, Mode::empty()) else { continue };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) else { continue };
        let file = std::fs::File::from(file);
        // A character device is overlayfs' mark of a deleted file.
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return String::new();
        }
        let mut bytes = Vec::new();
        return match file.take(MAX_FILE).read_to_end(&mut bytes) {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
    }
    String::new()
}

/// The folders of a mount, uppermost first.
pub(crate) fn folders(mount: &Mount) -> Vec<String> {
    if mount.r#type != "overlay" {
        return vec![mount.source.clone()];
    }
    let option = |key: &str| mount.options.iter().find_map(|option| option.strip_prefix(key));
    let upper = option("upperdir=").into_iter().map(str::to_string);
    let lower = option("lowerdir=").unwrap_or("").split(':').filter(|dir| !dir.is_empty()).map(str::to_string);
    upper.chain(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_from_the_uppermost_layer_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| dir.path().join(name).display().to_string();
        for name in ["low", "mid", "up"] {
            std::fs::create_dir_all(dir.path().join(name).join("etc")).unwrap();
        }
        std::fs::write(dir.path().join("low/etc/passwd"), "low").unwrap();
        std::fs::write(dir.path().join("mid/etc/passwd"), "mid").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("up/etc/group")).unwrap();
        let mount = Mount {
            r#type: "overlay".into(),
            options: vec![format!("upperdir={}", layer("up")), format!("lowerdir={}:{}", layer("mid"), layer("low"))],
            ..Default::default()
        };
        assert_eq!(read_file(std::slice::from_ref(&mount), "/etc/passwd"), "mid");
        assert_eq!(read_file(&[mount], "/etc/group"), "");
    }
}
