//! What containers write, and where: their snapshots, the volumes of their images, the file system of all images.

use crate::client::{CallError, Client, QUICK, SLOW, call, optional};
use crate::declared_volumes;
use crate::labels::containerd_id;
use crate::runtime::{Inner, blocking};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use holdfast_runtime::{DiskUsage, FsUsage, Mount, RuntimeError, disk_usage, mount_table};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Inner {
    /// Where the volumes are that a container's image declares.
    pub(crate) fn volumes_of(&self, cid: &str) -> PathBuf {
        self.config.volumes_dir.join(cid)
    }

    pub(crate) async fn remove_volumes(&self, cid: &str) -> Result<(), RuntimeError> {
        let home = self.volumes_of(cid);
        blocking("remove container", move || {
            declared_volumes::remove(&home).map_err(|err| RuntimeError::Failed {
                operation: "remove container",
                reason: format!("{}: {err}", home.display()),
            })
        })
        .await
    }

    /// What these containers have written. containerd looks through the files of each.
    pub(crate) async fn disk_usage(&self, ids: &[String]) -> Result<BTreeMap<String, DiskUsage>, RuntimeError> {
        let mut found = BTreeMap::new();
        for id in ids {
            let cid = containerd_id(id);
            let Some(layer) = self.client.layer_usage(&self.config.snapshotter, &cid).await? else { continue };
            let home = self.volumes_of(&cid);
            let volumes = blocking("measure container", move || {
                // What cannot be looked at is left out, like what is gone.
                Ok(if home.exists() { disk_usage(&home).unwrap_or_default() } else { DiskUsage::default() })
            });
            found.insert(id.clone(), layer + volumes.await?);
        }
        Ok(found)
    }

    /// How full the file system is that holds unpacked images; `None` when that folder is not to be seen from here.
    pub(crate) async fn image_fs(&self) -> Result<Option<FsUsage>, RuntimeError> {
        let root = match self.image_root.get() {
            Some(root) => root.clone(),
            None => {
                let Some(root) = self.client.image_root(&self.config.snapshotter).await? else { return Ok(None) };
                // It stays where it is as long as containerd's settings do.
                self.image_root.get_or_init(|| root).clone()
            }
        };
        blocking("look at the images' disk", move || Ok(file_system(&root))).await
    }
}

fn file_system(root: &Path) -> Option<FsUsage> {
    let (fs, meta) = (rustix::fs::statvfs(root).ok()?, std::fs::metadata(root).ok()?);
    Some(FsUsage {
        capacity_bytes: fs.f_blocks.saturating_mul(fs.f_frsize),
        available_bytes: fs.f_bavail.saturating_mul(fs.f_frsize),
        used_bytes: fs.f_blocks.saturating_sub(fs.f_bfree).saturating_mul(fs.f_frsize),
        inodes: fs.f_files,
        inodes_free: fs.f_favail,
        device: meta.dev(),
    })
}

impl Client {
    async fn layer_usage(&self, snapshotter: &str, key: &str) -> Result<Option<DiskUsage>, CallError> {
        let request = self.request(snap::UsageRequest { snapshotter: snapshotter.into(), key: key.into() });
        let usage = optional(call("measure snapshot", SLOW, self.snapshots().usage(request)).await)?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(usage.map(|usage| DiskUsage { bytes: count(usage.size), inodes: count(usage.inodes) }))
    }

    async fn image_root(&self, snapshotter: &str) -> Result<Option<PathBuf>, CallError> {
        let filters = vec![format!("type==io.containerd.snapshotter.v1,id=={snapshotter}")];
        let request = self.request(api::PluginsRequest { filters });
        let plugins = call("list plugins", QUICK, self.introspection().plugins(request)).await?.plugins;
        Ok(plugins.into_iter().find_map(|plugin| plugin.exports.get("root").map(PathBuf::from)))
    }
}

/// Whether mounts are passed on as a pod asks: what is below must be shared for that. Blocks.
///
/// # Errors
/// The texts of the CRI.
pub(crate) fn propagates(mounts: &[Mount]) -> Result<(), RuntimeError> {
    for mount in mounts.iter().filter(|mount| ["rslave", "rshared"].contains(&mount.propagation.as_str())) {
        let path = &mount.host_path;
        let below = mount_table::mount_of(Path::new(path)).ok().flatten();
        let Some(below) = below else { continue };
        let (fits, what) = match mount.propagation.as_str() {
            "rshared" => (below.is_shared, "shared"),
            _ => (below.is_shared || below.is_slave, "shared or slave"),
        };
        if !fits {
            let at = below.path.display().to_string();
            let reason = format!("path {path:?} is mounted on {at:?} but it is not a {what} mount");
            return Err(RuntimeError::Failed { operation: "failed to generate container spec", reason });
        }
    }
    Ok(())
}
