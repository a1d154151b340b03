//! Volumes from images: a read-only view of an image's snapshot for each volume of a pod, under a lease that lives as long as
//! the pod has its volumes. The lease's labels say whose it is, so nothing of it needs to be remembered.

use crate::client::{Client, QUICK, call, optional};
use crate::labels;
use crate::mounts;
use crate::runtime::{Inner, blocking};
use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use containerd_client::types;
use holdfast_runtime::{ImageMount, RuntimeError, mount_table};
use nix::mount::MsFlags;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};

/// The name of lease and snapshot.
fn key(wanted: &ImageMount) -> String {
    let digest = format!("{:x}", Sha256::digest(format!("{}/{}", wanted.pod_uid, wanted.volume)));
    format!("holdfast-volume-{}", &digest[..32])
}

impl Inner {
    pub(crate) async fn mount_image(&self, wanted: &ImageMount) -> Result<(), RuntimeError> {
        let target = wanted.target.clone();
        let is_there = blocking("mount image", move || {
            let text = |what: &str, err: std::io::Error| RuntimeError::Failed {
                operation: "mount image",
                reason: format!("{what} {}: {err}", target.display()),
            };
            std::fs::create_dir_all(&target).map_err(|err| text("making", err))?;
            let here = target.canonicalize().map_err(|err| text("looking at", err))?;
            let mounted = mount_table::mounts_below(&here).map_err(|err| text("looking at", err))?;
            Ok(mounted.contains(&here))
        });
        if is_there.await? {
            return Ok(());
        }
        let key = key(wanted);
        // After a reboot it is there, whatever has become of the image.
        let snapshot = match self.client.rootfs_mounts(&self.config.snapshotter, &key).await {
            Err(RuntimeError::NotFound(_)) => self.make_view(&key, wanted).await?,
            found => found?,
        };
        let target = wanted.target.clone();
        let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        blocking("mount image", move || mounts::show(&snapshot, &target, flags)).await
    }

    async fn make_view(&self, key: &str, wanted: &ImageMount) -> Result<Vec<types::Mount>, RuntimeError> {
        let missing = || RuntimeError::ImagePull { image: wanted.image.clone(), reason: "not found".into() };
        let image = self.client.image(&wanted.image).await?.ok_or_else(missing)?;
        if image.is_wasm {
            let reason = "a volume shows the files of an image, and it is a Wasm image".to_string();
            return Err(RuntimeError::BadImage { image: wanted.image.clone(), reason });
        }
        let snapshotter = &self.config.snapshotter;
        self.client.volume_lease(key, &wanted.pod_uid).await?;
        self.client.unpack(key, &image, snapshotter).await?;
        self.client.view(key, snapshotter, &image.chain_id().unwrap_or_default()).await
    }

    pub(crate) async fn release_images(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for lease in self.client.volume_leases(Some(pod_uid)).await? {
            self.client.remove_rootfs(&self.config.snapshotter, &lease.id).await?;
            let request = self.client.request(api::DeleteRequest { id: lease.id, sync: false });
            optional(call("delete lease", QUICK, self.client.leases().delete(request)).await)?;
        }
        Ok(())
    }

    pub(crate) async fn image_mounts(&self) -> Result<Vec<String>, RuntimeError> {
        let leases = self.client.volume_leases(None).await?;
        let uids: BTreeSet<String> =
            leases.into_iter().filter_map(|lease| lease.labels.get(labels::POD_UID).cloned()).collect();
        Ok(uids.into_iter().collect())
    }
}

impl Client {
    /// Makes a lease without an end, or finds it made.
    async fn volume_lease(&self, id: &str, pod_uid: &str) -> Result<(), RuntimeError> {
        let labels = HashMap::from([
            (labels::KIND.to_string(), labels::KIND_IMAGE_VOLUME.to_string()),
            (labels::POD_UID.to_string(), pod_uid.to_string()),
        ]);
        let request = self.request(api::CreateRequest { id: id.to_string(), labels });
        match call("create lease", QUICK, self.leases().create(request)).await {
            Err(err) if !err.exists() => Err(err.into()),
            _ => Ok(()),
        }
    }

    /// Leases of volumes, of one pod or of all.
    async fn volume_leases(&self, pod_uid: Option<&str>) -> Result<Vec<api::Lease>, RuntimeError> {
        let mut filter = labels::filter(labels::KIND, labels::KIND_IMAGE_VOLUME);
        if let Some(uid) = pod_uid {
            filter = format!("{filter},{}", labels::filter(labels::POD_UID, uid));
        }
        let request = self.request(api::ListRequest { filters: vec![filter] });
        Ok(call("list leases", QUICK, self.leases().list(request)).await?.leases)
    }

    /// A read-only snapshot, made or found.
    async fn view(&self, key: &str, snapshotter: &str, parent: &str) -> Result<Vec<types::Mount>, RuntimeError> {
        let view = snap::ViewSnapshotRequest {
            snapshotter: snapshotter.into(),
            key: key.into(),
            parent: parent.into(),
            ..Default::default()
        };
        match call("view snapshot", QUICK, self.snapshots().view(self.leased(key, view))).await {
            Ok(response) => Ok(response.mounts),
            Err(err) if err.exists() => self.rootfs_mounts(snapshotter, key).await,
            Err(err) => Err(err.into()),
        }
    }
}
